"""Rules about storage, data, training and the number of iterations."""

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

from moaa.api.file_uri import has_control_character
from moaa.api.reading.node import Node
from moaa.api.reading.rules_asking import benchmark_nodes
from moaa.api.reading.rules_endpoints import has_credential
from moaa.api.training import Optimization, Precision
from moaa.errors import Problem

DATA_PATH = r"(?i)(/|/[^./]+|\.(parquet|arrow|(jsonl|json|csv|tsv)(\.(gz|bz2|zst))?))$"
"""How the URI of a file that is read ends, or that of a folder: with a slash, or a last part without a dot."""
DATA_PATH_SAYS = (
    "must end with .jsonl, .json, .csv or .tsv (also with .gz, .bz2 or .zst), .parquet or .arrow, "
    "or with / for a folder"
)
DEFAULT_BATCH = int(Optimization.model_fields["batch_size"].default)
HUB_DATA = r"^hf:///*datasets/+[^/]+/+[^/]"
"""The CRD's rules use it too: Python and RE2 read it alike."""


def source_nodes(spec: Node) -> Iterator[Node]:
    yield from spec.at("data", "sft")
    yield from spec.at("data", "preference")
    yield from benchmark_nodes(spec)


def no_control_characters(spec: Node) -> Iterator[Problem]:
    """Bare ones the classes refuse; these are encoded, or come from the name of the folder a file lies in."""
    uris = [spec.at("storage", "uri"), *(m.at("source") for m in spec.at("models"))]
    for uri in [*uris, *(holder.at("source") for holder in source_nodes(spec))]:
        if has_control_character(uri.text or ""):
            yield uri.problem("holds a line break or another control character; remove it, or rename the folder")


def storage(spec: Node) -> Iterator[Problem]:
    place = spec.at("storage")
    if (place.at("uri").text or "").startswith("file://"):
        for field in ("endpoint", "region", "secret"):
            if place.at(field).given:
                yield place.at(field).problem("is for s3:// storage; remove it, or store in s3://")


def no_credentials_in_addresses(spec: Node) -> Iterator[Problem]:
    addresses = [spec.at("storage", "endpoint"), *(m.at("endpoint", "url") for m in spec.at("models"))]
    for address in addresses:
        text = address.text or ""
        if has_credential(text):
            yield Problem(
                address.name, "(hidden)", "holds a credential; put it in a Secret and remove it from the address"
            )
        try:
            urlsplit(text)
        except ValueError:
            yield Problem(address.name, "", "is not an address; write http://host:port/path")


def sources(spec: Node) -> Iterator[Problem]:
    for holder in source_nodes(spec):
        source = holder.at("source")
        uri = source.text or ""
        if uri.startswith("hf://"):
            if not re.search(HUB_DATA, uri):
                yield source.problem("must be hf://datasets/owner/name; hf://owner/name would be a model")
            continue
        if uri.startswith("file://") and not uri.startswith("file:///"):
            yield source.problem("must be an absolute path, file:///…, or start with file://./ in a file")
        if uri and not re.search(DATA_PATH, uri):
            yield source.problem(DATA_PATH_SAYS)
        for field in ("revision", "tokenSecret"):
            if uri and holder.at(field).given:
                yield holder.at(field).problem("is for hf:// data sets only; remove it")


def columns(spec: Node) -> Iterator[Problem]:
    for holder in source_nodes(spec):
        named = holder.at("columns")
        if named.at("messages").given and named.at("prompt").given:
            yield named.at("prompt").problem(
                "stands beside messages, which holds the whole conversation; name one of them"
            )


def sources_differ(spec: Node) -> Iterator[Problem]:
    """The second of two equal sources would lose every row as a duplicate."""
    for group in ("sft", "preference"):
        seen: dict[tuple[str, ...], str] = {}
        for holder in spec.at("data", group):
            fields = (holder.at("source"), holder.at("split"), holder.at("revision"))
            source, split, revision = (node.text or "" for node in fields)
            named = sorted(repr((node.path[-1], node.value)) for node in holder.at("columns").items() if node.value)
            same = (source, split or "train", revision, *named)
            if source and same in seen:
                yield holder.at("source").problem(
                    f"is {seen[same]} again, and rows are taken once; remove it, and give the other the limit of both"
                )
            seen.setdefault(same, holder.name)


def training_shape(spec: Node) -> Iterator[Problem]:
    training = spec.at("training")
    if isinstance(training.value, dict) and not training.at("sft").given and not training.at("dpo").given:
        yield training.problem("give sft, dpo or both; without either nothing is trained")
    workers = training.at("resources", "workers").number(1)
    on_cpu = training.at("resources", "gpusPerWorker").number(1) == 0
    for name in ("sft", "dpo"):
        part = training.at(name)
        if not isinstance(part.value, dict):
            continue
        rows, micro = part.at("batchSize").number(DEFAULT_BATCH), part.at("microBatchSize").number(1)
        unit = (workers or 0) * (micro or 0)
        if rows is not None and unit > 0 and rows % unit:
            yield training.problem(
                f"{name}.batchSize {rows} is not divisible by workers × microBatchSize ({unit}); write "
                f"{max(rows // unit, 1) * unit}, or change one of the two"
            )
        if on_cpu and part.at("precision").word(Precision.BF16) == Precision.BF16:
            yield training.problem(f"{name}.precision BF16 needs GPUs; write FP32 to train on the CPU")


def training_has_data(spec: Node) -> Iterator[Problem]:
    for part, group, what in (("sft", "sft", "prompts to answer"), ("dpo", "preference", "prompts to sample")):
        wanted = spec.at("training", part).given
        rows = spec.at("data", group)
        if wanted and not list(rows):
            yield rows.problem(f"is empty, and training.{part} needs {what}; add a source or remove training.{part}")
        if not wanted and list(rows) and spec.at("training").given:
            yield Problem(rows.name, "", f"is read by nobody without training.{part}; add training.{part} or remove it")


def rows_for_every_iteration(spec: Node) -> Iterator[Problem]:
    iterations = spec.at("iterations").integer(1)
    if iterations <= 1 or spec.at("data", "allowReuse").value is True:
        return
    for group in ("sft", "preference"):
        for source in spec.at("data", group):
            if not source.at("limit").given:
                yield source.at("limit").problem(
                    f"is required with {iterations} iterations: without it the first takes all rows; give the rows of "
                    "one iteration, or set data.allowReuse: true"
                )


def gain_in_range(spec: Node) -> Iterator[Problem]:
    gain = spec.at("evaluation", "gate", "minGain")
    try:
        value = float(str(gain.value)) if gain.given else 0.0
    except ValueError:
        return
    if not -1 <= value <= 1:
        yield gain.problem("must lie between -1 and 1: scores are fractions, so 2 points of 100 are 0.02")


RULES = (
    no_control_characters,
    storage,
    no_credentials_in_addresses,
    sources,
    columns,
    sources_differ,
    training_shape,
    training_has_data,
    rows_for_every_iteration,
    gain_in_range,
)
