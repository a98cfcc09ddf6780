"""Every document of a benchmark's tasks as a row that any model can be asked. Runs in the child."""

import json
import random
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from lm_eval.api.task import ConfigurableTask
from lm_eval.tasks import TaskManager

from moaa.benchmark.instructions import given
from moaa.benchmark.lm_eval import Facts
from moaa_jobs.harness.messages import DataFiles, Documents, Suite, TaskTold, WriteDocuments
from moaa_jobs.harness.rules import refusal
from moaa_jobs.harness.scoring import score_of
from moaa_jobs.harness.tasks import Config, RefusedTask, configurations, known_tasks, load

SAMPLING = ("max_gen_toks", "max_tokens", "temperature", "top_p", "top_k", "do_sample")
"""What a task's file may say of sampling; the benchmark's own stands for it."""


def write_documents(request: WriteDocuments) -> Documents:
    """Write the rows, and say what was found.

    Raises:
        RefusedTask: a task cannot be used; nothing that was written counts.
    """
    known = known_tasks(request.suite)
    found = configurations(request.suite, known)
    rows = _Rows(request)
    told: list[TaskTold] = []
    with Path(request.out).open("w", encoding="utf-8") as out:
        for name, config in found.items():
            told.append(_write(name, config, request.suite, known, rows, out.write))
    return Documents(tasks=told, harness=version("lm_eval"))


class _Rows:
    """The rows of both sources, read once."""

    def __init__(self, request: WriteDocuments) -> None:
        cache = Path(request.out).with_suffix(".cache")
        self.questions = _read(request.questions, cache)
        self.fewshot = None if request.fewshot is None else _read(request.fewshot, cache)

    def of(self, name: str, config: Config, shots: int) -> Any:
        measured_on = config.get("test_split") or config.get("validation_split")

        def rows(split: str) -> datasets.Dataset:
            if split == measured_on:
                return self.questions
            if self.fewshot is not None:
                return self.fewshot
            if shots and not (config.get("fewshot_config") or {}).get("samples"):
                raise RefusedTask(
                    f"task {name!r}: it takes {shots} examples from split {split!r}; name that split of the source in "
                    "fewshotSplit, or set numFewshot: 0"
                )
            return self.questions.select([])

        return rows


def _read(files: DataFiles, cache: Path) -> datasets.Dataset:
    more = {} if files.separator is None else {"sep": files.separator}
    try:
        return datasets.load_dataset(
            files.builder, data_files={"rows": files.paths}, split="rows", cache_dir=str(cache), **more
        )
    except Exception as error:
        cause = error.__cause__ or error
        raise RefusedTask(f"{Path(files.paths[0]).name}: {type(cause).__name__}: {cause}; correct the file") from error


def _write(name: str, config: Config, suite: Suite, known: TaskManager, rows: _Rows, write: Any) -> TaskTold:
    shots = _shots(name, config, suite)
    random.seed(0)
    np.random.seed(1234)
    task = load(name, known, rows.of(name, config, shots), {"num_fewshot": shots})
    try:
        task.build_all_requests(
            apply_chat_template=True,
            fewshot_as_multiturn=True,
            chat_template=lambda messages, add_generation_prompt=True: json.dumps(messages),  # noqa: ARG005
        )
    except Exception as error:
        raise RefusedTask(
            f"task {name!r}: {type(error).__name__}: {error}; correct source or the task's file"
        ) from error
    _check_rules(name, (instance.doc for instance in task.instances))
    for instance in task.instances:
        write(json.dumps(_row(name, task, instance), ensure_ascii=False, allow_nan=False) + "\n")
    generation = config.get("generation_kwargs") or {}
    return TaskTold(
        name=name,
        version=str(task.VERSION),
        documents=len(task.instances),
        score=score_of(task, task.instances[0].doc, suite.metric),
        differs=[f"{key} {generation[key]}" for key in SAMPLING if key in generation],
    )


def _shots(name: str, config: Config, suite: Suite) -> int:
    """Raises RefusedTask: the task's file says 0, which the harness never changes."""
    own = config.get("num_fewshot")
    if own == 0 and suite.num_fewshot:
        raise RefusedTask(f"task {name!r}: its file says that it takes no examples; remove numFewshot")
    return (own or 0) if suite.num_fewshot is None else suite.num_fewshot


def _row(name: str, task: ConfigurableTask, instance: Any) -> dict[str, object]:
    context, generation = instance.args[:2]
    try:
        facts = Facts(
            task=name,
            version=str(task.VERSION),
            harness=version("lm_eval"),
            until=_until(generation),
            document=instance.doc,
        )
    except ValueError as error:
        raise RefusedTask(f"task {name!r}: document {instance.doc_id} holds more than JSON can say: {error}") from error
    return {
        "id": f"{name}/{instance.doc_id}",
        "messages": json.loads(context),
        "answer": _text(task.doc_to_target(instance.doc)),
        "facts": facts.model_dump_json(),
    }


def _until(generation: Mapping[str, Any]) -> list[str]:
    until = generation.get("until") or []
    return [until] if isinstance(until, str) else list(until)


def _text(target: object) -> str:
    return target if isinstance(target, str) else json.dumps(target, ensure_ascii=False, default=str)


def _check_rules(name: str, documents: Iterable[Mapping[str, Any]]) -> None:
    """Raises RefusedTask: documents in IFEval's form have rules that cannot be checked on this machine."""
    for document in documents:
        for rule, arguments in zip(
            document.get("instruction_id_list") or (), document.get("kwargs") or (), strict=False
        ):
            if refused := refusal(rule, given(arguments)):
                raise RefusedTask(f"task {name!r}: {refused}")
