"""Stages of data and promotion, one after another, on a store in a folder."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from moaa.api import MoAA
from moaa.contract.job import StageJob
from moaa.data.schemas import SCORES
from moaa.plan.fingerprint import identify
from moaa.plan.graph import build
from moaa.plan.result import Output, StageResult
from moaa.rows import ScoreRow
from moaa.store.objects.directory import DirectoryStore
from moaa.store.stages.manifest import ObjectRef, StageManifest
from moaa.store.stages.shards import read_manifest
from moaa.store.stages.tables import TableRows
from moaa_jobs.runner.context import Context
from moaa_jobs.runner.one_worker import publish
from moaa_jobs.runner.settings import JobSettings
from moaa_jobs.stages import resolve, stage_data
from moaa_jobs.tell.progress import Progress
from tests.model_folder import write_model

RUN = "default-m-1234"


def jsonl(path: Path, rows: list[dict[str, object]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return f"file://{path}"


class Bench:
    """A resource, a store, and the results so far."""

    def __init__(self, folder: Path, **changes: Any) -> None:
        self.folder = folder
        write_model(folder / "weights")
        files = folder / "data"
        files.mkdir(exist_ok=True)
        spec: dict[str, Any] = {
            "seed": 3,
            "storage": {"uri": f"file://{folder}/store"},
            "models": [
                {"name": "llama", "source": f"file://{folder}/weights", "license": "llama3"},
                {"name": "volume", "source": "pvc://claim/folder"},
                {"name": "judge", "endpoint": {"url": "http://h/v1", "model": "j"}},
            ],
            "student": "llama",
            "mixture": {"layers": [{"proposers": [{"model": "volume"}]}], "aggregator": {"model": "volume"}},
            "judge": {"method": "Single", "aggregator": {"model": "judge"}},
            "data": {
                "sft": [
                    {
                        "source": jsonl(files / "s.jsonl", [{"id": i, "prompt": f"sft {i}"} for i in range(12)]),
                        "limit": 4,
                    },
                ],
                "preference": [
                    {"source": jsonl(files / "p.jsonl", [{"prompt": f"pref {i}"} for i in range(6)]), "limit": 3}
                ],
            },
            "training": {"sft": {"precision": "BF16"}, "dpo": {}},
            "evaluation": {
                "selection": [
                    {
                        "name": "e",
                        "type": "ExactMatch",
                        "source": jsonl(files / "e.jsonl", [{"id": "q", "prompt": "SFT 3", "answer": 4}]),
                    }
                ]
            },
            "iterations": 2,
        }
        self.resource = MoAA.model_validate(
            {"apiVersion": "moaa.dev/v1alpha1", "kind": "MoAA", "metadata": {"name": "m"}, "spec": {**spec, **changes}}
        )
        (folder / "store").mkdir(exist_ok=True)
        self.store = DirectoryStore(folder / "store")
        self.store.prepare()
        self.results: dict[str, StageResult] = {}

    def context(self, stage: str) -> Context:
        node = build(self.resource).stages[stage]
        identity = identify(node, self.resource, self.results)
        assert identity is not None, f"{stage} needs {node.needs}"
        job = StageJob(
            run=RUN,
            resource=self.resource.model_dump(mode="json", by_alias=True),
            stage=stage,
            kind=node.kind,
            iteration=node.iteration,
            student=node.student,
            candidates=node.candidates,
            inputs=identity.inputs,
            fingerprint=identity.fingerprint,
            document=dict(identity.document),
            results=self.results,
            models=self.results["i0-resolve"].models if "i0-resolve" in self.results else {},
        )
        work = self.folder / "work" / stage
        work.mkdir(parents=True, exist_ok=True)
        return Context(
            job=job,
            resource=self.resource,
            store=self.store,
            work_dir=work,
            progress=Progress(stage, None),
            settings=JobSettings(job=Path("unused")),
        )

    async def run(self, module: Any, stage: str) -> StageManifest:
        context = self.context(stage)
        await module.run(context.job, context)
        return await self.took(context)

    async def took(self, context: Context) -> StageManifest:
        path = f"stages/{context.job.kind}/{context.job.inputs[:32]}/{context.job.fingerprint[:32]}"
        manifest = await read_manifest(self.store, path)
        assert manifest is not None
        self.results[context.job.stage] = manifest.result()
        return manifest

    async def pretend(self, stage: str, scores: dict[str, dict[str, float]] | None = None) -> StageManifest:
        """A finished stage: evaluate with these scores by label and question, each asked in ten ways, so that the gate
        has enough of them; any other with a folder of weights."""
        context = self.context(stage)
        rows = [
            ScoreRow(
                benchmark="e",
                model=label,
                id=f"{row_id}-{way}",
                score=score,
                length=1.0,
                baseline_length=None,
                refused=0.0,
                repeated=0.0,
            )
            for label, found in (scores or {}).items()
            for row_id, score in found.items()
            for way in range(10)
        ]
        ref = ObjectRef(key=f"stages/x/{stage}/model/config.json", size_bytes=2, sha256="a" * 64)
        made = Output(digest=stage.encode().hex().ljust(64, "0"), uri=f"stages/x/{stage}/model")
        await publish(
            context,
            iter([{"scores": TableRows(rows, SCORES)}]),
            main_table="scores",
            started=datetime.now(UTC),
            rows_in=len(rows),
            outputs={} if scores else {"model": made, "conversations": made, "samples": made, "pairs": made},
            files={} if scores else {"model": [ref]},
        )
        return await self.took(context)

    async def up_to_training(self) -> None:
        await self.run(resolve, "i0-resolve")
        await self.run(stage_data, "i0-stage-data")
        await self.pretend("i0-evaluate", {"base": {"1": 0.0, "2": 0.5}, "volume": {"1": 1.0, "2": 1.0}})
