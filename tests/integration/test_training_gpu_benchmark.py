"""The benchmark of a training step on a GPU, as far as a CPU goes: every cell runs, and nothing claims a figure."""

import json
from typing import Any

import pytest

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"),
]


def test_every_cell_but_compiled_ones_runs_on_a_cpu(capsys: pytest.CaptureFixture[str]) -> None:
    from benchmarks import training_gpu

    assert training_gpu.main(["--tiny", "--device", "cpu"]) == 0
    told: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    cells = {cell["cell"]: cell for cell in told["cells"]}
    assert list(cells) == [cell.name for cell in training_gpu.CELLS if not cell.compiled]
    assert 0 < told["disagreement"] < training_gpu.NEAR
    losses = [cell["loss"] for cell in cells.values()]
    assert all(loss == pytest.approx(losses[0], abs=0.02) for loss in losses), "all train the same rows"
    assert losses[0][1] < losses[0][0]
    assert cells["padded"]["slots_used"] < 0.8
    assert cells["packed, spans"]["slots_used"] == 1.0
    assert all(cell["mfu"] is cell["peak_gib"] is None and cell["kernels"] for cell in cells.values())


def test_a_cell_that_fails_leaves_the_others_and_a_code(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from benchmarks import training_gpu

    def measure(_size: Any, cell: Any) -> dict[str, Any]:
        if cell.packed:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB\nmore")
        return {"cell": cell.name}

    monkeypatch.setattr(training_gpu, "measure", measure)
    monkeypatch.setattr(training_gpu, "disagreement", lambda _size: 0.001)
    assert training_gpu.main(["--tiny", "--device", "cpu", "--cells", "padded", "packed, spans"]) == 1
    told = json.loads(capsys.readouterr().out.splitlines()[-1])["cells"]
    assert told == [
        {"cell": "padded"},
        {"cell": "packed, spans", "failed": "CUDA out of memory. Tried to allocate 2 GiB"},
    ]
    monkeypatch.setattr(training_gpu, "disagreement", lambda _size: 0.5)
    assert training_gpu.main(["--tiny", "--device", "cpu", "--cells", "padded"]) == 1


def test_without_a_gpu_it_says_so_with_a_code_of_its_own(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from benchmarks import training_gpu

    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert training_gpu.main([]) == training_gpu.NO_GPU == 69
    assert capsys.readouterr().out.count("\n") == 1
    with pytest.raises(SystemExit):
        training_gpu.main(["--device", "cpu"])


def test_operations_are_counted_by_hand() -> None:
    """Two layers of width 32: projections 32×(2×32 + 2×16), feed-forward 3×32×64, head 256×32."""
    import torch

    from benchmarks.training_gpu import TINY, Size, operations

    size = Size(TINY, 2, 192, 64, 0.0, torch.device("cpu"))
    weights = 2 * (32 * 96 + 3 * 32 * 64 + 2 * 32) + 256 * 32 + 32
    assert operations(size, [10, 20]) == 6 * weights * 30 + 6 * 2 * 32 * (100 + 400)
