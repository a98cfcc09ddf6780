"""The metric `code_eval` of the library `evaluate`, which tasks that run code ask for by name: pass@k.

The library would download it. `child` puts this file where it is found instead, in a harness that is shut in
(`sandbox`); nowhere else is it ever loaded. Each program runs in a process of its own.

Source: pass@k is the unbiased estimator of Chen et al. 2021 (arXiv 2107.03374), eq. 1.
"""

import contextlib
import math
import os
import subprocess
import sys
from collections.abc import Sequence

import datasets
import evaluate

RUN = """
import os, sys
exec(compile(sys.stdin.read(), "answer", "exec"), {"__name__": "answer"})
os.write(3, b"passed")
"""
"""One that ends itself by `exit()` does not pass."""
MEMORY_BYTES = 4 << 30
LIMITED = f'ulimit -v {MEMORY_BYTES >> 10}; exec "$@"'
FEATURES = {"predictions": datasets.Value("string"), "references": datasets.Value("string")}


class CodeEval(evaluate.Metric):  # type: ignore[misc]  # it carries no types
    """pass@k of programs, each followed by its tests."""

    def _info(self) -> evaluate.MetricInfo:
        features = datasets.Features(FEATURES)
        return evaluate.MetricInfo(description="pass@k", citation="", inputs_description="", features=features)

    def compute(
        self,
        *,
        predictions: Sequence[Sequence[str]],
        references: Sequence[str],
        k: Sequence[int] = (1, 10, 100),
        timeout: float = 3.0,
        num_workers: int = 1,  # noqa: ARG002  one after the other: a machine full of programs times out the slow ones
    ) -> tuple[dict[str, float], dict[int, list[bool]]]:
        """`pass@k` for every k that there are answers for, and which answers passed, by question."""
        passed = {
            number: [passes(f"{answer}\n{tests}", timeout) for answer in answers]
            for number, (answers, tests) in enumerate(zip(predictions, references, strict=True))
        }
        usable = [n for n in k if all(len(found) >= n for found in passed.values())]
        return {f"pass@{n}": sum(pass_at(n, found) for found in passed.values()) / len(passed) for n in usable}, passed


def pass_at(k: int, passed: Sequence[bool]) -> float:
    """How probable it is that one of k answers, drawn from those there are, passes.

    >>> pass_at(1, [True, False]), pass_at(2, [True, False])
    (0.5, 1.0)
    """
    total, wrong = len(passed), len(passed) - sum(passed)
    return 1 - math.comb(wrong, k) / math.comb(total, k)


def passes(program: str, timeout: float) -> bool:
    """Whether it runs to its end."""
    reads, writes = os.pipe()
    try:
        process = subprocess.Popen(
            ["/bin/sh", "-c", f"{LIMITED} 3>&{writes}", "sh", sys.executable, "-I", "-c", RUN],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(writes,),
            start_new_session=True,
        )
        os.close(writes)
        writes = -1
        try:
            process.communicate(program.encode(errors="replace"), timeout=timeout)
        except subprocess.TimeoutExpired:
            return False
        finally:
            _end(process)
        return os.read(reads, 16) == b"passed"
    finally:
        os.close(reads)
        if writes >= 0:
            os.close(writes)


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Everything that the program started goes with it."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, 9)
    process.wait()
