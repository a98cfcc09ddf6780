"""What only one machine can carry out is refused before anything is made, all of it at once."""

import pytest

from moaa.api import MoAA
from moaa.errors import ResourceError
from moaa_operator.render.admission import refusals
from moaa_operator.render.preview import preview
from moaa_operator.settings import Settings
from tests.render_world import RESOURCE, changed


def test_a_resource_for_the_cluster_is_admitted() -> None:
    assert refusals(MoAA.model_validate(RESOURCE)) == []


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
    (problem,) = refusals(resource)
    assert problem.path == field
    assert problem.remedy
    with pytest.raises(ResourceError, match="1 problem"):
        next(preview(resource, Settings()))
