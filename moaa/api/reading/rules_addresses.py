"""Rules about addresses: of endpoints, of the storage, and of what is read (`moaa.api.addresses` has the patterns)."""

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

from moaa.api.addresses import BUCKET, CALL, CALLS, CLAIM, DATA_PATH, HUB_DATA, HUB_MODEL, KEY, USER
from moaa.api.evaluation import FURTHER_FILES
from moaa.api.file_uri import has_control_character
from moaa.api.reading.node import Node
from moaa.api.reading.rules_asking import benchmark_nodes
from moaa.api.reading.wording import shown
from moaa.errors import Problem

DATA_PATH_SAYS = (
    "must end with .jsonl, .json, .csv or .tsv (also with .gz, .bz2 or .zst), .parquet or .arrow, "
    "or with / for a folder"
)


def has_credential(address: str) -> bool:
    return re.search(USER, address) is not None or re.search(KEY, address) is not None


def source_nodes(spec: Node) -> Iterator[Node]:
    """What is read: rows, and what more a benchmark's files say of them."""
    yield from spec.at("data", "sft")
    yield from spec.at("data", "preference")
    for benchmark in benchmark_nodes(spec):
        yield benchmark
        yield from (file for name in FURTHER_FILES if (file := benchmark.at(name)).given)
    if (labelled := spec.at("anchors", "source")).given:
        yield labelled


def no_control_characters(spec: Node) -> Iterator[Problem]:
    """Bare ones the classes refuse; these are encoded, or come from the name of the folder a file lies in."""
    uris = [spec.at("storage", "uri"), *(m.at("source") for m in spec.at("models"))]
    for uri in [*uris, *(holder.at("source") for holder in source_nodes(spec))]:
        if has_control_character(uri.text or ""):
            yield uri.problem("holds a line break or another control character; remove it, or rename the folder")


def servers(spec: Node) -> Iterator[Problem]:
    """What holds for each http address."""
    for address in [spec.at("storage", "endpoint"), *(m.at("endpoint", "url") for m in spec.at("models"))]:
        text = address.text or ""
        if has_credential(text):
            yield Problem(
                address.name, "(hidden)", "holds a credential; put it in a Secret and remove it from the address"
            )
        if "#" in text:
            yield Problem(address.name, _told(address), "holds a '#', and nothing behind it would be sent; remove it")
        try:
            _ = urlsplit(text).port
        except ValueError:
            yield Problem(
                address.name, "", "is not an address; write http://host:port/path, with a port of at most 65535"
            )


def _told(address: Node) -> str:
    """The value, hidden where it holds a credential, behind a '#' too."""
    return "(hidden)" if has_credential((address.text or "").replace("#", "?")) else shown(address.value, address.path)


def storage_server(spec: Node) -> Iterator[Problem]:
    address = spec.at("storage", "endpoint")
    if "?" in (address.text or ""):
        yield Problem(
            address.name, _told(address), "holds a '?', and requests to S3 have queries of their own; remove it"
        )


def calls(spec: Node) -> Iterator[Problem]:
    for model in spec.at("models"):
        url = model.at("endpoint", "url")
        if not re.search(CALL, url.text or ""):
            continue
        path, mark, query = (url.text or "").partition("?")
        base, call = re.split(f"/{CALLS}/?$", path)[:2]
        told = _told(url)
        remedy = f"ends in /{call}, the path of one call; write what stands before it"
        yield Problem(url.name, told, remedy if told == "(hidden)" else f"{remedy}: {base}{mark}{query}")


def models(spec: Node) -> Iterator[Problem]:
    for model in spec.at("models"):
        source = model.at("source")
        uri = source.text or ""
        if uri.startswith("hf://datasets/"):
            yield source.problem("is a data set; a model is hf://owner/name")
        elif uri.startswith("hf://") and not re.search(HUB_MODEL, uri):
            yield source.problem("must be hf://owner/name; a branch or commit goes into revision")
        elif uri.startswith("file://") and not uri.startswith("file:///"):
            yield source.problem("must be an absolute folder, file:///…, or start with file://./ in a file")
        elif uri.startswith("pvc://") and not re.search(CLAIM, uri):
            yield source.problem("must be pvc://claim/folder, with the name of a PersistentVolumeClaim")
        yield from _bucket(source)
        if source.given and not uri.startswith("hf://") and model.at("tokenSecret").given:
            yield model.at("tokenSecret").problem("is for hf:// sources only; remove it")


def _bucket(source: Node) -> Iterator[Problem]:
    if (source.text or "").startswith("s3://") and not re.search(BUCKET, source.text or ""):
        yield source.problem("must be s3://bucket/…: a bucket's name has letters, digits, '.', '_' and '-' only")


def data(spec: Node) -> Iterator[Problem]:
    for holder in source_nodes(spec):
        source = holder.at("source")
        uri = source.text or ""
        if uri.startswith("hf://"):
            if not re.search(HUB_DATA, uri):
                yield source.problem(
                    "must be hf://datasets/owner/name; hf://owner/name would be a model, and a branch or commit goes "
                    "into revision"
                )
            continue
        if uri.startswith("file://") and not uri.startswith("file:///"):
            yield source.problem("must be an absolute path, file:///…, or start with file://./ in a file")
        yield from _bucket(source)
        if uri and not re.search(DATA_PATH, uri):
            yield source.problem(DATA_PATH_SAYS)
        for field in ("revision", "tokenSecret"):
            if uri and holder.at(field).given:
                yield holder.at(field).problem("is for hf:// data sets only; remove it")


RULES = (no_control_characters, servers, storage_server, calls, models, data)
