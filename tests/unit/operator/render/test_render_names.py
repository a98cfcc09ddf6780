"""Names fit their kind, and two different children never share one."""

from hypothesis import given, settings
from hypothesis import strategies as st

from moaa_operator.kube.owner import Owner
from moaa_operator.render.names import MAX_NAME, MAX_RAYJOB, attempt_of, child, finalise_of, server_of
from tests.render_world import DNS_1035

runs = st.from_regex(r"[a-z]([a-z0-9-]{0,22}[a-z0-9])?", fullmatch=True)
owners = st.builds(Owner, name=runs, namespace=st.just("ns"), uid=st.uuids().map(str))
models = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,18}[a-z0-9])?", fullmatch=True)
kinds = st.sampled_from(["resolve", "stage-data", "generate", "sft", "judge", "dpo", "evaluate-sft", "promote"])
stages = st.builds(lambda i, kind: f"i{i}-{kind}", st.integers(0, 1000), kinds)
digests = st.text("0123456789abcdef", min_size=64, max_size=64)
attempts = st.integers(1, 10**6)


@settings(deadline=None, max_examples=60)
@given(owners, stages, digests, attempts)
def test_names_fit_their_kind(owner: Owner, stage: str, digest: str, attempt: int) -> None:
    ray = attempt_of(owner, stage, digest, attempt, limit=MAX_RAYJOB)
    others = [attempt_of(owner, stage, digest, attempt), finalise_of(owner, stage, digest, attempt)]
    assert len(ray) <= 47
    for name in (ray, *others):
        assert DNS_1035.fullmatch(name)
    for name in others:
        assert len(f"{name}-99999") <= 63  # a pod of an Indexed Job
        assert len(name) <= MAX_NAME


@settings(deadline=None, max_examples=60)
@given(owners, models, digests)
def test_server_names_are_dns_labels(owner: Owner, model: str, digest: str) -> None:
    name, over_machines = server_of(owner, model, digest), server_of(owner, model, digest, 2)
    assert len(name) <= 63
    assert len(f"{over_machines}-255-{'f' * 10}") <= 63  # a label of its pods; a StatefulSet's, of its last group
    assert DNS_1035.fullmatch(name)
    assert DNS_1035.fullmatch(over_machines)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(owners, stages, digests, attempts), min_size=2, max_size=20, unique=True))
def test_different_attempts_have_different_names(wanted: list[tuple[Owner, str, str, int]]) -> None:
    names = [attempt_of(*one, limit=MAX_RAYJOB) for one in wanted]
    assert len(set(names)) == len(names)


def test_a_long_name_is_cut_before_what_makes_it_unique() -> None:
    owner = Owner("a" * 24, "ns", "u")
    names = {attempt_of(owner, "i1000-evaluate-sft", "f" * 64, n, limit=MAX_RAYJOB) for n in range(10**6, 10**6 + 50)}
    assert len(names) == 50


def test_a_run_that_comes_again_does_not_meet_its_predecessor() -> None:
    old, new = (Owner("demo", "ns", uid) for uid in ("1", "2"))
    assert child(old, "i1-sft-a1", "x") != child(new, "i1-sft-a1", "x")


def test_where_the_run_ends_and_the_child_begins_matters() -> None:
    assert child(Owner("a", "ns", "u"), "b-c") != child(Owner("a-b", "ns", "u"), "c")
