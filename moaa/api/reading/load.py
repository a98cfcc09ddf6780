"""A file to a checked MoAA, or every mistake in it at once.

Text faults, wrong fields and values, and rules that join fields (`moaa.api.reading.check`) are all collected before
anything is raised, each with its line. The same strictness as the CRD: camelCase names, whole numbers without quotes,
no unknown field.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path as FilePath

from pydantic import ValidationError

from moaa.api.file_uri import file_path, file_uri
from moaa.api.reading.check import check_document
from moaa.api.reading.wording import navigate, remedy, shown, value_at
from moaa.api.reading.yaml_text import MAX_DEPTH, Document, Path, path_text, read_documents
from moaa.api.resource import KIND, MoAA
from moaa.errors import Problem, ResourceError

Error = tuple[Path, str, str]
"""Where a field is wrong, pydantic's name of the mistake, and what to write."""

MAX_FILE_BYTES = 1024 * 1024
"""Kubernetes takes no larger object either (etcd's limit is 1.5 MiB)."""

_SERVER_FIELDS = (
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "managedFields",
    "selfLink",
    "ownerReferences",
    "finalizers",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
)
"""What an API server adds to metadata: `kubectl get -o yaml` gives a file that loads."""


def load(path: FilePath | str) -> MoAA:
    """Read and check a resource file. `file://./x` in it is relative to the file's folder.

    Raises:
        ResourceError: the file cannot be read or holds mistakes.
    """
    path = FilePath(path)
    text = read_text(path)
    return load_text(text, file=str(path), folder=path.resolve().parent)


def read_text(path: FilePath) -> str:
    """The text of a file that somebody wrote by hand.

    Raises:
        ResourceError: it cannot be read, is too large, or is no text.
    """
    try:
        size = path.stat().st_size
        body = path.read_bytes() if size <= MAX_FILE_BYTES else b""
    except OSError as error:
        raise _one(str(path), f"cannot be read: {error.strerror}; {_instead(error)}") from error
    if size > MAX_FILE_BYTES:
        raise _one(str(path), f"is {size} bytes; such a file has at most {MAX_FILE_BYTES}")
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = body.count(b"\n", 0, error.start) + 1
        raise _one(str(path), f"is not UTF-8 (line {line}); save it as UTF-8") from error


def _instead(error: OSError) -> str:
    match error:
        case PermissionError():
            return "let the user that runs moaa read it"
        case IsADirectoryError():
            return "name a file in it"
        case FileNotFoundError():
            return "name a file that exists"
        case _:
            return "name another file"


def load_text(text: str, *, file: str = "resource", folder: FilePath | None = None) -> MoAA:
    """The same for a text; `file` names it in errors, `folder` is what `file://./x` starts from.

    Raises:
        ResourceError: the text holds mistakes.
    """
    if len(text) > MAX_FILE_BYTES:
        raise _one(file, f"has {len(text)} characters; a resource has at most {MAX_FILE_BYTES} bytes")
    document = _the_one(read_documents(text), file)
    resource, problems = _checked(document.value, list(document.problems), folder)
    if resource is None or problems:
        raise ResourceError(file, _in_file_order(problems, document))
    return resource


def load_document(document: Mapping[str, object], *, name: str = "resource", folder: FilePath | None = None) -> MoAA:
    """The same for a plain document, as an API server holds it; what the server added is passed over.

    `folder` is what `file://./x` starts from; None: such a path is an error.

    Raises:
        ResourceError: the resource holds mistakes; `name` stands for the file.
    """
    deepest = too_deep(without_server_fields(dict(document)))
    if deepest is not None:
        raise ResourceError(name, [deepest])
    resource, problems = _checked(dict(document), [], folder)
    if resource is None or problems:
        raise ResourceError(name, problems)
    return resource


def too_deep(root: object) -> Problem | None:
    """What is nested deeper than a file may be; without recursion, which has an end of its own."""
    inner: list[tuple[Path, object]] = [((), root)]
    while inner:
        path, value = inner.pop()
        if len(path) > MAX_DEPTH:
            return Problem(path_text(path[:8]), "", f"is nested deeper than {MAX_DEPTH} levels; remove what is inside")
        if isinstance(value, dict):
            inner += [((*path, str(key)), one) for key, one in value.items()]
        elif isinstance(value, list):
            inner += [((*path, index), one) for index, one in enumerate(value)]
    return None


def _checked(value: object, problems: list[Problem], folder: FilePath | None) -> tuple[MoAA | None, list[Problem]]:
    """The resource where its fields are right, and every problem, those that are known already first."""
    root = without_server_fields(value)
    if folder is not None:
        root = _with_absolute_paths(root, folder)
        root = _with_templates(root, folder, problems)
    resource, errors = _parse(root)
    problems += _translate(root, errors)
    problems += _broken(root, problems, errors)
    return resource, problems


def _one(file: str, sentence: str) -> ResourceError:
    return ResourceError(file, [Problem(".", "", sentence)])


def _the_one(documents: list[Document], file: str) -> Document:
    """The file's one MoAA; other objects beside it, a Secret for example, are not ours to read."""
    broken = [d for d in documents if d.problems and d.value is None]
    if broken:
        raise ResourceError(file, broken[0].problems)
    if not documents:
        raise _one(file, f"holds nothing; write a resource of kind {KIND}")
    ours = [d for d in documents if value_at(d.value, ("kind",)) == KIND] if len(documents) > 1 else documents
    if len(ours) != 1:
        raise _one(file, f"holds {len(ours)} resources of kind {KIND} in {len(documents)} documents; keep exactly one")
    if not isinstance(ours[0].value, dict):
        raise _one(file, f"is not a mapping of fields; a resource starts with apiVersion, kind: {KIND}, metadata, spec")
    return ours[0]


def without_server_fields(root: object) -> dict[str, object]:
    """A copy without status and the server's metadata."""
    if not isinstance(root, dict):
        return {}
    kept = {key: value for key, value in root.items() if key != "status"}
    if isinstance(metadata := root.get("metadata"), dict):
        kept["metadata"] = {key: value for key, value in metadata.items() if key not in _SERVER_FIELDS}
    return kept


def _with_absolute_paths(root: dict[str, object], folder: FilePath) -> dict[str, object]:
    def absolute(value: object, key: str) -> object:
        if isinstance(value, dict):
            return {k: absolute(v, k) for k, v in value.items()}
        if isinstance(value, list):
            return [absolute(item, key) for item in value]
        if (
            key in ("source", "uri", "include")
            and isinstance(value, str)
            and value.startswith(("file://./", "file://../"))
        ):
            return file_uri((folder / file_path(value)).resolve())
        return value

    return {**root, "spec": absolute(root.get("spec"), "spec")} if "spec" in root else root


def _with_templates(root: dict[str, object], folder: FilePath, problems: list[Problem]) -> dict[str, object]:
    """The texts of chat templates in place of the file:// URIs that name them; what cannot be read joins `problems`."""
    spec = root.get("spec")
    models = spec.get("models") if isinstance(spec, dict) else None
    if not isinstance(spec, dict) or not isinstance(models, list):
        return root

    def read(model: object, index: int) -> object:
        uri = model.get("chatTemplate") if isinstance(model, dict) else None
        if not isinstance(model, dict) or not isinstance(uri, str) or not uri.startswith("file://"):
            return model
        try:
            return {**model, "chatTemplate": (folder / file_path(uri)).read_text(encoding="utf-8")}
        except (OSError, ValueError) as error:
            remedy = f"cannot be read ({error}); name a file with a Jinja template in UTF-8"
            problems.append(Problem(f"spec.models[{index}].chatTemplate", uri, remedy))
            return {key: value for key, value in model.items() if key != "chatTemplate"}

    return {**root, "spec": {**spec, "models": [read(model, index) for index, model in enumerate(models)]}}


def _parse(root: dict[str, object]) -> tuple[MoAA | None, list[Error]]:
    """The resource, or what is wrong with single fields."""
    try:
        return MoAA.model_validate_json(json.dumps(root), strict=True, by_alias=True, by_name=False), []
    except ValidationError as error:
        found = []
        for details in error.errors(include_url=False):
            path = navigate(root, details)
            found.append((path, details["type"], remedy(details, root, path)))
        return None, found


def _broken(root: dict[str, object], problems: Iterable[Problem], errors: Iterable[Error]) -> list[Problem]:
    """Rules that join fields, but for what may only be a consequence: about a value that is wrong by itself, or about
    a whole mapping when one of its own fields is."""
    known = {problem.path for problem in problems}
    known |= {path_text(path[:-1]) for path, _, _ in errors if path and isinstance(path[-1], str)}
    return [problem for problem in check_document(root) if problem.path not in known]


def _translate(root: dict[str, object], errors: Iterable[Error]) -> list[Problem]:
    """One problem a path: the branches of a union fail together and mean one mistake."""
    problems: dict[Path, Problem] = {}
    for path, kind, sentence in errors:
        earlier = problems.get(path)
        if earlier is None:
            problems[path] = Problem(path_text(path), shown(value_at(root, path), path), sentence)
        elif kind == "literal_error":
            word = sentence.rpartition("write one of: ")[2].rpartition("did you mean ")[2].rstrip("?")
            problems[path] = Problem(earlier.path, earlier.found, f"{earlier.remedy}, or {word}")
    return list(problems.values())


def _in_file_order(problems: list[Problem], document: Document) -> list[Problem]:
    lines = {path_text(path): line for path, line in reversed(document.lines.items())}

    def placed(problem: Problem) -> Problem:
        text = problem.path
        while problem.line is None and text and text not in lines:
            text = text[: max(text.rfind("."), text.rfind("["), 0)]
        line = problem.line or lines.get(text) or document.lines.get(())
        return Problem(problem.path, problem.found, problem.remedy, line)

    return sorted((placed(p) for p in problems), key=lambda p: p.line or 0)
