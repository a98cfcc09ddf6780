"""The listing of a run's objects that a person asks for."""

import sys
from pathlib import Path

import pytest
import yaml

from moaa.api.reading.load import load
from moaa.cli.main import main
from moaa_operator.render.preview import preview
from moaa_operator.settings import Settings
from tests.render_world import RESOURCE, pod_templates, rayjob_objections, restricted

EXAMPLES = sorted(Path("examples").glob("*.yaml"))


@pytest.mark.parametrize("file", EXAMPLES, ids=[file.stem for file in EXAMPLES])
def test_every_example_renders_to_admissible_objects(file: Path) -> None:
    documents = [d for d in yaml.safe_load_all("".join(preview(load(file), Settings()))) if d]
    kinds = {document["kind"] for document in documents}
    assert {"ConfigMap", "Job", "Deployment", "Service", "RayJob"} <= kinds
    names = [(d["kind"], d["metadata"]["name"]) for d in documents]
    assert len(set(names)) == len(names)
    for document in documents:
        assert [objection for pod in pod_templates(document) for objection in restricted(pod)] == []
        if document["kind"] == "RayJob":
            assert rayjob_objections(document) == []


def test_moaa_render_prints_what_the_operator_would_create(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", ":".join(sys.path))
    file = tmp_path / "moaa.yaml"
    file.write_text(yaml.safe_dump(RESOURCE))
    assert main(["render", str(file)]) == 0
    documents = [d for d in yaml.safe_load_all(capfd.readouterr().out) if d]
    assert [d["kind"] for d in documents[:2]] == ["ConfigMap", "Job"]
    file.write_text("kind: MoAA")
    assert main(["render", str(file)]) == 2
    assert "moaa:" in capfd.readouterr().err


def test_without_the_operator_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert main(["render", "moaa.yaml"]) == 2
    assert "install moaa[operator]" in capsys.readouterr().err
