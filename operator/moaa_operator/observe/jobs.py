"""What a Job's status and its pods say. Pure."""

from collections.abc import Iterable

from moaa.api.status import StageProgress
from moaa_operator.kube.objects import Fields, Problem, holds, is_leaving, name_of
from moaa_operator.observe import pods
from moaa_operator.observe.children import Heard, child, pods_of
from moaa_operator.observe.observed import Child, End
from moaa_operator.observe.progress import combine


def is_silent(item: Fields, all_pods: Iterable[Fields]) -> bool:
    """It goes on and has no pod. One that waits in a queue has none by design."""
    if is_leaving(item) or (item.get("spec") or {}).get("suspend"):
        return False
    has_ended = any(holds(item, kind) for kind in ("Complete", "Failed"))
    return not has_ended and not pods_of(item, all_pods)


def job(item: Fields, all_pods: list[Fields], heard: Heard) -> Child | None:
    mine = pods_of(item, all_pods)
    status, spec = item.get("status") or {}, item.get("spec") or {}
    end, problem = End.RUNNING, pods.first_problem(mine)
    if holds(item, "Complete"):
        end, problem = End.SUCCEEDED, None
    elif failed := holds(item, "Failed"):
        reason = str(failed.get("reason") or "Failed")
        end, problem = End.FAILED, Problem(reason, f"Job {name_of(item)}: {failed.get('message') or reason}")
    is_quiet = is_silent(item, mine)
    if is_quiet:
        problem = heard.no_pods(item, "Job")
    shards = int(spec.get("completions") or 0) if spec.get("completionMode") == "Indexed" else 0
    finished = int(status.get("succeeded") or 0)
    progress = combine(heard.of(mine), shards=shards, finished=finished) if end is End.RUNNING else None
    if progress is None and shards and end is End.RUNNING:
        progress = StageProgress(message=f"{finished}/{shards} shards")
    return child(
        item,
        "Job",
        end=end,
        problem=problem,
        is_silent=is_quiet,
        is_running=any(map(pods.is_running, mine)),
        told_to_go=min((t for pod in mine if (t := pods.told_to_go(pod))), default=None),
        terminations=tuple(t for pod in mine for t in pods.terminations(pod)),
        progress=progress,
    )
