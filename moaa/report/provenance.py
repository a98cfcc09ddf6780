"""Where the student's behaviour comes from: models, licences, how prompts are answered, what each student inherits."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import assert_never

from moaa.api import MoAA, MoAASpec
from moaa.api.base import decimal_text
from moaa.api.data import DataSource
from moaa.api.mixture import Mixture, MixtureMethod, Proposer
from moaa.api.training import Dpo, PairRules, Rejected, SamplesFrom
from moaa.judge.methods import method_of
from moaa.judge.ranking import (
    BY_RULE,
    LENGTHS_DIFFER,
    NONE_TO_REJECT,
    ORDERS_DISAGREE,
    SEED_CONTRADICTED,
    SMALL_MARGIN,
    UNSCORED,
)
from moaa.mixture import methods as answers
from moaa.mixture.samples import mixture_samples
from moaa.plan.kinds.generate import WROTE
from moaa.plan.kinds.table import STUDENTS
from moaa.plan.stage import Kind
from moaa.report.measure import measured
from moaa.report.schema import LineageSummary, ModelSummary, PairSummary
from moaa.run.students import origin, student_label
from moaa.run.view import RunView, StageView

_URL = re.compile(r"""[A-Za-z][A-Za-z0-9+.-]*://[^\s"'<>]+""")
_HOST = re.compile(r"([^:\[\]]*|\[[0-9A-Fa-f:.%]+\])(:[0-9]+)?")
"""Of a URL, with or without a port."""
_FOLDERS = (
    "Users", "Volumes", "boot", "data", "dev", "etc", "home", "lib", "local", "media", "mnt", "nfs", "opt", "private",
    "proc", "root", "run", "scratch", "srv", "storage", "sys", "tmp", "usr", "var", "work", "workspace",
)  # fmt: skip
"""What paths of machines begin with. Paths of a server's address look alike and are left as they are."""
_PATH = re.compile(rf"(?<![\w.~:/*…-])/(?:{'|'.join(_FOLDERS)})(?:/[^\s/:;,'\"`<>()\[\]{{}}]+)+")
KEPT = 2
"""Last parts of a path that a reader of a report sees."""


def models(view: RunView) -> list[ModelSummary]:
    """Every declared model with what it did and where it came from."""
    resolved = next((s.manifest for s in view.stages if s.stage.kind is Kind.RESOLVE and s.manifest), None)
    licences = _licences(view)
    found = []
    for model in view.resource.spec.models:
        endpoint = model.endpoint
        found.append(
            ModelSummary(
                name=model.name,
                roles=_roles(view.resource, model.name),
                origin=public_text(model.source or (f"{endpoint.model} at {endpoint.url}" if endpoint else "")),
                revision=model.revision,
                license=licences[model.name],
                digest=resolved.models.get(model.name) if resolved else None,
            )
        )
    return found


def _roles(resource: MoAA, name: str) -> list[str]:
    spec = resource.spec
    roles = ["student"] if spec.student == name else []
    if spec.mixture:
        if any(proposer.model == name for proposer in spec.mixture.proposers):
            roles.append("proposer")
        if spec.mixture.aggregator is not None and spec.mixture.aggregator.model == name:
            roles.append("aggregator" if spec.mixture.layers else "teacher")
    if spec.judge:
        roles += [role for model, role in method_of(spec.judge).roles if model == name]
    for item in measured(spec):
        judge = item.measure.judge
        if judge is not None and name in method_of(judge).models:
            roles.append("evaluation judge")
        if item.measure.yardstick == name != spec.student:
            roles.append("baseline")
    return list(dict.fromkeys(roles))


def lineage(view: RunView) -> list[LineageSummary]:
    """One entry for every stage that is done and made a student."""
    return [_lineage(view, s) for s in view.stages if s.manifest and s.stage.kind in STUDENTS]


def _lineage(view: RunView, stage: StageView) -> LineageSummary:
    spec = view.spec_of(stage)
    taught = [view.of(f"i{stage.stage.iteration}-{kind}") for kind in _teachers(stage.stage.kind, spec)]
    serves = tuple(dict.fromkeys(name for teacher in taught if teacher for name in teacher.stage.serves))
    # What an average inherits of the student before came to the one after, too, or stands at its own line.
    parent = origin(view, stage.stage.student or (stage.stage.candidates or (spec.student,))[-1])
    known = _licences(view)
    inherited = [name for name in (parent or "", *serves) if not name.startswith("@") and name]
    return LineageSummary(
        student=student_label(f"@{stage.stage.id}", spec.student),
        stage=stage.stage.id,
        parent=student_label(parent, spec.student),
        teachers=[student_label(origin(view, n), "") if n.startswith("@") else n for n in serves],
        data=[public_text(d.source) for d in _data(stage.stage.kind, spec)],
        licenses=list(dict.fromkeys(known.get(name) or "not stated" for name in inherited)),
    )


def _teachers(kind: Kind, spec: MoAASpec) -> list[Kind]:
    """Stages whose models a student learns from."""
    if kind is Kind.SFT:
        return [Kind.GENERATE]
    if kind is not Kind.DPO:
        return []
    is_taught = spec.training.dpo is not None and spec.training.dpo.samples_from is SamplesFrom.MIXTURE
    return [Kind.SAMPLE, Kind.JUDGE] if is_taught else [Kind.JUDGE]


def _data(kind: Kind, spec: MoAASpec) -> Sequence[DataSource]:
    if kind is Kind.SFT:
        return spec.data.sft
    return spec.data.preference if kind is Kind.DPO else []


def _licences(view: RunView) -> dict[str, str | None]:
    """By declared model: what manifests carry, else what the resource says."""
    found = {name: text for s in view.stages if s.manifest for name, text in s.manifest.licenses.items()}
    return {m.name: found.get(m.name) or m.license for m in view.resource.spec.models}


def how_answers(mixture: Mixture) -> str:
    """`wizardlm ×2, qwen2-72b propose; qwen15-110b aggregates.`"""
    layers = [
        ", ".join(f"{p.model}{f' ×{p.samples}' * (p.samples > 1)}" for p in layer.proposers) for layer in mixture.layers
    ]
    writer = mixture.aggregator.model if mixture.aggregator else ""
    joins = "; the promoted student joins from the second iteration on" if mixture.add_student else ""
    match mixture.method:
        case MixtureMethod.MIXTURE:
            return f"{''.join(f'{layer} propose; ' for layer in layers)}{writer} aggregates{joins}."
        case MixtureMethod.SINGLE:
            return f"{writer} alone."
        case MixtureMethod.RANDOM:
            return f"One of {layers[0]}, drawn for each prompt{joins}."
        case MixtureMethod.BEST_OF_N:
            return f"{layers[0]} answer; the judge chooses the best{joins}."
        case MixtureMethod.COMBINED:
            return f"{layers[0]} answer; every answer is a row{joins}."
        case _:
            assert_never(mixture.method)


def _shown(proposer: Proposer) -> str:
    return f"{proposer.model} ×{proposer.samples}" if proposer.samples > 1 else proposer.model


def whose_samples(spec: MoAASpec, dpo: Dpo) -> str:
    """`5 answers a prompt from the student`."""
    match dpo.samples_from:
        case SamplesFrom.STUDENT:
            return f"{dpo.samples} answers a prompt from the student"
        case SamplesFrom.MIXTURE:
            assert spec.mixture is not None, "the resource's validation asks for one"
            method = answers.method_of(spec.mixture, judge=spec.judge, seed=spec.seed)
            return f"{mixture_samples(method, dpo.samples)} answers a prompt from the mixture, not from the student"
        case _:
            assert_never(dpo.samples_from)


_RULE_COLUMNS: Mapping[str, str] = {
    NONE_TO_REJECT: "None to reject",
    ORDERS_DISAGREE: "Orders disagree",
    SMALL_MARGIN: "Small margin",
    LENGTHS_DIFFER: "Lengths differ",
}


_SCORE_COLUMNS: Mapping[str, str] = {UNSCORED: "Unscored", SEED_CONTRADICTED: "Judges against scores"}


def score_outcomes(pairs: Sequence[PairSummary]) -> list[tuple[str, str]]:
    """Outcome and heading of what only a reward model brings, as far as it came."""
    return [(r, name) for r, name in _SCORE_COLUMNS.items() if any(p.dropped.get(r) for p in pairs)]


def pair_rules(pairs: Sequence[PairSummary]) -> list[tuple[str, str]]:
    """Outcome and heading of the rules of `dpo.pairs` that dropped a pair, in the order in which they are asked."""
    return [(r, _RULE_COLUMNS[r]) for r in BY_RULE if any(p.dropped.get(r) for p in pairs)]


def which_pairs(rules: PairRules) -> str:
    """` Pairs: the margin is at least 0.5; ….`, a sentence to follow another; empty at the defaults."""
    said = []
    match rules.rejected:
        case Rejected.WORST:
            pass
        case Rejected.RANDOM:
            said.append("rejected is any answer below the best, drawn at random")
        case _:
            assert_never(rules.rejected)
    if rules.min_rejected_points is not None:
        said.append(f"rejected has at least {decimal_text(rules.min_rejected_points)} points")
    if rules.consistent:
        said.append("the pair's own comparison is decided alike in both orders")
    if rules.min_margin is not None:
        said.append(f"the margin is at least {decimal_text(rules.min_margin)}")
    if rules.max_length_difference is not None:
        said.append(f"the lengths differ by at most {rules.max_length_difference:,} characters")
    return f" Pairs: {'; '.join(said)}." if said else ""


def authors(view: RunView) -> str:
    """Assistant turns of all iterations by who wrote them: `wizardlm 5,012, qwen2-72b 988`; empty where one did all."""
    total: Counter[str] = Counter()
    for stage in view.stages:
        if stage.stage.kind is Kind.GENERATE and stage.manifest is not None:
            found = stage.manifest.metrics.items()
            total.update({n.removeprefix(WROTE): int(turns) for n, turns in found if n.startswith(WROTE)})
    if len(total) < 2:
        return ""
    return ", ".join(f"{model} {turns:,}" for model, turns in total.most_common())


def without_secrets(url: str) -> str:
    """The URL without user, password, query and fragment, where keys may hide; of a file, without the host's folders.

    A password may hold characters that end a host ("/" is common in keys of S3). So all before the last "@" goes unless
    it can be a host and a port.
    """
    scheme, mark, rest = url.partition("://")
    if scheme == "file":
        return f"{scheme}{mark}{without_host_folders(rest)}"
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if "@" in authority:
        return without_secrets(f"{scheme}{mark}{rest[authority.rindex('@') + 1 :]}")
    if not _HOST.fullmatch(authority):
        _, at, behind = rest.rpartition("@")
        return without_secrets(f"{scheme}{mark}{behind}") if at else f"{scheme}{mark}…"
    return f"{scheme}{mark}{re.split(r'[?#]', rest, maxsplit=1)[0]}"


def without_host_folders(path: str) -> str:
    """`…/runs/tiny` of `/home/me/runs/tiny`: where it lies on somebody's machine, who they are perhaps, is nothing for
    readers of a report. The first two folders never show, one part always does."""
    parts = [part for part in path.split("/") if part]
    if not path.startswith("/") or len(parts) < 2:
        return path
    return f"…/{'/'.join(parts[min(max(2, len(parts) - KEPT), len(parts) - 1) :])}{'/' * path.endswith('/')}"


def public_text(text: str) -> str:
    """The text with `without_secrets` of every URL in it, and paths of a machine without their first folders."""
    shown = _URL.sub(lambda found: without_secrets(found.group()), text)
    return _PATH.sub(lambda found: without_host_folders(found.group()), shown)


def public_resource(resource: MoAA) -> dict[str, object]:
    """The resource as JSON for readers: as it was written, without pod templates and the secret parts of URLs.

    Of its metadata only name and namespace: `kubectl apply` leaves a whole copy of the resource in an annotation.
    """
    document: dict[str, object] = resource.model_dump(mode="json", by_alias=True, exclude_unset=True)
    document["metadata"] = resource.metadata.model_dump(mode="json", include={"name", "namespace"}, exclude_unset=True)
    return {key: _public(value) for key, value in document.items()}


def _public(value: object) -> object:
    if isinstance(value, dict):
        return {key: _public(inner) for key, inner in value.items() if key != "template"}
    if isinstance(value, list):
        return [_public(item) for item in value]
    return public_text(value) if isinstance(value, str) else value
