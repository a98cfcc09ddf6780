"""Two equal runs on machines that hold one of them at a time: neither keeps half of what both need."""

from itertools import zip_longest
from typing import Any

import pytest

from moaa.api import MoAA
from moaa_operator.kube.owner import MODEL_ANNOTATION
from tests.operator_helpers import SHORT, Cluster, stamp
from tests.plan_helpers import tree

Object = dict[str, Any]
SPEC = MoAA.model_validate(tree()).spec
NEEDED = sum(SPEC.model(name).serving.gpus for name in ("a", "b", "agg"))


def gpus(deployment: Object) -> int:
    return SPEC.model(deployment["metadata"]["annotations"][MODEL_ANNOTATION]).serving.gpus


def is_placed(deployment: Object) -> bool:
    return bool(deployment.get("status"))


def schedule(runs: list[Cluster], free: int) -> None:
    """One server of each run in turn, as long as there is room: the unluckiest order."""
    free -= sum(gpus(d) for run in runs for d in run.of("Deployment") if is_placed(d))
    for pair in zip_longest(*(run.of("Deployment") for run in runs)):
        for run, deployment in zip(runs, pair, strict=True):
            if deployment is None or is_placed(deployment):
                continue
            fits = gpus(deployment) <= free
            since = {"lastTransitionTime": stamp(run.now)}
            scheduled = {
                "type": "PodScheduled",
                "status": str(fits),
                "reason": "" if fits else "Unschedulable",
                **since,
            }
            if fits:
                free -= gpus(deployment)
                deployment["status"] = {"observedGeneration": 1, "readyReplicas": 1}
                run.server_pod(deployment, conditions=[scheduled])
            elif ("Pod", f"{deployment['metadata']['name']}-pod") not in run.objects:
                run.server_pod(deployment, conditions=[scheduled])


@pytest.mark.parametrize("seed", range(3))
def test_two_runs_that_each_need_all_gpus_both_finish(seed: int) -> None:
    runs = [Cluster(**SHORT), Cluster(**SHORT)]
    for number, run in enumerate(runs):
        run.document["metadata"]["uid"] = f"uid-{seed}-{number}"
    hours = 0.0
    while any(run.phase != "Succeeded" for run in runs):
        for run in runs:
            run.settle()
        schedule(runs, NEEDED)
        for run in runs:
            run.settle()
            run.work_all()
            run.wait(180)
        hours += 3 / 60
        assert hours < 24, [run.status["attempts"] for run in runs]
    # Otherwise nothing was contended and the test proves nothing.
    assert hours > SPEC.serving.schedule_minutes / 60
