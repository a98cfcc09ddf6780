"""The API server keeps the installation's lists: what the operator would refuse is not stored, in the same words."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from moaa.api import MoAA
from moaa_operator.kube.errors import ApiError
from moaa_operator.kube.kinds import MOAA as MOAAS
from moaa_operator.kube.kinds import Kind
from moaa_operator.render.admission import refusals
from moaa_operator.settings import Allowed
from tests.chart import render
from tests.choices import CODE, DENIED, LISTS, with_argument
from tests.integration.apiserver import ApiServer, make_namespace
from tests.render_world import MOAA, changed

Object = dict[str, Any]
GROUP = "admissionregistration.k8s.io/v1"
POLICY = Kind(GROUP, "ValidatingAdmissionPolicy", "validatingadmissionpolicies")
BINDING = Kind(GROUP, "ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings")
PATIENCE_S = 60.0


def install_policy(server: ApiServer, namespace: str, allowed: Object, **policy: object) -> Callable[[], None]:
    """The chart's policy for one namespace; what takes it away again."""
    values = {
        "clusterWide": False,
        "runNamespaces": [{"name": namespace}],
        "allowed": allowed,
        **({"admissionPolicy": policy} if policy else {}),
    }
    made = [one for one in render(values, release=namespace, namespace=namespace) if one["apiVersion"] == GROUP]
    assert [one["kind"] for one in made] == [POLICY.kind, BINDING.kind]
    for kind, item in zip((POLICY, BINDING), made, strict=True):
        server.admin.create(kind, "", item)
    name = made[0]["metadata"]["name"]

    def remove() -> None:
        for kind in (BINDING, POLICY):
            server.admin.delete(kind, "", name)

    return remove


def document_of(resource: MoAA, namespace: str) -> Object:
    document = resource.model_dump(mode="json", by_alias=True, exclude_unset=True)
    document["metadata"]["namespace"] = namespace
    return document


def answer(server: ApiServer, resource: MoAA, namespace: str = "team") -> tuple[int, str]:
    """Status and words of the API server for this resource; it stores nothing."""
    path = f"/apis/moaa.dev/v1alpha1/namespaces/{namespace}/moaas"
    code, said = server.request("POST", path, document_of(resource, namespace), query={"dryRun": "All"})
    return code, str(said.get("message"))


def until(condition: Callable[[], bool]) -> None:
    """A policy counts a moment after it was made."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.fixture(scope="module")
def guarded(api_server: ApiServer) -> Iterator[ApiServer]:
    """With the policy for the namespace `team`, and none for `free`."""
    for name in ("team", "free"):
        make_namespace(api_server.admin, name)
    remove = install_policy(api_server, "team", dict(LISTS))
    until(lambda: answer(api_server, with_argument("--trust-remote-code"))[0] != 201)
    yield api_server
    remove()


def test_what_keeps_all_lists_is_stored(guarded: ApiServer) -> None:
    assert answer(guarded, MOAA) == (201, "None")


@pytest.mark.parametrize("resource", [resource for resource, _ in DENIED.values()], ids=list(DENIED))
def test_what_is_not_listed_is_denied_in_the_operators_words(guarded: ApiServer, resource: MoAA) -> None:
    (problem,) = refusals(resource, Allowed.model_validate(LISTS))
    code, words = answer(guarded, resource)
    assert code == 403, words
    assert words.endswith(f"denied request: {problem}")
    assert answer(guarded, resource, "free")[0] == 201


@pytest.mark.parametrize("argument", CODE)
def test_code_that_is_not_vllms_is_denied(guarded: ApiServer, argument: str) -> None:
    (problem,) = refusals(with_argument(argument), Allowed())
    code, words = answer(guarded, with_argument(argument))
    assert (code, words.partition("denied request: ")[2]) == (403, str(problem))


def test_everything_is_told_at_once(guarded: ApiServer) -> None:
    resource = changed("spec.storage.secret", {"name": "root"})
    spec = resource.spec.with_(service_account_name="admin")
    code, words = answer(guarded, resource.with_(spec=spec))
    assert code == 403
    problems = refusals(resource.with_(spec=spec), Allowed.model_validate(LISTS))
    assert words.partition("denied request: ")[2] == "; ".join(str(problem) for problem in problems)


def test_a_list_that_is_narrowed_lets_what_is_stored_alone_until_it_is_edited(guarded: ApiServer) -> None:
    make_namespace(guarded.admin, "narrowed")
    document = document_of(MOAA, "narrowed")
    stored = guarded.admin.create(MOAAS, "narrowed", document)
    remove = install_policy(guarded, "narrowed", {"serviceAccounts": []})
    try:
        until(lambda: answer(guarded, MOAA, "narrowed")[0] == 403)
        stored["metadata"]["labels"] = {"team": "b"}
        stored = guarded.admin.replace(MOAAS, "narrowed", stored)
        stored = guarded.admin.replace_status(MOAAS, "narrowed", {**stored, "status": {"iteration": "0/1"}})
        stored["spec"]["iterations"] = 7
        with pytest.raises(ApiError, match=r"denied request: spec\.serviceAccountName: narrowed/moaa-run"):
            guarded.admin.replace(MOAAS, "narrowed", stored)
        guarded.admin.delete(MOAAS, "narrowed", MOAA.metadata.name)
    finally:
        remove()


def test_a_policy_that_only_warns_lets_it_be_stored(guarded: ApiServer) -> None:
    make_namespace(guarded.admin, "warned")
    remove = install_policy(guarded, "warned", {"serviceAccounts": []}, enabled=True, actions=["Warn"])
    try:
        assert answer(guarded, MOAA, "warned")[0] == 201
    finally:
        remove()
