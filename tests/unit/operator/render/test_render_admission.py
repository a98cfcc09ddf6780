"""What only one machine can carry out is refused before anything is made, all of it at once."""

import pytest

from moaa.api import MoAA
from moaa.errors import ResourceError
from moaa_operator.render import bind
from moaa_operator.render.admission import CODE_ARGS, refusals
from moaa_operator.render.preview import preview
from moaa_operator.settings import Allowed, Settings
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


def templated(spec: object) -> MoAA:
    return changed("spec.models.0.serving.template", {"spec": spec})


def sidecar(**fields: object) -> MoAA:
    return templated({"containers": [{"name": "side", **fields}]})


AT, SIDE = "spec.models[0].serving.template.spec", "spec.models[0].serving.template.spec.containers[0]"
EVERY_SECRET = {"secrets": ["team/s3", "team/hub", "team/x"]}
DENIED = [
    pytest.param({"service_accounts": ["team/other", "else/*"]}, MOAA, "spec.serviceAccountName", id="account"),
    pytest.param({"secrets": ["team/hub", "team/x"]}, MOAA, "spec.storage.secret.name", id="the store's secret"),
    pytest.param({"secrets": ["team/s3", "team/x"]}, MOAA, "spec.models[0].tokenSecret.name", id="a token"),
    pytest.param({"secrets": ["team/s3", "team/hub"]}, MOAA, "spec.models[3].endpoint.secret.name", id="a key"),
    pytest.param({"secrets": ["s3", "team/h*", "team/x"]}, MOAA, "spec.storage.secret.name", id="name alone"),
    pytest.param(
        EVERY_SECRET,
        changed("spec.data.sft.0.tokenSecret", {"name": "root", "key": "k"}),
        "spec.data.sft[0].tokenSecret.name", id="a source's token",
    ),
    pytest.param(
        EVERY_SECRET,
        changed("spec.models.3.endpoint.headers", [{"name": "k", "secret": {"name": "root", "key": "k"}}]),
        "spec.models[3].endpoint.headers[0].secret.name", id="a header",
    ),
    pytest.param(
        EVERY_SECRET,
        sidecar(env=[{"name": "A", "valueFrom": {"secretKeyRef": {"name": "root", "key": "k"}}}]),
        f"{SIDE}.env[0].valueFrom.secretKeyRef", id="a variable",
    ),
    pytest.param(
        EVERY_SECRET, sidecar(envFrom=[{"secretRef": {"name": "root"}}]), f"{SIDE}.envFrom[0].secretRef", id="variables"
    ),
    pytest.param(
        EVERY_SECRET, templated({"volumes": [{"name": "v", "secret": {"secretName": "root"}}]}),
        f"{AT}.volumes[0].secret", id="a volume",
    ),
    pytest.param(
        EVERY_SECRET,
        templated({"volumes": [{"name": "v", "projected": {"sources": [{"secret": {"name": "root"}}]}}]}),
        f"{AT}.volumes[0].projected.sources[0].secret", id="a projection",
    ),
    pytest.param(
        EVERY_SECRET,
        templated({"volumes": [{"name": "v", "csi": {"driver": "d", "nodePublishSecretRef": {"name": "root"}}}]}),
        f"{AT}.volumes[0].csi.nodePublishSecretRef", id="a driver",
    ),
    pytest.param(
        EVERY_SECRET, templated({"imagePullSecrets": [{"name": "root"}]}), f"{AT}.imagePullSecrets[0]", id="a registry"
    ),
    pytest.param({"images": ["good/*"]}, sidecar(image="evil/miner:1"), f"{SIDE}.image", id="a sidecar"),
    pytest.param({"images": ["good/*"]}, sidecar(image="evil/good/x"), f"{SIDE}.image", id="a name inside another"),
    pytest.param(
        {"images": []}, templated({"initContainers": [{"name": "weights", "image": "x"}]}),
        f"{AT}.initContainers[0].image", id="ours replaced",
    ),
    pytest.param(
        {"images": ["good/*"]},
        changed("spec.training.resources.template", {"spec": {"containers": [{"name": "ray-worker", "image": "x"}]}}),
        "spec.training.resources.template.spec.containers[0].image", id="a trainer",
    ),
    pytest.param(
        {"node_selectors": ["zone=a"]}, templated({"nodeSelector": {"zone": "b"}}), f"{AT}.nodeSelector.zone",
        id="nodes",
    ),
    pytest.param({"node_selectors": ["zone=a"]}, templated({"nodeName": "n1"}), f"{AT}.nodeName", id="a node"),
    pytest.param({"node_selectors": ["*"]}, templated({"affinity": {}}), f"{AT}.affinity", id="affinity"),
    pytest.param(
        {"node_selectors": ["*"]}, templated({"topologySpreadConstraints": []}), f"{AT}.topologySpreadConstraints",
        id="spread",
    ),
    pytest.param(
        {"tolerations": ["gpu"]}, templated({"tolerations": [{"key": "system"}]}), f"{AT}.tolerations[0]", id="a taint"
    ),
    pytest.param(
        {"tolerations": ["gpu"]}, templated({"tolerations": [{"operator": "Exists"}]}), f"{AT}.tolerations[0]",
        id="every taint",
    ),
    pytest.param(
        {"priority_classes": ["low"]}, templated({"priorityClassName": "system-node-critical"}),
        f"{AT}.priorityClassName", id="priority",
    ),
    pytest.param({"vllm_args": ["--kv-*"]}, MOAA, "spec.models[0].serving.args[0]", id="an argument"),
    pytest.param({"endpoint_hosts": ["y", "s3.team.svc:7070"]}, MOAA, "spec.models[3].endpoint.url", id="a host"),
    pytest.param({"endpoint_hosts": ["x", "s3.team.svc"]}, MOAA, "spec.storage.endpoint", id="a port"),
]  # fmt: skip


@pytest.mark.parametrize(("lists", "resource", "field"), DENIED)
def test_what_is_not_listed_is_denied_by_field(lists: dict[str, list[str]], resource: MoAA, field: str) -> None:
    (problem,) = refusals(resource, Allowed.model_validate(lists))
    assert problem.path == field
    assert "this installation" in problem.remedy
    assert refusals(resource, Allowed()) == []


@pytest.mark.parametrize(
    "argument",
    [
        "--trust-remote-code", "--trust_remote_code", "--trust-remote-code=true", "--trust", "--middleware=os.system",
        "--tool-parser-plugin", "--reasoning-parser-p", "--worker-cls=x.Y", "--worker_extension_cls", "--scheduler-cls",
        "--logits-processors", "--io-processor-plugin=x", '--hf-overrides={"trust_remote_code": true}',
        '{"trust_remote_code": true}', "--speculative-config.trust_remote_code=true",
    ],
)  # fmt: skip
def test_code_that_is_not_vllms_is_run_only_where_it_is_listed(argument: str) -> None:
    resource = changed("spec.models.0.serving.args", ["--quantization", "fp8", argument])
    (problem,) = refusals(resource, Allowed())
    assert problem.path == "spec.models[0].serving.args[2]"
    assert refusals(resource, Allowed(vllm_args=("--quantization",)))
    assert refusals(resource, Allowed(vllm_code_args=CODE_ARGS)) == []


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
