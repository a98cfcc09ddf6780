"""Rules about addresses: of endpoints, of the storage, and of what is read."""

from moaa.api.addresses import BUCKET, CALL, CLAIM, DATA_PATH, HUB_DATA, HUB_MODEL, KEY, USER
from moaa.api.crd.rule import Reason, Rule, Rules, matches
from moaa.api.data import FileSource
from moaa.api.models import Endpoint, Model
from moaa.api.resource import Storage

RELATIVE = "^file://[^/]"
"""A file's URI without the third slash; fields' own patterns refuse a bare file://."""


def _server(name: str) -> tuple[Rule, ...]:
    """Of an http address, which may be absent."""
    absent, field = f"!has(self.{name})", f"self.{name}"
    return (
        Rule(
            f"{absent} || (!{matches(field, USER)} && !{matches(field, KEY)})",
            f"{name} holds a credential; put it in a Secret and remove it from the address",
            f".{name}",
        ),
        Rule(
            f"{absent} || !{field}.contains('#')",
            f"{name} holds a '#', and nothing behind it would be sent; remove it",
            f".{name}",
        ),
    )


def _no_control_character(field: str) -> Rule:
    """Encoded ones: bare ones the pattern of the field refuses. The field may be absent."""
    encoded = matches(f"self.{field}", "^file://.*%([01][0-9A-Fa-f]|7[Ff])")
    return Rule(
        f"!has(self.{field}) || !{encoded}",
        f"{field} holds a line break or other control character; remove it",
        f".{field}",
    )


def _s3_only(field: str) -> Rule:
    return Rule(
        f"!has(self.{field}) || self.uri.startsWith('s3://')",
        f"{field} is for s3:// storage; remove it, or store in s3://",
        f".{field}",
        Reason.FORBIDDEN,
    )


def _hub_only(field: str, what: str) -> Rule:
    return Rule(
        f"!has(self.{field}) || !has(self.source) || self.source.startsWith('hf://')",
        f"{field} is for hf:// {what} only; remove it",
        f".{field}",
        Reason.FORBIDDEN,
    )


def _source(scheme: str, pattern: str, message: str) -> Rule:
    """A source of one scheme has to match; the field may be absent."""
    return Rule(
        f"!has(self.source) || !self.source.startsWith('{scheme}://') || {matches('self.source', pattern)}",
        message,
        ".source",
    )


BUCKETS = _source("s3", BUCKET, "source must be s3://bucket/…, its name of letters, digits, '.', '_', '-'")

RULES: Rules = {
    Storage: (
        *_server("endpoint"),
        Rule(
            "!has(self.endpoint) || !self.endpoint.contains('?')",
            "endpoint holds a '?', and requests to S3 have queries of their own; remove it",
            ".endpoint",
        ),
        *(_s3_only(field) for field in ("endpoint", "region", "secret")),
        _no_control_character("uri"),
    ),
    Endpoint: (
        *_server("url"),
        Rule(
            f"!{matches('self.url', CALL)}",
            "url ends in the path of one call (/chat/completions); write what stands before it, usually up to /v1",
            ".url",
        ),
    ),
    Model: (
        Rule(
            "!has(self.source) || !self.source.startsWith('hf://datasets/')",
            "source is a data set; a model is hf://owner/name",
            ".source",
        ),
        Rule(
            "!has(self.source) || !self.source.startsWith('hf://') || self.source.startsWith('hf://datasets/') || "
            + matches("self.source", HUB_MODEL),
            "source must be hf://owner/name; a branch or commit goes into revision",
            ".source",
        ),
        Rule(
            f"!has(self.source) || !{matches('self.source', RELATIVE)}",
            "source must be an absolute folder, file:///…",
            ".source",
        ),
        _source("pvc", CLAIM, "source must be pvc://claim/folder, with the name of a PersistentVolumeClaim"),
        BUCKETS,
        _no_control_character("source"),
        _hub_only("tokenSecret", "sources"),
    ),
    FileSource: (
        _source(
            "hf",
            HUB_DATA,
            "source must be hf://datasets/owner/name; a branch or commit goes into revision",
        ),
        Rule(
            f"!{matches('self.source', RELATIVE)}",
            "source must be an absolute path, file:///…",
            ".source",
        ),
        BUCKETS,
        Rule(
            f"self.source.startsWith('hf://') || {matches('self.source', DATA_PATH)}",
            "source must end with .jsonl, .json, .csv, .tsv (or .gz, .bz2, .zst), .parquet, .arrow, or / for a folder",
            ".source",
        ),
        _no_control_character("source"),
        _hub_only("revision", "data sets"),
        _hub_only("tokenSecret", "data sets"),
    ),
}
