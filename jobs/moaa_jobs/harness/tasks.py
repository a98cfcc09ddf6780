"""Tasks of lm-evaluation-harness over the rows of a benchmark's own source. Runs in the child.

The library would load each task's questions from the Hub. Here `custom_dataset` gives it the rows that the run has
pinned: the split that a task is measured on is the benchmark's `source`, every other split its `fewshot`. So nothing is
downloaded, and the questions are those of the run's fingerprint.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import datasets
from lm_eval.api.task import ConfigurableTask
from lm_eval.tasks import TaskManager
from lm_eval.tasks._index import Entry, Kind
from lm_eval.tasks._yaml_loader import load_yaml

from moaa_jobs.harness.messages import Suite

GENERATES = "generate_until"
SEED = 1234
"""Of the examples that a task draws: the harness's own default."""

Config = Mapping[str, Any]
"""A task's file, its functions not loaded yet."""


class RefusedTask(Exception):
    """A task cannot be used; the text names it and says what to do."""


def known_tasks(suite: Suite) -> TaskManager:
    """The harness's tasks and those of the benchmark's folder.

    Raises:
        RefusedTask: a file of the folder is no task file. (The harness skips such files.)
    """
    if suite.include is not None:
        for file in sorted(Path(suite.include).rglob("*.yaml")):
            try:
                load_yaml(file, resolve_func=False, recursive=True)
            except Exception as error:
                name = file.relative_to(suite.include)
                raise RefusedTask(f"include: {name}: {type(error).__name__}: {error}; correct the file") from error
        own = TaskManager(include_path=suite.include, include_defaults=False)
        if all(name in own.task_index for name in suite.tasks):
            return own  # reading the harness's 14,000 takes ten seconds
    return TaskManager(include_path=suite.include)


def configurations(suite: Suite, known: TaskManager) -> dict[str, Config]:
    """Every task's file by its name; groups and tags are taken apart, in their order.

    Raises:
        RefusedTask: a name is unknown, or a task cannot be measured by answers to a chat.
    """
    found: dict[str, Config] = {}
    for name in suite.tasks:
        for task, config in _leaves(name, known):
            _check(task, config, suite, known)
            found[task] = config
    return found


def _leaves(name: str, known: TaskManager) -> Iterator[tuple[str, Config]]:
    entry = cast("Entry | None", known.task_index.get(name))
    if entry is None:
        near = [other for other in known.all_tasks if other.startswith(name.split("_")[0])][:5]
        told = f" ({', '.join(near)} are there)" if near else ""
        raise RefusedTask(
            f"task {name!r}: there is none of that name{told}; correct it, or name the folder of its file in include"
        )
    match entry.kind:
        case Kind.TASK:
            yield name, entry.cfg or {}
        case Kind.TAG:
            for member in sorted(entry.tags):
                yield from _leaves(member, known)
        case Kind.GROUP:
            for part in (entry.cfg or {}).get("task") or []:
                if not isinstance(part, str):
                    raise RefusedTask(f"task {name!r}: it is a group that changes its tasks; name the tasks themselves")
                yield from _leaves(part, known)
        case Kind.PY_TASK | Kind.UNKNOWN:
            raise RefusedTask(f"task {name!r}: it is written in Python and loads its own data; name one of a YAML file")


def _check(name: str, config: Config, suite: Suite, known: TaskManager) -> None:
    """Raises RefusedTask: by its file alone, the task cannot be measured here."""
    output = config.get("output_type", GENERATES)
    if output != GENERATES:
        siblings = _generative(name, known)
        remedy = f"name {' or '.join(siblings)} in its place" if siblings else "it has no relative that generates text"
        raise RefusedTask(
            f"task {name!r}: it compares log-likelihoods ({output}), which no chat endpoint gives; {remedy}"
        )
    if config.get("unsafe_code") and not suite.run_code:
        raise RefusedTask(
            f"task {name!r}: it runs code that models wrote; allow it with runCode: true (without network and secrets)"
        )
    if config.get("doc_to_image") or config.get("doc_to_audio"):
        raise RefusedTask(f"task {name!r}: it shows images or sounds; name one of text")
    if config.get("gen_prefix"):
        raise RefusedTask(
            f"task {name!r}: it begins the answer itself (gen_prefix), which not every endpoint can go on with; write "
            "a task file of your own without it (docs/benchmarks.md has one)"
        )
    if config.get("repeats", 1) != 1:
        raise RefusedTask(f"task {name!r}: it wants {config['repeats']} answers at once; use samples with another task")


def _generative(name: str, known: TaskManager) -> list[str]:
    """Up to three tasks with the most words of the name in common that generate text."""
    words = name.split("_")
    found: list[tuple[int, int, str]] = []
    for other, entry in known.task_index.items():
        if entry.kind is Kind.TASK and (entry.cfg or {}).get("output_type", GENERATES) == GENERATES:
            theirs = other.split("_")
            if theirs[0] == words[0]:
                found.append((-len(set(words) & set(theirs)), len(theirs), other))
    best = sorted(found)
    return [other for shared, _, other in best if shared == best[0][0]][:3]


Rows = Callable[[str], datasets.Dataset]
"""The rows that a task gets for the split of a name."""


class Splits(dict[str, datasets.Dataset]):
    """What a task takes for its data set: a split is looked for when it is asked for."""

    def __init__(self, rows: Rows) -> None:
        super().__init__()
        self._rows = rows

    def __missing__(self, split: str) -> datasets.Dataset:
        self[split] = self._rows(split)
        return self[split]


def load(name: str, known: TaskManager, rows: Rows, changes: Config) -> ConfigurableTask:
    """The task over those rows, with `changes` to its file. Loads, and so runs, the task's own functions.

    Raises:
        RefusedTask: they cannot be loaded, or the rows do not fit.
    """
    splits = Splits(rows)
    changed = {"task": name, **changes, "custom_dataset": lambda **_: splits}
    try:
        # A group of one is the harness's way to take a task with changes.
        task = known.load({"group": "moaa", "task": [changed]})["tasks"][name]
    except RefusedTask:
        raise
    except Exception as error:
        raise RefusedTask(f"task {name!r}: {type(error).__name__}: {error}; {_remedy(str(error))}") from error
    task.set_fewshot_seed(SEED)
    return cast("ConfigurableTask", task)


def _remedy(error: str) -> str:
    if "Couldn't find a module script" in error:
        return "it downloads a metric when it is loaded, and nothing is downloaded here; name another task"
    return "correct source if a column is missing, else the task's file"
