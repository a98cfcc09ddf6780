"""resolve: models and sources are pinned, and what is missing is named."""

import os
from pathlib import Path

import pytest

from moaa.api import MoAA
from moaa.errors import DataError
from moaa.store.stages.shards import read_table
from moaa_jobs.stages import resolve
from tests.unit.data_bench import Bench


def test_a_job_reads_the_resource_with_all_its_defaults(tmp_path: Path) -> None:
    resource = Bench(tmp_path).resource
    assert MoAA.model_validate(resource.model_dump(mode="json", by_alias=True)) == resource


async def test_resolve_pins_models_and_files(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    manifest = await bench.run(resolve, "i0-resolve")
    assert set(manifest.outputs) == {"sft-0", "preference-0", "eval-e", "models"}
    assert set(manifest.models) == {"llama", "volume", "judge"}
    size = sum(file.stat().st_size for file in (tmp_path / "weights").iterdir())
    assert manifest.metrics == {"models.unpinned": 2, "bytes.llama": size}
    assert manifest.result().weights_gib == [], "hardly any"
    assert manifest.licenses == {"llama": "llama3"}
    models = {row["name"]: row for row in await read_table(bench.store, manifest, "models")}
    assert [models[n]["is_pinned"] for n in ("llama", "volume", "judge")] == [True, False, False]
    [pinned] = await read_table(bench.store, manifest, "sft-0")
    assert (pinned["name"], pinned["revision"]) == ("s.jsonl", None)
    assert pinned["digest"].startswith("sha256:")


async def test_a_models_digest_is_that_of_its_folder(tmp_path: Path) -> None:
    one = (await Bench(tmp_path).run(resolve, "i0-resolve")).models["llama"]
    from moaa.store.stages.folders import file_digest, folder_digest

    assert one == folder_digest({file.name: file_digest(file) for file in (tmp_path / "weights").iterdir()})


async def test_files_elsewhere_with_the_same_content_pin_the_same(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one = await Bench(tmp_path / "a").run(resolve, "i0-resolve")
    other = await Bench(tmp_path / "b").run(resolve, "i0-resolve")
    assert {n: o.digest for n, o in one.outputs.items() if n != "models"} == {
        n: o.digest for n, o in other.outputs.items() if n != "models"
    }


async def test_a_models_file_whose_name_cannot_be_written_down_is_named(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    (tmp_path / "weights" / os.fsdecode(b"a\xff.json")).write_text("{}")
    with pytest.raises(DataError, match=r"weights: the name of file a\\udcff\.json is not UTF-8; rename"):
        await bench.run(resolve, "i0-resolve")


async def test_all_models_that_cannot_be_had_are_named_at_once(tmp_path: Path) -> None:
    lost = [{"name": name, "source": f"file://{tmp_path}/{name}"} for name in ("one", "two")]
    models = [{"name": "llama", "source": f"file://{tmp_path}/weights"}, *lost]
    taught = {"layers": [{"proposers": [{"model": "one"}]}], "aggregator": {"model": "two"}}
    judge = {"method": "Single", "aggregator": {"model": "two"}}
    bench = Bench(tmp_path, models=models, mixture=taught, judge=judge)
    with pytest.raises(DataError, match=r"/one: there is no such file .*\n.*/two: there is no such file"):
        await bench.run(resolve, "i0-resolve")


async def test_a_missing_source_is_named(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    (tmp_path / "data" / "p.jsonl").unlink()
    with pytest.raises(DataError, match=r"file:///.*/p\.jsonl: there is no such file"):
        await bench.run(resolve, "i0-resolve")


async def test_a_token_that_was_not_given_is_named(tmp_path: Path) -> None:
    source = {"source": "hf://datasets/o/n", "tokenSecret": {"name": "hub", "key": "token"}, "limit": 1}
    bench = Bench(tmp_path, data={"sft": [source], "preference": [source]})
    with pytest.raises(DataError, match=r"spec\.data\.sft\[0\]\.tokenSecret: MOAA_SECRET_HUB_TOKEN is not set"):
        await bench.run(resolve, "i0-resolve")
