"""What a Job's status and its pods say. Pure."""

from collections.abc import Iterable, Mapping
from datetime import datetime

from moaa.api.status import StageProgress
from moaa.contract.answers import ShardAnswer
from moaa.plan.budget.spent import Spent, Tokens, tokens_of
from moaa_operator.kube import kueue
from moaa_operator.kube.objects import Fields, Problem, created_at, holds, is_leaving, moment, name_of, uid_of
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
    ended = tuple(t for pod in mine for t in pods.terminations(pod))
    return child(
        item,
        "Job",
        end=end,
        problem=problem,
        is_silent=is_quiet,
        is_queued=waits,
        is_evicted=waits and kueue.is_evicted(workload),
        is_running=any(map(pods.is_running, mine)),
        began=created_at(item),
        ended=_ended(item),
        told_to_go=min((t for pod in mine if (t := pods.told_to_go(pod))), default=None),
        terminations=ended,
        progress=progress,
        tokens=_tokens(mine, heard),
        finished_with=_finished_with(item, mine, heard, shards=shards),
    )


def _ended(item: Fields) -> datetime | None:
    over = holds(item, "Complete") or holds(item, "Failed")
    return None if over is None else moment(over.get("lastTransitionTime"))


def _tokens(mine: Iterable[Fields], heard: Heard) -> Mapping[str, Tokens]:
    """Of shards that are published, by their last words; of the others, as their pods say."""
    counted = Spent()
    for pod in mine:
        last = [said for t in pods.terminations(pod) if (said := t.said(ShardAnswer)) is not None]
        for answer in last:
            counted += Spent(tokens=tokens_of(answer.prompt_spent, answer.completion_spent))
        for figures in [] if last else heard.of([pod]):
            counted += Spent(tokens=figures.tokens)
    return counted.tokens


def _finished_with(item: Fields, mine: Iterable[Fields], heard: Heard, *, shards: int) -> frozenset[str]:
    """Models that no pod will ask again: each shard that is not done has a running pod, and all of these say so.

    Shards go by their numbers, since counts of pods and of finished shards come from different watches.
    """
    left = set(range(shards)) - _completed(item) if shards else {0}
    said: dict[int, frozenset[str]] = {}
    for pod in filter(pods.is_running, mine):
        number = (pods.index_of(pod) if shards else 0) or 0
        for figures in heard.of([pod]):
            said[number] = figures.finished_with & said.get(number, figures.finished_with)
    if not left or not left <= said.keys():
        return frozenset()
    return frozenset.intersection(*(said[number] for number in left))


def _completed(item: Fields) -> set[int]:
    """The shards that are done, as Kubernetes writes them: `0-2,5`."""
    text = str((item.get("status") or {}).get("completedIndexes") or "")
    ends = [part.split("-") for part in text.split(",") if part]
    return {number for part in ends for number in range(int(part[0]), int(part[-1]) + 1)}
