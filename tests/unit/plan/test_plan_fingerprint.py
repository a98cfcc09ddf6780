"""What repeats a stage and what does not."""

import json
from decimal import Decimal
from typing import Any

import pytest

from moaa.api.base import Spec
from moaa.api.data import DataSource, SftSource
from moaa.api.evaluation import AlpacaEval, Benchmark, ExactMatch, Gate, Instructions, LmEval, Pairwise
from moaa.api.mixture import Aggregator, Criterion, FinalSampling, Judge, JudgeModel, Layer, Mixture, Proposer, Sampling
from moaa.api.training import Dpo, Lora, Optimization, PairRules, PreferenceLoss, Sft
from moaa.errors import StageError
from moaa.judge.methods import method_of
from moaa.plan import canonical as semantics
from moaa.plan.canonical import HARMLESS_ARGS, LATER, NEUTRAL, canonical, digest_of, effective_args
from moaa.plan.digests import model_digest
from moaa.plan.fingerprint import identify
from moaa.plan.graph import build
from moaa.plan.kinds.table import KINDS
from moaa.plan.result import Identity, StageResult
from tests.plan_helpers import finish, resource, run_all

ALL = list(build(resource()).stages)
FROM_SFT = ALL[ALL.index("i1-sft") :]


def changed(**changes: Any) -> list[str]:
    """Stages of the small run whose fingerprint differs after an edit and a full run under it."""
    before, after = run_all(resource())[1], run_all(resource(**changes))[1]
    return [name for name in after if name not in before or before[name].fingerprint != after[name].fingerprint]


NEUTRAL_EDITS: dict[str, dict[str, Any]] = {
    "replicas": {"spec__models__0__serving": {"replicas": 4}},
    "gpus": {"spec__models__2__serving__gpus": 8},
    "startup": {"spec__models__0__serving": {"startupMinutes": 5}},
    "concurrency": {"spec__models__0__serving": {"maxConcurrency": 7}},
    "memory": {"spec__models__0__serving": {"memoryGib": "3"}},
    "pod template": {"spec__models__0__serving": {"template": {"metadata": {"labels": {"a": "b"}}}}},
    "harmless arguments": {
        "spec__models__0__serving": {"args": ["--gpu-memory-utilization", "0.8", "--enforce-eager"]}
    },
    "licence": {"spec__models__0__license": "mit"},
    "hub token": {"spec__models__0__tokenSecret": {"name": "hf", "key": "token"}},
    "workers": {"spec__training__resources": {"workers": 8, "template": {"spec": {"nodeSelector": {"a": "b"}}}}},
    "ZeRO stage": {"spec__training__sft": {"zeroStage": 1}},
    "micro batch": {"spec__training__sft": {"microBatchSize": 4}},
    "checkpoints": {"spec__training__dpo": {"checkpointSteps": 7, "checkpointMinutes": 9}},
    "recomputation": {"spec__training__dpo": {"gradientCheckpointing": False}},
    "failures": {"spec__failures": {"maxFraction": "0.5", "maxMemberFraction": "0.9", "retries": 9}},
    "suspend": {"spec__suspend": True},
    "schedule": {"spec__serving": {"schedule": "InTurn"}},
    "replicas where the work is": {"spec__serving": {"replicas": "Auto", "maxGpus": 16}},
    "cost": {"spec__cost": {"gpuHourUsd": "9"}},
    "budget": {"spec__budget": {"tokens": 9, "perIteration": {"gpuHours": "1"}}},
    "storage": {"spec__storage__uri": "file:///elsewhere"},
    "name": {"metadata__name": "other"},
    "labels": {"metadata__labels": {"a": "b"}},
    "service account": {"spec__serviceAccountName": "x"},
    "iterations written out": {"spec__iterations": 1},
    "spelling of a number": {"spec__mixture__aggregator": {"model": "agg", "temperature": "7e-1"}},
    "a default written out": {"spec__mixture__minProposals": 1},
    "a prompt nobody uses": {"spec__prompts": {"single": None}},
    "policies for cut answers written out": {
        "spec__mixture__aggregator__whenCut": "Fail",
        "spec__mixture__layers__0__proposers__0__whenCut": "Use",
        "spec__training__dpo": {"whenCut": "Fail"},
    },
    "every comparison written out": {"spec__judge__comparisons": "RoundRobin"},
    "criteria of pairs written out": {"spec__judge__criteriaFor": "Pair"},
    "rules of pairs written out": {
        "spec__training__dpo": {"pairs": {"rejected": "Worst", "consistent": False, "minMargin": None}}
    },
    "nothing more in requests": {"spec__models__0__extraBody": {}},
    "reuse written out": {"spec__data__allowReuse": False},
    "columns written out": {"spec__data__sft__0__columns": {"prompt": None, "ignore": []}},
}


@pytest.mark.parametrize("edit", NEUTRAL_EDITS.values(), ids=NEUTRAL_EDITS.keys())
def test_these_edits_repeat_nothing(edit: dict[str, Any]) -> None:
    assert changed(**edit) == []


FIRST_REPEATED: dict[str, tuple[dict[str, Any], str]] = {
    "proposer temperature": ({"spec__mixture__layers__0__proposers__0__temperature": "0.9"}, "i1-generate"),
    "proposer samples": ({"spec__mixture__layers__0__proposers__0__samples": 2}, "i1-generate"),
    "aggregator tokens": ({"spec__mixture__aggregator__maxTokens": 99}, "i1-generate"),
    "a cut answer may be taught": ({"spec__mixture__aggregator__whenCut": "Use"}, "i1-generate"),
    "a cut proposal is left out": ({"spec__mixture__layers__0__proposers__0__whenCut": "Fail"}, "i1-generate"),
    "template arguments": (
        {"spec__models__1__serving": {"args": ["--default-chat-template-kwargs", '{"enable_thinking": false}']}},
        "i1-generate",
    ),
    "reasoning parser": ({"spec__models__1__serving": {"args": ["--reasoning-parser", "qwen3"]}}, "i1-generate"),
    "extra fields": ({"spec__models__1__extraBody": {"min_p": 0.05}}, "i1-generate"),
    "a cut sample may be judged": ({"spec__training__dpo": {"whenCut": "Use"}}, "i1-sample"),
    "aggregate prompt": ({"spec__prompts": {"aggregate": "Merge {proposals}"}}, "i1-generate"),
    "serving argument": ({"spec__models__1__serving": {"args": ["--quantization", "fp8"]}}, "i1-generate"),
    "context window": ({"spec__models__1__serving": {"maxModelLen": 4096}}, "i1-generate"),
    "chat template": ({"spec__models__1__chatTemplate": "{{ messages }}"}, "i1-generate"),
    "its arguments": ({"spec__models__1__chatTemplateArgs": {"enable_thinking": False}}, "i1-generate"),
    "the student's template": ({"spec__models__3__chatTemplate": "{{ messages }}"}, "i1-sft"),
    "thinking": ({"spec__training__thinking": "AnswerOnly"}, "i1-sft"),
    "rows": ({"spec__data__sft__0__limit": 9}, "i1-generate"),
    "given answers": ({"spec__data__sft__0__answers": "Given"}, "i1-generate"),
    "epochs": ({"spec__training__sft": {"epochs": "1"}}, "i1-sft"),
    "packing": ({"spec__training__sft": {"packing": False}}, "i1-sft"),
    "batch": ({"spec__training__sft": {"batchSize": 64}}, "i1-sft"),
    "precision": ({"spec__training__sft": {"precision": "FP32"}}, "i1-sft"),
    "schedule": ({"spec__training__sft": {"schedule": "Linear"}}, "i1-sft"),
    "optimiser": ({"spec__training__dpo": {"adamBeta2": "0.95"}}, "i1-dpo"),
    "samples": ({"spec__training__dpo": {"samples": 4}}, "i1-sample"),
    "sample temperature": ({"spec__training__dpo": {"temperature": "1"}}, "i1-sample"),
    "criteria": ({"spec__judge__criteria": 2}, "i1-judge"),
    "judge prompt": ({"spec__prompts": {"judge": "{question}{answer_a}{answer_b}"}}, "i1-judge"),
    "which pairs are kept": ({"spec__training__dpo": {"pairs": {"consistent": True}}}, "i1-judge"),
    "criteria of a prompt": ({"spec__judge__criteriaFor": "Prompt"}, "i1-judge"),
    "fewer comparisons": ({"spec__judge__comparisons": "Adaptive"}, "i1-judge"),
    "who is rejected": ({"spec__training__dpo": {"pairs": {"rejected": "Random"}}}, "i1-judge"),
    "beta": ({"spec__training__dpo": {"beta": "0.1"}}, "i1-dpo"),
    "ref model": ({"spec__training__dpo": {"refModel": "Base"}}, "i1-dpo"),
    "gate": ({"spec__evaluation__gate": {"rule": "Mean"}}, "i1-promote"),
    "confidence": ({"spec__evaluation__confidence": "0.9"}, "i1-promote"),
}


@pytest.mark.parametrize(("edit", "first"), FIRST_REPEATED.values(), ids=FIRST_REPEATED.keys())
def test_these_edits_repeat_from_one_stage_on(edit: dict[str, Any], first: str) -> None:
    found = [name for name in changed(**edit) if name != "i0-evaluate"]  # the mixture and its judge are measured too
    found = [name for name in found if name != "i0-stage-data"]  # answers: Given also bears on which rows are usable
    assert found[0] == first
    assert "i1-promote" in found


def test_columns_repeat_what_reads_the_rows() -> None:
    found = changed(spec__data__sft__0__columns={"prompt": "query"})
    assert found == ["i0-stage-data"], "what it gives rise to depends on the rows, which are pretended to be the same"
    one = run_all(resource(spec__data__sft__0__columns={"system": "a"}))[1]["i0-stage-data"]
    other = run_all(resource(spec__data__sft__0__columns={"context": "a"}))[1]["i0-stage-data"]
    assert one.fingerprint != other.fingerprint


def test_answers_of_the_data_as_a_baseline_are_read_by_stage_data() -> None:
    assert "i0-stage-data" in changed(spec__evaluation__selection__0__baseline="$given")
    assert "i0-stage-data" not in changed(spec__evaluation__selection__0__baseline="agg")


def test_the_category_of_a_benchmark_decides_which_questions_are_staged() -> None:
    """Its table was found under every category, so scores of one were told as those of another."""
    shared: dict[str, Any] = {"name": "hard", "type": "ArenaHard", "source": "file:///q.jsonl", "version": "v2.0"}
    shared |= {"answers": {"source": "file:///a.jsonl"}, "judgeModel": {"model": "eva"}}

    def fingerprint(**category: str) -> str:
        return run_all(resource(spec__evaluation__report=[shared | category]))[1]["i0-stage-data"].fingerprint

    assert len({fingerprint(), fingerprint(category="hard_prompt"), fingerprint(category="creative_writing")}) == 3


def test_an_edit_of_the_aggregator_keeps_the_ledger() -> None:
    before = run_all(resource())[1]["i1-generate"]
    after = run_all(resource(spec__mixture__aggregator__temperature="0.1"))[1]["i1-generate"]
    assert before.fingerprint != after.fingerprint
    assert before.inputs == after.inputs


def test_evaluations_of_both_students_share_a_ledger_and_nothing_else() -> None:
    identities = run_all(resource())[1]
    ids = ["i0-evaluate", "i1-evaluate-sft", "i1-evaluate-dpo"]
    assert len({identities[name].inputs for name in ids}) == 1
    assert len({identities[name].fingerprint for name in ids}) == 3


def test_a_new_model_is_resolved_and_repeats_nothing_else() -> None:
    models = [*resource().spec.models, {"name": "new", "source": "hf://org/new"}]
    assert changed(spec__models=models) == ["i0-resolve"]


def test_another_word_for_a_folders_content_resolves_it_again() -> None:
    assert changed(spec__models__3__revision="mended")[0] == "i0-resolve"


def test_the_seed_repeats_everything_but_resolve() -> None:
    assert changed(spec__seed=1) == [name for name in ALL if name != "i0-resolve"]


def test_iterations_take_different_rows_and_the_first_stays() -> None:
    one, two = run_all(resource())[1], run_all(resource(spec__iterations=2))[1]
    assert [name for name in one if one[name].fingerprint != two[name].fingerprint] == ["i1-promote"], (
        "a promotion's share of the error rate is smaller among more of them"
    )
    assert two["i1-generate"].inputs != two["i2-generate"].inputs


def test_a_promotion_rests_on_its_share_of_the_questions_where_they_are_dealt() -> None:
    owner = resource(spec__iterations=2)
    results, identities = run_all(owner)
    assert "share" not in identities["i2-promote"].document, "all read all"
    staged = results["i0-stage-data"]
    many = {name: output.with_(rows=2000) for name, output in staged.outputs.items()}
    results["i0-stage-data"] = staged.with_(outputs=many)
    found = [identify(build(owner).stages[f"i{i}-promote"], owner, results) for i in (1, 2)]
    assert [one.document["share"] for one in found if one] == [
        {"of": {"held": 2}, "iteration": 1},
        {"of": {"held": 2}, "iteration": 2},
    ]


def test_a_student_that_was_not_promoted_changes_nothing_for_the_next_iteration() -> None:
    """The promoted student counts by the digest of its weights, not by the name of the stage."""
    owner = resource(spec__iterations=2, spec__start="Promoted")
    results, identities = run_all(owner)
    document = identities["i2-sft"].document
    assert document["student"] == results["i1-promote"].outputs["model"].digest


def test_there_is_no_identity_while_an_input_is_missing() -> None:
    owner = resource()
    results, _ = run_all(owner)
    del results["i1-generate"]
    assert identify(build(owner).stages["i1-sft"], owner, results) is None


def test_a_result_without_an_output_is_an_error() -> None:
    owner = resource()
    results, _ = run_all(owner)
    results["i1-generate"] = results["i1-generate"].with_(outputs={})
    with pytest.raises(StageError, match="i1-generate: its result holds no output 'conversations'"):
        identify(build(owner).stages["i1-sft"], owner, results)


def test_a_model_that_was_not_resolved_is_an_error() -> None:
    results, _ = run_all(resource())
    with pytest.raises(StageError, match="no digest of model 'zed'"):
        model_digest("zed", results)


GOLDEN: dict[str, tuple[int, str]] = {
    "i0-resolve": (2, "6cc8fe58bae3"),
    "i0-stage-data": (2, "9646bd8a25fe"),
    "i0-evaluate": (7, "43bc5fa53b35"),
    "i1-generate": (4, "0b8fc341f7f9"),
    "i1-sft": (2, "9c30baa48fc4"),
    "i1-evaluate-sft": (7, "55000f058c3d"),
    "i1-sample": (2, "2d34cfbe6aaa"),
    "i1-judge": (5, "0f7f8e568757"),
    "i1-dpo": (2, "6e53caad4294"),
    "i1-evaluate-dpo": (7, "51b98b727b25"),
    "i1-promote": (4, "3c8b72b82aab"),
}
"""Revision and first characters of the fingerprint of every stage of the small run, prompts left out: their texts may
be edited, and then the stages that use them are repeated as they should be."""


def without_prompts(identity: Identity) -> str:
    document = {key: value for key, value in identity.document.items() if key != "prompts"}
    return digest_of(document)[:12]


def test_golden_fingerprints() -> None:
    """A difference here repeats work of every user. If a stage's meaning changed, raise REVISION and renew the row; if
    a field was added, list it in LATER; otherwise the document changed by mistake."""
    owner = resource()
    results: dict[str, StageResult] = {}
    found: dict[str, tuple[int, str]] = {}
    for stage in build(owner).stages.values():
        identity = identify(stage, owner, results)
        assert identity is not None
        found[stage.id] = (KINDS[stage.kind].revision, without_prompts(identity))
        # Results depend on the golden part alone, so that one row's change does not show in all rows after it.
        results[stage.id] = finish(Identity(stage, identity.inputs, digest_of(stage.id), {}), owner)
    assert found == GOLDEN


FIELDS: dict[type[Spec], str] = {
    Sampling: "temperature top_p max_tokens",
    FinalSampling: "temperature top_p max_tokens",
    Proposer: "temperature top_p max_tokens model samples",
    Aggregator: "temperature top_p max_tokens model",
    Layer: "proposers",
    Mixture: "layers aggregator min_proposals",
    JudgeModel: "model temperature top_p max_tokens",
    Criterion: "name definition",
    Judge: "method judges aggregator criteria criteria_choices comparisons",
    Sft: "batch_size max_length precision warmup_ratio weight_decay max_grad_norm epochs learning_rate packing",
    Dpo: "batch_size max_length precision warmup_ratio weight_decay max_grad_norm epochs learning_rate beta",
    ExactMatch: "name sampling samples type",
    Pairwise: "name sampling samples type baseline judge",
    AlpacaEval: "name sampling samples type judge_model both_orders",
    LmEval: "name sampling samples type tasks metric num_fewshot",
    Instructions: "name sampling samples type",
    Gate: "rule min_gain",
    PairRules: "",
    Lora: "type rank alpha dropout target_modules",
}


@pytest.mark.parametrize("kind", FIELDS, ids=lambda kind: kind.__name__)
def test_every_field_is_either_hashed_or_listed_as_neutral(kind: type[Spec]) -> None:
    """A new field fails here until someone decides: hashed (raise REVISION), LATER, or NEUTRAL."""
    neutral = {name for listed, names in NEUTRAL.items() if issubclass(kind, listed) for name in names}
    later = {name for listed, names in LATER.items() if issubclass(kind, listed) for name in names}
    assert set(kind.model_fields) - neutral - later == set(FIELDS[kind].split())


def test_the_lists_name_fields_that_exist() -> None:
    for table in (NEUTRAL, LATER):
        for kind, names in table.items():
            assert names <= set(kind.model_fields), kind
    assert {DataSource, Benchmark, Optimization} <= set(NEUTRAL)
    assert SftSource not in NEUTRAL


def test_an_upgrade_repeats_no_dpo_and_another_loss_does() -> None:
    later = {"loss", "labelSmoothing", "simpoGamma", "sftWeight"}
    assert not later & set(canonical(Dpo()))
    every = Dpo(loss=PreferenceLoss.IPO, label_smoothing="0.1", simpo_gamma="1", sft_weight="0.5")
    assert later <= set(canonical(every))
    assert canonical(every)["loss"] == "IPO"


def test_packing_of_pairs_repeats_nothing() -> None:
    assert canonical(Dpo(packing=False)) == canonical(Dpo())


def test_an_upgrade_repeats_no_training_and_another_optimiser_does() -> None:
    later = {"schedule", "minLearningRateRatio", "adamBeta1", "adamBeta2", "adamEpsilon", "tooLong", "heldOut"}
    for part in (Sft(), Dpo()):
        assert not later & set(canonical(part))
        said = part.with_(
            schedule="Linear",
            min_learning_rate_ratio="0.1",
            adam_beta1="0.8",
            adam_beta2="0.95",
            too_long="Drop",
            held_out="0.1",
            eval_steps=3,
        )
        assert later - set(canonical(said)) == {"adamEpsilon"}


def test_adapters_train_anew_and_without_them_nothing_is_repeated() -> None:
    for part in (Sft(), Dpo()):
        assert "adapter" not in canonical(part)
        said = canonical(part.with_(adapter={"type": "LoRA", "targetModules": ["q_proj"]}))
        assert said["adapter"] == {
            "type": "LoRA", "rank": 16, "alpha": "32", "dropout": "0", "targetModules": ["q_proj"],
        }  # fmt: skip


def test_a_batch_of_sequences_trains_anew() -> None:
    assert "batchOf" not in canonical(Sft())
    assert canonical(Sft(batch_of="Sequences"))["batchOf"] == "Sequences"


@pytest.mark.parametrize("part", ["sft", "dpo"])
def test_when_held_out_rows_are_looked_at_counts_only_where_it_decides(part: str) -> None:
    field, held_out = f"spec__training__{part}", {"heldOut": "0.1"}
    stage = f"i1-{part}"

    def fingerprint(**fields: Any) -> str:
        return run_all(resource(**{field: held_out | fields}))[1][stage].fingerprint

    assert fingerprint() == fingerprint(evalSteps=7) == fingerprint(keep="Last")
    assert len({fingerprint(**one) for one in ({}, {"keep": "Best"}, {"patience": 2})}) == 3
    for deciding in ({"keep": "Best"}, {"patience": 2}):
        assert fingerprint(**deciding) != fingerprint(**deciding, evalSteps=7)


def test_a_later_field_is_left_out_at_its_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(semantics, "LATER", {Gate: frozenset({"min_gain"})})
    assert canonical(Gate()) == {"rule": "LowerBound"}
    assert canonical(Gate(min_gain=Decimal("0.1"))) == {"rule": "LowerBound", "minGain": "0.1"}


@pytest.mark.parametrize(
    ("args", "kept"),
    [
        (["--quantization", "fp8"], ["--quantization", "fp8"]),
        (["--quantization=fp8"], ["--quantization", "fp8"]),
        (["--gpu-memory-utilization=0.5", "--dtype", "half"], ["--dtype", "half"]),
        (["--gpu_memory_utilization", "0.5"], []),
        (["--enforce-eager", "--seed", "3"], ["--seed", "3"]),
        (["--hf-overrides", '{"a=b": 1}'], ["--hf-overrides", '{"a=b": 1}']),
        (["--max-num-seqs"], []),
    ],
)
def test_effective_args(args: list[str], kept: list[str]) -> None:
    assert effective_args(args) == kept


def test_harmless_arguments_say_nothing_about_numbers() -> None:
    words = (
        "quant",
        "dtype",
        "kv-cache-dtype",
        "rope",
        "seed",
        "chat-template",
        "generation-config",
        "lora",
        "override",
    )
    assert not [flag for flag in HARMLESS_ARGS if any(word in flag for word in words)]


@pytest.mark.parametrize(
    ("judge", "names"),
    [
        ({}, {"criterion", "criteria", "judge", "evaluation", "meta_judge"}),
        ({"criteria": 0}, {"criterion", "judge", "evaluation", "meta_judge"}),
        ({"method": "Single", "judges": []}, {"criterion", "criteria", "single"}),
        ({"method": "Panel", "aggregator": None}, {"criterion", "single"}),
    ],
)
def test_a_judge_depends_on_the_templates_its_method_fills(judge: dict[str, Any], names: set[str]) -> None:
    whole = {"judges": [{"model": "a"}], "aggregator": {"model": "agg"}, **judge}
    assert set(method_of(Judge.model_validate(whole)).prompts) == names


def test_documents_are_plain_json() -> None:
    for identity in run_all(resource(spec__iterations=2, spec__mixture__addStudent=True))[1].values():
        assert json.loads(json.dumps(identity.document)) == identity.document
