"""What creators of MoAAs try that an installation does not allow, for the operator and the API server alike."""

from collections.abc import Mapping

from moaa.api import MoAA
from moaa_operator.render.admission import CODE_ARGS
from tests.render_world import changed

LISTS: Mapping[str, list[str]] = {
    "serviceAccounts": ["team/moaa-run", "else/*"],
    "secrets": ["team/s3", "team/hub", "team/x"],
    "images": ["good/*", "exact[1]?/x"],
    "nodeSelectors": ["zone=a"],
    "tolerations": ["gpu"],
    "priorityClasses": ["low"],
    "vllmArgs": ["--quantization", "--kv-cache-*", "--reasoning-parser"],
    "endpointHosts": ["x", "s3.team.svc:7070"],
}
"""As `allowed` of the chart's values; `tests.render_world.RESOURCE` keeps them all."""


def templated(spec: object) -> MoAA:
    return changed("spec.models.0.serving.template", {"spec": spec})


def sidecar(**fields: object) -> MoAA:
    return templated({"containers": [{"name": "side", **fields}]})


AT = "spec.models[0].serving.template.spec"
SIDE = f"{AT}.containers[0]"
TRAIN = "spec.training.resources.template.spec"
_KEY = {"name": "root", "key": "k"}
_OWN = {"name": "own", "type": "ExactMatch", "source": "hf://datasets/o/q", "tokenSecret": _KEY}
_JUDGED = {"name": "judged", "source": "hf://datasets/o/q", "judgeModel": {"model": "big"}}
_FILE = {"source": "hf://datasets/o/a", "tokenSecret": _KEY}
_BENCHMARKS: Mapping[str, Mapping[str, object]] = {
    "tokenSecret": _OWN,
    "answers.tokenSecret": {**_JUDGED, "type": "MtBench", "answers": _FILE},
    "known.tokenSecret": {**_JUDGED, "type": "AlpacaEval", "known": _FILE},
}
"""Benchmarks by the field that names a Secret."""


def _volume(**volume: object) -> MoAA:
    return templated({"volumes": [{"name": "v", **volume}]})


DENIED: Mapping[str, tuple[MoAA, str]] = {
    "another account": (changed("spec.serviceAccountName", "admin"), "spec.serviceAccountName"),
    "the store's secret": (changed("spec.storage.secret", {"name": "root"}), "spec.storage.secret.name"),
    "a model's token": (changed("spec.models.0.tokenSecret", _KEY), "spec.models[0].tokenSecret.name"),
    "an endpoint's key": (changed("spec.models.3.endpoint.secret", _KEY), "spec.models[3].endpoint.secret.name"),
    "a header": (
        changed("spec.models.3.endpoint.headers", [{"name": "k", "secret": _KEY}]),
        "spec.models[3].endpoint.headers[0].secret.name",
    ),
    "a source's token": (
        changed("spec.data.sft", [{"source": "hf://datasets/o/q", "tokenSecret": _KEY}]),
        "spec.data.sft[0].tokenSecret.name",
    ),
    "a second source's token": (
        changed("spec.data.preference", [{"source": "s3://data/a"}, _FILE]),
        "spec.data.preference[1].tokenSecret.name",
    ),
    **{
        f"{field} of {place}": (
            changed("spec.evaluation", {place: [benchmark]}), f"spec.evaluation.{place}[0].{field}.name"
        )
        for place in ("selection", "report") for field, benchmark in _BENCHMARKS.items()
    },
    "a token of anchors": (
        changed("spec.anchors", {"source": {"source": "hf://datasets/o/q", "tokenSecret": _KEY}}),
        "spec.anchors.source.tokenSecret.name",
    ),
    "a variable": (
        sidecar(env=[{"name": "A", "value": "a"}, {"name": "B", "valueFrom": {"secretKeyRef": _KEY}}]),
        f"{SIDE}.env[1].valueFrom.secretKeyRef",
    ),
    "all variables": (sidecar(envFrom=[{"secretRef": {"name": "root"}}]), f"{SIDE}.envFrom[0].secretRef"),
    "a variable at the start": (
        templated({"initContainers": [{"name": "w", "env": [{"name": "B", "valueFrom": {"secretKeyRef": _KEY}}]}]}),
        f"{AT}.initContainers[0].env[0].valueFrom.secretKeyRef",
    ),
    "a volume": (_volume(secret={"secretName": "root"}), f"{AT}.volumes[0].secret"),
    "a volume with a name for show": (_volume(secret={"name": "hub", "secretName": "root"}), f"{AT}.volumes[0].secret"),
    "a projection": (
        _volume(projected={"sources": [{"secret": {"name": "root"}}]}), f"{AT}.volumes[0].projected.sources[0].secret",
    ),
    "a driver's secret": (
        _volume(csi={"driver": "d", "nodePublishSecretRef": {"name": "root"}}),
        f"{AT}.volumes[0].csi.nodePublishSecretRef",
    ),
    "a registry's": (templated({"imagePullSecrets": [{"name": "root"}]}), f"{AT}.imagePullSecrets[0]"),
    "a miner beside the server": (sidecar(image="evil/miner:1"), f"{SIDE}.image"),
    "a name that holds an allowed one": (sidecar(image="evil/good/x"), f"{SIDE}.image"),
    "what a bracket could mean": (sidecar(image="exact1a/x"), f"{SIDE}.image"),
    "ours replaced": (
        templated({"initContainers": [{"name": "weights", "image": "x"}]}), f"{AT}.initContainers[0].image"
    ),
    "the trainer replaced": (
        changed("spec.training.resources.template", {"spec": {"containers": [{"name": "ray-worker", "image": "x"}]}}),
        f"{TRAIN}.containers[0].image",
    ),
    "other nodes": (templated({"nodeSelector": {"zone": "b"}}), f"{AT}.nodeSelector.zone"),
    "a node by name": (templated({"nodeName": "n1"}), f"{AT}.nodeName"),
    "a node by affinity": (templated({"affinity": {}}), f"{AT}.affinity"),
    "a node by spread": (templated({"topologySpreadConstraints": []}), f"{AT}.topologySpreadConstraints"),
    "another's nodes for training": (
        changed("spec.training.resources.template", {"spec": {"tolerations": [{"key": "system"}]}}),
        f"{TRAIN}.tolerations[0]",
    ),
    "every taint": (templated({"tolerations": [{"operator": "Exists"}]}), f"{AT}.tolerations[0]"),
    "a priority over all": (templated({"priorityClassName": "system-node-critical"}), f"{AT}.priorityClassName"),
    "an argument": (changed("spec.models.1.serving.args", ["--swap-space=4"]), "spec.models[1].serving.args[0]"),
    "another host": (changed("spec.models.3.endpoint.url", "https://y/v1"), "spec.models[3].endpoint.url"),
    "a host that begins so": (
        changed("spec.models.3.endpoint.url", "https://x.evil/v1"), "spec.models[3].endpoint.url"
    ),
    "another port": (changed("spec.storage.endpoint", "http://s3.team.svc:80"), "spec.storage.endpoint"),
}  # fmt: skip
"""Each breaks one of LISTS: the resource and the field that is refused."""

CODE = (
    *CODE_ARGS, "--trust_remote_code", "--trust-remote-code=true", "--trust", "--middleware=os.system",
    "--reasoning-parser-p", "--worker-cls=x.Y", "--worker_extension_cls", '--hf-overrides={"trust_remote_code": true}',
    '{"trust_remote_code": true}', "--speculative-config.trust_remote_code=true",
    '--hf-overrides={"trust\\u005fremote_code": true}', '--kv-transfer-config={"kv_connector_module_path": "os"}',
    "--logging-config.pylogging_config_file=/x.json",
)  # fmt: skip
"""Ways to say that vLLM is to run other code than its own."""


def with_argument(argument: str) -> MoAA:
    return changed("spec.models.0.serving.args", ["--quantization", "fp8", argument])
