"""Which models are kin: judges prefer answers of their own kind, whatever the models are called here. Pure.

A model's family is read from the last part of its address: `Qwen2-72B-Instruct` and `qwen2.5-7b` are of Qwen, a
distilled `DeepSeek-R1-Distill-Qwen-7B` is of both. Of a name that says none, all but size and version counts, so that
`eva-7b` and `eva-70b` are kin.

Sources: Panickssery et al. 2024 (arXiv 2404.13076) on judges that prefer their own answers; Li et al. 2025 (arXiv
2502.01534) on judges that are the teacher's model, its heir, or of its family.
"""

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from moaa.api.base import STUDENT
from moaa.api.reading.node import Node
from moaa.api.reading.rules_asking import benchmark_nodes

FAMILIES: Mapping[str, str] = {
    # what a name holds: the family
    "llama": "llama",
    "vicuna": "llama",
    "tulu": "llama",
    "qwen": "qwen",
    "qwq": "qwen",
    "gemma": "gemma",
    "gemini": "gemini",
    "mistral": "mistral",
    "mixtral": "mistral",
    "ministral": "mistral",
    "zephyr": "mistral",
    "wizardlm-2-8x22b": "mistral",
    "phi": "phi",
    "smollm": "smollm",
    "deepseek": "deepseek",
    "gpt-": "gpt",
    "claude": "claude",
    "command-r": "command",
    "c4ai-command": "command",
    "olmo": "olmo",
    "falcon": "falcon",
    "internlm": "internlm",
    "chatglm": "glm",
    "glm-": "glm",
    "granite": "granite",
    "dbrx": "dbrx",
    "exaone": "exaone",
    "kimi": "kimi",
    "minimax": "minimax",
    "nemotron": "nemotron",
    "yi-": "yi",
}
MODEL_TYPES = frozenset({"llama"})
"""Values of `model_type` that say nothing: models of many makers have that architecture."""
_TUNED = re.compile(r"^(\d.*|v\d.*|\d*x?\d+(\.\d+)?[bm]|instruct|chat|it|base|sft|dpo|fp8|awq|gptq|hf)$")


class Kin(NamedTuple):
    """A judge, and the model that it is kin of."""

    field: str
    """Where the judge stands."""
    judge: str
    other: str
    part: str
    """Of the other: `the student`, `proposer 'a'`…"""
    how: str
    """`has the weights of`, or `is of the family of`."""

    @property
    def sentence(self) -> str:
        return f"judge {self.judge!r} {self.how} {self.part}; models favour answers of their own kind"


def families(address: str, model_type: str | None = None) -> frozenset[str]:
    """Families of the model at `address`: a Hub repository, a folder, or an endpoint's name for it.

    >>> sorted(families("hf://deepseek-ai/DeepSeek-R1-Distill-Qwen-7B"))
    ['deepseek', 'qwen']
    """
    name = address.rstrip("/").rpartition("/")[2].lower()
    words = f"-{name}"
    known = {family for held, family in FAMILIES.items() if re.search(rf"(?<![a-z]){re.escape(held)}", words)}
    if known:
        return frozenset(known)
    if model_type is not None and model_type not in MODEL_TYPES:
        by_type = {family for held, family in FAMILIES.items() if model_type.startswith(held.rstrip("-"))}
        return frozenset(by_type or {model_type})
    stem = "-".join(part for part in re.split(r"[-_]", name) if part and not _TUNED.match(part))
    return frozenset({stem} if stem else {name})


def kin(spec: Node, model_types: Mapping[str, str] | None = None) -> Iterator[Kin]:
    """Evaluation judges that are kin of the student or of those who teach it, each with the nearest; and training
    judges that have the student's weights under another name.

    `model_types` has, by declared model, what its configuration says it is, where that was read.
    """
    known = {model.at("name").text or "": _Known.of(model, model_types or {}) for model in spec.at("models")}
    student = spec.at("student").text or ""
    parts = _parts(spec, student)
    seen: set[str] = set()
    for benchmark in benchmark_nodes(spec):
        for holder in (*_judges(benchmark.at("judge")), benchmark.at("judgeModel", "model")):
            name = holder.text or ""
            if name in known and name not in seen:
                seen.add(name)
                yield from _nearest(holder, name, known, parts)
    for holder in _judges(spec.at("judge")):
        name = holder.text or ""
        if name in known and name not in seen:
            seen.add(name)
            yield from _nearest(holder, name, known, parts[:1], is_weights_only=True)


class _Known(NamedTuple):
    address: str
    families: frozenset[str]

    @classmethod
    def of(cls, model: Node, types: Mapping[str, str]) -> "_Known":
        address = model.at("source").text or model.at("endpoint", "model").text or ""
        return cls(address, families(address, types.get(model.at("name").text or "")))


def _judges(judge: Node) -> list[Node]:
    return [holder.at("model") for holder in (*judge.at("judges"), judge.at("aggregator")) if holder.given]


def _parts(spec: Node, student: str) -> list[tuple[str, str]]:
    """Models whose answers a judge may favour, the nearest first, with what they do."""
    mixture = spec.at("mixture")
    proposers = [p.at("model").text for layer in mixture.at("layers") for p in layer.at("proposers")]
    found = [(student, "the student")]
    found += [(name, f"proposer {name!r}") for name in proposers if name and name != STUDENT]
    aggregator = mixture.at("aggregator", "model").text
    found += [(aggregator, f"aggregator {aggregator!r}")] if aggregator and aggregator != STUDENT else []
    return list(dict.fromkeys(found))


def _nearest(
    holder: Node,
    name: str,
    known: Mapping[str, _Known],
    parts: list[tuple[str, str]],
    *,
    is_weights_only: bool = False,
) -> Iterator[Kin]:
    """At most one: the same model or weights before the same family."""
    mine = known[name]
    others = [(other, part) for other, part in parts if other in known]
    if (name, "the student") in others:
        return  # said elsewhere: it judges itself
    for other, part in others:
        if other != name and known[other].address == mine.address:
            yield Kin(holder.name, name, other, part, "has the weights of")
            return
        if other == name:
            yield Kin(holder.name, name, other, part, "is also")
            return
    for other, part in others:
        if not is_weights_only and other != name and known[other].families & mine.families:
            yield Kin(holder.name, name, other, part, f"is of the family ({_shared(mine, known[other])}) of")
            return


def _shared(one: _Known, other: _Known) -> str:
    return sorted(one.families & other.families)[0]
