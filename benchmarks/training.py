"""How fast training is beside TRL's own scripts: the same model, rows and batches, on CPUs.

    python -m benchmarks.training [--small] [--workers N …] [--write]

A Llama of random weights learns, in FP32 and one thread a worker, from conversations (SFT) and from pairs (DPO) whose
lengths are log-normal, as natural ones are. Ours is the whole job as an executor starts it: Ray, DeepSpeed ZeRO-2,
checkpoints. Theirs are `trl.scripts.sft` and `trl.scripts.dpo` under `accelerate launch`: rows are padded, in the order
of a shuffle; the reference model's log-probabilities are computed before training. SFT is measured with TRL's own
`--packing`, too.

Tokens a second are those of the rows, padding not, over the seconds from the first step to the last (Trainer's own
count), with checkpoints in ours and none in theirs. The other figures are of the whole command. The last line is one
JSON object. `--write` puts the table beside this file; it needs a clean commit.
"""

import argparse
import asyncio
import json
import os
import platform
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from moaa.plan.stage import Kind
from moaa_jobs.training.driver.publish import path_of
from moaa_jobs.training.rows import order, table
from moaa_jobs.training.rows.chat import open_chat
from moaa_jobs.training.rows.tokens import Encoded, EncodedPair, encode_conversation, encode_pair
from tests import training_world
from tests.training_world import ALPHABET, World, build_tokenizer

MAX_LENGTH, BATCH, MICRO = 512, 32, 2
AIMS = {"sft": 1.0, "dpo": 1.5}
"""Our tokens a second over TRL's."""
PER_ROW = {"sft": 1, "dpo": 2}
"""Sequences."""
LIMIT_S = 600.0
"""Of one training."""
Objective = Literal["sft", "dpo"]


@dataclass(frozen=True)
class Measured:
    """One training."""

    train_s: float
    """From the first step to the last."""
    whole_s: float
    """Of the whole command."""
    seconds: Mapping[str, float]
    """Ours alone: of rank 0, by phase; `program` is the job's process up to the stage, `ray` the stage without rank 0's
    phases (reading rows, tokenising, Ray, the workers' processes), `end` what follows the manifest."""


def build_model(folder: Path) -> Path:
    """A Llama of 7 million random weights: large enough that arithmetic outweighs the loop around it."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = build_tokenizer()
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=320, intermediate_size=1024, num_hidden_layers=5, num_attention_heads=5,
        num_key_value_heads=5, max_position_embeddings=1024, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id, bos_token_id=None,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def texts(draw: random.Random, count: int, *, median: float, most: int) -> Iterator[str]:
    """Of log-normal lengths; a character is a token."""
    for _ in range(count):
        length = min(most, max(2, int(draw.lognormvariate(0, 0.8) * median)))
        yield "".join(draw.choices(ALPHABET[:36], k=length))


def make_rows(count: int) -> dict[Objective, list[dict[str, Any]]]:
    draw = random.Random(0)
    prompts = list(texts(draw, count, median=50, most=150))
    chosen, rejected = (list(texts(draw, count, median=90, most=350)) for _ in range(2))
    conversations, pairs = training_world.conversations(count), training_world.pairs(count)
    for i, prompt in enumerate(prompts):
        question = {"role": "user", "content": prompt}
        conversations[i]["messages"] = [question, {"role": "assistant", "content": chosen[i]}]
        pairs[i] |= {"messages": [question], "chosen": chosen[i], "rejected": rejected[i]}
    return {"sft": conversations, "dpo": pairs}


def encode(student: Path, rows: Mapping[Objective, Sequence[Any]]) -> dict[Objective, Any]:
    """Token tables, as the driver makes them."""
    from moaa.api.models import Model

    chat = open_chat(student, Model(name="student", source=f"file://{student}"), thinking=None)
    sft: list[Encoded] = []
    dpo: list[EncodedPair] = []
    for row in rows["sft"]:
        encoded = encode_conversation(chat, row, max_length=MAX_LENGTH)
        assert isinstance(encoded, list)
        sft += encoded
    for row in rows["dpo"]:
        pair = encode_pair(chat, row, max_length=MAX_LENGTH)
        assert isinstance(pair, list)
        dpo += pair
    return {"sft": table.sft_table(sft), "dpo": table.pair_table(dpo)}


def slots_used(tokens: Any, *, workers: int, per_row: int) -> dict[str, float]:
    """Part of the places computed that hold a token, with rows in the order of the shuffle, sorted within a step, and
    end to end. Every worker waits for the fullest bin of its micro-step."""
    lengths, widths = table.row_lengths(tokens), table.row_widths(tokens)
    steps = order.batches(len(lengths), epochs=Decimal(1), batch_size=BATCH, seed=0)
    where = {"workers": workers, "micro_batch_size": MICRO}
    layouts = {
        "shuffled": order.lay_out(steps, widths=[0] * len(lengths), **where),
        "sorted": order.lay_out(steps, widths=widths, **where),
        "packed": order.pack(steps, lengths=lengths, capacity=per_row * MICRO * MAX_LENGTH, **where),
    }
    used = {}
    for name, layout in layouts.items():
        places = 0
        for i in range(0, len(layout.bins), workers):
            turn = layout.bins[i : i + workers]
            if name == "packed":
                places += workers * max(sum(lengths[row] for row in bin_) for bin_ in turn)
            else:
                places += workers * max(per_row * len(bin_) * max(widths[row] for row in bin_) for bin_ in turn)
        used[name] = round(sum(lengths[row] for batch in steps for row in batch) / places, 3)
    return used


def settings() -> dict[str, Any]:
    return {
        "batchSize": BATCH, "microBatchSize": MICRO, "maxLength": MAX_LENGTH, "epochs": "1", "zeroStage": 2,
        "gradientCheckpointing": False, "learningRate": "1e-5", "precision": "FP32",
    }  # fmt: skip


async def ours(folder: Path, student: Path, objective: Objective, rows: Sequence[Any], *, workers: int) -> Measured:
    """The job of a training stage, in a process of its own.

    Raises:
        SystemExit: it failed.
    """
    from moaa.store.stages.shards import read_manifest

    world = World(folder, student)
    half = {"checkpointSteps": max(1, len(rows) // BATCH // 2)}
    kind, source, name = (
        (Kind.SFT, Kind.GENERATE, "conversations") if objective == "sft" else (Kind.DPO, Kind.JUDGE, "pairs")
    )
    spec = training_world.resource(
        folder / "store", student, workers=workers, sft=settings() | half, dpo=settings() | half | {"beta": "0.1"}
    )
    job = world.job(spec, kind, [await world.stage(source, name, rows)])
    file = folder / "job.json"
    file.write_text(job.model_dump_json(by_alias=True))
    environment = {"MOAA_WORK_DIR": str(folder / "work"), "MOAA_PROGRESS_FILE": str(folder / "progress.json")}
    begun = datetime.now(UTC)
    whole_s, _ = command([sys.executable, "-m", "moaa_jobs", "--job", str(file)], environment)
    manifest = await read_manifest(world.store, path_of(job))
    assert manifest is not None, "the job ended well"
    seconds = {name.removeprefix("seconds_"): s for name, s in manifest.metrics.items() if name.startswith("seconds_")}
    program = (manifest.started - begun).total_seconds()
    ray = manifest.seconds - sum(value for name, value in seconds.items() if name != "checkpoints")  # part of train
    around = {"program": program, "ray": ray, "end": whole_s - program - manifest.seconds}
    return Measured(seconds["train"], whole_s, around | seconds)


def theirs(
    folder: Path, student: Path, objective: Objective, rows: Sequence[Any], *, workers: int, packing: bool = False
) -> Measured:
    """TRL's script. Raises SystemExit: it failed, or told no runtime."""
    data = folder / "data"
    data.mkdir(parents=True)
    lines = [json.dumps(trl_row(objective, row)) for row in rows]
    (data / "train.jsonl").write_text("\n".join(lines))
    launch = ["accelerate.commands.launch", "--cpu", "--num_processes", str(workers), "--num_machines", "1"]
    launch += ["--mixed_precision", "no", "--dynamo_backend", "no", "--num_cpu_threads_per_process", "1"]
    script = ["-m", f"trl.scripts.{objective}", "--model_name_or_path", str(student), "--dataset_name", str(data)]
    options = {
        "output_dir": folder / "out", "num_train_epochs": 1, "per_device_train_batch_size": MICRO,
        "gradient_accumulation_steps": BATCH // (MICRO * workers), "max_length": MAX_LENGTH, "learning_rate": "1e-5",
        "use_cpu": True, "bf16": False, "gradient_checkpointing": False, "save_strategy": "no", "report_to": "none",
        "dtype": "float32", "logging_steps": 1,
    }  # fmt: skip
    if objective == "dpo":
        options |= {"precompute_ref_log_probs": True, "beta": "0.1"}
    if packing:
        options["packing"] = True
    told = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    whole_s, output = command([sys.executable, "-m", *launch, *script, *told], {"HF_HOME": str(folder / "hf")})
    found = re.findall(r"'train_runtime': '?([0-9.]+)", output)
    if not found:
        raise SystemExit(f"trl.scripts.{objective} told no train_runtime:\n{output[-3000:]}")
    return Measured(float(found[-1]), whole_s, {})


def trl_row(objective: Objective, row: Mapping[str, Any]) -> dict[str, Any]:
    answer = {name: [{"role": "assistant", "content": row[name]}] for name in ("chosen", "rejected") if name in row}
    if objective == "dpo":
        return {"prompt": row["messages"], **answer}
    return {"prompt": row["messages"][:1], "completion": row["messages"][1:]}


def command(words: Sequence[str], environment: Mapping[str, str]) -> tuple[float, str]:
    """Seconds and output of a command. Raises SystemExit: it failed."""
    started = time.monotonic()
    known = os.environ | {"HF_HUB_OFFLINE": "1", "PYTHONPATH": os.pathsep.join(sys.path), **environment}
    done = subprocess.run(
        words, env=known, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=LIMIT_S
    )
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(words[:6])} … ended with {done.returncode}:\n{done.stdout[-3000:]}")
    return time.monotonic() - started, done.stdout


def compare(
    root: Path, student: Path, rows: Mapping[Objective, Sequence[Any]], workers: Sequence[int]
) -> list[dict[str, Any]]:
    """One entry for each objective and number of workers."""
    found = []
    tables = encode(student, rows)
    for objective, of in rows.items():
        tokens = sum(table.row_lengths(tables[objective]))
        for count in workers:
            folder = root / f"{objective}-{count}"
            (folder / "ours").mkdir(parents=True)
            mine = asyncio.run(ours(folder / "ours", student, objective, of, workers=count))
            other = theirs(folder / "theirs", student, objective, of, workers=count)
            # Only its script for SFT packs rows, and counts what is packed as one of a batch: fewer, longer steps.
            packs = objective == "sft"
            end_to_end = theirs(folder / "packing", student, "sft", of, workers=count, packing=True) if packs else None
            rate, other_rate = tokens / mine.train_s, tokens / other.train_s
            packed_rate = None if end_to_end is None else tokens / end_to_end.train_s
            at_work = sum(mine.seconds.get(phase, 0.0) for phase in ("score", "train", "export"))
            entry = {
                "objective": objective,
                "workers": count,
                "tokens_per_s": round(rate),
                "trl_tokens_per_s": round(other_rate),
                "ratio": round(rate / other_rate, 2),
                "aim": AIMS[objective],
                "trl_packing_tokens_per_s": None if packed_rate is None else round(packed_rate),
                "ratio_to_packing": None if packed_rate is None else round(rate / packed_rate, 2),
                "slots_used": slots_used(tables[objective], workers=count, per_row=PER_ROW[objective]),
                "startup_s": round(mine.whole_s - at_work, 1),
                "trl_startup_s": round(other.whole_s - other.train_s, 1),
                "seconds": {phase: round(value, 1) for phase, value in mine.seconds.items()},
            }
            print(json.dumps(entry), flush=True)
            found.append(entry)
    return found


def as_table(found: Sequence[Mapping[str, Any]]) -> str:
    lines = [
        "| objective | workers | tokens/s | TRL's | ratio | aim | TRL packing's | ratio "
        "| slots: shuffled, sorted, packed | start s | TRL's |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for one in found:
        slots = ", ".join(f"{value:.2f}" for value in one["slots_used"].values())
        packing = "– | –"
        if one["ratio_to_packing"] is not None:
            packing = f"{one['trl_packing_tokens_per_s']:,} | {one['ratio_to_packing']:.2f}"
        lines.append(
            f"| {one['objective']} | {one['workers']} | {one['tokens_per_s']:,} | {one['trl_tokens_per_s']:,} | "
            f"{one['ratio']:.2f} | {one['aim']:.1f} | {packing} | {slots} | "
            f"{one['startup_s']} | {one['trl_startup_s']} |"
        )
    return "\n".join(lines)


def report(found: Sequence[Mapping[str, Any]], words: Sequence[str]) -> str:
    """The result as a document. Raises SystemExit: the tree is no clean commit, so the result would name nothing."""
    folder = Path(__file__).parent
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, check=True)
    dirty = subprocess.run(["git", "status", "--porcelain", "-uno"], cwd=folder, capture_output=True, text=True)
    if dirty.stdout.strip():
        raise SystemExit("the working tree has changes; commit them first, so that the result names what ran")
    libraries = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "trl", "deepspeed", "ray"))
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    seconds = "\n".join(f"- {one['objective']}, {one['workers']}: {json.dumps(one['seconds'])}" for one in found)
    return f"""# Training beside TRL's scripts, {datetime.now(UTC):%Y-%m-%d}

`python -m benchmarks.training {" ".join([*words, "--write"])}` at commit {commit.stdout.strip()[:12]}; Python
{platform.python_version()}, {libraries}; {os.cpu_count()} CPUs ({platform.machine()}), load average {load} when it
ended. A Llama of 7 million random weights, FP32, one thread a worker, batches of {BATCH}, micro-batches of {MICRO}.

{as_table(found)}

Our seconds: the job's process up to the stage (`program`), what goes on beside rank 0 (`ray`: rows, tokenising, Ray,
the workers' processes), rank 0 by phase, and what follows the manifest (`end`). `checkpoints`, part of `train`, is how
long training stood still for the only one:

{seconds}

Not measured: GPUs, BF16, several machines, resuming.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="fewer rows: whether it runs, no figures")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], metavar="N", help="default: 1 2")
    parser.add_argument("--write", action="store_true", help="write training_<year><month>.md beside this file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="moaa-benchmark-") as name:
        root = Path(name)
        student = build_model(root / "student")
        rows = make_rows(2 * BATCH if options.small else 12 * BATCH)
        found = compare(root, student, rows, options.workers)
    print(as_table(found))
    if options.write:
        file = Path(__file__).with_name(f"training_{datetime.now(UTC):%Y%m}.md")
        asked = ["--workers", *map(str, options.workers)] if options.workers != [1, 2] else []
        file.write_text(report(found, [*(["--small"] if options.small else []), *asked]))
        print(f"wrote {file.name}")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
