"""YAML text to plain JSON values, with the line of everything and every fault of the text at once.

Stricter than YAML where YAML surprises: a key that stands twice in a mapping is an error, keys are text, only the
types of JSON exist (a date stays the text it is). Bounded: depth and the number of values after aliases are expanded,
so that a file of a few lines cannot grow without end.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from moaa.errors import Problem

Step = str | int
Path = tuple[Step, ...]

MAX_DEPTH = 64
"""The deepest resource with a pod template needs about twenty."""
MAX_VALUES = 100_000
"""Values of one document with its aliases expanded; the largest example has a few hundred."""
MAX_INT_DIGITS = 64

_LOADER: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_SCALARS = yaml.constructor.SafeConstructor()
_TAG = "tag:yaml.org,2002:"


@dataclass
class Document:
    """One YAML document."""

    value: object = None
    lines: dict[Path, int] = field(default_factory=dict)
    """Line, from 1, of every field and list entry."""
    problems: list[Problem] = field(default_factory=list)

    def line(self, path: Path) -> int | None:
        """Line of a field, or of the nearest field around it."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path)


def path_text(path: Path) -> str:
    """`("spec", "models", 0, "name")` as `spec.models[0].name`; the whole document is `.`."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        elif step.replace("_", "").replace("-", "").isalnum() or step.startswith("$"):
            text += f".{step}"
        else:
            text += f'["{step}"]'
    return text.removeprefix(".") or "."


def read_documents(text: str) -> list[Document]:
    """Every document that is not empty. A text that is no YAML gives one document with that one problem."""
    try:
        _check_depth(text)
        nodes = list(yaml.compose_all(text, Loader=_LOADER))
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        if line is not None and "\t" in "".join(text.splitlines()[line - 1 : line]).partition("#")[0]:
            return [_broken("is not valid YAML: a tab stands where YAML takes only spaces; replace it", line)]
        return [_broken(f"is not valid YAML: {error.problem or error.context}; mend the text", line)]
    except yaml.YAMLError as error:
        reason = str(error).splitlines()[0]
        return [_broken(f"is not valid YAML: {reason}; mend the text", None)]
    except _TooDeep as error:
        return [_broken(f"is nested deeper than {MAX_DEPTH} levels; nothing in a resource needs that", error.line)]
    documents = [_Builder().build(node) for node in nodes if node is not None]
    return [document for document in documents if document.value is not None or document.problems]


def _broken(remedy: str, line: int | None) -> Document:
    return Document(problems=[Problem(".", "", remedy, line)])


class _TooDeep(Exception):
    def __init__(self, line: int) -> None:
        self.line = line


class _TooMany(Exception):
    pass


def _check_depth(text: str) -> None:
    """Before composing, which recurses: events come one by one."""
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                raise _TooDeep(event.start_mark.line + 1 if event.start_mark else 1)
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


class _Builder:
    """Builds one document's value; shared nodes are built anew at each alias, within the bound."""

    def __init__(self) -> None:
        self._document = Document()
        self._count = 0

    def build(self, node: yaml.Node) -> Document:
        try:
            self._document.value = self._value(node, ())
        except _TooMany:
            remedy = f"has more than {MAX_VALUES} values once its aliases are expanded; write it without them"
            self._document = _broken(remedy, node.start_mark.line + 1)
        except _TooDeep as error:
            self._document = _broken(
                f"is nested deeper than {MAX_DEPTH} levels, perhaps an alias inside what it names", error.line
            )
        return self._document

    def _value(self, node: yaml.Node, path: Path) -> object:
        self._count += 1
        if self._count > MAX_VALUES:
            raise _TooMany
        line = node.start_mark.line + 1
        if len(path) > MAX_DEPTH:
            raise _TooDeep(line)
        self._document.lines.setdefault(path, line)
        match node:
            case yaml.MappingNode(tag="tag:yaml.org,2002:map"):
                return self._mapping(node, path)
            case yaml.SequenceNode(tag="tag:yaml.org,2002:seq"):
                return [self._value(item, (*path, i)) for i, item in enumerate(node.value)]
            case yaml.ScalarNode():
                return self._scalar(node, path)
        self._problem(path, "", f"has the YAML tag {node.tag}, which is not allowed; write plain values", line)
        return None

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, object]:
        result: dict[str, object] = {}
        merged: dict[str, object] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if key_node.tag == f"{_TAG}merge":
                for source in _merge_sources(value_node):
                    built = self._value(source, (*path, "<<"))
                    merged |= {k: v for k, v in built.items() if k not in merged} if isinstance(built, dict) else {}
                    if not isinstance(built, dict):
                        self._problem(path, "<<", "merges something that is not a mapping; remove it", line)
                continue
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag != f"{_TAG}str":
                self._problem(path, "", "has a key that is not text; put the key in quotes", line)
                continue
            key = str(key_node.value)
            if key in result:
                first = self._document.lines[(*path, key)]
                self._problem((*path, key), "", f"stands twice, first on line {first}; keep one of them", line)
                continue
            self._document.lines[(*path, key)] = line
            result[key] = self._value(value_node, (*path, key))
        return {**merged, **result}

    def _scalar(self, node: yaml.ScalarNode, path: Path) -> object:
        line = node.start_mark.line + 1
        kind = str(node.tag).removeprefix(_TAG)
        text = str(node.value)
        try:
            text.encode()
            match kind:
                case "null":
                    return None
                case "bool":
                    return bool(_SCALARS.construct_yaml_bool(node))
                case "int" if len(text) <= MAX_INT_DIGITS:
                    return int(_SCALARS.construct_yaml_int(node))
                case "float":
                    return float(_SCALARS.construct_yaml_float(node))
                case "str" | "timestamp" | "value" | "int":
                    return text
        except UnicodeEncodeError:
            self._problem(
                path, "", "holds half of a Unicode pair; write the character itself", node.start_mark.line + 1
            )
            return None
        except ValueError:
            return text
        self._problem(path, "", f"has the YAML tag {node.tag}, which is not allowed; write plain values", line)
        return None

    def _problem(self, path: Path, found: str, remedy: str, line: int) -> None:
        self._document.problems.append(Problem(path_text(path), found, remedy, line))


def _merge_sources(node: yaml.Node) -> Iterator[yaml.Node]:
    """What `<<` names: one mapping, or several of which earlier ones win."""
    if isinstance(node, yaml.SequenceNode):
        yield from node.value
    else:
        yield node
