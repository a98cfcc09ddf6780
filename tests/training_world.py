"""A tiny student and the stages before a training: what the training tests start from."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from moaa.api import MoAA
from moaa.contract.job import StageJob
from moaa.data.schemas import CONVERSATIONS, PAIRS, RANKINGS
from moaa.plan.result import Output, StageResult
from moaa.plan.stage import Kind
from moaa.store.fencing import claim
from moaa.store.objects.directory import DirectoryStore
from moaa.store.stages.folders import file_digest, folder_digest
from moaa.store.stages.manifest import StageManifest
from moaa.store.stages.shards import StageTotals, finalise, publish_shard, shard_name
from moaa.store.stages.tables import TableRows
from moaa_jobs.runner.context import Context
from moaa_jobs.runner.settings import JobSettings
from moaa_jobs.tell.progress import Progress

CHATML = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789 .?\n"


def build_tokenizer(template: str = CHATML) -> Any:
    """One token a character; specials for roles and the end of a turn."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    specials = ["<pad>", "<unk>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]
    vocabulary = {token: i for i, token in enumerate([*specials, *ALPHABET])}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), behavior="isolated")
    inner.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        eos_token="<|end|>",
        pad_token="<pad>",
        unk_token="<unk>",
        additional_special_tokens=specials[3:],
        chat_template=template,
    )


def build_student(folder: Path) -> Path:
    """A random Llama of 2 layers with that tokenizer, as a folder that loads offline."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = build_tokenizer()
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def conversations(count: int) -> list[dict[str, Any]]:
    """A mapping that is quickly learnt: the answer repeats the asked letter."""
    rows = []
    for i in range(count):
        letter = ALPHABET[i % 26]
        messages = [{"role": "user", "content": f"say {letter}"}, {"role": "assistant", "content": letter * 3}]
        if i % 4 == 0:
            other = ALPHABET[(i + 7) % 26]
            messages += [{"role": "user", "content": f"say {other}"}, {"role": "assistant", "content": other * 3}]
        rows.append(
            {
                "id": f"c{i}",
                "messages": messages,
                "proposals": [],
                "missing": 0,
                "absent": [],
                "shortened": 0,
                "wrote": [],
            }
        )
    return rows


def pairs(count: int) -> list[dict[str, Any]]:
    return [
        {
            "id": f"p{i}",
            "messages": [{"role": "user", "content": f"say {ALPHABET[i % 26]}"}],
            "chosen": ALPHABET[i % 26] * 3,
            "rejected": "no" + ALPHABET[(i + 3) % 26] * (i % 5),
            "chosen_points": 1.0,
            "rejected_points": 0.0,
        }
        for i in range(count)
    ]


def resource(
    store: Path,
    student: Path,
    *,
    workers: int = 2,
    sft: Mapping[str, Any],
    dpo: Mapping[str, Any],
    stall_minutes: int = 10,
) -> MoAA:
    common = {"precision": "FP32", "maxLength": 64, "batchSize": 8, "microBatchSize": 1, "warmupRatio": "0.1"}
    return MoAA.model_validate(
        {
            "apiVersion": "moaa.dev/v1alpha1",
            "kind": "MoAA",
            "metadata": {"name": "train"},
            "spec": {
                "storage": {"uri": f"file://{store}"},
                "models": [
                    {"name": "student", "source": f"file://{student}", "license": "apache-2.0", "serving": {"gpus": 0}}
                ],
                "student": "student",
                "mixture": {
                    "layers": [{"proposers": [{"model": "student"}]}],
                    "aggregator": {"model": "student"},
                    "minProposals": 1,
                },
                "judge": {"method": "Single", "aggregator": {"model": "student"}},
                "data": {
                    "sft": [{"source": "file:///nowhere.jsonl", "limit": 10}],
                    "preference": [{"source": "file:///nowhere.jsonl", "limit": 10}],
                },
                "training": {
                    "resources": {
                        "workers": workers,
                        "gpusPerWorker": 0,
                        "maxFailures": 1,
                        "stallMinutes": stall_minutes,
                    },
                    "sft": {**common, **sft},
                    "dpo": {**common, **dpo},
                },
            },
        }
    )


def weights_digest(folder: Path) -> str:
    """As resolve pins a file:// model."""
    files = [file for file in folder.rglob("*") if file.is_file()]
    return folder_digest({file.relative_to(folder).as_posix(): file_digest(file) for file in files})


@dataclass(frozen=True)
class World:
    """A store with the results a training stage reads."""

    root: Path
    student: Path

    @property
    def store(self) -> DirectoryStore:
        return DirectoryStore(self.root / "store")

    async def stage(
        self,
        kind: Kind,
        table: str,
        rows: Sequence[Mapping[str, Any]],
        *,
        rankings: Sequence[Mapping[str, Any]] = (),
        failures: Mapping[str, int] | None = None,
    ) -> StageResult:
        """A finished stage of iteration 1 with one table; of a judge stage also with its rankings."""
        store = self.store
        store.prepare()
        path_digest = digest(f"{kind}{rows}")
        result = StageResult(stage=f"i1-{kind}", kind=kind, inputs=path_digest, fingerprint=path_digest)
        token = await claim(store, result.path, shard_name(0))
        failures = failures or {}
        tables = {table: TableRows(rows, CONVERSATIONS if table == "conversations" else PAIRS)}
        main = table
        if rankings:
            tables["rankings"], main = TableRows(rankings, RANKINGS), "rankings"
        rows_in = len(tables[main].rows) + sum(failures.values())
        now = datetime.now(UTC)
        await publish_shard(
            store, result.path, token, tables, main_table=main, rows_in=rows_in, failures=failures, started=now,
            seconds=0.0,
        )  # fmt: skip

        def build(totals: StageTotals) -> StageManifest:
            return StageManifest(
                stage=result.stage, kind=kind, iteration=1, run="run", inputs=path_digest, fingerprint=path_digest,
                attempt=1, document={}, outputs=totals.outputs, tables=totals.tables, rows_in=totals.rows_in,
                failures=totals.failures, started=now, finished=now, seconds=0.0,
            )  # fmt: skip

        return (await finalise(store, result.path, [shard_name(0)], main_table=main, build=build)).result()

    def job(self, spec: MoAA, kind: Kind, results: Sequence[StageResult], *, student: str = "student") -> StageJob:
        resolved = StageResult(
            stage="i0-resolve",
            kind=Kind.RESOLVE,
            inputs="0" * 64,
            fingerprint="0" * 64,
            models={"student": weights_digest(self.student)},
        )
        part = spec.spec.training.sft if kind is Kind.SFT else spec.spec.training.dpo
        assert part is not None
        return StageJob(
            run="run",
            resource=spec.model_dump(mode="json", by_alias=True),
            stage=f"i1-{kind}",
            kind=kind,
            iteration=1,
            student=student,
            ref_model=student if kind is Kind.DPO else None,
            inputs=digest("".join(r.fingerprint for r in results)),
            fingerprint=digest(f"{kind}{part.model_dump_json()}{[r.fingerprint for r in results]}"),
            document={},
            results={r.stage: r for r in (resolved, *results)},
            models={"student": weights_digest(self.student)},
        )

    def context(self, spec: MoAA, job: StageJob) -> Context:
        work_dir = self.root / "work" / job.stage
        work_dir.mkdir(parents=True, exist_ok=True)
        file = work_dir / "job.json"
        file.write_text(job.model_dump_json(by_alias=True))
        progress = Progress(job.stage, self.root / "progress.json")
        return Context(
            job=job,
            resource=spec,
            store=self.store,
            work_dir=work_dir,
            progress=progress,
            settings=JobSettings(job=file),
        )


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def student_result(kind: Kind, output: Output, fingerprint: str, inputs: str) -> StageResult:
    return StageResult(stage=f"i1-{kind}", kind=kind, inputs=inputs, fingerprint=fingerprint, outputs={"model": output})


def read_json(file: Path) -> Any:
    return json.loads(file.read_text())
