"""What an S3 failure means: one pure function from boto3's errors to an outcome, and the words for the user.

Outcomes: `missing` and `taken` are answers; `conflict` (409) did nothing and is tried again; `unknown` (time-outs, 5xx)
may have done its work and is tried again, after reading back when it was conditional; `permanent` is the user's to fix.
"""

from dataclasses import dataclass
from typing import Literal

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    PartialCredentialsError,
    ResponseStreamingError,
)
from botocore.exceptions import ConnectionError as BotoConnectionError

Meaning = Literal["missing", "taken", "conflict", "unknown", "permanent"]

RETRYABLE_STATUS = frozenset({408, 429, 500, 502, 503, 504})
RETRYABLE_CODES = frozenset({"RequestTimeout", "SlowDown", "Throttling", "InternalError", "ServiceUnavailable"})
"""Some come with status 400."""
IN_TRANSIT = frozenset({"BadDigest", "XAmzContentChecksumMismatch", "IncompleteBody"})
"""The body was damaged on its way; the server refused it."""

_TRANSPORT = (
    OSError,
    BotoConnectionError,  # refused, unreachable, no name, TLS
    HTTPClientError,
    IncompleteReadError,
    ResponseStreamingError,
    CredentialRetrievalError,
)
_CREDENTIALS = (
    "give AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment or the Secret of spec.storage.secret, or a "
    "cloud identity to spec.serviceAccountName"
)
_REMEDIES = {
    "NoSuchBucket": "spec.storage.uri: there is no such bucket; create it or correct the name",
    "AccessDenied": (
        "spec.storage: the identity may not do this; allow s3:ListBucket on the bucket and s3:GetObject, s3:PutObject, "
        "s3:DeleteObject and s3:AbortMultipartUpload below its prefix"
    ),
    "InvalidAccessKeyId": f"spec.storage.secret: the server does not know the access key; {_CREDENTIALS}",
    "XAdminUserNotFound": f"spec.storage.secret: the server does not know the access key; {_CREDENTIALS}",  # versitygw
    "SignatureDoesNotMatch": f"spec.storage.secret: the secret key does not belong to the access key; {_CREDENTIALS}",
    "ExpiredToken": "spec.storage.secret: the session token has expired; renew it",
    "RequestTimeTooSkewed": "this machine's clock is wrong; set it",
    "NotImplemented": "spec.storage.endpoint: the server does not implement this; use one with conditional writes",
    "EntityTooLarge": "the object is larger than the server takes",
    "QuotaExceeded": "spec.storage: the server's quota is used up; raise it or free space, then start again",
}
_REGION = "spec.storage.region: the bucket lies in another region{hint}; write that region there"
_BY_STATUS = {401: "AccessDenied", 403: "AccessDenied", 501: "NotImplemented", 413: "EntityTooLarge"}
"""HEAD answers carry no code."""


@dataclass(frozen=True)
class Outcome:
    meaning: Meaning
    text: str
    """For the user: what was answered and, when permanent, what to do."""


def sort_error(error: ClientError | BotoCoreError | OSError) -> Outcome:
    """Sort any failure of a boto3 call."""
    if isinstance(error, ClientError):
        return _sort_answer(error)
    if isinstance(error, NoCredentialsError | PartialCredentialsError):
        return Outcome("permanent", f"spec.storage.secret: no complete credentials were found; {_CREDENTIALS}")
    if isinstance(error, _TRANSPORT):
        return Outcome("unknown", f"{type(error).__name__}: {error}; check spec.storage.endpoint and the network")
    return Outcome("permanent", f"spec.storage: {type(error).__name__}: {error}")


def _sort_answer(error: ClientError) -> Outcome:
    code = str(error.response.get("Error", {}).get("Code", ""))
    metadata = error.response.get("ResponseMetadata", {})
    status = int(metadata.get("HTTPStatusCode", 0))
    text = f"{error.operation_name} answered {status} {code}".strip()
    if error.operation_name.startswith("Assume") and status not in RETRYABLE_STATUS:
        return Outcome(
            "permanent", f"{text}; spec.serviceAccountName: its cloud identity may not be assumed; correct it"
        )
    if status == 412:
        return Outcome("taken", text)
    if status == 409 and code != "BucketAlreadyExists":
        return Outcome("conflict", text)
    if code in {"NoSuchKey", "404", "NotFound", "NoSuchUpload"}:
        return Outcome("missing", text)
    if status in RETRYABLE_STATUS or code in RETRYABLE_CODES or code in IN_TRANSIT:
        return Outcome("unknown", text)
    if status in {301, 307} or code in {"AuthorizationHeaderMalformed", "IllegalLocationConstraintException"}:
        region = metadata.get("HTTPHeaders", {}).get("x-amz-bucket-region") or error.response.get("Error", {}).get(
            "Region"
        )
        return Outcome("permanent", f"{text}; {_REGION.format(hint=f', {region}' if region else '')}")
    remedy = _REMEDIES.get(code) or _REMEDIES.get(_BY_STATUS.get(status, ""), "spec.storage: the server refused this")
    return Outcome("permanent", f"{text}; {remedy}")
