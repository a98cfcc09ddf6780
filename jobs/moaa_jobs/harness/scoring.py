"""What a task says of one answer. Runs in the child."""

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import datasets
from lm_eval.api.instance import Instance
from lm_eval.api.metrics import mean
from lm_eval.api.task import ConfigurableTask
from lm_eval.tasks import TaskManager

from moaa.benchmark.checker import TaskScore
from moaa_jobs.harness.messages import ScoreAnswer, Suite
from moaa_jobs.harness.tasks import GENERATES, RefusedTask, known_tasks, load

Metrics = dict[tuple[str, str], Any]
"""By metric and filter, in the order in which the task names them."""


class BrokenTask(Exception):
    """A task's own code failed on an answer."""


class Scorer:
    """Tasks that were loaded to score, without any rows but the first that was scored."""

    def __init__(self) -> None:
        self._known: dict[str | None, TaskManager] = {}
        self._tasks: dict[tuple[str | None, str], ConfigurableTask] = {}

    def score(self, request: ScoreAnswer) -> TaskScore:
        """Raises RefusedTask, BrokenTask."""
        task = self._task(request.suite, request.task, request.document)
        found = metrics(task, request.document, request.answer)
        chosen = _chosen(task, found, request.suite.metric)
        numbers = {",".join(key): _number(value) for key, value in found.items() if _is_mean(task, key[0], value)}
        value = _in_bounds(task, chosen, numbers[chosen])
        return TaskScore(value=value, chosen=chosen, harness=version("lm_eval"), metrics=numbers)

    def _task(self, suite: Suite, name: str, document: Mapping[str, Any]) -> ConfigurableTask:
        key = suite.include, name
        if key not in self._tasks:
            row = datasets.Dataset.from_list([dict(document)])
            # What `process_docs` made of the row is what was stored, so it is not made again.
            changes = {"num_fewshot": 0, "process_docs": None, "fewshot_config": {"samples": [dict(document)]}}
            if suite.include not in self._known or name not in self._known[suite.include].task_index:
                self._known[suite.include] = known_tasks(suite)
            self._tasks[key] = load(name, self._known[suite.include], lambda _: row, changes)
        return self._tasks[key]


def metrics(task: ConfigurableTask, document: Mapping[str, Any], answer: str) -> Metrics:
    """All that the task says of an answer, as the harness itself would find it.

    Raises:
        BrokenTask: the task's own code failed.
    """
    instance = Instance(GENERATES, dict(document), ("", {}), 0, (task.config.task, 0, 1), [answer])
    task._instances = [instance]
    found: Metrics = {}
    try:
        task.apply_filters()
        for name, filtered in instance.filtered_resps.items():
            for metric, value in task.process_results(dict(document), [filtered]).items():
                found[metric, name] = value
    except Exception as error:
        raise BrokenTask(f"task {task.config.task!r}: {type(error).__name__}: {error}") from error
    return found


def score_of(task: ConfigurableTask, document: Mapping[str, Any], wanted: str | None) -> str:
    """`<metric>,<filter>` of the task's score, found by scoring a trial answer before any model is asked.

    Raises:
        RefusedTask: the task has no such score.
    """
    kept, found = task._instances, None
    try:
        found = metrics(task, document, str(task.doc_to_target(dict(document))))
    except BrokenTask as error:
        raise RefusedTask(f"{error} (on a trial answer); correct source or the task's file") from error
    finally:
        task._instances = kept
    chosen = _chosen(task, found, wanted)
    [value] = [value for key, value in found.items() if ",".join(key) == chosen]
    _in_bounds(task, chosen, _number(value))
    return chosen


def _chosen(task: ConfigurableTask, found: Metrics, wanted: str | None) -> str:
    """The key of the score. Raises RefusedTask: there is none such, or it is no mean of numbers."""
    keys = list(found)
    candidates = [key for key in keys if wanted in (",".join(key), key[0])] if wanted else keys[:1]
    usable = [",".join(key) for key in keys if _is_mean(task, key[0], found[key])]
    told = f"name one in metric: {', '.join(usable)}" if usable else "none of its metrics is; name another task"
    if not candidates:
        raise RefusedTask(f"task {task.config.task!r}: it has no metric {wanted!r}; {told}")
    metric, name = candidates[0]
    if not _is_mean(task, metric, found[metric, name]):
        raise RefusedTask(
            f"task {task.config.task!r}: its metric {metric} is no mean of one number a document in which more is "
            f"better; {told}"
        )
    return f"{metric},{name}"


def _is_mean(task: ConfigurableTask, metric: str, value: object) -> bool:
    aggregation = task.aggregation().get(metric, mean)
    is_number = isinstance(value, bool | int | float) or hasattr(value, "item")
    return aggregation is mean and is_number and bool(task.higher_is_better().get(metric, True))


def _number(value: Any) -> float:
    return float(value.item() if hasattr(value, "item") else value)


def _in_bounds(task: ConfigurableTask, chosen: str, value: float) -> float:
    if not 0 <= value <= 1:
        raise RefusedTask(
            f"task {task.config.task!r}: its metric {chosen} gave {value:g}, and a score lies in [0, 1]; name another"
        )
    return value
