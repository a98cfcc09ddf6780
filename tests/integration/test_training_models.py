"""What is loaded to be trained, and what is exported, against plain models."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.training_steps import one_process
from tests.training_world import resource

pytestmark = [
    pytest.mark.timeout(300),
    # Libraries' own, at import and first use.
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"),
]


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with one_process(tmp_path_factory.mktemp("student")) as folder:
        yield folder


def test_packing_is_refused_where_rows_would_see_each_other(student: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    from moaa_jobs.training.worker.model import packing_is_exact

    spec = resource(student, student, sft={}, dpo={}).spec.training.sft
    assert spec is not None
    model = AutoModelForCausalLM.from_pretrained(student, dtype=torch.float32).eval()

    def ignores_positions(**inputs: Any) -> Any:
        return model(input_ids=inputs["input_ids"], use_cache=False)

    ask: dict[str, Any] = {"vocabulary": 40, "spec": spec, "device": torch.device("cpu")}
    assert packing_is_exact(model, **ask)
    assert not packing_is_exact(ignores_positions, **ask)


@pytest.mark.parametrize("zero_stage", [2, 3])
def test_positions_are_as_exact_in_bf16_as_in_a_plain_model(student: Path, zero_stage: int) -> None:
    """ZeRO-3 loads all tensors in the training precision; rotary tables must not be."""
    import torch
    from transformers import AutoModelForCausalLM

    from moaa_jobs.training.worker.export import probe
    from moaa_jobs.training.worker.weights.models import Models

    spec = resource(student, student, workers=1, sft={"precision": "BF16", "zeroStage": zero_stage}, dpo={})
    assert spec.spec.training.sft is not None
    plain = AutoModelForCausalLM.from_pretrained(student, dtype=torch.bfloat16).eval()
    wanted = dict(plain.named_buffers())
    with Models(spec.spec.training.sft, torch.device("cpu")).scoring(student) as model:
        found = dict(model.named_buffers())
        assert found.keys() == wanted.keys()
        for name, table in wanted.items():
            assert table.dtype is torch.float32
            assert torch.equal(found[name], table), name
        ids = [7, 8, 9, 10]
        torch.testing.assert_close(
            probe(model, ids, torch.device("cpu")), probe(plain, ids, torch.device("cpu")), rtol=0, atol=1e-2
        )


def test_a_table_that_is_exact_stays_and_one_that_cannot_be_computed_is_refused(student: Path) -> None:
    from transformers import AutoModelForCausalLM

    from moaa.errors import DataError
    from moaa_jobs.training.worker import model as loading

    model = AutoModelForCausalLM.from_pretrained(student)
    rotary = model.model.rotary_emb
    own = rotary.inv_freq * 2  # not what the configuration says
    rotary.inv_freq = own
    loading._compute_tables(student, model)
    assert rotary.inv_freq is own
    rotary.inv_freq = own.bfloat16()
    with pytest.raises(DataError, match="cannot be computed again for LlamaRotaryEmbedding"):
        loading._compute_tables(student, model)


def test_an_export_whose_far_positions_are_off_is_refused(student: Path, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    from moaa_jobs.training.worker import export

    spec = resource(student, student, sft={}, dpo={}).spec.training.sft
    assert spec is not None
    model = AutoModelForCausalLM.from_pretrained(student, dtype=torch.float32).eval()
    with torch.no_grad():
        for layer in model.model.layers:  # so that attention, and with it the distance, matters as in a real model
            layer.self_attn.q_proj.weight *= 40
            layer.self_attn.k_proj.weight *= 40
    model.save_pretrained(tmp_path / "saved")
    export.arrange(tmp_path / "saved", student, tmp_path / "model", spec)
    near = export.probe(model, [7, 8, 9, 10], torch.device("cpu"))
    export.verify(tmp_path / "model", [7, 8, 9, 10], near, spec)
    rotary = model.model.rotary_emb
    rotary.inv_freq = rotary.inv_freq.bfloat16().float()
    trained = export.probe(model, [7, 8, 9, 10], torch.device("cpu"))
    with pytest.raises(RuntimeError, match="logits differ"):
        export.verify(tmp_path / "model", [7, 8, 9, 10], trained, spec)


def test_an_export_that_does_not_give_the_trained_logits_is_refused(student: Path, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    from moaa_jobs.training.worker import export

    spec = resource(student, student, sft={}, dpo={}).spec.training.sft
    assert spec is not None
    model = AutoModelForCausalLM.from_pretrained(student, dtype=torch.float32).eval()
    (student / "pytorch_model.bin").write_bytes(b"another copy of the weights")
    model.save_pretrained(tmp_path / "saved")
    export.arrange(tmp_path / "saved", student, tmp_path / "model", spec)
    (student / "pytorch_model.bin").unlink()
    kept = {file.name for file in (tmp_path / "model").iterdir()}
    assert kept == {file.name for file in student.iterdir()}
    for name in kept - {"model.safetensors", "config.json"}:
        assert (tmp_path / "model" / name).read_bytes() == (student / name).read_bytes()
    ids = [7, 8, 9, 10]
    trained = export.probe(model, ids, torch.device("cpu"))
    export.verify(tmp_path / "model", ids, trained, spec)
    with pytest.raises(RuntimeError, match="logits differ"):
        export.verify(tmp_path / "model", ids, trained + trained.abs().max(), spec)
