"""What the policies that Terraform makes allow, and what they refuse.

That they allow every request of a run is shown by tests/integration/test_loop.py, which records them on a real server.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace

import pytest

from tests.iam import Request, is_allowed
from tests.s3_calls import (
    BUCKET,
    KEY,
    PREFIX,
    TLS,
    Call,
    UnknownRequest,
    allowed,
    calls_of,
    kms,
    refused,
    request,
    statements,
)

COMPONENTS = ("jobs", "serving")
ONCE = (("s3:ObjectCreationOperation", "true"), ("s3:if-none-match", "*"))
NEEDED = {
    "jobs": [
        Call("s3:PutObject", f"{PREFIX}/stages/generate/1/2/manifest.json", ONCE),
        Call("s3:PutObject", f"{PREFIX}/stages/generate/1/ledger/0/a.jsonl.zst", ONCE),
        Call("s3:DeleteObject", f"{PREFIX}/stages/generate/1/ledger/0/a.jsonl.zst"),
        Call("s3:PutObject", f"{PREFIX}/stages/weights/1/out/model.safetensors"),
        Call("s3:PutObject", f"{PREFIX}/stages/weights/1/manifest.json", ONCE),
        Call("s3:ListBucket", "", (("s3:prefix", f"{PREFIX}/stages/weights/1/out/"),)),
        Call("s3:GetObject", f"{PREFIX}/runs/r/iterations/1.json"),
        Call("s3:GetObject", "weights/student/config.json"),
        Call("s3:ListBucket", "", (("s3:prefix", "data/sft.jsonl"),)),
        Call("s3:ListBucket", ""),
        Call("kms:GenerateDataKey", f"{PREFIX}/runs/r/resource.json"),
    ],
    "serving": [
        Call("s3:GetObject", f"{PREFIX}/stages/sft/1/2/out/1/model/model.safetensors"),
        Call("s3:GetObject", f"{PREFIX}/stages/sft/1/2/manifest.json"),
        Call("s3:GetObject", f"{PREFIX}/stages/weights/1/out/sub/model.safetensors"),
        Call("s3:GetObject", f"{PREFIX}/stages/weights/1/manifest.json"),
        Call("s3:ListBucket", "", (("s3:prefix", "weights/student/"),)),
        Call("kms:Decrypt", "weights/student/config.json"),
    ],
}


@pytest.mark.parametrize("component", COMPONENTS)
def test_what_a_component_is_there_for_is_allowed(component: str) -> None:
    assert refused(component, NEEDED[component]) == []


UPLOADS: list[tuple[str, str, dict[str, str]]] = [
    ("POST", "?uploads", {}),
    ("PUT", "?partNumber=1&uploadId=u", {}),
    ("POST", "?uploadId=u", {}),
    ("GET", "?uploadId=u", {}),
    ("DELETE", "?uploadId=u", {}),
]


@pytest.mark.parametrize(("method", "query", "headers"), UPLOADS)
def test_uploads_in_parts_are_allowed(method: str, query: str, headers: Mapping[str, str]) -> None:
    target = f"/example-moaa-store/{PREFIX}/stages/sft/1/2/out/1/model/model.safetensors{query}"
    calls = calls_of(method, target, headers, b"")
    assert refused("jobs", calls) == []


STAGE = f"{PREFIX}/stages/generate/1/2"


def other_verbs(component: str) -> Iterator[tuple[str, Request]]:
    for verb in (
        "PutBucketPolicy",
        "DeleteBucket",
        "PutLifecycleConfiguration",
        "PutBucketVersioning",
        "GetBucketPolicy",
    ):
        yield verb, request(f"s3:{verb}")
    for verb in ("DeleteObjectVersion", "GetObjectVersion", "PutObjectAcl", "PutObjectTagging", "RestoreObject"):
        yield verb, request(f"s3:{verb}", f"{STAGE}/ledger/0/a.jsonl.zst")
    yield "ListBucketVersions", request("s3:ListBucketVersions", s3__prefix=f"{PREFIX}/")
    for verb in ("ScheduleKeyDeletion", "PutKeyPolicy", "CreateGrant", "Encrypt", "DisableKey"):
        yield verb, request(f"kms:{verb}")
    yield "iam", Request("iam:CreateRole", "arn:aws:iam::111122223333:role/x")


def denied(component: str) -> Iterator[tuple[str, Request]]:
    """What must be refused to a component, with a name each."""
    yield from other_verbs(component)
    once = {"s3__if-none-match": "*", "s3__ObjectCreationOperation": "true"}
    for folder in ("other", "team", "teams", "teams/ab", "teams/b", f"x/{PREFIX}"):
        yield f"read {folder}", request("s3:GetObject", f"{folder}/stages/sft/1/2/manifest.json")
        yield f"write {folder}", request("s3:PutObject", f"{folder}/stages/sft/1/2/manifest.json", **once)
        yield f"delete {folder}", request("s3:DeleteObject", f"{folder}/preflight/a")
        yield f"list {folder}", request("s3:ListBucket", s3__prefix=f"{folder}/")
    yield "own folder's other parts", request("s3:GetObject", f"{PREFIX}/secrets/a")
    for folder in ("weights", "data"):
        yield f"write {folder}", request("s3:PutObject", f"{folder}/m/config.json", **once)
        yield f"delete {folder}", request("s3:DeleteObject", f"{folder}/m/config.json")
    for name in ("manifest.json", "out/1/rows.parquet", "attempts/0/1.json", "shards/0.json"):
        yield f"delete {name}", request("s3:DeleteObject", f"{STAGE}/{name}")
    yield "delete a record", request("s3:DeleteObject", f"{PREFIX}/runs/r/iterations/1.json")
    for name in ("manifest.json", "attempts/0/1.json", "shards/0.json"):
        yield f"replace {name}", request("s3:PutObject", f"{STAGE}/{name}", s3__ObjectCreationOperation="true")
    ledger = f"{PREFIX}/stages/generate/1/ledger/0/a.jsonl.zst"
    yield "replace a segment", request("s3:PutObject", ledger, s3__ObjectCreationOperation="true")
    manifest = f"{STAGE}/manifest.json"
    for name, change in (
        ("plain HTTP", {"aws__SecureTransport": "false"}),
        ("old TLS", {"s3__TlsVersion": "1.1"}),
        ("another account", {"aws__PrincipalAccount": "444455556666"}),
    ):
        yield f"read by {name}", request("s3:GetObject", manifest, **change)
        yield f"list by {name}", request("s3:ListBucket", s3__prefix=f"{PREFIX}/stages/", **change)
        yield f"write by {name}", request("s3:PutObject", manifest, **once, **change)
    for name, change in (
        ("other encryption", {"s3__x-amz-server-side-encryption": "AES256"}),
        ("another key", {"s3__x-amz-server-side-encryption-aws-kms-key-id": f"{KEY}-other"}),
    ):
        yield f"write with {name}", request("s3:PutObject", manifest, **once, **change)
    yield "another bucket", Request("s3:GetObject", f"{BUCKET}-other/{manifest}", TLS)
    yield "a bucket that ends alike", Request("s3:PutObject", f"arn:aws:s3:::x-example-moaa-store/{manifest}", TLS)
    for action in ("kms:Decrypt", "kms:GenerateDataKey"):
        yield f"{action} not through S3", Request(action, KEY, {})
        yield f"{action} for another bucket", request(action, **{"kms__EncryptionContext:aws:s3:arn": f"{BUCKET}2/a"})
        yield f"{action} with another key", replace(request(action), resource=f"{KEY}-other")


@pytest.mark.parametrize(
    ("component", "asked"),
    [pytest.param(c, asked, id=f"{c}: {name}") for c in COMPONENTS for name, asked in denied(c)],
)
def test_everything_else_is_refused(component: str, asked: Request) -> None:
    assert not allowed(component, asked)


def test_servers_read_and_never_write() -> None:
    writes = [
        call for call in NEEDED["jobs"] if call.action in ("s3:PutObject", "s3:DeleteObject", "kms:GenerateDataKey")
    ]
    assert refused("serving", writes) == sorted(writes)
    for key in (f"{PREFIX}/stages/generate/1/ledger/0/a.jsonl.zst", f"{PREFIX}/runs/r/iterations/1.json", "data/a"):
        assert not allowed("serving", request("s3:GetObject", key))


@pytest.mark.parametrize(
    ("component", "account"), [("jobs", "moaa-run"), ("serving", "moaa-serve")], ids=lambda value: str(value)
)
def test_a_role_is_one_service_account_s(component: str, account: str) -> None:
    trust = statements(f"{component}-trust")

    def may_assume(cluster: str, namespace: str, name: str) -> bool:
        tags = {"eks-cluster-name": cluster, "kubernetes-namespace": namespace, "kubernetes-service-account": name}
        context = {f"aws:RequestTag/{tag}": value for tag, value in tags.items()}
        return is_allowed(Request("sts:AssumeRole", "arn:aws:iam::111122223333:role/x", context), trust)

    assert may_assume("test", "team", account)
    assert [
        (cluster, namespace, name)
        for cluster in ("test", "other")
        for namespace in ("team", "other", "kube-system", "moaa-system")
        for name in ("moaa-run", "moaa-serve", "moaa-operator", "default")
        if may_assume(cluster, namespace, name)
    ] == [("test", "team", account)]
    assert {principal for s in trust for principal in s["Principal"].values()} == {"pods.eks.amazonaws.com"}


def test_encryption_asks_kms_in_the_caller_s_name() -> None:
    assert kms("s3:PutObject", {}) == ["kms:GenerateDataKey"]
    assert kms("s3:PutObject", {"uploadId": "u"}) == ["kms:GenerateDataKey", "kms:Decrypt"]
    assert kms("s3:GetObject", {}) == ["kms:Decrypt"]
    assert kms("s3:ListBucket", {}) == []


ALLOW = {"Effect": "Allow", "Action": "s3:Get*", "Resource": "arn:aws:s3:::b/team/*"}


@pytest.mark.parametrize(
    ("condition", "context", "holds"),
    [
        ({}, {}, True),
        ({"StringLike": {"s3:prefix": ["x/*", "team/*"]}}, {"s3:prefix": "team/a/b"}, True),
        ({"StringLike": {"s3:prefix": "team/*"}}, {"s3:prefix": "team"}, False),
        ({"StringLike": {"s3:prefix": "team/*"}}, {}, False),
        ({"StringEquals": {"S3:Prefix": "a"}}, {"s3:prefix": "a"}, True),
        ({"StringEquals": {"s3:prefix": "a*"}}, {"s3:prefix": "ab"}, False),
        ({"StringNotEquals": {"k": "a"}}, {}, True),
        ({"StringNotEquals": {"k": ["a", "b"]}}, {"k": "b"}, False),
        ({"Null": {"k": "true"}}, {}, True),
        ({"Null": {"k": "false"}}, {}, False),
        ({"Bool": {"k": "false"}}, {"k": "false"}, True),
        ({"Bool": {"k": "false"}}, {}, False),
        ({"NumericLessThan": {"k": "1.2"}}, {"k": "1.1"}, True),
        ({"NumericLessThan": {"k": "1.2"}}, {"k": "1.2"}, False),
        ({"StringEquals": {"a": "1", "b": "2"}}, {"a": "1", "b": "3"}, False),
    ],
)
def test_conditions_hold_as_iam_documents_them(condition: object, context: Mapping[str, str], holds: bool) -> None:
    asked = Request("s3:GetObject", "arn:aws:s3:::b/team/a/b", context)
    assert is_allowed(asked, [{**ALLOW, "Condition": condition}]) is holds
    # The same condition on a Deny takes the right away exactly where it holds.
    assert is_allowed(asked, [ALLOW, {**ALLOW, "Effect": "Deny", "Condition": condition}]) is not holds


def test_what_the_evaluator_does_not_know_is_an_error() -> None:
    asked = Request("s3:GetObject", "arn:aws:s3:::b/team/a", {"k": "1"})
    for change in ({"Condition": {"IpAddress": {"k": "10.0.0.0/8"}}}, {"NotAction": "s3:PutObject", "Sid": "x"}):
        with pytest.raises(ValueError, match="this evaluator does not know"):
            is_allowed(asked, [{**ALLOW, **change}])


@pytest.mark.parametrize(
    ("method", "target", "headers", "body", "actions"),
    [
        ("GET", "/b?list-type=2&prefix=a%2F", {}, b"", ["s3:ListBucket"]),
        ("HEAD", "/b", {}, b"", ["s3:ListBucket"]),
        ("GET", "/b/k", {}, b"", ["s3:GetObject", "kms:Decrypt"]),
        ("PUT", "/b/k", {"x-amz-tagging": "a=b"}, b"", ["s3:PutObject", "s3:PutObjectTagging", "kms:GenerateDataKey"]),
        ("DELETE", "/b/k", {}, b"", ["s3:DeleteObject"]),
        ("POST", "/b?delete", {}, b"<Delete><Object><Key>x</Key></Object></Delete>", ["s3:DeleteObject"]),
    ],
)
def test_what_requests_ask_of_iam(
    method: str, target: str, headers: Mapping[str, str], body: bytes, actions: list[str]
) -> None:
    assert [call.action for call in calls_of(method, target, headers, body)] == actions


@pytest.mark.parametrize(
    ("method", "target", "headers"),
    [
        ("GET", "/b?policy", {}),
        ("PUT", "/b/k?acl", {}),
        ("PUT", "/b/k", {"x-amz-copy-source": "b/x"}),
        ("PUT", "/b", {}),
    ],
)
def test_a_request_that_nobody_has_looked_up_is_no_other(method: str, target: str, headers: Mapping[str, str]) -> None:
    with pytest.raises(UnknownRequest):
        calls_of(method, target, headers, b"")
