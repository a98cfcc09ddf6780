"""The CRD on a real API server: what it takes, what it adds, what it refuses and how it says so."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from moaa.api import MoAA
from moaa.api.crd.definition import crd, crd_yaml
from moaa.api.reading.load import load, load_text
from moaa_operator.kube.api import Answer
from moaa_operator.kube.kinds import CONFIG_MAP, MOAA
from tests.bad_resources import BAD
from tests.crd_server import kept_by_kubectl
from tests.integration.apiserver import CRD, ApiServer, make_namespace
from tests.plan_helpers import tree
from tests.tools import tool
from tests.unit.api.test_api_crd_admission import (
    EXAMPLES,
    FIXED,
    GOOD,
    MORE_BAD,
    NOT_IN_THE_CRD,
    OPAQUE,
    SCHEMA_ALONE,
    TINY,
)

Object = dict[str, Any]
NAMESPACE = "crd"
DRY = {"dryRun": "All", "fieldValidation": "Strict"}
"""As kubectl asks: fields that the schema does not know are errors."""
LEFT_TO_MOAA_VALIDATE = {
    "secrets that share a variable",
    "a number too long to write out",
    "a port too high in the storage's server",
    *(name for name, why in NOT_IN_THE_CRD.items() if why == OPAQUE),
}
"""What the server takes though `moaa validate` does not: environment variables of `moaa run`, canonical spellings,
numbers in a text, and fields of a JSON object of any shape."""
REFUSED: dict[str, tuple[Object, str]] = {
    **{name: (changes, path) for name, (changes, path, _) in BAD.items()},
    **MORE_BAD,
    **{f"schema: {name}": case for name, case in SCHEMA_ALONE.items()},
}


@pytest.fixture(scope="module")
def server(api_server: ApiServer) -> ApiServer:
    make_namespace(api_server.admin, NAMESPACE)
    return api_server


def create(server: ApiServer, document: Object, *, dry: bool = True) -> tuple[int, Object]:
    return server.request("POST", MOAA.path(NAMESPACE), document, query=DRY if dry else {"fieldValidation": "Strict"})


def test_the_definition_is_kept_as_it_is(server: ApiServer) -> None:
    found = server.admin.get(CRD, "", "moaas.moaa.dev")
    assert found["spec"]["versions"] == crd()["spec"]["versions"]
    states = {c["type"]: c["status"] for c in found["status"]["conditions"]}
    assert states["Established"] == states["NamesAccepted"] == "True"
    assert "NonStructuralSchema" not in states


def test_a_client_side_apply_takes_it(server: ApiServer, tmp_path: Path) -> None:
    file = tmp_path / "crd.yaml"
    file.write_text(crd_yaml())
    kubectl = [str(tool("kubectl")), "--kubeconfig", str(server.admin_kubeconfig)]
    for _ in range(2):  # the second compares with the annotation that the first has left
        done = subprocess.run([*kubectl, "apply", "-f", str(file)], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
    about = server.admin.get(CRD, "", "moaas.moaa.dev")["metadata"]
    assert about["annotations"]["kubectl.kubernetes.io/last-applied-configuration"] == kept_by_kubectl(crd())


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_an_example_is_taken_and_the_server_s_defaults_are_ours(server: ApiServer, file: Path) -> None:
    document = yaml.safe_load(file.read_text())
    document["metadata"].pop("namespace", None)  # some user's
    code, stored = create(server, document)
    assert code == 201, stored["message"]
    assert as_resource(stored).spec == load(file).spec


def test_the_tiny_example_is_taken_once_its_paths_are_absolute(server: ApiServer) -> None:
    text = re.sub(r"file://\.\.?/", "file:///tiny/", TINY.read_text())
    code, stored = create(server, yaml.safe_load(text))
    assert code == 201, stored["message"]
    assert as_resource(stored) == load_text(text)


@pytest.mark.parametrize("changes", GOOD.values(), ids=GOOD.keys())
def test_what_moaa_validate_accepts_is_taken(server: ApiServer, changes: Object) -> None:
    document = tree(**changes)
    code, stored = create(server, document)
    assert code == 201, stored["message"]
    assert as_resource(stored) == load_text(yaml.safe_dump(document))


def as_resource(stored: Object) -> MoAA:
    """The stored object as the operator reads it; what the server alone says of it is left out."""
    about = {"name": stored["metadata"]["name"]}
    body = {**stored, "metadata": about}
    return MoAA.model_validate_json(json.dumps(body), strict=True, by_alias=True, by_name=False)


@pytest.mark.parametrize("name", [name for name in REFUSED if name not in LEFT_TO_MOAA_VALIDATE])
def test_what_moaa_validate_refuses_is_refused_in_words_that_name_the_place(server: ApiServer, name: str) -> None:
    changes, path = REFUSED[name]
    code, answer = create(server, tree(**changes))
    assert code in (400, 422), answer
    assert any(words in answer["message"] for words in OTHER_WORDS.get(name, near(path))), answer["message"]
    assert "no such key" not in answer["message"] or name == "kind"


OTHER_WORDS = {
    "api version": ['MoAA in version "v1" cannot be handled'],
    "name is a number": ["cannot unmarshal number into Go struct field ObjectMeta.name of type string"],
    **{key: ["json parse error: invalid character 'I'"] for key in ("infinite", "an infinite number")},
}
"""What the server says before it looks at any schema."""


def near(path: str) -> list[str]:
    """The path and what it lies in: a rule that joins fields is told of where they meet. `spec` alone is too far."""
    ends = [*(found.start() for found in re.finditer(r"[.\[]", path)), len(path)]
    return [path[:end] for end in ends if path[:end] != "spec"] or [path]


@pytest.mark.parametrize("name", sorted(LEFT_TO_MOAA_VALIDATE))
def test_what_is_left_to_moaa_validate_is_known(server: ApiServer, name: str) -> None:
    assert create(server, tree(**REFUSED[name][0]))[0] == 201


def test_at_least_sixty_mistakes_are_refused() -> None:
    assert len(REFUSED) - len(LEFT_TO_MOAA_VALIDATE) >= 60


@pytest.mark.parametrize(("changes", "path"), FIXED.values(), ids=FIXED.keys())
def test_what_a_run_rests_on_cannot_change(server: ApiServer, changes: Object, path: str) -> None:
    stored = kept(server, "fixed")
    code, answer = replace(server, {**stored, "spec": tree(**changes)["spec"]})
    assert code == 422
    assert path in answer["message"]
    assert "cannot change" in answer["message"]


def test_everything_else_can_change(server: ApiServer) -> None:
    stored = kept(server, "free")
    changed = tree(spec__iterations=2, spec__mixture__aggregator={"model": "a", "temperature": "0.1"})
    code, answer = replace(server, {**stored, "spec": changed["spec"]})
    assert code == 200, answer
    assert answer["metadata"]["generation"] == 2


def kept(server: ApiServer, name: str) -> Object:
    """A resource that is there."""
    code, stored = create(server, tree(metadata__name=name), dry=False)
    if code == 409:
        return server.admin.get(MOAA, NAMESPACE, name)
    assert code == 201, stored
    return stored


def replace(server: ApiServer, document: Object) -> tuple[int, Object]:
    name = document["metadata"]["name"]
    return server.request("PUT", MOAA.path(NAMESPACE, name), document, query={"fieldValidation": "Strict"})


def test_the_status_is_a_subresource_and_bounded(server: ApiServer) -> None:
    stored = kept(server, "status")
    said = {"phase": "Running", "iteration": "1/3", "stage": "i1-judge", "progress": "3/8"}
    written = server.admin.replace_status(MOAA, NAMESPACE, {**stored, "status": said, "spec": {}})
    assert written["spec"] == stored["spec"]
    assert written["status"] == said
    assert written["metadata"]["generation"] == 1
    body = {**written, "status": {"phase": "Dancing"}}
    code, answer = server.request("PUT", MOAA.path(NAMESPACE, "status", "status"), body)
    assert code == 422
    assert 'status.phase: Unsupported value: "Dancing"' in answer["message"]


def test_what_kubectl_get_shows(server: ApiServer) -> None:
    stored = kept(server, "shown")
    state = {"type": "Succeeded", "status": "False", "reason": "JudgesAnswering", "message": "m"}
    said = {
        "phase": "Running", "iteration": "1/3", "stage": "i1-judge", "progress": "41 % (2 h 10 m)",
        "score": "43.8 ± 2.1", "conditions": [{**state, "lastTransitionTime": "2026-01-01T00:00:00Z"}],
        "cost": {"gpuHours": "12.50", "dollars": "31.25"},
    }  # fmt: skip
    server.admin.replace_status(MOAA, NAMESPACE, {**stored, "status": said})
    accept = "application/json;as=Table;v=v1;g=meta.k8s.io"
    code, table = server.request("GET", MOAA.path(NAMESPACE, "shown"), accept=accept)
    assert code == 200
    columns = {column["name"]: column["priority"] for column in table["columnDefinitions"]}
    usual = ["Name", "Phase", "Iteration", "Stage", "Progress", "Score", "Reason"]
    assert list(columns) == [*usual, "GPU-Hours", "Dollars", "Age"]
    assert [name for name, priority in columns.items() if priority] == ["GPU-Hours", "Dollars"], "with -o wide alone"
    cells = table["rows"][0]["cells"]
    assert cells[:7] == ["shown", "Running", "1/3", "i1-judge", "41 % (2 h 10 m)", "43.8 ± 2.1", "JudgesAnswering"]
    assert cells[7:9] == ["12.50", "31.25"]


def test_a_write_is_answered_with_metadata_alone(server: ApiServer) -> None:
    api, about = server.admin, {"name": "short", "namespace": NAMESPACE}
    run = {**tree(namespace=NAMESPACE), "metadata": about}
    file = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": about, "data": {"key": "value"}}
    made = api.create(MOAA, NAMESPACE, run, answer=Answer.METADATA)
    files = api.create(CONFIG_MAP, NAMESPACE, file, answer=Answer.METADATA)
    again = api.apply(CONFIG_MAP, NAMESPACE, {**file, "data": {"key": "another"}}, answer=Answer.METADATA)
    told = {**made, "apiVersion": run["apiVersion"], "kind": MOAA.kind, "status": {"phase": "Running"}}
    written = api.replace_status(MOAA, NAMESPACE, told, answer=Answer.METADATA)
    for said in (made, files, again, written):
        assert said["kind"] == "PartialObjectMetadata"
        assert not {"spec", "status", "data"} & set(said)
    there = api.get(MOAA, NAMESPACE, "short")
    assert (
        there["metadata"]["resourceVersion"]
        == written["metadata"]["resourceVersion"]
        != made["metadata"]["resourceVersion"]
    )
    assert there["status"] == {"phase": "Running"}
    assert api.get(CONFIG_MAP, NAMESPACE, "short")["data"] == {"key": "another"}
    for kind in (CONFIG_MAP, MOAA):
        api.delete(kind, NAMESPACE, "short")
