"""What `moaa` answers to options, wrong ones first, and what it tells of the resource's fields."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import yaml
from jsonschema import Draft202012Validator

from moaa import __version__
from moaa.api.crd.definition import crd
from moaa.api.crd.meanings import enums, meanings
from moaa.api.crd.reference import Field, fields, in_words, json_schema, markdown
from moaa.api.crd.units import PLAIN, UNITS
from moaa.api.file_uri import file_path
from moaa.api.models import Parameter
from moaa.api.reading.load import load
from moaa.cli.main import COMMANDS, SHELLS, main
from moaa.errors import ResourceError, UsageError

ROOT = Path(__file__).parent.parent.parent
EXAMPLES = [path for path in sorted(ROOT.glob("examples/*.yaml")) if "kind: MoAA\n" in path.read_text()]
EXAMPLES += [ROOT / "examples" / name / "moaa.yaml" for name in ("tiny", "real", "rules")]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["plann", "x.yaml"], "moaa: there is no command 'plann'; did you mean plan? (`moaa --help` tells more)"),
        (["xyzzy"], "moaa: there is no command 'xyzzy' (`moaa --help` tells more)"),
        ([], "moaa: COMMAND is missing (`moaa --help` tells more)"),
        (["run"], "moaa run: FILE is missing (`moaa run --help` tells more)"),
        (["run", "x", "--unil=3"],
         "moaa run: cannot use '--unil=3'; did you mean --until? (`moaa run --help` tells more)"),
        (["plan", "x", "y"], "moaa plan: cannot use 'y' (`moaa plan --help` tells more)"),
        (["explain", "training.dpo.pears"],
         "moaa: training.dpo.pears: there is no such field; did you mean spec.training.dpo.pairs?"),
    ],
)  # fmt: skip
def test_a_wrong_word_is_told_in_one_line(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code: object = main(words)
    except SystemExit as left:
        code = left.code
    assert code == 2
    out, err = capsys.readouterr()
    assert (out, err) == ("", f"{said}\n")


WITH_FILE = (
    "validate", "plan", "run", "experiment", "search", "render", "report", "export", "view", "submit",
)  # fmt: skip
KINDS = {"experiment": "Experiment", "search": "Search"}
FILES: dict[str, tuple[bytes | None, str]] = {
    "missing": (None, "cannot be read: No such file or directory; name a file that exists"),
    "folder": (None, "cannot be read: Is a directory; name a file in it"),
    "loop": (None, "cannot be read: Too many levels of symbolic links; name another file"),
    "closed": (b"spec: {}", "cannot be read: Permission denied; let the user that runs moaa read it"),
    "binary": (b"\n\xff\xfe\x00", "is not UTF-8 (line 2); save it as UTF-8"),
    "huge": (b"#" * (1024 * 1024 + 1), "is 1048577 bytes; such a file has at most 1048576"),
    "empty": (b"", "holds nothing; write a"),
    "comment": (b"# nothing\n", "holds nothing; write a"),
    "text": (b"just text\n", "is not a mapping of fields; "),
    "several": (b"kind: KIND\n---\nkind: KIND\n", "holds 2 "),
    "another kind": (b"kind: Secret\n", 'kind: "Secret" '),
    "broken": (b"a: [1\n", "is not valid YAML: "),
}
IN_VIEW = {
    "missing": "there is nothing by that name; give a MoAA resource, or a store",
    "folder": "holds neither runs nor stages; give the folder that spec.storage.uri names",
    "loop": "there is nothing by that name; give a MoAA resource, or a store",
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("command", WITH_FILE)
def test_a_wrong_file_is_told_before_anything_else(
    command: str, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a sentence that is true of it, whether there is a cluster, a store or a GPU or not."""
    body, said = FILES[name]
    file = tmp_path / f"{name}.yaml"
    if body is not None:
        file.write_bytes(body.replace(b"KIND", KINDS.get(command, "MoAA").encode()))
    if name == "folder":
        file.mkdir()
    if name == "loop":
        file.symlink_to(file)
    if name == "closed":  # whoever runs the tests may read everything
        monkeypatch.setattr(Path, "read_bytes", denied)
    if command == "view":
        said = IN_VIEW.get(name, said)
    if command == "render":  # another process, which reads it in the same way
        monkeypatch.setattr("subprocess.run", lambda words, **_: CompletedProcess(words, int(bool(load(words[-1])))))
    monkeypatch.setattr("os.execv", lambda *_: pytest.fail("it asked the cluster first"))
    more = {"export": ["--model", str(tmp_path / "out")]}.get(command, [])
    assert main([command, str(file), *more]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert f"{file}: " in err.splitlines()[0]
    assert said in err
    assert "Traceback" not in err


def denied(*_: object) -> bytes:
    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


@pytest.mark.parametrize("command", WITH_FILE)
def test_an_empty_name_is_no_file(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a variable that is not set; it was taken for this folder."""
    with pytest.raises(SystemExit) as left:
        main([command, ""])
    assert left.value.code == 2
    assert "an empty name; is a variable of the shell not set?" in capsys.readouterr().err


def test_a_name_that_is_too_long_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("plan", "view"):
        assert main([command, "x" * 300]) == 2
        assert "cannot be read: File name too long; " in capsys.readouterr().err


@pytest.mark.parametrize("shell", SHELLS)
def test_completion_knows_every_command_and_its_options(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert [name for name in COMMANDS if name not in script] == []
    for option in ("push-to-hub", "all-namespaces", "until"):
        assert option in script


def test_the_version_in_both_ways(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["version"]) == 0
    with pytest.raises(SystemExit) as left:
        main(["--version"])
    assert left.value.code == 0
    assert capsys.readouterr().out == f"{__version__}\n" * 2


def test_a_reader_that_stops_early_gets_no_complaint() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "moaa.cli", "schema"]
    ended = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, check=False)
    os.close(writing)
    assert (ended.returncode, ended.stderr) == (141, b"")


def test_a_tab_is_named(tmp_path: Path) -> None:
    file = tmp_path / "moaa.yaml"
    file.write_text("spec:\n\tstudent: x\n")
    with pytest.raises(ResourceError, match=r"line 2: .* a tab stands where YAML takes only spaces; replace it"):
        load(file)


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_json_schema_takes_every_example(file: Path) -> None:
    document = yaml.safe_load(file.read_text())
    assert list(Draft202012Validator(json_schema()).iter_errors(document)) == []
    document["spec"]["studnet"] = "x"
    document["spec"]["iterations"] = "3"
    found = Draft202012Validator(json_schema()).iter_errors(document)
    assert {error.json_path for error in found} == {"$.spec", "$.spec.iterations"}


def test_the_json_schema_is_one() -> None:
    Draft202012Validator.check_schema(json_schema())
    assert '"title": "Batchsize"' not in json.dumps(json_schema())


def test_every_field_is_explained() -> None:
    every = fields()
    assert [field.path for field in every if not field.text and ".template." not in field.path] == ["spec"]
    top = crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    assert {field.path.split(".")[1].removesuffix("[]") for field in every[1:]} == set(top)
    assert fields("spec.iterations") == fields("iterations") == [
        Field("spec.iterations", "integer, 1 to 1,000 iterations", "1",
              "Rounds of data, training and promotion. The paper has one; more are our extension."),
    ]  # fmt: skip


def test_every_number_has_a_unit_or_is_said_to_have_none() -> None:
    numbers = {field.name for field in fields() if field.type.startswith(("integer", "number"))}
    assert numbers - PLAIN == set(UNITS)
    assert numbers - set(UNITS) == PLAIN


def test_of_every_field_it_is_told_what_an_edit_repeats() -> None:
    """What it is, a test with the planner holds (`tests/integration/test_reference.py`). Otherwise: `make crd`."""
    assert [field.path for field in fields()[1:] if not field.repeats] == ["spec.training.sft.adapter.type"]
    [beta] = fields("training.dpo.beta")
    assert "\n    An edit repeats: from dpo on" in in_words([beta], columns=80)
    assert markdown([beta]).endswith(" | from dpo on |")


def test_an_entry_of_a_list_is_found_with_its_number_or_without() -> None:
    assert fields("models[0].license") == fields("models.license") == fields("spec.models[].LICENSE")
    with pytest.raises(UsageError, match=r"did you mean spec\.models\[\]\.license\?"):
        fields("models.licence")


def test_the_reference_in_docs_is_of_these_classes() -> None:
    """Otherwise: `make crd`."""
    text = (ROOT / "docs" / "reference.md").read_text()
    assert text.partition("\n## ")[2] == f"{markdown(fields())}\n".partition("## ")[2]


# init

MODELS = ["--student", "Qwen/Qwen2.5-0.5B-Instruct", "--proposer", "Qwen/Qwen2.5-1.5B-Instruct", "--proposer", "a/B-it"]


def test_every_member_of_every_closed_set_is_explained() -> None:
    """By its own words, or by the field's; sampling parameters are named like the fields that they are."""
    silent = [
        f"{enum.__name__}.{member}"
        for enum in enums()
        if enum is not Parameter
        for member in enum
        if member not in meanings()[tuple(enum)]
    ]
    assert silent == []
    assert len({tuple(enum) for enum in enums()}) == len(enums()) > 15, "two sets of equal values would share a text"
    [rejected] = fields("training.dpo.pairs.rejected")
    assert [value for value, _ in rejected.members] == ["Worst", "Random"]
    [cut] = fields("training.dpo.whenCut")
    assert [value for value, _ in cut.members] == ["Use"], "of Fail the field's own text tells"
    assert "\n      Worst: The one with the fewest points" in in_words([rejected], columns=80)
    assert "<br>`Worst`: The one with" in markdown([rejected])


@pytest.mark.parametrize(
    ("gpus", "workers", "schedule"), [(0, 1, "InTurn"), (1, 1, "InTurn"), (4, 4, "Together"), (6, 4, "Together")]
)
def test_init_writes_a_resource_that_loads_for_this_many_gpus(
    tmp_path: Path, gpus: int, workers: int, schedule: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = tmp_path / "rows #1.jsonl"
    rows.write_text('{"prompt": "why?"}\n')
    file = tmp_path / "My first.yaml"
    more = ["--prompts", str(rows), "--preference", "owner/pairs", "--test", str(rows), "--gpus", str(gpus)]
    assert main(["init", str(file), *MODELS, *more]) == 0
    assert f"next: moaa plan {file}" in capsys.readouterr().out
    made = load(file)
    spec = made.spec
    assert (made.metadata.name, spec.student, spec.serving.schedule) == ("my-first", "qwen2-5-0-5b", schedule)
    assert spec.training.resources.workers == workers
    assert spec.training.resources.gpus_per_worker == min(gpus, 1)
    assert {model.source for model in spec.models} >= {"hf://Qwen/Qwen2.5-0.5B-Instruct", "hf://a/B-it"}
    assert file_path(spec.data.sft[0].source) == rows
    assert spec.data.preference[0].source == "hf://datasets/owner/pairs"
    assert spec.judge is not None
    assert list(Draft202012Validator(json_schema()).iter_errors(yaml.safe_load(file.read_text()))) == []


def test_init_overwrites_nothing_and_names_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: False)
    file = tmp_path / "moaa.yaml"
    assert main(["init", str(file), "--proposer", "a/b"]) == 2
    assert capsys.readouterr().err.startswith("moaa: --student, --prompts missing; ")
    assert main(["init", str(file), *MODELS, "--prompts", "nowhere.jsonl"]) == 2
    assert (
        "nowhere.jsonl: there is no such file or folder, and it is no owner/name of the Hub" in capsys.readouterr().err
    )
    for wrong, said in (
        (["--proposer", ""], "an empty name: there is no such file"),
        (["--gpus", "-1"], "--gpus -1: give 0 or more"),
    ):
        assert main(["init", str(file), *MODELS, "--prompts", "owner/data", *wrong]) == 2
        assert said in capsys.readouterr().err
    assert main(["init", str(tmp_path / "no" / "x.yaml"), *MODELS, "--prompts", "owner/data"]) == 2
    assert "make it first" in capsys.readouterr().err
    assert not file.exists()
    file.write_text("mine")
    assert main(["init", str(file), *MODELS, "--prompts", "owner/data"]) == 2
    assert file.read_text() == "mine"


def test_init_asks_for_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {
        "the model to train": "a/student",
        "the models that teach": "a/one a/two",
        "prompts for the mix": "a/data",
    }
    asked = []

    def answer(question: str) -> str:
        asked.append(question)
        return next((said for start, said in answers.items() if question.startswith(start)), "")

    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("builtins.input", answer)
    assert main(["init", str(tmp_path / "x.yaml"), "--gpus", "2"]) == 0
    spec = load(tmp_path / "x.yaml").spec
    assert len(asked) == 5
    assert (spec.training.dpo, spec.evaluation.selection) == (None, [])
    assert [model.name for model in spec.models] == ["one", "two", "student"]
