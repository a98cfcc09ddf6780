"""`moaa logs`: what the pods of a stage have written, those that have ended too, as long as they exist.

The operator removes a stage's pods once it has recorded how they ended. Then the words that it kept are shown.
"""

from moaa.api.status import MoAAStatus
from moaa.errors import MoaaError, UsageError
from moaa_operator.observe.read import status_of
from moaa_operator.remote.cluster import Cluster, meta
from moaa_operator.remote.follow import follow
from moaa_operator.remote.pod_logs import pods_of, read, sources, state_of
from moaa_operator.remote.requests import Logs
from moaa_operator.remote.submit import Say
from moaa_operator.remote.table import current_stage


def logs(request: Logs, cluster: Cluster, say: Say) -> None:
    """Raises UsageError: there is no such MoAA, or no stage has begun; MoaaError: no pod of the stage is there."""
    document = cluster.get(request.name)
    status = status_of(document)
    stage = request.stage or current_stage(status)
    if stage is None:
        raise UsageError(
            f"{meta(document)}: no stage has begun yet; `moaa status {request.name}` says what it waits for"
        )
    pods = pods_of(cluster, request.name, stage)
    if not pods:
        raise MoaaError(f"{stage}: no pods of it are there. {last_words(status, stage)}")
    if request.follow:
        follow(cluster, request, stage, say)
        return
    for source, pod in sources(pods):
        say(f"==> {source.title} ({state_of(pod)})")
        for line in read(cluster, source, tail=request.tail, follow=False):
            say(line)


def last_words(status: MoAAStatus, stage: str) -> str:
    """What the status knows of a stage whose pods are gone."""
    if any(entry.stage == stage for entry in status.stages):
        return "It is done; the operator has removed them. `moaa view` shows what it wrote."
    entry = next((entry for entry in status.attempts if entry.stage == stage), None)
    if entry is None:
        return "It has not begun, or there is no such stage; `moaa status NAME` lists them."
    return f"Attempt {entry.attempt}: {entry.message}" if entry.message else f"Attempt {entry.attempt} has none yet."
