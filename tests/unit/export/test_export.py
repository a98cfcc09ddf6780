"""What a run made, taken out of its store: whole folders, cards that say what was measured, nothing written over."""

import asyncio
import hashlib
import json
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml
from huggingface_hub import constants
from rich.console import Console

from moaa.cli.common import EXIT_INPUT
from moaa.cli.main import main
from moaa.cli.outcome import outcome_text
from moaa.errors import StoreError, UsageError
from moaa.export.folder import CARD, NOTE
from moaa.export.tables import PAIRS, SFT
from moaa.export.write import chosen, export_dataset, export_model
from moaa.local.executor import Finished, Settings
from moaa.report.html import render
from moaa.report.schema import Summary
from moaa.report.summary import summarise
from moaa.run.collect import collect
from moaa.run.students import promoted
from moaa.run.view import RunView
from moaa.store.stages.folders import folder_digest
from moaa.store.stages.manifest import StageManifest
from tests.fakes.hub import running_hub
from tests.fakes.hub_state import WRITER
from tests.unit.report_store import Filled, copied, fill
from tests.unit.report_world import RUN, finished_run

WORLD = finished_run()
WEIGHTS = {"config.json": b"{}", "model.safetensors": b"weights", "code/vocab.txt": b"a\nb\n"}
SUMS = {name: hashlib.sha256(body).hexdigest() for name, body in WEIGHTS.items()}


def named(view: RunView, stage: str) -> RunView:
    """The run in which the student of `stage` has the digest of `WEIGHTS`, wherever it is named."""
    found = view.of(stage)
    assert found is not None
    assert found.manifest is not None
    old, new = found.manifest.outputs["model"].digest, folder_digest(SUMS)

    def renamed(manifest: StageManifest | None) -> StageManifest | None:
        return manifest and StageManifest.model_validate_json(manifest.model_dump_json().replace(old, new))

    return replace(view, stages=tuple(replace(s, manifest=renamed(s.manifest)) for s in view.stages))


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Filled:
    """The promoted student has files."""
    stage = promoted(WORLD)[1:]
    made = asyncio.run(fill(tmp_path_factory.mktemp("filled"), named(WORLD, stage)))
    root = f"{made.results[stage].path}/out/1/model"
    for name, body in WEIGHTS.items():
        (made.folder / root / name).parent.mkdir(parents=True, exist_ok=True)
        (made.folder / root / name).write_bytes(body)
    path = made.folder / made.results[stage].path / "manifest.json"
    document = json.loads(path.read_text())
    document["outputs"]["model"]["uri"] = root
    files = [{"key": f"{root}/{n}", "sizeBytes": len(body), "sha256": SUMS[n]} for n, body in WEIGHTS.items()]
    path.write_text(json.dumps({**document, "files": {"model": files}}))
    return made


@pytest.fixture(scope="module")
def view(filled: Filled) -> RunView:
    return asyncio.run(collect(WORLD.resource, filled.store, RUN))


@pytest.fixture(scope="module")
def summary(view: RunView) -> Summary:
    return summarise(view)


def card(folder: Path) -> tuple[dict[str, object], str]:
    """Metadata and text."""
    _, front, text = (folder / CARD).read_text().split("---\n", 2)
    return yaml.safe_load(front), text


async def test_the_promoted_student_is_a_folder_as_it_was_trained(
    filled: Filled, view: RunView, summary: Summary, tmp_path: Path
) -> None:
    student, target = chosen(view, None), tmp_path / "new" / "model"
    await export_model(view, summary, filled.store, student, target)
    found = {p.relative_to(target).as_posix(): p.read_bytes() for p in target.rglob("*") if p.is_file()}
    assert {name: body for name, body in found.items() if name not in (CARD, NOTE)} == WEIGHTS
    assert [p.name for p in target.parent.iterdir()] == ["model"]
    metadata, text = card(target)
    assert metadata["library_name"] == "transformers"
    assert summary.headline.verdict in text
    for model in summary.models:
        assert f"| {model.name} |" in text
        assert (model.license or "not stated") in text


async def test_a_damaged_file_leaves_nothing_behind(
    filled: Filled, view: RunView, summary: Summary, tmp_path: Path
) -> None:
    damaged = copied(filled, tmp_path / "store")
    student = chosen(view, None)
    (damaged.folder / f"{damaged.results[student[1:]].path}/out/1/model/config.json").write_bytes(b"[]")
    with pytest.raises(StoreError, match=r"config\.json"):
        await export_model(view, summary, damaged.store, student, tmp_path / "model")
    assert [p.name for p in tmp_path.iterdir()] == ["store"]


async def test_conversations_and_pairs_have_the_columns_that_trainers_read(
    filled: Filled, view: RunView, summary: Summary, tmp_path: Path
) -> None:
    for dataset, columns in (
        (SFT, ["id", "iteration", "messages"]),
        (PAIRS, ["id", "iteration", "prompt", "chosen", "rejected", "score_chosen", "score_rejected"]),
    ):
        target = tmp_path / dataset.table
        written, _ = await export_dataset(view, summary, filled.store, dataset, target)
        files = sorted((target / "data").iterdir())
        tables = [pq.read_table(file) for file in files]
        assert [file.name for file in files] == ["train-i1.parquet", "train-i2.parquet"]
        assert sum(table.num_rows for table in tables) == written > 0
        assert all(table.column_names == columns for table in tables)
        assert [set(table.column("iteration").to_pylist()) for table in tables] == [{1}, {2}]
        assert f"{written:,} rows" in card(target)[1]
    row = pq.read_table(tmp_path / "pairs" / "data" / "train-i1.parquet").to_pylist()[0]
    assert row["prompt"][-1]["role"] == "user"
    assert row["chosen"][0]["role"] == row["rejected"][0]["role"] == "assistant"
    assert row["score_chosen"] > row["score_rejected"]


async def test_the_card_of_pairs_says_which_prompts_gave_none(
    filled: Filled, view: RunView, summary: Summary, tmp_path: Path
) -> None:
    await export_dataset(view, summary, filled.store, PAIRS, tmp_path / "pairs")
    text = card(tmp_path / "pairs")[1]
    for pairs in summary.pairs:
        for reason, count in pairs.dropped.items():
            assert f"{reason}: {count:,}" in text


async def test_no_path_of_the_host_is_in_a_card(
    filled: Filled, view: RunView, summary: Summary, tmp_path: Path
) -> None:
    await export_dataset(view, summary, filled.store, SFT, tmp_path / "sft")
    await export_model(view, summary, filled.store, chosen(view, None), tmp_path / "model")
    for folder in ("sft", "model"):
        for found in (tmp_path / folder / CARD).read_text().split("file://")[1:]:
            assert found.startswith("…/")


async def test_what_is_there_is_not_written_over(
    filled: Filled, view: RunView, summary: Summary, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / CARD).write_text("mine")
    for target in (tmp_path / "file", tmp_path / "folder"):
        with pytest.raises(UsageError, match="is there already"):
            await export_dataset(view, summary, filled.store, SFT, target)
    assert (tmp_path / "folder" / CARD).read_text() == "mine"


async def test_an_export_that_is_there_is_kept_with_its_edited_card(
    filled: Filled, view: RunView, summary: Summary, tmp_path: Path
) -> None:
    target, student = tmp_path / "model", chosen(view, None)
    (tmp_path / "sft").mkdir()
    assert await export_model(view, summary, filled.store, student, target) is False
    first = await export_dataset(view, summary, filled.store, SFT, tmp_path / "sft")
    assert await export_model(view, summary, filled.store, student, target) is False
    assert await export_dataset(view, summary, filled.store, SFT, tmp_path / "sft") == first == (first[0], False)
    edited = (target / CARD).read_text().replace("---\n", "---\nlicense: mit\n", 1)
    (target / CARD).write_text(edited)
    (target / "LICENSE").write_text("terms")
    assert await export_model(view, summary, filled.store, student, target) is True
    assert (target / CARD).read_text() == edited
    (target / CARD).unlink()
    assert await export_model(view, summary, filled.store, student, target) is False
    assert summary.headline.verdict in (target / CARD).read_text()


async def test_an_export_of_something_else_or_a_changed_one_is_refused(
    filled: Filled, view: RunView, summary: Summary, tmp_path: Path
) -> None:
    early = copied(filled, tmp_path / "early", until="i2-generate")
    begun = await collect(WORLD.resource, early.store, RUN)
    await export_dataset(begun, summarise(begun), early.store, PAIRS, tmp_path / "pairs")
    for dataset, of in ((PAIRS, view), (SFT, begun)):
        with pytest.raises(UsageError, match="holds an export of something else, perhaps of an earlier state"):
            await export_dataset(of, summary, filled.store, dataset, tmp_path / "pairs")
    target = tmp_path / "model"
    await export_model(view, summary, filled.store, chosen(view, None), target)
    (target / "config.json").write_text("[]")
    (target / "model.safetensors").unlink()
    with pytest.raises(UsageError, match=r"no longer what was exported: config\.json, model\.safetensors; remove"):
        await export_model(view, summary, filled.store, chosen(view, None), target)
    (target / NOTE).write_text("{")
    with pytest.raises(StoreError, match=r"its note .* cannot be read"):
        await export_model(view, summary, filled.store, chosen(view, None), target)


def test_a_student_that_is_not_there_is_refused_with_those_that_are(
    filled: Filled, view: RunView, tmp_path: Path
) -> None:
    assert chosen(view, "i1-sft") == "@i1-sft"
    with pytest.raises(UsageError, match=r"--stage i1-promote: no finished stage .* i1-sft, i1-dpo, i2-sft"):
        chosen(view, "i1-promote")
    early = copied(filled, tmp_path / "early", until="i1-sft")
    begun = asyncio.run(collect(WORLD.resource, early.store, RUN))
    with pytest.raises(UsageError, match=r"promoted no trained student: .*--stage \(students that are there: i1-sft\)"):
        chosen(begun, None)


async def test_the_end_of_a_run_names_the_student_s_place(filled: Filled, view: RunView, summary: Summary) -> None:
    settings = Settings(folder=filled.folder, cache=filled.folder, capacity=lambda: pytest.fail("nothing is run"))
    console = Console(width=400, record=True, file=StringIO())
    console.print(await outcome_text(WORLD.resource, filled.store, Finished(filled.results, made=()), settings))
    place = f"{filled.store.uri}/{filled.results[promoted(view)[1:]].path}/out/1/model"
    assert f"weights: {place}; `moaa export FILE --model DIR` takes them" in console.export_text()
    assert "moaa export FILE --model DIR" in render(view, summary)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ([], "say what to export"),
        (["--sft", "there"], "is there already"),
        (["--sft", "a", "--pairs", "./a"], "a folder of its own"),
        (["--sft", "a", "--stage", "i1-sft"], "--stage names the student of --model"),
        (["--sft", "a", "--private"], "--private says how to push; name where, with --push-to-hub OWNER/NAME"),
        (["--sft", "a", "--dry-run"], "--dry-run says how to push"),
    ],
)
def test_options_that_cannot_be_meant_are_refused_before_the_store_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], options: list[str], told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").write_text("mine")
    assert main(["export", "absent.yaml", *options]) == EXIT_INPUT
    assert told in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["there"]


async def test_data_that_is_not_written_yet_is_said(filled: Filled, tmp_path: Path) -> None:
    early = copied(filled, tmp_path / "early", until="i1-generate")
    begun = await collect(WORLD.resource, early.store, RUN)
    with pytest.raises(UsageError, match="no preference pairs yet: no stage of kind judge is done"):
        await export_dataset(begun, summarise(begun), early.store, PAIRS, tmp_path / "pairs")
    rows, _ = await export_dataset(begun, summarise(begun), early.store, SFT, tmp_path / "sft")
    assert rows > 0


@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # of the Hub library's own uploads
def test_the_command_pushes_what_it_exports_and_goes_on(
    filled: Filled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    document = yaml.safe_load((Path(__file__).parents[1] / "report_resource.yaml").read_text())
    document["spec"]["storage"] = {"uri": f"file://{filled.folder}"}
    file = tmp_path / "moaa.yaml"
    file.write_text(yaml.safe_dump(document))
    asked = ["export", str(file), "--model", str(tmp_path / "model"), "--pairs", str(tmp_path / "pairs")]
    asked += ["--push-to-hub", "me/student", "--private"]
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", WRITER)
    with running_hub() as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        assert main([*asked[:-3], "--push-to-hub", "student"]) == EXIT_INPUT
        assert "write an owner and a name" in capsys.readouterr().err
        assert main([*asked, "--dry-run"]) == 0
        said = capsys.readouterr().out
        assert "me/student-pairs: dataset, new, private: 3 files to push" in said
        assert said.endswith("nothing was pushed; leave out --dry-run to push this\n")
        assert hub.repositories == {}
        for ended in ("pushed, http://", "holds all of it already"):
            assert main(asked) == 0
            out, err = capsys.readouterr()
            assert f"me/student: {ended}" in out
            assert "load it with AutoModelForCausalLM.from_pretrained('me/student')" in out
            assert WRITER not in out + err
        assert [r.is_private for r in hub.repositories.values()] == [True, True]
        assert all(NOTE not in (r.files() or {}) for r in hub.repositories.values())
        assert hub.repositories["models", "me/student"].messages[1:] == [f"The student of i2-dpo, run {RUN}"]
