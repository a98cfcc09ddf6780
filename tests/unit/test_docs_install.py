"""docs/install.md names only what there is: files, options, variables, values, versions."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from moaa_operator import render
from tests.render_world import OWNER, SETTINGS, changed, container, find, job_of

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "install.md").read_text()
CHART = ROOT / "charts" / "moaa"
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", DOCUMENT, flags=re.MULTILINE | re.DOTALL)
SHELL = "\n".join(text for language, text in BLOCKS if language == "sh")
EXAMPLES = sorted((ROOT / "terraform" / "examples").iterdir())


def schema() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((CHART / "values.schema.json").read_text())
    return found


def variables(folder: Path) -> dict[str, bool]:
    """Whether each variable of a Terraform folder has a default."""
    blocks = re.findall(
        r'^variable "(\w+)" \{\n(.*?)^\}', (folder / "variables.tf").read_text(), re.MULTILINE | re.DOTALL
    )
    return {name: "default" in body for name, body in blocks}


def test_every_shell_block_is_one() -> None:
    for language, text in BLOCKS:
        if language == "sh":
            subprocess.run(["bash", "-n"], input=text, text=True, check=True)


def test_every_file_is_there() -> None:
    named = set(re.findall(r"\b(?:examples|charts|images|terraform)/[\w./-]*\w", SHELL + DOCUMENT))
    assert {"examples/first.yaml", "charts/moaa", "images/build.sh"} <= named
    missing = [
        name for name in sorted(named) if not (ROOT / name).exists() and not (ROOT / "terraform" / name).exists()
    ]
    assert missing == []
    assert {
        name for name in re.findall(r"\]\(([\w.]+\.md)\)", DOCUMENT) if not (ROOT / "docs" / name).exists()
    } == set()


def test_every_command_of_moaa_is_one() -> None:
    named = set(re.findall(r"(?:^|[|&`] ?)moaa (\w+)", DOCUMENT, flags=re.MULTILINE))
    assert {"validate", "plan", "report", "crd"} <= named
    said = subprocess.run(
        [sys.executable, "-m", "moaa.cli", "--help"], capture_output=True, text=True, check=True
    ).stdout
    assert [name for name in named if not re.search(rf"\b{name}\b", said)] == []


def test_every_make_target_is_one() -> None:
    targets = re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    named = set(re.findall(r"(?:^|`)make ([a-z0-9-]+)", DOCUMENT, flags=re.MULTILINE))
    assert named == {"e2e"}
    assert named <= set(targets)


@pytest.mark.parametrize("folder", EXAMPLES, ids=lambda folder: str(folder.name))
def test_terraform_variables_are_the_examples(folder: Path) -> None:
    block = re.search(r"<<'VARS'\n(.*?)^VARS$", SHELL, flags=re.MULTILINE | re.DOTALL)
    assert block is not None
    given = set(re.findall(r"^(\w+) *=", block[1], flags=re.MULTILINE))
    known = variables(folder)
    assert given <= set(known)
    assert {name for name, has_default in known.items() if not has_default} <= given
    outputs = set(re.findall(r'^output "(\w+)"', (folder / "outputs.tf").read_text(), flags=re.MULTILINE))
    assert set(re.findall(r"terraform output (?:-raw )?(\w+)", SHELL)) <= outputs


def test_the_chart_takes_the_values() -> None:
    (values,) = [text for language, text in BLOCKS if language == "yaml" and "installation.yaml" in text]
    jsonschema.validate(yaml.safe_load(values), schema())
    for value in (
        "crds.install",
        "crds.keep",
        "networkPolicies.egress.enabled",
        "clusterWide",
        "images.vllm.repository",
    ):
        assert value in DOCUMENT
        found: Any = yaml.safe_load((CHART / "values.yaml").read_text())
        for part in value.split("."):
            found = found[part]


def test_the_workers_with_efa_are_a_machine_s() -> None:
    (text,) = [text for language, text in BLOCKS if language == "yaml" and "vpc.amazonaws.com/efa" in text]
    resource = changed("spec.training", {**yaml.safe_load(text)["training"], "sft": {}, "dpo": {}})
    settings = SETTINGS.model_copy(update={"training_workers_per_pod": 8})
    job = job_of("i1-sft", resource)
    children = render.bind(resource, OWNER, settings).stage(job, attempt=1, shards=None)
    limits = container(find(children, "RayJob"), "ray-worker")["resources"]["limits"]
    assert (limits["nvidia.com/gpu"], limits["vpc.amazonaws.com/efa"]) == ("8", 32)


def test_device_plugins_reach_tainted_nodes() -> None:
    values = re.findall(r"<<'VALUES'\n(.*?)^VALUES$", SHELL, flags=re.MULTILINE | re.DOTALL)
    assert len(values) == 2
    assert all(yaml.safe_load(text)["tolerations"] == [{"operator": "Exists"}] for text in values)


def test_an_upgrade_takes_what_the_installation_took() -> None:
    """Whatever `--set` gave would be gone after an upgrade with the file alone."""
    commands = [line for line in SHELL.replace("\\\n", " ").splitlines() if line.startswith("helm upgrade")]
    ours = [line for line in commands if "charts/moaa" in line]
    assert len(ours) == 3
    assert {tuple(re.findall(r" -f (\S+)", line)) for line in ours} == {("~/installation.yaml",)}
    assert not any("--set" in line for line in ours)
    assert "> ~/installation.yaml" in SHELL


def test_versions_are_the_chart_s() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert f"`appVersion`, {chart['appVersion']}" in DOCUMENT
    assert set(re.findall(r"TAG=([\d.]+)", SHELL)) == {chart["appVersion"], "0.2.0"}  # the upgrade's
    assert set(re.findall(r"vllm-openai:?`? ?\(?[^v]*(v[\d.]+\d)", DOCUMENT)) == {values["images"]["vllm"]["tag"]}
    assert chart["kubeVersion"].startswith(">=" + re.findall(r"Kubernetes ([\d.]+) or later", DOCUMENT)[0])
