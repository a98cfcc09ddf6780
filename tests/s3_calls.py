"""Requests to S3 as IAM sees them, and whether the policies that Terraform makes allow them.

What a request asks IAM for follows AWS's "Required permissions for Amazon S3 API operations"; encryption adds requests
to KMS that S3 makes in the caller's name ("Using server-side encryption with AWS KMS"): one for a data key when
something is written, one to decrypt when something is read or an upload in parts goes on.

The policies are those under terraform/tests/rendered, which `terraform test` holds to what is rendered. What IAM itself
would answer, nobody has tried: `tests.iam` follows AWS's documentation.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit
from xml.etree import ElementTree

from tests.iam import Request, Statement, is_allowed

RENDERED = Path(__file__).parents[1] / "terraform" / "tests" / "rendered"
PREFIX = "teams/a"
"""The store's in the rendered policies: two folders, since Arrow makes a marker for each."""
BUCKET = "arn:aws:s3:::example-moaa-store"
KEY = "arn:aws:kms:eu-west-1:111122223333:key/store"
TLS = {
    "aws:SecureTransport": "true",
    "s3:TlsVersion": "1.3",
    "aws:PrincipalAccount": "111122223333",
    "aws:PrincipalIsAWSService": "false",
}
THROUGH_S3 = {"kms:ViaService": "s3.eu-west-1.amazonaws.com", "kms:EncryptionContext:aws:s3:arn": BUCKET}

_CONDITIONS = {"if-none-match": "s3:if-none-match", "x-amz-server-side-encryption": "s3:x-amz-server-side-encryption"}
_RIGHTS = {  # headers for which S3 asks for a further right
    "x-amz-acl": "s3:PutObjectAcl",
    "x-amz-tagging": "s3:PutObjectTagging",
    "x-amz-object-lock-mode": "s3:PutObjectRetention",
    "x-amz-bypass-governance-retention": "s3:BypassGovernanceRetention",
}


@dataclass(frozen=True, order=True)
class Call:
    """One right that a request needs."""

    action: str
    key: str
    """Of the object, with what differs between runs left out; empty for the bucket."""
    context: tuple[tuple[str, str], ...] = ()
    """Condition keys that the request itself sets, sorted."""


class UnknownRequest(ValueError):
    """A request whose rights nobody has looked up yet; add it to `_action`."""


def calls_of(method: str, target: str, headers: Mapping[str, str], body: bytes) -> list[Call]:
    """The rights a path-style request needs. Header names are in lower case. Raises UnknownRequest."""
    url = urlsplit(target)
    key = template(unquote(url.path.lstrip("/").partition("/")[2]))
    query = dict(parse_qsl(url.query, keep_blank_values=True))
    if method == "POST" and "delete" in query:
        found = ElementTree.fromstring(body).iter()
        keys = {template(e.text or "") for e in found if e.tag.rpartition("}")[2] == "Key"}
        return [Call("s3:DeleteObject", one) for one in sorted(keys)]
    action = _action(method, key, query, headers)
    calls = [Call(action, key, _context(action, query, headers))]
    calls += [Call(right, key) for header, right in _RIGHTS.items() if header in headers]
    return calls + [Call(right, key) for right in kms(action, query)]


def _action(method: str, key: str, query: Mapping[str, str], headers: Mapping[str, str]) -> str:
    is_upload = "uploadId" in query or "uploads" in query
    match method:
        case "GET" | "HEAD" if not key and set(query) <= {
            "list-type",
            "prefix",
            "delimiter",
            "max-keys",
            "fetch-owner",
            "continuation-token",
            "start-after",
            "encoding-type",
            "x-id",
        }:
            return "s3:ListBucket"
        case "GET" if key and "uploadId" in query:
            return "s3:ListMultipartUploadParts"
        case "GET" | "HEAD" if key and set(query) <= {"x-id", "partNumber"}:
            return "s3:GetObject"
        case "PUT" | "POST" if key and "x-amz-copy-source" not in headers and (is_upload or set(query) <= {"x-id"}):
            return "s3:PutObject"
        case "DELETE" if key and "uploadId" in query:
            return "s3:AbortMultipartUpload"
        case "DELETE" if key and set(query) <= {"x-id"}:
            return "s3:DeleteObject"
    raise UnknownRequest(f"{method} {key or 'bucket'} {dict(query)}")


def _context(action: str, query: Mapping[str, str], headers: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    found = {}
    if action == "s3:ListBucket" and "prefix" in query:
        found["s3:prefix"] = template(query["prefix"])
    if action == "s3:PutObject":
        found = {name: headers[header] for header, name in _CONDITIONS.items() if header in headers}
        # Parts, and the start of an upload, create no object yet.
        creates = "partNumber" not in query and "uploads" not in query
        found["s3:ObjectCreationOperation"] = str(creates).lower()
    return tuple(sorted(found.items()))


def kms(action: str, query: Mapping[str, str]) -> list[str]:
    """What S3 asks KMS for in the caller's name."""
    if action == "s3:PutObject":
        return ["kms:GenerateDataKey", *(["kms:Decrypt"] if query.keys() & {"uploadId", "uploads"} else [])]
    return ["kms:Decrypt"] if action == "s3:GetObject" else []


def template(key: str) -> str:
    """The key without what differs between runs: digests, numbers, and names drawn by Ray."""
    key = re.sub(r"[0-9a-f]{8,}(-[0-9a-f]{4,})*", "{hex}", key)
    return re.sub(r"\d+", "{n}", key)


def statements(name: str) -> list[Statement]:
    """Of a rendered policy: jobs, serving, jobs-trust, serving-trust or bucket."""
    found: list[Statement] = json.loads((RENDERED / f"{name}.json").read_text())["Statement"]
    return found


def request(action: str, key: str = "", **context: str) -> Request:
    """Of a pod in the region, over TLS, with names of condition keys as `s3__prefix`."""
    given = {name.replace("__", ":"): value for name, value in context.items()}
    if action.startswith("kms:"):
        return Request(action, KEY, THROUGH_S3 | given)
    return Request(action, f"{BUCKET}/{key}" if key else BUCKET, TLS | given)


def allowed(component: str, asked: Request) -> bool:
    """By the component's role and the bucket's policy together; the key's policy leaves it to IAM."""
    return is_allowed(asked, [*statements(component), *statements("bucket")])


def refused(component: str, calls: Iterable[Call]) -> list[Call]:
    """Those of the calls that the policies would not allow, sorted."""

    def asked(call: Call) -> Request:
        plain = request(call.action, call.key)
        return replace(plain, context={**plain.context, **dict(call.context)})

    return [call for call in sorted(calls) if not allowed(component, asked(call))]


def granted(component: str) -> set[str]:
    """Actions that the component's role allows."""
    actions = [statement["Action"] for statement in statements(component)]
    return {name for one in actions for name in ([one] if isinstance(one, str) else one)}
