"""Golden values of training: the order of rows, tokens as they are kept, checkpoints, what driver and workers say."""

from decimal import Decimal
from typing import Any

from moaa.api.models import Model
from moaa.api.training import LearningRateSchedule
from moaa.plan.result import Output
from moaa.plan.stage import Kind
from moaa.weights.find import ModelWeights
from moaa_jobs.training.driver.publish import figures
from moaa_jobs.training.rows.order import batches, lay_out, learning_rate_factor, pack
from moaa_jobs.training.rows.table import content_digest, pair_table, sft_table, to_bytes
from moaa_jobs.training.rows.tokens import Encoded, EncodedPair
from moaa_jobs.training.shared.checkpoints import SAVED_STATE, CheckpointManifest, SavedState, folder_name
from moaa_jobs.training.shared.messages import (
    CurveRow,
    LoopConfig,
    LoopProgress,
    LoopResult,
    Resume,
    checkpoint_folder,
    progress_key,
    run_name,
)
from moaa_jobs.training.worker.deepspeed import scoring_config, training_config
from tests.golden.book import digest
from tests.golden.resources import rich

LENGTHS = [5, 40, 12, 7, 33, 20, 9, 28, 16, 3]
ROW = CurveRow(
    step=2, epoch=0.5, loss=0.6, learning_rate=8e-6, grad_norm=1.5, tokens=900, reward_accuracy=0.75, reward_margin=0.1
)


def training() -> dict[str, Any]:
    """All of it."""
    return {"order": _order(), "tokens": _tokens(), "messages": _messages(), "deepspeed": _deepspeed()}


def _order() -> dict[str, Any]:
    steps = batches(len(LENGTHS), epochs=Decimal("1.5"), batch_size=4, seed=11)
    packed = pack(steps, lengths=LENGTHS, workers=2, micro_batch_size=1, capacity=64)
    plain = lay_out(steps, widths=LENGTHS, workers=2, micro_batch_size=1)
    rates = [
        learning_rate_factor(step, steps=10, warmup_steps=2, schedule=LearningRateSchedule.COSINE, min_ratio=0.0)
        for step in range(10)
    ]
    return {
        "batches": [list(batch) for batch in steps],
        "bins": [[list(one) for one in layout.bins] for layout in (plain, packed)],
        "accumulation": [plain.accumulation, packed.accumulation],
        "learningRate": rates,
    }


def _tokens() -> dict[str, Any]:
    """Digests under which encoded rows are kept, and of the bytes that hold them."""
    made = {
        "sft": sft_table([Encoded("a", [5, 6, 7, 8], [(1, 2), (3, 4)]), Encoded("b", [9, 9], [(1, 2)])]),
        "dpo": pair_table([EncodedPair("p", [1, 2, 3], [4, 5], [6])]),
    }
    return {name: {"content": content_digest(table), "bytes": len(to_bytes(table))} for name, table in made.items()}


def _messages() -> dict[str, Any]:
    """Texts that driver and workers, or one attempt and the next, hand each other; the resource of the loop's as a
    digest."""
    weights = ModelWeights(digest="0" * 64, model=Model(name="m", source="hf://owner/name"), commit="c")
    config = LoopConfig(
        resource=rich("Mixture", "exact"),
        kind=Kind.DPO,
        stage_path="stages/dpo/a/b",
        run_name=run_name("f" * 64, 3, "c0ffee"),
        attempt=3,
        student=weights,
        ref_model=weights.with_(folder="stages/sft/a/b/out/1/model", commit=None),
        tokens_key="stages/dpo/a/b/checkpoints/tokens.arrow",
        tokens_digest="1" * 64,
        resume=Resume(folder=f"ffffffff-2/{folder_name(40)}", step=40),
    )
    result = LoopResult(
        model=Output(digest="2" * 64, uri="x"),
        files=[],
        curve=[ROW],
        resumed_step=1,
        packed=True,
        seconds={"load": 2.5},
    )
    return {
        "config": {key: value for key, value in config.model_dump(mode="json").items() if key != "resource"},
        "configDigest": digest(config.model_dump_json()),
        "result": result.model_dump_json(),
        "figures": figures(result),
        "progress": LoopProgress(phase="training", step=3, steps=9, loss=0.5).model_dump_json(),
        "manifest": CheckpointManifest(step=40, workers=2, zero_stage=2, files={"f.pt": 7}).model_dump_json(),
        "state": SavedState(done=2, curve=[ROW]).model_dump_json(),
        "places": [checkpoint_folder(config.stage_path), progress_key(config), folder_name(7), SAVED_STATE],
    }


def _deepspeed() -> dict[str, Any]:
    sft = rich("Mixture", "exact").spec.training.sft
    assert sft is not None
    made = {stage: sft.with_(zero_stage=stage) for stage in range(4)}
    return {
        **{
            f"ZeRO {stage} on {'GPUs' if on_gpu else 'CPUs'}": training_config(spec, on_gpu=on_gpu)
            for stage, spec in made.items()
            for on_gpu in (True, False)
        },
        **{f"scoring under ZeRO {stage}": scoring_config(spec) for stage, spec in made.items()},
    }
