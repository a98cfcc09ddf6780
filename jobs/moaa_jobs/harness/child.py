"""The job's side of its harness: starts the child, asks it, and ends it.

Always true: the child gets no variable of the job's environment but those that `environment` names, so no credential;
it is offline as far as the libraries go; it ends with the job, however that ends; one request is under way at a time,
since its answers are computed and not waited for.
"""

import asyncio
import logging
import os
import shutil
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from pydantic import JsonValue

from moaa.api.evaluation import LmEval
from moaa.benchmark.checker import NOT_SCORED, Followed, TaskScore
from moaa.errors import CallError, DataError, StageError
from moaa_jobs.harness import sandbox
from moaa_jobs.harness.messages import (
    Answer,
    CheckRules,
    DataFiles,
    Documents,
    LookAtRules,
    Request,
    ScoreAnswer,
    Suite,
    WriteDocuments,
)

logger = logging.getLogger(__name__)

KEPT = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PYTHONPATH", "NLTK_DATA", "PYTHONDONTWRITEBYTECODE")
"""Variables that the child may see: where programs and data lie."""
SAID_BYTES = 4000
"""Of the end of the child's log, for the error when it ends by itself."""
ANSWER_S = 300.0
"""Of one answer: a regular expression that runs away must not hold an evaluation for ever. The first of a task loads
it, which takes a minute on a slow machine."""
ROWS_S = 3600.0
"""Of building the rows of a large data set."""


def environment(home: Path, outside: Mapping[str, str]) -> dict[str, str]:
    """All that the child's environment holds."""
    return {name: outside[name] for name in KEPT if name in outside} | {
        "HOME": str(home),
        "TMPDIR": str(home),
        "HF_HOME": str(home / "hub"),
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "HF_EVALUATE_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_ALLOW_CODE_EVAL": "1",
        # A second process of many downloads nothing when the harness's IFEval is imported.
        "LOCAL_RANK": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }


def suite_of(benchmark: LmEval, include: Path | None) -> Suite:
    return Suite(
        tasks=list(benchmark.tasks),
        include=None if include is None else str(include),
        metric=benchmark.metric,
        num_fewshot=benchmark.num_fewshot,
        run_code=benchmark.run_code,
    )


@dataclass
class Harness:
    """A `moaa.benchmark.checker.Checker`. The child starts with the first request."""

    folder: Path
    """The child's own; nothing else writes here."""
    includes: Mapping[str, Path] = field(default_factory=dict)
    """Folders of task files, by benchmark."""
    reads: Sequence[Path] = ()
    """Files of rows, or their folders."""
    runs_code: bool = False
    """Whether a benchmark's task runs code that models wrote: then the child is shut in."""
    _process: asyncio.subprocess.Process | None = None
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def documents(
        self, benchmark: LmEval, questions: DataFiles, fewshot: DataFiles | None, out: Path
    ) -> Documents:
        """Write a benchmark's rows to `out`, a file in `folder`.

        Raises:
            DataError: a task cannot be used.
            StageError: the child ended by itself, or took too long.
        """
        request = WriteDocuments(
            suite=suite_of(benchmark, self.includes.get(benchmark.name)),
            questions=questions,
            fewshot=fewshot,
            out=str(out),
        )
        try:
            answer = await self._ask(request, f"spec.evaluation, benchmark {benchmark.name}", ROWS_S)
        except CallError as error:  # it took too long
            raise StageError(str(error)) from error
        assert answer.documents is not None, "documents were asked for"
        return answer.documents

    async def score(self, benchmark: LmEval, task: str, document: Mapping[str, JsonValue], answer: str) -> TaskScore:
        """As `Checker.score`. Raises StageError: the child ended by itself."""
        suite = suite_of(benchmark, self.includes.get(benchmark.name))
        request = ScoreAnswer(suite=suite, task=task, document=dict(document), answer=answer)
        found = await self._ask(request, f"spec.evaluation, benchmark {benchmark.name}")
        assert found.score is not None, "a score was asked for"
        return found.score

    async def follow(
        self, prompt: str, rules: Sequence[str], arguments: Sequence[Mapping[str, JsonValue]], answer: str
    ) -> Followed:
        """As `Checker.follow`. Raises StageError: the child ended by itself."""
        given = [dict(one) for one in arguments]
        found = await self._ask(CheckRules(prompt=prompt, rules=list(rules), arguments=given, answer=answer), "rules")
        assert found.followed is not None, "rules were asked about"
        return found.followed

    async def refusals(self, rules: Sequence[tuple[str, Sequence[str]]]) -> list[str]:
        """Of every rule with the names of its arguments: why it cannot be checked here; empty where it can.

        Raises:
            StageError: the child ended by itself.
        """
        found = await self._ask(LookAtRules(rules=[(rule, list(given)) for rule, given in rules]), "rules")
        assert found.rules is not None, "rules were asked about"
        return found.rules.refused

    async def _ask(self, request: Request, field: str, limit_s: float = ANSWER_S) -> Answer:
        async with self._lock:
            process = self._process or await self._start()
            assert process.stdin is not None, "its input is a pipe"
            assert process.stdout is not None, "its output is a pipe"
            try:
                async with asyncio.timeout(limit_s):
                    process.stdin.write(request.model_dump_json().encode() + b"\n")
                    await process.stdin.drain()
                    line = await process.stdout.readline()
            except TimeoutError as error:
                await self._end()
                raise CallError(NOT_SCORED, f"{field}: its code took more than {limit_s:.0f} s") from error
            except (ConnectionError, ValueError):
                line = b""
            except BaseException:
                # An answer that nobody waits for would be taken for the next one's.
                await self._end()
                raise
            if not line.endswith(b"\n"):
                await self._end()
                raise StageError(f"lm-evaluation-harness ended by itself: {self._said()}")
        answer = Answer.model_validate_json(line)
        if answer.refused is not None:
            raise DataError(f"{field}: {answer.refused}")
        if answer.broken is not None:
            raise CallError(NOT_SCORED, answer.broken)
        return answer

    async def _start(self) -> asyncio.subprocess.Process:
        if find_spec("lm_eval") is None:
            raise DataError(
                "spec.evaluation: lm-evaluation-harness is not installed here; install moaa[harness], or use the jobs "
                "image, which has it"
            )
        home = self.folder / "home"
        home.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "moaa_jobs.harness.program"]
        if self.runs_code:
            command = await self._shut_in(command, home)
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                cwd=home,
                env=environment(home, os.environ),
                limit=1 << 26,
            )
        logger.info("harness_started pid=%d sandboxed=%s", self._process.pid, self.runs_code)
        return self._process

    async def _shut_in(self, command: Sequence[str], home: Path) -> list[str]:
        """The command without network, other processes and files. Raises DataError: this machine cannot do that."""
        try:
            await asyncio.to_thread(sandbox.check)
        except sandbox.NoSandbox as error:
            raise DataError(
                f"spec.evaluation: runCode: this machine cannot keep code of others in: {error}; allow what "
                "docs/benchmarks.md says, or leave the task out"
            ) from error
        # Where `evaluate.load("code_eval")` looks before it asks the Hub.
        (home / "code_eval").mkdir(exist_ok=True)
        shutil.copy(Path(__file__).with_name("code_eval.py"), home / "code_eval")
        readable = [*self.includes.values(), *self.reads]
        return [*sandbox.UNSHARED, *command, "--sandbox", str(self.folder), *map(str, readable)]

    @property
    def _log(self) -> Path:
        return self.folder / "harness.log"

    def _said(self) -> str:
        """The end of what the child wrote."""
        lines = self._log.read_bytes()[-SAID_BYTES:].decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it wrote nothing"

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if process.stdin is not None:
            process.stdin.close()
        if process.returncode is None:
            process.kill()
        await process.wait()


@asynccontextmanager
async def harness(
    folder: Path, *, includes: Mapping[str, Path] | None = None, reads: Sequence[Path] = (), runs_code: bool = False
) -> AsyncIterator[Harness]:
    """A harness whose child is gone when the block is left."""
    made = Harness(folder, includes or {}, reads, runs_code)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield made
    finally:
        await made._end()
