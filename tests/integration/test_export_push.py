"""Pushes to a hub on loopback: what is said before, what one commit changes, refusals, and going on after a break."""

from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest
from huggingface_hub import HfApi, constants
from huggingface_hub.utils.tqdm import disable_progress_bars, enable_progress_bars
from rich.console import Console

from moaa.errors import StoreError, UsageError
from moaa.export.hub import repo_name, signed_in
from moaa.export.push import Change, Push, RepoKind, look, push
from moaa.export.show import planned_table
from tests.fakes.hub import running_hub
from tests.fakes.hub_state import READER, SIGNATURE, STRANGER, WRITER, Blob, FakeHub

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
"""Of the Hub library's own uploads."""
CARD = "---\ntags: [moaa]\n---\n\n# A student\n"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    disable_progress_bars()
    with running_hub() as hub:
        yield hub
    enable_progress_bars()


@pytest.fixture
def api(hub: FakeHub) -> HfApi:
    return HfApi(endpoint=hub.url, token=WRITER)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "student"
    made.mkdir()
    for name, body in {
        "README.md": CARD,
        "config.json": "{}",
        "model-1.safetensors": "first",
        "model-2.safetensors": "second",
        ".moaa-export.json": "ours",
    }.items():
        (made / name).write_text(body)
    return made


def changes(planned: Push) -> dict[str, Change]:
    return {file.name: file.change for file in planned.files}


def told(planned: Push, width: int = 100) -> str:
    console = Console(width=width, record=True, file=StringIO())
    console.print(planned_table(planned, is_edited=False))
    return console.export_text()


def test_a_first_push_makes_one_commit_and_a_second_none(hub: FakeHub, api: HfApi, folder: Path) -> None:
    planned = look(api, folder, "me/student", RepoKind.MODEL, is_private=True)
    assert hub.repositories == {}
    assert set(changes(planned).values()) == {Change.NEW}
    assert "me/student: model, new, private: 4 files to push" in told(planned)
    assert "its card names no licence" in told(planned)
    commit = push(api, planned, "A student")
    there = hub.repositories["models", "me/student"]
    assert there.is_private
    assert there.messages == ["initial commit", "A student"]
    files = there.files()
    assert files is not None
    assert {name: blob.content.decode() for name, blob in files.items() if name != ".gitattributes"} == {
        name: (folder / name).read_text() for name in changes(planned)
    }
    assert commit == f"{hub.url}/me/student/commit/{there.branches['main']}"
    again = look(api, folder, "me/student", RepoKind.MODEL)
    assert again.is_private
    assert changes(again) == dict.fromkeys(changes(planned), Change.SAME) | {".gitattributes": Change.LEFT}
    assert push(api, again, "again") is None
    assert len(there.messages) == 2


def test_files_that_a_loader_would_mix_in_are_removed_and_others_left(hub: FakeHub, api: HfApi, folder: Path) -> None:
    push(api, look(api, folder, "me/student", RepoKind.MODEL), "first")
    there = hub.repositories["models", "me/student"]
    kept = {"LICENSE.txt": Blob(b"terms", False), "logo.png": Blob(b"\0", True)}
    old = {"model.safetensors": Blob(b"old", True), "chat_template.jinja": Blob(b"old", False)}
    there.commit("main", {**(there.files() or {}), **kept, **old}, "by hand")
    (folder / "model-2.safetensors").write_text("changed")
    planned = look(api, folder, "me/student", RepoKind.MODEL)
    assert [f.name for f in planned.of(Change.CHANGED)] == ["model-2.safetensors"]
    assert {f.name for f in planned.of(Change.REMOVED)} == set(old)
    assert "3 files of before stay in the repository's history only" in told(planned)
    push(api, planned, "second")
    files = there.files() or {}
    assert set(files) == {
        ".gitattributes",
        "README.md",
        "config.json",
        "model-1.safetensors",
        "model-2.safetensors",
        *kept,
    }
    assert sorted(hub.puts) == [len("first"), len("second"), len("changed")]


def test_rows_of_an_older_export_do_not_stay_in_a_dataset(hub: FakeHub, api: HfApi, tmp_path: Path) -> None:
    data = tmp_path / "pairs" / "data"
    data.mkdir(parents=True)
    (tmp_path / "pairs" / "README.md").write_text(CARD)
    for number in (1, 2):
        (data / f"train-i{number}.parquet").write_bytes(b"rows %d" % number)
    push(api, look(api, tmp_path / "pairs", "me/student-pairs", RepoKind.DATASET), "two")
    (data / "train-i2.parquet").unlink()
    push(api, look(api, tmp_path / "pairs", "me/student-pairs", RepoKind.DATASET), "one")
    files = hub.repositories["datasets", "me/student-pairs"].files() or {}
    assert set(files) == {".gitattributes", "README.md", "data/train-i1.parquet"}


def test_a_branch_of_its_own_leaves_the_default_one_alone(hub: FakeHub, api: HfApi, folder: Path) -> None:
    for exists in (False, True):
        planned = look(api, folder, "me/student", RepoKind.MODEL, branch="second-run")
        assert (planned.exists, planned.has_branch) == (exists, exists)
        push(api, planned, "A student")
    there = hub.repositories["models", "me/student"]
    assert set(there.files() or {}) == {".gitattributes"}
    assert "config.json" in (there.files("second-run") or {})
    assert len(there.messages) == 2


def test_an_interrupted_push_goes_on_where_it_was(hub: FakeHub, api: HfApi, folder: Path) -> None:
    hub.refuse_puts_after = 1
    planned = look(api, folder, "me/student", RepoKind.MODEL)
    with pytest.raises(StoreError, match="run the same command again to go on") as broken:
        push(api, planned, "A student")
    assert SIGNATURE not in str(broken.value)
    assert hub.repositories["models", "me/student"].messages == ["initial commit"]
    hub.refuse_puts_after = None
    assert push(api, look(api, folder, "me/student", RepoKind.MODEL), "A student") is not None
    assert sorted(hub.puts) == sorted([len("first"), len("second")])


@pytest.mark.parametrize(
    ("token", "repo", "match"),
    [
        (WRITER, "you/student", "the token may not write there; name an owner .* under the namespace 'you'"),
        (STRANGER, "me/student", "the token may not write there"),
    ],
)
def test_who_may_not_write_is_told(hub: FakeHub, folder: Path, token: str, repo: str, match: str) -> None:
    api = HfApi(endpoint=hub.url, token=token)
    with pytest.raises(UsageError, match=match) as refused:
        push(api, look(api, folder, repo, RepoKind.MODEL), "A student")
    assert token not in str(refused.value)
    assert hub.repositories == {}


@pytest.mark.parametrize(
    ("token", "match"), [("wrong-token", "does not take the token; set HF_TOKEN"), (READER, "may only read")]
)
def test_a_token_is_tried_before_anything_is_copied(hub: FakeHub, token: str, match: str) -> None:
    with pytest.raises(UsageError, match=match) as refused:
        signed_in(HfApi(endpoint=hub.url, token=token))
    assert token not in str(refused.value)


def test_without_a_token_the_error_names_both_ways_to_give_one(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.hf_api.get_token", lambda: None)
    with pytest.raises(UsageError, match="set HF_TOKEN, or sign in with `hf auth login`"):
        signed_in(HfApi(endpoint=hub.url))


def test_a_hub_that_does_not_answer_breaks_off(folder: Path) -> None:
    with pytest.raises(StoreError, match="run the same command again to go on"):
        signed_in(HfApi(endpoint="http://127.0.0.1:9", token=WRITER))


def test_a_public_repository_is_not_taken_for_a_private_one(hub: FakeHub, api: HfApi, folder: Path) -> None:
    push(api, look(api, folder, "me/student", RepoKind.MODEL), "public")
    with pytest.raises(UsageError, match="is there and public; make it private"):
        look(api, folder, "me/student", RepoKind.MODEL, is_private=True)


def test_a_commit_of_somebody_else_in_between_is_not_run_over(hub: FakeHub, api: HfApi, folder: Path) -> None:
    push(api, look(api, folder, "me/student", RepoKind.MODEL), "first")
    (folder / "config.json").write_text('{"a": 1}')
    planned = look(api, folder, "me/student", RepoKind.MODEL)
    there = hub.repositories["models", "me/student"]
    there.commit("main", {**(there.files() or {}), "config.json": Blob(b"theirs", False)}, "theirs")
    with pytest.raises(UsageError, match="somebody has committed there in the meantime"):
        push(api, planned, "second")
    assert there.messages[-1] == "theirs"


def test_a_file_that_the_hub_passes_over_is_missed(hub: FakeHub, api: HfApi, folder: Path) -> None:
    hub.passed_over = "config.json"
    with pytest.raises(StoreError, match=r"does not hold what was sent: config\.json; see whether a \.gitignore"):
        push(api, look(api, folder, "me/student", RepoKind.MODEL), "A student")


@pytest.mark.parametrize(
    ("card", "match"),
    [
        (CARD.replace("tags: [moaa]", "license: nonsense"), 'does not take the card: .*"license" must be one of'),
        (CARD.replace("tags: [moaa]", "tags: [moaa"), "its metadata are no YAML"),
        ("# A student\n", "has no metadata"),
    ],
)
def test_a_card_that_was_edited_badly_is_refused(api: HfApi, folder: Path, card: str, match: str) -> None:
    (folder / "README.md").write_text(card)
    planned = look(api, folder, "me/student", RepoKind.MODEL)

    def show_and_push() -> None:
        told(planned)
        push(api, planned, "A student")

    with pytest.raises(UsageError, match=match):
        show_and_push()


@pytest.mark.parametrize("name", ["student", "me/a/b", "me/-a", "me/" + "a" * 100, "me/a b", ""])
def test_a_name_that_no_hub_takes_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=f"--push-to-hub {name}: ") as refused:
        repo_name(name, "-pairs")
    assert "\n" not in str(refused.value)
