"""What has to be true of a run that has ended, from what was seen while it went on."""

from collections.abc import Callable, Iterator
from typing import Any

from moaa.api import MoAA
from moaa.plan.graph import build
from moaa.plan.kinds.table import TRAINING
from tests.e2e.kube import Failed, Object, can
from tests.e2e.record import Record
from tests.e2e.settings import Settings

WORKERS = 2
REFERENCE = {"base": 0.430, "sft": 0.825, "dpo": 0.900}
"""Of the same seed on one machine (benchmarks/tiny_claims_202611.md, seed 0): exact match on the 600 questions."""
NOISE = 0.06
"""Three standard errors of the difference between two such samples; answers differ by what is batched together."""


def check(
    record: Record, resource: MoAA, report: dict[str, Any], settings: Settings, *, killed: bool = False
) -> list[str]:
    """One line for each thing that was found to be so. Raises Failed with every one that is not."""
    said: list[str] = []
    wrong: list[str] = []
    tests: list[Callable[[], Iterator[str]]] = [
        lambda: _stages(record, resource, report),
        lambda: _servers(record, resource, settings),
        lambda: _jobs(record),
        lambda: _training(record, resource, killed=killed),
        lambda: _checkpoints(record, resource),
        lambda: _rights(record, settings),
    ]
    if settings.queue:
        tests.append(lambda: _queue(record, settings))
    if not killed:
        tests.append(lambda: _operator(record))
    if settings.rows == 1:
        tests.append(lambda: _scores(report))
    for test in tests:
        try:
            said += test()
        except Failed as failed:
            wrong.append(str(failed))
    if wrong:
        raise Failed("\n".join(wrong))
    return said


def _demand(condition: object, text: str) -> None:
    if not condition:
        raise Failed(text)


def _stages(record: Record, resource: MoAA, report: dict[str, Any]) -> Iterator[str]:
    """By the report: the status keeps of a closed iteration only what it promoted."""
    status = record.moaa.get("status") or {}
    _demand(status.get("phase") == "Succeeded", f"phase is {status.get('phase')}: {status.get('conditions')}")
    expected = set(build(resource).stages)
    done = {stage["id"] for stage in report["stages"] if stage["status"] == "done"}
    _demand(done == expected, f"stages done {sorted(done)}, expected {sorted(expected)}")
    yield f"Succeeded, all {len(done)} stages done"


def _servers(record: Record, resource: MoAA, settings: Settings) -> Iterator[str]:
    pods = record.pods("server")
    wrong = [pod["metadata"]["name"] for pod in pods if f"{settings.images}serve-cpu:" not in _images(pod)["vllm"]]
    _demand(pods and not wrong, f"servers that do not run the vLLM image: {wrong} of {len(pods)}")
    answered = {name_of(pod).rsplit("-", 2)[0] for pod in pods if pod["metadata"]["uid"] in record.ready_pods}
    students = sum(stage.kind in TRAINING for stage in build(resource).stages.values())
    expected = len(resource.spec.models) + students
    _demand(len(answered) == expected, f"{len(answered)} models were served, expected {expected}: {sorted(answered)}")
    yield f"{len(answered)} models served by vLLM in {len(pods)} pods, each ready after a real completion"


def _jobs(record: Record) -> Iterator[str]:
    indexed = [job for job in record.of("Job") if job["spec"].get("completionMode") == "Indexed"]
    _demand(indexed, "no Indexed Job was seen")
    shards = sum(job["spec"]["completions"] for job in indexed)
    yield f"{len(indexed)} Indexed Jobs over {shards} shards"


def _training(record: Record, resource: MoAA, *, killed: bool) -> Iterator[str]:
    stages = {stage.id for stage in build(resource).stages.values() if stage.kind in TRAINING}
    jobs = record.of("RayJob")
    succeeded = {_stage(job) for job in jobs if (job.get("status") or {}).get("jobStatus") == "SUCCEEDED"}
    _demand(succeeded == stages, f"RayJobs that succeeded: {sorted(succeeded)}, expected {sorted(stages)}")
    _demand(killed or len(jobs) == len(stages), f"{len(jobs)} RayJobs for {len(stages)} stages")
    workers: dict[str, int] = {}
    for pod in record.ray_pods("worker"):
        if pod["metadata"]["uid"] in record.ready_pods:
            workers[_stage(pod)] = workers.get(_stage(pod), 0) + 1
    short = {stage: workers.get(stage, 0) for stage in stages if workers.get(stage, 0) < WORKERS}
    _demand(not short, f"fewer than {WORKERS} ready Ray workers: {short}")
    yield f"{len(stages)} RayJobs, each over {WORKERS} worker pods"


def _checkpoints(record: Record, resource: MoAA) -> Iterator[str]:
    """Both ranks' optimiser shards reached the bucket while training went on; they go when the stage is done."""
    kinds = {str(stage.kind) for stage in build(resource).stages.values() if stage.kind in TRAINING}
    for kind in sorted(kinds):
        files = [key for key in record.checkpoint_files if f"/stages/{kind}/" in key]
        ranks = {rank for rank in range(WORKERS) if any(f"zero_pp_rank_{rank}_" in key for key in files)}
        _demand(len(ranks) == WORKERS, f"{kind}: checkpoint shards of ranks {sorted(ranks)} in the bucket: {files[:5]}")
        yield f"{kind}: checkpoint shards of {WORKERS} ranks in the bucket ({len(files)} files seen)"


def _operator(record: Record) -> Iterator[str]:
    pods = record.operator_pods()
    restarts = sum(record.restarts.get(name_of(pod), 0) for pod in pods)
    begun = record.moaa["metadata"]["creationTimestamp"]
    later = [name_of(pod) for pod in pods if pod["metadata"]["creationTimestamp"] > begun]
    _demand(pods and not later and restarts == 0, f"operator pods made during the run: {later}, {restarts} restarts")
    yield "one operator pod, never restarted"


def _queue(record: Record, settings: Settings) -> Iterator[str]:
    """Kueue admitted all that was made, each under the run's queue: Jobs, servers as groups of pods, trainings."""
    workloads = record.of("Workload")
    elsewhere = [name_of(one) for one in workloads if one["spec"].get("queueName") != settings.queue]
    _demand(not elsewhere, f"Workloads of another queue than {settings.queue}: {elsewhere}")
    reserved = [one for one in workloads if _is_so(one, "QuotaReserved") or _is_so(one, "Finished")]
    admitted = {owner["uid"] for one in reserved for owner in one["metadata"].get("ownerReferences") or ()}
    pods = record.pods("server")
    made = [item for item in (*record.of("Job"), *record.of("RayJob")) if _owner(item) == "MoAA"]
    missed = [name_of(item) for item in (*made, *pods) if item["metadata"]["uid"] not in admitted]
    _demand(made and pods and not missed, f"never admitted: {missed} of {len(made)} jobs and {len(pods)} servers")
    yield f"{len(workloads)} Workloads, {len(made)} jobs and {len(pods)} servers admitted by queue {settings.queue}"


def _rights(record: Record, settings: Settings) -> Iterator[str]:
    """Pod Security restricted is enforced by the namespace; no pod has a token, and no account may read Secrets."""
    pods = [pod for pod in record.of("Pod") if pod["metadata"]["namespace"] == settings.run_namespace]
    armed = [name_of(pod) for pod in pods if pod["spec"].get("automountServiceAccountToken") is not False]
    _demand(not armed, f"pods with an API token: {armed}")
    accounts = {pod["spec"].get("serviceAccountName", "") for pod in pods}
    operator = {pod["spec"]["serviceAccountName"] for pod in record.operator_pods()}
    for account in [f"{settings.run_namespace}:{name}" for name in accounts] + [
        f"{settings.operator_namespace}:{name}" for name in operator
    ]:
        for verb, what in (("get", "secrets"), ("list", "secrets"), ("create", "pods"), ("create", "pods/exec")):
            _demand(
                not can(verb, what, namespace=settings.run_namespace, account=account), f"{account} may {verb} {what}"
            )
    yield f"{len(pods)} pods under Pod Security restricted without an API token, as {', '.join(sorted(accounts))}"


def _scores(report: dict[str, Any]) -> Iterator[str]:
    found = {
        score["model"]: float(score["value"])
        for score in report["scores"]
        if score["benchmark"] == "report" and score["iteration"] <= 1 and score["model"] in REFERENCE
    }
    _demand(found.keys() == REFERENCE.keys(), f"scores of {sorted(found)}, expected {sorted(REFERENCE)}")
    for model, value in found.items():
        apart = abs(value - REFERENCE[model])
        _demand(apart <= NOISE, f"score of {model} is {value:.3f}, on one machine {REFERENCE[model]:.3f}: not noise")
    yield "scores as on one machine: " + ", ".join(f"{model} {value:.3f}" for model, value in found.items())


def name_of(item: Object) -> str:
    return str(item["metadata"]["name"])


def _is_so(item: Object, condition: str) -> bool:
    found = (item.get("status") or {}).get("conditions") or ()
    return any(one["type"] == condition and one["status"] == "True" for one in found)


def _owner(item: Object) -> str:
    """Kind of the controller."""
    owners = item["metadata"].get("ownerReferences") or ()
    return next((str(owner["kind"]) for owner in owners if owner.get("controller")), "")


def _stage(item: Object) -> str:
    return str(item["metadata"].get("labels", {}).get("moaa.dev/stage", ""))


def _images(pod: Object) -> dict[str, str]:
    return {container["name"]: container["image"] for container in pod["spec"]["containers"]}
