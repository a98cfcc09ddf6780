"""Rules that stand in Python and in CEL: by which words each side says that one is broken.

`tests.unit.api.test_api_agreement` holds the sides against each other; a rule that only one side has stands here with
its reason, so that a new one cannot be forgotten on the other.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from moaa.api import MoAA
from moaa.api.models import Parameter
from moaa.api.prompts import PLACEHOLDERS, Prompts
from moaa.api.reading.check import check_document
from tests.crd_server import Refusal, refused

NOT_DECLARED = "is not declared in spec.models"
OF_KIND = rf"({NOT_DECLARED}|names a model of kind)"
NAMES_NONE = "names a model that spec.models does not declare"

SEEN = r"(serviceAccount\w*|host(Network|PID|IPC)|volumes\[\d+\]\.hostPath|\w+ontainers\[\d+\]\.securityContext\.\w+)"
"""Places of a pod template that the CRD's schema knows."""

PAIRS: Mapping[str, tuple[str, str]] = {
    # name: (path and words of moaa.api.reading.check, path and words of the API server), as regular expressions
    "name of the run": (r"^metadata\.name: starts with 'vllm'", r"metadata\.name starts with 'vllm'"),
    "model names": (r"models\[\d+\]\.name: is already the name of", r"models\[\d+\]: Duplicate value"),
    "model named vllm": (r"models\[\d+\]\.name: starts with 'vllm'", r"models\[\d+\]\.name: name starts with 'vllm'"),
    "student declared": (rf"^spec\.student: {NOT_DECLARED}", "student is not declared in spec.models"),
    "student writes": (r"^spec\.student: names a model of kind", "student is a model of kind Reward"),
    "student is no endpoint": ("has no weights to train", "student is an endpoint and has no weights"),
    "student not on a claim": ("comes from pvc://", "student comes from pvc://"),
    "URL of a call": (r"endpoint\.url: ends in /\w+", "url ends in the path of one call"),
    "fragment in URL": (r"endpoint\.url: holds a '#'", "url holds a '#'"),
    "fragment in the storage's": (r"storage\.endpoint: holds a '#'", "endpoint holds a '#'"),
    "query in the storage's": (r"storage\.endpoint: holds a '\?'", r"endpoint holds a '\?'"),
    "buckets": (r"source: must be s3://bucket", "source must be s3://bucket"),
    "claims": (r"source: must be pvc://claim/folder, with", "source must be pvc://claim/folder, with"),
    **{
        f"omitted and named: {parameter}": (
            rf"names\.{parameter}: is also in omit",
            rf"names\.{parameter}: {parameter} is also in omit",
        )
        for parameter in Parameter
    },
    **{
        f"named as another field: {parameter}": (
            rf"names\.{parameter}: is another field",
            rf"names\.{parameter}: {parameter} has the name of another field",
        )
        for parameter in Parameter
    },
    "names of parameters": (r"names\.\w+: is the value of", r"names: two parameters have the same name"),
    "header: one value": (r"headers\[\d+\]: give exactly one of value", "give exactly one of value"),
    "header: the client's": ("is set by the HTTP client", "a header that the HTTP client sets"),
    "header: authorization": (r"is set by \S+\.endpoint\.secret already", "headers has Authorization"),
    "header: names": (r"is the name of \S+\.headers\[\d+\] already", "headers: two have the same name"),
    "header: no credentials": (r"\.value: is a credential", "value is a credential"),
    "prices of a budget: endpoints": (
        r"endpoint\.price: is needed by spec\.budget",
        "needs the price of every endpoint",
    ),
    "prices of a budget: GPUs": (r"cost\.gpuHourUsd: is needed by spec\.budget", r"needs cost\.gpuHourUsd"),
    "one origin": ("give exactly one of source", "give exactly one of source"),
    "endpoint is not served": ("serving has no effect on an endpoint", "serving has no effect on an endpoint"),
    "nodes divide GPUs": (
        r"serving\.nodes: .*(does not divide gpus|needs GPUs)",
        r"serving\.nodes: nodes does not divide gpus",
    ),
    "Auto has a limit": (r"serving\.replicas: .*Auto needs a limit", "replicas Auto needs a limit"),
    "a limit has Auto": (r"serving\.maxGpus: .*has no effect without", "maxGpus has no effect without"),
    "a limit holds a model": (r"serving\.maxGpus: .*is less than the \d+ GPUs", r"serving\.maxGpus is less than one"),
    "chat template is one": (
        r"chatTemplate: .*is no Jinja template",
        "chatTemplate must be the text of a Jinja template",
    ),
    "chat template of a model we serve": (
        r"chatTemplate(Args)?: .*is for models that we serve",
        "chatTemplate is for models that we serve",
    ),
    "model is no data set": ("is a data set; a model is", "is a data set; a model is"),
    "model on the hub": (r"must be hf://owner/name; a branch", r"must be hf://owner/name; a branch"),
    "model in a folder": ("must be an absolute folder", "must be an absolute folder"),
    "hub fields of a model": (
        r"\.(revision|tokenSecret): is for hf:// sources only",
        r"\.(revision|tokenSecret): .* is for hf:// sources only",
    ),
    "arguments of ours": (r"args\[\d+\]: cannot be given here", "args sets what the executor or another field does"),
    "pod templates": (rf"\.template\.spec\.{SEEN}: is not allowed", r"\.template\.spec.*not allowed in a pod template"),
    "asked models declared: mixture": (
        rf"^spec\.mixture\..*: {OF_KIND}",
        f"a proposer or the aggregator {NAMES_NONE}",
    ),
    "asked models declared: judge": (rf"^spec\.judge\..*: {OF_KIND}", rf"^spec\.judge: a judge {NAMES_NONE}"),
    "asked models declared: selection": (
        rf"^spec\.evaluation\.selection.*: {OF_KIND}",
        rf"^spec\.evaluation\.selection: a baseline or judge {NAMES_NONE}",
    ),
    "asked models declared: report": (
        rf"^spec\.evaluation\.report.*: {OF_KIND}",
        rf"^spec\.evaluation\.report: a baseline or judge {NAMES_NONE}",
    ),
    "room: mixture": (
        r"^spec\.mixture\.(layers|aggregator).*no room for the prompt",
        r"^spec\.mixture: .*no room for the prompt",
    ),
    "room: joining student": (
        r"^spec\.mixture\.studentSampling.*no room for the prompt",
        r"^spec\.mixture\.studentSampling.*no room for the prompt",
    ),
    "room: judge": (r"^spec\.judge.*no room for the prompt", r"^spec\.judge: .*no room for the prompt"),
    "room: dpo": (r"^spec\.training\.dpo.*no room for the prompt", r"^spec\.training\.dpo.*no room for the prompt"),
    "room: selection": (r"^spec\.evaluation\.selection.*no room", r"^spec\.evaluation\.selection: .*no room"),
    "room: report": (r"^spec\.evaluation\.report.*no room", r"^spec\.evaluation\.report: .*no room"),
    "mixture: layers": ("needs layers with proposers", "this method needs layers with proposers"),
    "mixture: no layers": ("method Single has no layers", "method Single has no layers"),
    "mixture: one layer": (r"method \w+ has one layer, not", "layers has one entry with this method"),
    "mixture: aggregator": ("needs an aggregator, the model that writes", "need an aggregator to write the answer"),
    "mixture: no aggregator": (r"^spec\.mixture: method \w+ has no aggregator", "this method has no aggregator"),
    "mixture: nobody to join": ("so addStudent has none to join", "so addStudent has none to join"),
    "mixture: something to choose": ("chooses among answers, and", "chooses among answers, and"),
    "mixture: judge": (r"^spec\.judge: is required: mixture\.method", r"judge is required: mixture\.method"),
    "average is measured": (r"average: .*needs a benchmark in evaluation", "average needs a benchmark in evaluation"),
    "off-policy pairs: of a mixture": (
        r"samplesFrom: Mixture needs spec\.mixture",
        r"samplesFrom Mixture needs spec\.mixture",
    ),
    "pairs: points end at 1": ("are more than 1 together, and points", "are more than 1 together, and points"),
    "pairs: three to have a floor": (
        r"pairs\.minRejectedPoints: needs three samples",
        r"pairs\.minRejectedPoints needs three samples",
    ),
    **{
        f"losses on pairs: {field} {what}": (rf"{field}: is {words}", rf"{field} is {words}")
        for field, loss in (("labelSmoothing", "Robust"), ("simpoGamma", "SimPO"))
        for what, words in (("unread", f"read by loss {loss} only"), ("wanted", f"required with loss {loss}"))
    },
    "losses on pairs: no ref_model": ("refModel: .*has no effect: loss SimPO", "refModel has no effect: loss SimPO"),
    "pairs: points of all comparisons": ("reads the points of all comparisons", "read the points of all comparisons"),
    "off-policy pairs: two": ("has one answer, and pairs need two", "has one answer, and pairs need two"),
    "enough proposals": (r"minProposals \d+ is more than layers", "minProposals is more than a layer can give"),
    "student joins once": ("addStudent would add it again", "addStudent would add it again"),
    "mixture is there": (r"^spec\.mixture: is required", "mixture is required"),
    "judge is there": (r"^spec\.judge: is required: training", "judge is required: training"),
    "anchors have judges": (
        r"^spec\.anchors: measures judges, and nothing",
        r"^spec\.anchors: anchors measures judges, and nothing",
    ),
    "judges: some": ("needs at least one entry in judges", "need judges; add one"),
    "judges: none": ("method (Single|RewardModel) asks no judges", "methods Single and RewardModel ask no judges"),
    "judges: heard": ("minJudges \\d+ is more than the", "minJudges is more than there are judges"),
    "judges: odd": ("needs an odd number of judges", "needs an odd number of judges"),
    "aggregator: one": ("needs an aggregator, the model that gives", "need an aggregator; add one"),
    "aggregator: none": ("method (Panel|RewardModel) has no aggregator", "methods Panel and RewardModel have no aggr"),
    "reward model: where it is asked": (
        "needs rewardModel, a|is asked by nobody here",
        "rewardModel belongs to method",
    ),
    "reward model: no pairs": ("has no effect with method RewardModel", "method RewardModel compares nothing"),
    "reward model: no orders": ("consistent: asks that both orders agree", "consistent asks that both orders agree"),
    "seeded: many answers": ("comparisons: orders many answers, and a", "with comparisons Seeded, which orders many"),
    "seeded: points": (
        "comparisons: leaves answers without points",
        "comparisons Seeded leaves answers without points",
    ),
    "criteria: enough": (r"criteria \d+ is more than the", "criteria is more than there are criteriaChoices"),
    "criteria: names": (
        "criteriaChoices: two have the same name",
        r"criteriaChoices: two have the same name|criteriaChoices\[\d+\]: Dupl",
    ),
    "student judges": ("would judge its own training", "would judge its own training"),
    **{
        f"prompts: {name}": (rf"^spec\.prompts: {alias}: ", rf"^spec\.prompts\.{alias}: {alias} must hold")
        for name in PLACEHOLDERS
        for alias in [Prompts.model_fields[name].alias or name]
    },
    "benchmark names": (
        r"(selection|report)\[\d+\]\.name: is already the name of",
        r"(selection|report)\[\d+\]: Duplicate value|report has a benchmark with the name",
    ),
    "fields of S3": ("is for s3:// storage", "is for s3:// storage"),
    "no credentials": ("holds a credential", "holds a credential"),
    "no encoded control characters": ("holds a line break", "holds a line break"),
    "data on the hub": ("must be hf://datasets/owner/name", "must be hf://datasets/owner/name"),
    "data in a file": ("must be an absolute path", "must be an absolute path"),
    "data formats": ("must end with .jsonl", "must end with .jsonl"),
    "data columns": ("stands beside messages", "stands beside messages"),
    **{
        f"rows: {group} once": (rf"^spec\.data\.{group}.*rows are taken once", rf"^spec\.data\.{group}: .*taken once")
        for group in ("sft", "preference")
    },
    "hub fields of data": ("is for hf:// data sets only", "is for hf:// data sets only"),
    "something is trained": ("without either nothing is trained", "without either nothing is trained"),
    "sequences are packed": (r"batchOf: needs packing, which fills", "batchOf Sequences needs packing, which fills"),
    **{
        f"{part}: {what}": (rf"{part}\.{words}", rf"{part}\.{words}")
        for part in ("sft", "dpo")
        for what, words in {
            "batches divide": "batchSize.* not divisible",
            "precision": "precision BF16 needs",
            "a gradient norm": "zeroStage 0 tells no",
            "an end of the schedule": "minLearningRateRatio has no effect",
            "the best by a measure": "keep Best needs heldOut",
            "patience with a measure": "patience needs heldOut",
        }.items()
    },
    **{
        f"rows: {group} {what}": (rf"^spec\.data\.{group}.*: {python}", rf"^spec\.data\.{group}: .*{cel}")
        for group in ("sft", "preference")
        for what, (python, cel) in {
            "wanted": ("is empty, and training", "is empty, and training"),
            "unread": ("is read by nobody", "is read by nobody"),
            "limited": (r"is required with \d+ iterations", "with several iterations each source"),
        }.items()
    },
    "gain": ("must lie between -1 and 1", "must lie between -1 and 1"),
}

ONLY_VALIDATE: Mapping[str, str] = {
    rf"\.template\.(?!spec\.{SEEN}:).*: is not allowed in a pod template": "a schema of all of a pod is too large",
    r"\.extraBody\.\S+: (cannot be given here|looks like a credential|would make the server's chats other)": (
        "a JSON object of any shape is opaque to CEL"
    ),
    r"would be read from MOAA_SECRET_": "environment variables are `moaa run`'s",
    r"is not an address": "CEL's own idea of a URL is not the one that clients parse by",
}
"""Words of `moaa.api.reading.check` about what no rule of the CRD says, and why none does."""

GENERATED = re.compile(
    r"(is|are) for type \w+( and \w+)* only|is required with type|, in quotes$"
    r"|^metadata\.name (has more|must be)"
)
"""Rules of the CRD that are made of the classes' own fields, as its schema is."""
SCHEMA_RULES = ("x-kubernetes-list-map-keys",)


SHAPES = re.compile(r"\.template\.spec\S*: must (be|have)")
"""`moaa.api.reading.check` about the few fields of a pod template that the CRD's schema knows: they have no class."""


@dataclass
class Verdict:
    wrong: bool
    """A field is wrong by itself: rules that join fields say more or less than they would otherwise."""
    broken: dict[str, set[str]] = field(default_factory=dict)
    """Paths by the name of the rule."""


def validate(document: dict[str, Any]) -> Verdict:
    """What `moaa validate` says."""
    try:
        MoAA.model_validate_json(json.dumps(document), strict=True, by_alias=True, by_name=False)
    except ValidationError:
        return Verdict(wrong=True)
    found = [(problem.path, problem.remedy) for problem in check_document(document)]
    if any(SHAPES.search(f"{path}: {words}") for path, words in found):
        return Verdict(wrong=True)
    return Verdict(wrong=False, broken=_named(found, 0, ONLY_VALIDATE))


def serve(document: dict[str, Any]) -> Verdict:
    """What an API server says."""
    refusals = refused(document)
    wrong = [r for r in refusals if _of_a_field(r)]
    if wrong:
        return Verdict(wrong=True)
    return Verdict(wrong=False, broken=_named([(r.path, r.message) for r in refusals], 1, {}))


def _of_a_field(refusal: Refusal) -> bool:
    is_rule = refusal.about in SCHEMA_RULES or "self" in refusal.about
    return not is_rule or GENERATED.search(refusal.message) is not None


def _named(found: Iterable[tuple[str, str]], side: int, unpaired: Mapping[str, str]) -> dict[str, set[str]]:
    named: dict[str, set[str]] = {}
    for path, words in found:
        text = f"{path}: {words}"
        if any(re.search(pattern, text) for pattern in unpaired):
            continue
        names = [name for name, pair in PAIRS.items() if re.search(pair[side], text)]
        assert len(names) == 1, f"{text!r} belongs to {names or 'no pair of tests.rule_pairs'}"
        named.setdefault(names[0], set()).add(path)
    return named
