"""`moaa init`: a resource to begin with, from options or a few questions, for the GPUs of this machine."""

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from moaa.cli.common import EXIT_OK, say
from moaa.errors import UsageError

BATCH = 128
"""The paper's (App. A). Workers have to divide it."""
_SCHEME = re.compile(r"^[a-z0-9]+://")
_NAME_LENGTH = 20


@dataclass(frozen=True)
class Wishes:
    """What the user wants. Models and data are URIs."""

    name: str
    storage: str
    student: str
    proposers: tuple[str, ...]
    aggregator: str
    prompts: str
    preference: str | None
    test: str | None


def add_options(command: argparse.ArgumentParser) -> None:
    model = "hf://owner/name, owner/name of the Hub, or a folder"
    data = "hf://datasets/owner/name, owner/name of the Hub, or a file"
    command.add_argument("--student", metavar="MODEL", help=f"the model to train: {model}")
    command.add_argument(
        "--proposer", action="append", default=[], metavar="MODEL", help="a model of the mixture; repeatable"
    )
    command.add_argument("--aggregator", metavar="MODEL", help="joins the answers, and judges (default: --proposer)")
    command.add_argument("--prompts", metavar="DATA", help=f"what the mixture answers for SFT: {data}")
    command.add_argument("--preference", metavar="DATA", help="prompts for DPO (default: no DPO)")
    command.add_argument("--test", metavar="DATA", help="questions that decide promotion (default: none)")
    command.add_argument("--storage", metavar="URI", help="s3://bucket/prefix, or a folder (default: ./moaa-store)")
    command.add_argument("--gpus", type=int, metavar="N", help="of the machine that will run it (default: this one's)")


def init(options: argparse.Namespace) -> int:
    """Write the file. On a terminal, ask for what no option says.

    Raises:
        UsageError: the file is there already, its folder is not, or a wish is missing or wrong.
        ResourceError: what came of it is no valid resource.
    """
    from moaa.api.reading.load import load_text
    from moaa.local.serving.machine import capacity

    file: Path = options.file
    if file.exists():
        raise UsageError(f"{file}: is there already; name a new file, or remove it")
    if not file.resolve().parent.is_dir():
        raise UsageError(f"{file}: there is no folder {file.parent}; make it first")
    if options.gpus is not None and options.gpus < 0:
        raise UsageError(f"--gpus {options.gpus}: give 0 or more")
    wishes = _wishes(options, _ask if sys.stdin.isatty() else None)
    gpus = options.gpus if options.gpus is not None else len(capacity(memory_gib=1.0, gpus=None).gpus)
    text = resource_text(wishes, gpus=gpus)
    load_text(text, file=str(file), folder=file.resolve().parent)
    file.write_text(text)
    say(f"{file} is written, for {gpus or 'no'} GPU{'s' if gpus != 1 else ''}; next: moaa plan {file}")
    return EXIT_OK


def _ask(question: str) -> str:
    """Raises UsageError: the input ends before there is an answer."""
    try:
        return input(f"{question}: ").strip()
    except EOFError as error:
        raise UsageError("the questions were left; nothing is written") from error


def _wishes(options: argparse.Namespace, ask: Callable[[str], str] | None) -> Wishes:
    """Options, and where `ask` is given answers in place of those that are missing.

    Raises:
        UsageError: something is missing and nobody can be asked, or is no place of a model or of data.
    """
    missing = [name for name in NEEDED if not getattr(options, name)]
    said: dict[str, str] = {}
    if missing and ask is None:
        raise UsageError(f"{', '.join(f'--{name}' for name in missing)} missing; `moaa init --help` says what they are")
    if missing and ask is not None:
        said = {name: ask(question) for name, question in _QUESTIONS.items() if not getattr(options, name)}
    student, prompts, preference, test = (
        said.get(name) or getattr(options, name) for name in ("student", "prompts", "preference", "test")
    )
    proposers = [model_uri(one) for one in said.get("proposer", "").split() or options.proposer]
    if not (student and proposers and prompts):
        raise UsageError("a student, a proposer and prompts are needed")
    return Wishes(
        name=re.sub(r"[^a-z0-9]+", "-", options.file.stem.lower()).strip("-")[:24].strip("-") or "first",
        storage=_storage(options.storage),
        student=model_uri(student),
        proposers=tuple(proposers),
        aggregator=model_uri(options.aggregator) if options.aggregator else proposers[0],
        prompts=data_uri(prompts),
        preference=data_uri(preference) if preference else None,
        test=data_uri(test) if test else None,
    )


NEEDED = ("student", "proposer", "prompts")
_QUESTIONS = {
    "student": "the model to train (owner/name on the Hub, or a folder)",
    "proposer": "the models that teach it, the best first, with spaces between",
    "prompts": "prompts for the mixture to answer (owner/name of a data set on the Hub, or a file)",
    "preference": "prompts for DPO (empty: no DPO)",
    "test": "questions that decide whether a student is better (empty: none)",
}


def model_uri(text: str) -> str:
    """
    Raises:
        UsageError: it is neither a URI, nor a folder, nor a name on the Hub.

    >>> model_uri("Qwen/Qwen2.5-0.5B-Instruct")
    'hf://Qwen/Qwen2.5-0.5B-Instruct'
    """
    return _uri(text, "hf://")


def data_uri(text: str) -> str:
    """Raises UsageError: as `model_uri`."""
    return _uri(text, "hf://datasets/")


def _uri(text: str, hub: str) -> str:
    if _SCHEME.match(text):
        return text
    from moaa.api.file_uri import file_uri

    path = Path(text).expanduser()
    if text and path.exists():
        return file_uri(path.resolve()) + ("/" if hub.endswith("datasets/") and path.is_dir() else "")
    if re.fullmatch(r"[\w.-]+/[\w.-]+", text):
        return hub + text
    raise UsageError(f"{text or 'an empty name'}: there is no such file or folder, and it is no owner/name of the Hub")


def _storage(text: str | None) -> str:
    from moaa.api.file_uri import file_uri

    return text if text and _SCHEME.match(text) else file_uri(Path(text or "moaa-store").expanduser().resolve())


def resource_text(wishes: Wishes, *, gpus: int) -> str:
    """The resource as YAML with comments, for a machine with so many GPUs."""
    return "\n".join(_lines(wishes, gpus)) + "\n"


def _lines(wishes: Wishes, gpus: int) -> Iterator[str]:
    names = _names([*wishes.proposers, wishes.aggregator, wishes.student])
    workers = max(n for n in range(1, max(gpus, 1) + 1) if BATCH % n == 0)
    precision = "" if gpus else ", precision: FP32"
    yield "# Made by moaa init. `moaa explain` says what every field is, `moaa plan` what this will take."
    yield "apiVersion: moaa.dev/v1alpha1"
    yield "kind: MoAA"
    yield f"metadata: {{name: {wishes.name}}}"
    yield "spec:"
    yield f"  storage: {{uri: {json.dumps(wishes.storage)}}}"
    yield "  models: # give each its licence; exports and reports carry it"
    for uri, name in names.items():
        yield f"  - {{name: {name}, source: {json.dumps(uri)}, serving: {{gpus: {min(gpus, 1)}, maxModelLen: 8192}}}}"
    yield f"  student: {names[wishes.student]}"
    if len(names) > max(gpus, 1):
        yield "  serving: {schedule: InTurn} # fewer GPUs than models: one model at a time"
    yield "  mixture:"
    yield "    layers:"
    yield f"    - proposers: [{', '.join(f'{{model: {names[uri]}}}' for uri in dict.fromkeys(wishes.proposers))}]"
    yield f"    aggregator: {{model: {names[wishes.aggregator]}}}"
    if wishes.preference:
        judges = ", ".join(f"{{model: {names[uri]}}}" for uri in dict.fromkeys(wishes.proposers))
        yield f"  judge: {{judges: [{judges}], aggregator: {{model: {names[wishes.aggregator]}}}}}"
        yield "  anchors: {} # every judge is measured first; one that is no better than a coin stops the run"
    yield "  data:"
    yield "    sft:"
    yield f"    - {{source: {json.dumps(wishes.prompts)}, limit: 1000}} # begin small"
    if wishes.preference:
        yield "    preference:"
        yield f"    - {{source: {json.dumps(wishes.preference)}, limit: 300}}"
    yield "  training:"
    yield f"    resources: {{workers: {workers}, gpusPerWorker: {min(gpus, 1)}}}"
    yield f'    sft: {{epochs: "2", batchSize: {BATCH}{precision}}}'
    if wishes.preference:
        yield f'    dpo: {{epochs: "1", batchSize: {BATCH}{precision}}}'
    if wishes.test:
        yield "  evaluation:"
        yield "    selection: # decides promotion: the student's answers against those before training"
        yield "    - name: held-out"
        yield "      type: Pairwise"
        yield f"      source: {json.dumps(wishes.test)}"
        yield "      limit: 200"
        yield f"      judge: {{method: Single, aggregator: {{model: {names[wishes.aggregator]}}}}}"


def _names(uris: Sequence[str]) -> dict[str, str]:
    """A name for every model, from the end of its URI."""
    names: dict[str, str] = {}
    for uri in uris:
        if uri not in names:
            short, number = _short(uri), 2
            name = short
            while name in names.values():
                name, number = f"{short[: _NAME_LENGTH - 3].rstrip('-')}-{number}", number + 1
            names[uri] = name
    return names


def _short(uri: str) -> str:
    """
    >>> _short("hf://Qwen/Qwen2.5-0.5B-Instruct"), _short("file:///models/Meta-Llama-3.1-70B-Instruct-long/")
    ('qwen2-5-0-5b', 'meta-llama-3-1-70b')
    """
    kept: list[str] = []
    for word in re.findall(r"[a-z0-9]+", uri.rstrip("/").rpartition("/")[2].lower()):
        if word in ("instruct", "chat", "it") or len("-".join([*kept, word])) > _NAME_LENGTH:
            break
        kept.append(word)
    return "-".join(kept) or "model"
