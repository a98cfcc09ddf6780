"""Rules about who is asked: the mixture, the judges, the benchmarks, the prompts."""

from collections.abc import Callable, Iterator

from moaa.api.base import STUDENT
from moaa.api.crd.rule import (
    Reason,
    Rule,
    Rules,
    fits_window,
    is_declared,
    is_of_kind,
    listed,
    matches,
    quoted,
    shorter,
)
from moaa.api.mixture import (
    Comparisons,
    Judge,
    JudgeMethod,
    Members,
    Mixture,
    MixtureMethod,
    Parts,
    VerdictForm,
    members_of,
    parts_of,
)
from moaa.api.models import ModelKind
from moaa.api.prompts import PLACEHOLDERS, Prompts
from moaa.api.resource import MoAASpec
from moaa.api.training import Rejected, SamplesFrom

NOT_DECLARED = (
    "names a model that spec.models does not declare, or not of the kind that is needed there (rewardModel: Reward, "
    "else Chat); declare it or correct the name"
)
NO_ROOM = "a maxTokens leaves no room for the prompt in the model's window; lower it or raise that maxModelLen"


def _prompts() -> Iterator[Rule]:
    for name, (must, may) in PLACEHOLDERS.items():
        alias = Prompts.model_fields[name].alias or name
        field, needed = f"self.{alias}", [f"{{{hole}}}" for hole in sorted(must)]
        holds = [matches(field, _only_placeholders(sorted(must | may)))]
        holds += [f"{field}.contains({quoted(hole)})" for hole in needed]
        others = ", ".join(f"{{{hole}}}" for hole in sorted(may)) or "no other"
        yield Rule(
            f"!has({field}) || ({' && '.join(holds)})",
            f"{alias} must hold {', '.join(needed)}, and may hold {others}",
            f".{alias}",
        )


def _only_placeholders(names: list[str]) -> str:
    """A pattern of texts in which everything that `moaa.api.prompts.BRACED` finds is one of `names`.

    From each `{` up to the next stands one of them and any text behind it, or no `}` at all. One match costs an API
    server an eighth of finding all placeholders and looking each up.
    """
    return rf"^[^{{]*(\{{(({'|'.join(names)})\}}[^{{]*|[^{{}}]*))*$"


def _methods(holds: Callable[[Members], bool]) -> list[JudgeMethod]:
    return [method for method in JudgeMethod if holds(members_of(method))]


def _is_one_of(methods: list[JudgeMethod]) -> str:
    return " || ".join(f"self.method == {quoted(method)}" for method in methods)


def _is_none_of(methods: list[JudgeMethod]) -> str:
    return " && ".join(f"self.method != {quoted(method)}" for method in methods)


def _subject(methods: list[JudgeMethod], one: str, many: str) -> str:
    """`method Single asks`, `methods Mixture and Panel ask`."""
    *others, last = methods
    return f"methods {', '.join(others)} and {last} {many}" if others else f"method {last} {one}"


def _unjudged(mixture: str) -> str:
    judged = [str(method) for method in MixtureMethod if parts_of(method).has_judge]
    return f"!({mixture}.method in {listed(judged)})"


def _mixtures(holds: Callable[[Parts], bool]) -> str:
    """Whether a mixture's method is one of those."""
    return f"self.method in {listed([str(method) for method in MixtureMethod if holds(parts_of(method))])}"


WITH_JUDGES, WITHOUT_JUDGES = _methods(lambda m: m.has_judges), _methods(lambda m: not m.has_judges)
WITH_AGGREGATOR, WITHOUT_AGGREGATOR = _methods(lambda m: m.has_aggregator), _methods(lambda m: not m.has_aggregator)
ODD = _methods(lambda m: m.is_odd)


def _judge_declared(judge: str) -> str:
    each = f"{judge}.judges.all(j, {is_declared('j.model')})"
    scorer = is_of_kind(f"{judge}.rewardModel", ModelKind.REWARD)
    return (
        f"{each} && (!has({judge}.aggregator) || {is_declared(f'{judge}.aggregator.model')}) && "
        f"(!has({judge}.rewardModel) || {scorer})"
    )


def _judge_fits(judge: str) -> str:
    each = f"{judge}.judges.all(j, {fits_window('j', 'j.model')})"
    aggregator = fits_window(f"{judge}.aggregator", f"{judge}.aggregator.model")
    return f"{each} && (!has({judge}.aggregator) || {aggregator})"


def _mixture(proposer: str, aggregator: str) -> str:
    """Both hold, of every proposer `p` and of the aggregator, where there are any."""
    last = f"(!has(self.mixture.aggregator) || {aggregator})"
    return f"!has(self.mixture) || (self.mixture.layers.all(l, l.proposers.all(p, {proposer})) && {last})"


def _benchmarks(group: str) -> Iterator[Rule]:
    benchmarks, field = f"self.evaluation.{group}", f".evaluation.{group}"
    chat = is_of_kind("b.baseline", ModelKind.CHAT)
    baseline = f"(!has(b.baseline) || b.baseline in ['$base', '$given'] || {chat})"
    yield Rule(
        f"{benchmarks}.all(b, {baseline} && (!has(b.judge) || ({_judge_declared('b.judge')})) && "
        f"(!has(b.judgeModel) || {is_declared('b.judgeModel.model')}))",
        f"a baseline or judge {NOT_DECLARED}",
        field,
    )
    yield Rule(
        f"!{benchmarks}.exists(b, has(b.judge) && b.judge.comparisons == {quoted(Comparisons.SEEDED)})",
        f"{group} has a judge with comparisons Seeded, which orders many answers, and it compares two; remove that",
        field,
    )
    student = f"self.models.all(m, m.name != self.student || {shorter('b.sampling')})"
    yield Rule(
        f"{benchmarks}.all(b, {student} && (!has(b.judge) || ({_judge_fits('b.judge')})) && "
        f"(!has(b.judgeModel) || {fits_window('b.judgeModel', 'b.judgeModel.model')}))",
        NO_ROOM,
        field,
    )


MIXTURE_RULES = (
    Rule(
        f"{_mixtures(lambda p: p.most_layers == 0)} || size(self.layers) > 0",
        "this method needs layers with proposers; add one",
        ".layers",
    ),
    Rule(
        f"!({_mixtures(lambda p: p.most_layers == 0)}) || size(self.layers) == 0",
        "method Single has no layers; remove them",
        ".layers",
    ),
    Rule(
        f"!({_mixtures(lambda p: p.most_layers == 1)}) || size(self.layers) <= 1",
        "layers has one entry with this method; its answers are not read by others",
        ".layers",
    ),
    Rule(
        f"!({_mixtures(lambda p: p.has_aggregator)}) || has(self.aggregator)",
        "methods Mixture and Single need an aggregator to write the answer; add one",
        ".aggregator",
        Reason.REQUIRED,
    ),
    Rule(
        f"{_mixtures(lambda p: p.has_aggregator)} || !has(self.aggregator)",
        "this method has no aggregator; remove it",
        ".aggregator",
        Reason.FORBIDDEN,
    ),
    Rule(
        f"!self.addStudent || !({_mixtures(lambda p: p.most_layers == 0)})",
        "method Single has no proposers, so addStudent has none to join; remove it",
        ".addStudent",
    ),
    Rule(
        f"!({_mixtures(lambda p: p.least_answers > 1)}) || size(self.layers) == 0 || "
        "self.layers[0].proposers.map(p, p.samples).sum() > 1",
        "method BestOfN chooses among answers, and the first of layers gives one; add proposers or samples",
        ".layers",
    ),
    Rule(
        "self.layers.all(l, l.proposers.map(p, p.samples).sum() >= self.minProposals)",
        "minProposals is more than a layer can give; lower it or raise the proposers' samples",
        ".minProposals",
    ),
    Rule(
        "!self.addStudent || size(self.layers) == 0 || "
        f"!self.layers[0].proposers.exists(p, p.model == {quoted(STUDENT)})",
        "$student stands in the first of layers and addStudent would add it again; keep one of the two",
        ".layers",
    ),
)

JUDGE_RULES = (
    Rule(
        f"{_is_one_of(WITHOUT_JUDGES)} || size(self.judges) > 0",
        f"{_subject(WITH_JUDGES, 'needs', 'need')} judges; add one",
        ".judges",
    ),
    Rule(
        f"{_is_none_of(WITHOUT_JUDGES)} || size(self.judges) == 0",
        f"{_subject(WITHOUT_JUDGES, 'asks', 'ask')} no judges; remove them",
        ".judges",
    ),
    Rule(
        f"{_is_one_of(WITHOUT_AGGREGATOR)} || has(self.aggregator)",
        f"{_subject(WITH_AGGREGATOR, 'needs', 'need')} an aggregator; add one",
        ".aggregator",
        Reason.REQUIRED,
    ),
    Rule(
        f"{_is_none_of(WITHOUT_AGGREGATOR)} || !has(self.aggregator)",
        f"{_subject(WITHOUT_AGGREGATOR, 'has', 'have')} no aggregator; remove it",
        ".aggregator",
        Reason.FORBIDDEN,
    ),
    Rule(
        f"{_is_none_of(ODD)} || size(self.judges) == 0 || size(self.judges) % 2 == 1",
        f"{_subject(ODD, 'needs', 'need')} an odd number of judges; add or remove one",
        ".judges",
    ),
    Rule(
        "!has(self.minJudges) || size(self.judges) == 0 || self.minJudges <= size(self.judges)",
        "minJudges is more than there are judges; lower it or add judges",
        ".minJudges",
    ),
    Rule(
        f"has(self.rewardModel) == (self.method == {quoted(JudgeMethod.REWARD_MODEL)} || "
        f"self.comparisons == {quoted(Comparisons.SEEDED)})",
        "rewardModel belongs to method RewardModel and to comparisons Seeded; add or remove it",
        ".rewardModel",
    ),
    Rule(
        f"self.method != {quoted(JudgeMethod.REWARD_MODEL)} || "
        f"(self.comparisons == {quoted(Comparisons.ROUND_ROBIN)} && self.verdict == {quoted(VerdictForm.TEXT)})",
        "method RewardModel compares nothing and gives no verdicts; remove comparisons and verdict",
    ),
    Rule(
        "self.criteria <= size(self.criteriaChoices)",
        "criteria is more than there are criteriaChoices; lower it or add some",
        ".criteria",
    ),
    Rule(
        "self.criteriaChoices.all(a, self.criteriaChoices.exists_one(b, a.name.lowerAscii() == b.name.lowerAscii()))",
        "criteriaChoices: two have the same name; rename one",
        ".criteriaChoices",
        Reason.DUPLICATE,
    ),
    Rule(
        f"self.allowStudent || (!self.judges.exists(j, j.model == {quoted(STUDENT)}) && "
        f"!(has(self.aggregator) && self.aggregator.model == {quoted(STUDENT)}))",
        "$student in judges or aggregator would judge its own training; name another or set allowStudent: true",
        ".judges",
    ),
)

RULES: Rules = {
    Mixture: MIXTURE_RULES,
    Judge: JUDGE_RULES,
    Prompts: tuple(_prompts()),
    MoAASpec: (
        Rule(
            _mixture(is_declared("p.model"), is_declared("self.mixture.aggregator.model")),
            f"a proposer or the aggregator {NOT_DECLARED}",
            ".mixture",
        ),
        Rule(
            _mixture(
                fits_window("p", "p.model"), fits_window("self.mixture.aggregator", "self.mixture.aggregator.model")
            ),
            NO_ROOM,
            ".mixture",
        ),
        Rule(
            "!has(self.mixture) || !self.mixture.addStudent || "
            f"self.models.all(m, m.name != self.student || {shorter('self.mixture.studentSampling')})",
            NO_ROOM,
            ".mixture.studentSampling.maxTokens",
        ),
        Rule(
            f"!has(self.mixture) || has(self.judge) || {_unjudged('self.mixture')}",
            "judge is required: mixture.method BestOfN asks it which answer is best; declare one",
            ".judge",
            Reason.REQUIRED,
        ),
        Rule(
            f"!has(self.training.dpo) || self.training.dpo.samplesFrom != {quoted(SamplesFrom.MIXTURE)} || "
            "has(self.mixture)",
            "samplesFrom Mixture needs spec.mixture; declare one or leave samplesFrom out",
            ".training.dpo.samplesFrom",
        ),
        Rule(
            f"!has(self.training.dpo) || self.training.dpo.samplesFrom != {quoted(SamplesFrom.MIXTURE)} || "
            f"!has(self.mixture) || self.mixture.method != {quoted(MixtureMethod.COMBINED)} || "
            "size(self.mixture.layers) == 0 || "
            "self.mixture.layers.map(l, l.proposers.map(p, p.samples).sum()).sum() > 1",
            "samplesFrom Mixture: method Combined has one answer, and pairs need two; add proposers or samples",
            ".training.dpo.samplesFrom",
        ),
        Rule(
            f"!has(self.judge) || self.judge.comparisons == {quoted(Comparisons.ROUND_ROBIN)} || "
            "!has(self.training.dpo) || (!has(self.training.dpo.pairs.minMargin) && "
            "!has(self.training.dpo.pairs.minRejectedPoints) && "
            f"self.training.dpo.pairs.rejected != {quoted(Rejected.RANDOM)})",
            "pairs: minMargin, minRejectedPoints and rejected Random read the points of all comparisons, and "
            "judge.comparisons Adaptive and Seeded skip some; remove one of the two",
            ".training.dpo.pairs",
        ),
        Rule(
            f"!has(self.judge) || self.judge.method != {quoted(JudgeMethod.REWARD_MODEL)} || "
            "!has(self.training.dpo) || !self.training.dpo.pairs.consistent",
            "consistent asks that both orders agree, and judge.method RewardModel has none; remove it",
            ".training.dpo.pairs.consistent",
        ),
        Rule(
            f"!has(self.judge) || self.judge.comparisons != {quoted(Comparisons.SEEDED)} || !has(self.mixture) || "
            f"self.mixture.method != {quoted(MixtureMethod.BEST_OF_N)}",
            "comparisons Seeded leaves answers without points, and mixture.method BestOfN needs all; write RoundRobin",
            ".judge.comparisons",
        ),
        Rule(f"!has(self.judge) || ({_judge_declared('self.judge')})", f"a judge {NOT_DECLARED}", ".judge"),
        Rule(f"!has(self.judge) || ({_judge_fits('self.judge')})", NO_ROOM, ".judge"),
        Rule(
            f"!has(self.training.dpo) || self.models.all(m, m.name != self.student || {shorter('self.training.dpo')})",
            NO_ROOM,
            ".training.dpo.maxTokens",
        ),
        Rule(
            "!has(self.anchors) || (has(self.judge) && (has(self.training.dpo) || (has(self.mixture) && "
            f"self.mixture.method == {quoted(MixtureMethod.BEST_OF_N)}))) || "
            "self.evaluation.selection.exists(b, has(b.judge) || has(b.judgeModel)) || "
            "self.evaluation.report.exists(b, has(b.judge) || has(b.judgeModel))",
            "anchors measures judges, and nothing is judged: no dpo, no benchmark; remove it",
            ".anchors",
            Reason.FORBIDDEN,
        ),
        *_benchmarks("selection"),
        *_benchmarks("report"),
        Rule(
            "!self.evaluation.selection.exists(a, self.evaluation.report.exists(b, a.name == b.name))",
            "report has a benchmark with the name of one in selection; give each benchmark its own",
            ".evaluation.report",
            Reason.DUPLICATE,
        ),
    ),
}
