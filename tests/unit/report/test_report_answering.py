"""How a run answers, in a sentence for each method, and whose answers were taught."""

from typing import Any

import pytest

from moaa.api.training import PairRules
from moaa.report.provenance import authors, how_answers, which_pairs, whose_samples
from tests.plan_helpers import resource
from tests.unit.report_world import finished_run

LAYERS = [{"proposers": [{"model": "a", "samples": 2}, {"model": "b"}]}]
SENTENCES: list[tuple[dict[str, Any], str]] = [
    ({"layers": LAYERS, "aggregator": {"model": "agg"}}, "a ×2, b propose; agg aggregates."),
    (
        {"layers": [*LAYERS, {"proposers": [{"model": "b"}]}], "aggregator": {"model": "agg"}, "addStudent": True},
        "a ×2, b propose; b propose; agg aggregates; the promoted student joins from the second iteration on.",
    ),
    ({"method": "Single", "aggregator": {"model": "agg"}}, "agg alone."),
    ({"method": "Random", "layers": LAYERS}, "One of a ×2, b, drawn for each prompt."),
    ({"method": "BestOfN", "layers": LAYERS}, "a ×2, b answer; the judge chooses the best."),
    ({"method": "Combined", "layers": LAYERS}, "a ×2, b answer; every answer is a row."),
]


@pytest.mark.parametrize(("mixture", "sentence"), SENTENCES, ids=lambda value: str(value)[:40])
def test_each_method_has_its_sentence(mixture: dict[str, Any], sentence: str) -> None:
    spec = resource(spec__mixture=mixture).spec
    assert spec.mixture is not None
    assert how_answers(spec.mixture) == sentence


@pytest.mark.parametrize(
    ("mixture", "dpo", "said"),
    [
        (SENTENCES[0][0], {}, "5 answers a prompt from the student"),
        (SENTENCES[0][0], {"samplesFrom": "Mixture"}, "5 answers a prompt from the mixture, not from the student"),
        (SENTENCES[5][0], {"samplesFrom": "Mixture"}, "3 answers a prompt from the mixture, not from the student"),
    ],
)
def test_whose_samples_are_judged(mixture: dict[str, Any], dpo: dict[str, Any], said: str) -> None:
    spec = resource(spec__mixture=mixture, spec__training__dpo=dpo).spec
    assert spec.training.dpo is not None
    assert whose_samples(spec, spec.training.dpo) == said


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ({}, ""),
        ({"consistent": True}, " Pairs: the pair's own comparison is decided alike in both orders."),
        (
            {"rejected": "Random", "minRejectedPoints": "0.20", "minMargin": "0.5", "maxLengthDifference": 4000},
            " Pairs: rejected is any answer below the best, drawn at random; rejected has at least 0.2 points; the "
            "margin is at least 0.5; the lengths differ by at most 4,000 characters.",
        ),
    ],
)
def test_which_pairs_are_kept(rules: dict[str, Any], said: str) -> None:
    assert which_pairs(PairRules.model_validate(rules)) == said


def test_one_author_needs_no_count() -> None:
    assert authors(finished_run()) == ""
