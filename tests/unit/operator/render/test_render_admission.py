"""What only one machine can carry out is refused before anything is made, all of it at once."""

import re
from collections.abc import Iterator
from typing import Any, get_args

import pytest

from moaa.api import MoAA
from moaa.api.base import SecretKey, Spec
from moaa.api.resource import MoAASpec, StorageSecret
from moaa.errors import ResourceError
from moaa_operator.render import bind
from moaa_operator.render.admission import CODE_ARGS, refusals
from moaa_operator.render.preview import preview
from moaa_operator.settings import Allowed, Settings
from tests.choices import CODE, DENIED, LISTS, templated, with_argument
from tests.operator_helpers import SHORT, Cluster
from tests.render_world import MOAA, RESOURCE, changed


def test_a_resource_for_the_cluster_is_admitted() -> None:
    assert refusals(MoAA.model_validate(RESOURCE), Allowed()) == []


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        ("spec.storage", {"uri": "file:///runs"}, "spec.storage.uri"),
        ("spec.models.1.source", "file:///models/small", "spec.models[1].source"),
        ("spec.data.sft.0.source", "file:///data/sft.jsonl", "spec.data.sft[0].source"),
        ("spec.data.preference.0.source", "file:///data/p.jsonl", "spec.data.preference[0].source"),
        (
            "spec.evaluation.report",
            [{"name": "own", "type": "ExactMatch", "source": "file:///own.jsonl"}],
            "spec.evaluation.report[0].source",
        ),
        (
            "spec.models.0.serving.template",
            {"spec": {"hostNetwork": True}},
            "spec.models[0].serving.template.spec.hostNetwork",
        ),
        (
            "spec.training.resources.template",
            {"spec": {"containers": [{"name": "ray-worker", "command": ["x"]}]}},
            "spec.training.resources.template.spec.containers[0].command",
        ),
    ],
)
def test_every_obstacle_is_named_with_what_to_write(path: str, value: object, field: str) -> None:
    resource = changed(path, value)
    (problem,) = refusals(resource, Allowed())
    assert problem.path == field
    assert problem.remedy
    with pytest.raises(ResourceError, match="1 problem"):
        next(preview(resource, Settings()))


# What the installation allows


ALLOWED = Allowed.model_validate(LISTS)


def test_the_resource_keeps_all_lists() -> None:
    assert refusals(MOAA, ALLOWED) == []


@pytest.mark.parametrize(("resource", "field"), DENIED.values(), ids=DENIED)
def test_what_is_not_listed_is_denied_by_field(resource: MoAA, field: str) -> None:
    (problem,) = refusals(resource, ALLOWED)
    assert problem.path == field
    assert "this installation" in problem.remedy
    assert refusals(resource, Allowed()) == []


def fields_of_secrets(kind: type[Spec], path: str) -> Iterator[str]:
    """Of a class and all inside it."""
    for field, about in kind.model_fields.items():
        at = f"{path}.{about.alias or field}"
        for inner in kinds_in(about.annotation):
            if issubclass(inner, SecretKey | StorageSecret):
                yield f"{at}.name"
            elif issubclass(inner, Spec):
                yield from fields_of_secrets(inner, at)


def kinds_in(annotation: Any) -> Iterator[type]:
    if isinstance(annotation, type) and not get_args(annotation):
        yield annotation
    for inner in get_args(annotation):
        yield from kinds_in(inner)


def test_every_field_that_names_a_secret_is_tried() -> None:
    tried = {re.sub(r"\[\d+\]", "", field) for _, field in DENIED.values()}
    fields = set(fields_of_secrets(MoAASpec, "spec"))
    assert len(fields) > 10
    assert fields - tried == set()


@pytest.mark.parametrize(
    ("lists", "field"),
    [
        ({"service_accounts": []}, "spec.serviceAccountName"),
        ({"secrets": ["s3", "team/h*", "team/x"]}, "spec.storage.secret.name"),
        ({"endpoint_hosts": ["x", "s3.team.svc"]}, "spec.storage.endpoint"),
        ({"images": ["*"], "secrets": ["*"], "vllm_args": ["--quant"]}, "spec.models[0].serving.args[0]"),
    ],
    ids=["nothing", "a name without its namespace", "a host without its port", "a part of a name"],
)
def test_a_pattern_means_the_whole_name(lists: dict[str, list[str]], field: str) -> None:
    (problem,) = refusals(MOAA, Allowed.model_validate(lists))
    assert problem.path == field


@pytest.mark.parametrize("argument", CODE)
def test_code_that_is_not_vllms_is_run_only_where_it_is_listed(argument: str) -> None:
    resource = with_argument(argument)
    (problem,) = refusals(resource, Allowed())
    assert problem.path == "spec.models[0].serving.args[2]"
    assert refusals(resource, Allowed(vllm_args=("--quantization",)))
    assert refusals(resource, Allowed(vllm_code_args=CODE_ARGS)) == []


def test_an_argument_that_means_two_of_them_needs_both() -> None:
    resource = with_argument('{"trust_remote_code": true, "worker_cls": "x.Y"}')
    (problem,) = refusals(resource, Allowed(vllm_code_args=("--trust-remote-code",)))
    assert "(--worker-cls)" in problem.remedy
    assert refusals(resource, Allowed(vllm_code_args=("--trust-remote-code", "--worker-cls"))) == []


def test_what_is_listed_is_allowed() -> None:
    allowed = Allowed(
        service_accounts=("team/*",), secrets=("team/*",), images=("good/*",), node_selectors=("zone=*",),
        tolerations=("gpu",), priority_classes=("low",), vllm_args=("--quantization", "--reasoning-parser"),
        endpoint_hosts=("x", "s3.team.svc:7070"),
    )  # fmt: skip
    template = {
        "containers": [{"name": "side", "image": "good/one", "envFrom": [{"secretRef": {"name": "mine"}}]}],
        "nodeSelector": {"zone": "a"}, "tolerations": [{"key": "gpu"}], "priorityClassName": "low",
    }  # fmt: skip
    resource = templated(template)
    models = [
        model.with_(serving=model.serving.with_(args=["--reasoning-parser", "q"])) for model in resource.spec.models
    ]
    served = [m if m.endpoint else s for m, s in zip(resource.spec.models, models, strict=True)]
    assert refusals(resource.with_(spec=resource.spec.with_(models=served)), allowed) == []


def test_a_list_that_is_misspelt_is_refused() -> None:
    with pytest.raises(ValueError, match="imagess"):
        Settings(allowed={"imagess": []})


def test_the_status_names_the_field_and_nothing_is_made() -> None:
    cluster = Cluster(settings=Settings(allowed=Allowed(service_accounts=("team/nobody",))), render=bind, **SHORT)
    cluster.settle()
    accepted = cluster.condition("Accepted")
    assert accepted is not None
    assert (accepted["status"], accepted["reason"]) == ("False", "Invalid")
    assert "spec.serviceAccountName" in accepted["message"]
    assert "allowed.serviceAccounts: team/nobody" in accepted["message"]
    assert cluster.objects == {}
