"""What a Job's status and its pods say. Pure."""

from collections.abc import Iterable

from moaa.api.status import StageProgress
from moaa_operator.kube import kueue
from moaa_operator.kube.objects import Fields, Problem, holds, is_leaving, name_of, uid_of
from moaa_operator.observe import pods
from moaa_operator.observe.children import Heard, child, pods_of
from moaa_operator.observe.observed import Child, End
from moaa_operator.observe.progress import combine


def is_silent(item: Fields, all_pods: Iterable[Fields]) -> bool:
    """It goes on and has no pod. One that waits in a queue has none by design."""
    if is_leaving(item) or has_ended(item) or (item.get("spec") or {}).get("suspend"):
        return False
    return not pods_of(item, all_pods)


def has_ended(item: Fields) -> bool:
    return any(holds(item, kind) for kind in ("Complete", "Failed"))


def is_queued(item: Fields) -> bool:
    """It is suspended, which only a queue does."""
    return bool((item.get("spec") or {}).get("suspend")) and not is_leaving(item) and not has_ended(item)


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
    waits, workload = is_queued(item), heard.workloads.get(uid_of(item))
    if waits:
        problem = kueue.problem(f"Job {name_of(item)}", workload)
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
        is_queued=waits,
        is_evicted=waits and kueue.is_evicted(workload),
        is_running=any(map(pods.is_running, mine)),
        told_to_go=min((t for pod in mine if (t := pods.told_to_go(pod))), default=None),
        terminations=tuple(t for pod in mine for t in pods.terminations(pod)),
        progress=progress,
    )
