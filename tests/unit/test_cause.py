"""Why a process ended, from what real ones wrote.

`deaths/` holds the output of vLLM 0.32 on a CPU, started with what the file's name says, and the words with which Ray
2.60 says that a worker failed. Only stack frames and the list of vLLM's options are left out, and folders renamed.
"""

import signal
from pathlib import Path

import pytest

from moaa.cause import Cause, CauseKind, cause, ended

DEATHS = Path(__file__).parent / "deaths"
MISSING, REFUSED, RAISED = CauseKind.MISSING, CauseKind.REFUSED, CauseKind.RAISED
FOUND = {
    "libnuma": (MISSING, "the library libnuma.so.1 is not installed on this machine (on Debian and Ubuntu: apt-get in"),
    "no-vllm": (MISSING, "the Python package vllm is not installed"),
    "ray-library": (MISSING, "the library libnuma-absent.so.1 is not installed on this machine"),
    "ray-package": (MISSING, "the Python package flash_attn_absent is not installed"),
    "unknown-option": (REFUSED, "unrecognized arguments: --no-such-flag"),
    "bad-choice": (REFUSED, "argument --dtype: invalid choice: 'float99' (choose from 'auto', 'bfloat16'"),
    "bad-number": (REFUSED, "argument --max-num-batched-tokens: invalid human_readable_int value: 'many'"),
    "window-too-long": (REFUSED, "User-specified max_model_len (2048) is greater than the derived max_model_len"),
    "heads-not-divisible": (REFUSED, "Total number of attention heads (4) must be divisible by tensor parallel size"),
    "unknown-architecture": (REFUSED, "Model architectures ['NoSuchForCausalLM'] are not supported for now."),
    "unknown-type": (REFUSED, "The checkpoint you are trying to load has model type `nosuch` but Transformers does "),
    "no-template": (REFUSED, "vllm.exceptions.VLLMValidationError: The supplied chat template string (/nowhere/temp"),
    "no-weights": (REFUSED, "RuntimeError: Cannot find any model weights with `/srv/models/noweights`"),
    "no-such-folder": (REFUSED, "huggingface_hub.errors.HFValidationError: Repo id must be in the form 'repo_name' or"),
    "no-tokenizer": (RAISED, "ValueError: Couldn't instantiate the backend tokenizer from one of: (1) a `tokenizers"),
    "config-cut-short": (RAISED, "OSError: It looks like the config file at '/srv/models/badjson/config.json' is no"),
    "no-room-for-a-cache": (RAISED, "ValueError: No available memory for the cache blocks. Try increasing `gpu_memo"),
    "cache-larger-than-memory": (RAISED, "ValueError: Available memory on node 0 (19.54/22.46 GiB) on kv cache alloca"),
    "kernel-refuses": (RAISED, "RuntimeError: _C::static_scaled_fp8_quant() expected at most 0 argument(s) but rece"),
    "address-space": (RAISED, "MemoryError"),
    "port-taken": (RAISED, "OSError: [Errno 98] Address already in use"),
}  # fmt: skip


def died(name: str) -> list[str]:
    return (DEATHS / f"{name}.log").read_text().splitlines()


@pytest.mark.parametrize("name", FOUND)
def test_the_cause_is_named_and_not_what_follows_from_it(name: str) -> None:
    found = cause(died(name))
    assert found is not None
    kind, words = FOUND[name]
    assert (found.kind, found.text[: len(words)]) == (kind, words)
    assert "\n" not in found.text
    assert found.is_permanent is (kind is not RAISED)


def test_every_death_is_in_the_table() -> None:
    assert {file.stem for file in DEATHS.glob("*.log")} == {*FOUND, "stopped-while-serving"}


def test_what_follows_from_another_failure_is_no_cause() -> None:
    """The engine was stopped from outside: no line says why."""
    assert cause(died("stopped-while-serving")) is None
    assert cause(died("no-room-for-a-cache")[-8:]) is None


def test_a_warning_of_a_library_that_vllm_does_without_is_no_cause() -> None:
    """Triton's, DeepSpeed's and the like: what was raised has nothing to do with it."""
    warning = "(APIServer pid=1) WARNING 11-29 18:18:02 [x.py:1] Failed to import from vllm._moe_C: ImportError('libcuda.so.1: cannot open shared object file: No such file or directory')"  # fmt: skip  # noqa: E501
    found = cause([warning, *died("no-room-for-a-cache")])
    assert found is not None
    assert found.text.startswith("ValueError: No available memory")
    found = cause([warning, *died("libnuma")])
    assert found is not None
    assert "libnuma.so.1" in found.text


def test_gpus_name_their_libraries_and_their_memory() -> None:
    """As PyTorch words it; no GPU was there to write it."""
    head, frame = "(EngineCore pid=2) ERROR 11-29 18:18:26 [core.py:1510] Traceback (most recent call last):", '  File "a.py", line 1, in f'  # fmt: skip  # noqa: E501
    found = cause([head, frame, "ImportError: libcuda.so.1: cannot open shared object file: No such file or directory"])
    assert found == Cause("the library libcuda.so.1 is not installed on this machine (it comes with NVIDIA's driver)", MISSING)  # fmt: skip  # noqa: E501
    memory = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB."
    follows = "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}"
    assert cause([head, frame, memory, head, frame, follows]) == Cause(memory, RAISED)


@pytest.mark.parametrize("lines", [[], ["loading"], ["Traceback (most recent call last):"], ["", " ", "x: y"]])
def test_where_nothing_says_why_nothing_is_made_up(lines: list[str]) -> None:
    assert cause(lines) is None


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (2, "ended with exit code 2"),
        (128 + signal.SIGKILL, "was ended by signal 9; the machine may have run out of memory"),
        (128 + signal.SIGILL, "was ended by signal 4; it was built for a processor with more instructions"),
        (128 + signal.SIGSEGV, "was ended by signal 11"),
    ],
)  # fmt: skip
def test_how_a_process_ended(code: int, words: str) -> None:
    assert ended(code).startswith(words)
