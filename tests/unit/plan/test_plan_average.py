"""The mean of before and after as a candidate: where it stands in the graph, and what it costs the other candidates."""

from moaa.plan.evidence import level_of
from moaa.plan.graph import build
from moaa.plan.kinds.table import shards_of
from moaa.plan.subjects import subjects
from moaa.weights.served import server_of
from tests.plan_helpers import resource, run_all

TWO = {"spec__iterations": 2}


def test_it_is_made_measured_and_stands_for_promotion() -> None:
    owner = resource(spec__training__average="0.5", **TWO)
    stages = build(owner).stages
    assert stages["i1-average"].candidates == ("base", "@i1-dpo")
    assert stages["i2-average"].candidates == ("@i1-promote", "@i2-dpo")
    assert {"i1-promote", "i2-dpo"} <= set(stages["i2-average"].needs)
    assert stages["i1-average"].serves == ()
    assert stages["i1-promote"].candidates == ("base", "@i1-sft", "@i1-dpo", "@i1-average")
    assert {"i1-average", "i1-evaluate-average"} <= set(stages["i1-promote"].needs)
    measured = stages["i1-evaluate-average"]
    assert (measured.serves, measured.student) == (("@i1-average", "eva"), "@i1-average")
    assert [subject.label for subject in subjects(owner, measured)] == ["average"]
    assert shards_of(stages["i1-average"], owner, run_all(owner)[0]) is None


def test_without_dpo_it_is_of_sft() -> None:
    owner = resource(spec__training__average="0.5", spec__training__dpo=None, spec__data__preference=None)
    assert build(owner).stages["i1-average"].candidates == ("base", "@i1-sft")


def test_one_candidate_more_makes_every_bound_wider() -> None:
    plain, more = level_of(resource().spec), level_of(resource(spec__training__average="0.5").spec)
    assert more == plain * 2 / 3


def test_another_share_repeats_the_mean_and_what_reads_it_alone() -> None:
    def prints(share: str) -> dict[str, str]:
        identities = run_all(resource(spec__training__average=share))[1]
        return {name: one.fingerprint for name, one in identities.items()}

    half, third = prints("0.5"), prints("0.3")
    assert {name for name in half if half[name] != third[name]} == {"i1-average", "i1-evaluate-average", "i1-promote"}
    assert prints("0.50") == half
    without = {name: one.fingerprint for name, one in run_all(resource())[1].items()}
    assert {name for name in without if without[name] != half[name]} == {"i1-promote"}


def test_a_promoted_mean_is_served_once() -> None:
    owner = resource(spec__training__average="0.5", **TWO)
    results = run_all(owner)[0]
    promoted = results["i1-promote"].with_(outputs={"model": results["i1-average"].outputs["model"].with_(uri="x")})
    served = server_of("@i1-promote", owner, {**results, "i1-promote": promoted})
    assert served is not None
    assert served.name == "@i1-average"
