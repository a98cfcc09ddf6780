"""Resources that differ from good ones in a few places, with values near the edges of rules that join fields."""

import copy
from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st

from moaa.api.models import Parameter
from moaa.api.prompts import PLACEHOLDERS, Prompts
from moaa.api.reading.rules_endpoints import OWN_FIELDS, OWN_HEADERS
from moaa.api.reading.rules_models import OWN_ARGS

Document = dict[str, Any]
GONE = object()
"""In place of a value: the field is taken away."""


def _joined(start: list[str], pieces: list[str], most: int = 6) -> st.SearchStrategy[str]:
    body = st.lists(st.sampled_from(pieces), max_size=most).map("".join)
    return st.tuples(st.sampled_from(start), body).map("".join)


def _optional(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.just(GONE) | strategy


PLACE = [
    "a",
    "b",
    "/",
    "//",
    "datasets",
    "datasets/",
    "x.json",
    ".jsonl",
    ".csv",
    "%0A",
    "%0a",
    "%7F",
    "%41",
    "?",
    "#",
    "@",
    " ",
    "B",
    "-",
]
URIS = _joined(["hf://", "hf://datasets/", "s3://", "s3://bucket/", "file://", "file:///", "pvc://", "pvc://c/"], PLACE)
STORES = _joined(["s3://bucket", "s3://bucket/", "file:///"], PLACE)
ADDRESSES = _joined(
    ["http://", "https://host"],
    ["user", ":", "pw", "@", "host", "/v1", "?", "#", "&", "key=", "Token=", "sig=", "%40", "[::1]", "]", ":80"],
) | _joined(
    ["http://", "http://host", "https://host/v1"],
    ["/models", "/chat/completions", "/responses", "/", "?", "#", "a=b", "models", "x", " "],
    most=4,
)
DECLARED = st.sampled_from(["a", "b", "agg", "base", "eva"])
NAMES = DECLARED | st.sampled_from(["$student", "$student", "zz", "vllm-a"])
WINDOWS = st.sampled_from([64, 2047, 2048, 2049, 4096, 8192, 8193])
SMALL = st.integers(1, 4)
SECRET = {"name": "s", "key": "k"}
ARGS = st.lists(
    st.sampled_from([*OWN_ARGS, "--quantization", "fp8", "-t", "--served-model-names", "__model"]).flatmap(
        lambda arg: st.sampled_from([arg, f"{arg}=1", arg.replace("-", "_"), f"--{arg[2:].replace('-', '_')}=x"])
    ),
    max_size=2,
)
PROMPT = st.lists(
    st.sampled_from(
        ["{", "}", "x", "\n", "{{", *(f"{{{h}}}" for must, may in PLACEHOLDERS.values() for h in must | may)]
    ),
    min_size=1,
    max_size=6,
).map("".join)
TEMPLATES = st.fixed_dictionaries(
    {},
    optional={
        "metadata": st.just({"labels": {"hostPath": "x"}}),
        "spec": st.fixed_dictionaries(
            {},
            optional={
                "serviceAccountName": st.just("x"),
                "hostNetwork": st.booleans(),
                "volumes": st.sampled_from([[], {}, [7]])
                | st.just([{"name": "v", "hostPath": {"path": "/"}}])
                | st.just([{"name": "v", "emptyDir": {}}]),
                "containers": st.fixed_dictionaries(
                    {},
                    optional={
                        "privileged": st.sampled_from([True, False, "yes"]),
                        "procMount": st.just("x"),
                        "runAsUser": st.just(1),
                    },
                ).map(lambda context: [{"name": "main", "securityContext": context}]),
            },
        ),
    },
)


def _ask(**more: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.fixed_dictionaries({"model": NAMES}, optional={"maxTokens": WINDOWS, **more})


PROPOSERS = st.lists(_ask(samples=SMALL), min_size=1, max_size=3)
CRITERION = st.fixed_dictionaries({"name": st.sampled_from(["A", "a", "Aa", "B"]), "definition": st.just("d")})
JUDGES = st.fixed_dictionaries(
    {},
    optional={
        "method": st.sampled_from(["Mixture", "Single", "Panel"]),
        "judges": st.lists(_ask(), max_size=4),
        "aggregator": _ask(),
        "criteria": st.integers(0, 9),
        "criteriaChoices": st.lists(CRITERION, min_size=1, max_size=3),
        "minJudges": st.integers(1, 5),
        "allowStudent": st.booleans(),
    },
)
BODY = st.dictionaries(
    st.sampled_from(["top_k", "model", "tools", "api_key", "chat_template_kwargs", "max_completion_tokens", "x"]),
    st.sampled_from([1, "x", None, {"enable_thinking": False}, [1, None]]),
    max_size=3,
)
PARAMETERS = [parameter.value for parameter in Parameter]
HEADER = st.fixed_dictionaries(
    {
        "name": st.sampled_from([*OWN_HEADERS[:2], "Host", "authorization", "Authorization", "X-Title", "x-title"])
        | st.sampled_from(["api-key", "X-Api-Key", "keys", "monkey", "x-auth-token", "my_token", "tokens", "Cookie"])
    },
    optional={"value": st.sampled_from(["x", "a b"]), "secret": st.just(SECRET)},
)
ENDPOINT = st.fixed_dictionaries(
    {"url": ADDRESSES, "model": st.just("m")},
    optional={
        "maxModelLen": WINDOWS,
        "secret": st.just(SECRET),
        "omit": st.lists(st.sampled_from(PARAMETERS), max_size=4),
        "names": st.dictionaries(
            st.sampled_from(PARAMETERS), st.sampled_from(["x", "random_seed", "x", *OWN_FIELDS]), max_size=3
        ),
        "headers": st.lists(HEADER, max_size=3),
    },
)
MODEL = st.fixed_dictionaries(
    {"name": DECLARED},
    optional={
        "source": URIS,
        "revision": st.just("main"),
        "tokenSecret": st.just(SECRET),
        "endpoint": ENDPOINT,
        "extraBody": BODY,
        "serving": st.fixed_dictionaries(
            {}, optional={"gpus": st.integers(0, 2), "maxModelLen": WINDOWS, "args": ARGS, "memoryGib": st.just("1.5")}
        ),
    },
)
SOURCE_FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "limit": SMALL,
    "revision": st.just("main"),
    "tokenSecret": st.just(SECRET),
}
SOURCE = st.fixed_dictionaries({"source": URIS}, optional=SOURCE_FIELDS)
SFT_SOURCE = st.fixed_dictionaries(
    {"source": URIS}, optional={**SOURCE_FIELDS, "answers": st.sampled_from(["Mixture", "Given"])}
)
SAMPLING = st.fixed_dictionaries({}, optional={"maxTokens": WINDOWS})
_BENCHMARK = {"name": st.sampled_from(["held", "x", "y"]), "source": URIS}
BENCHMARK = (
    st.fixed_dictionaries(
        {**_BENCHMARK, "type": st.just("ExactMatch")}, optional={**SOURCE_FIELDS, "sampling": SAMPLING}
    )
    | st.fixed_dictionaries(
        {**_BENCHMARK, "type": st.just("Pairwise"), "judge": JUDGES},
        optional={**SOURCE_FIELDS, "sampling": SAMPLING, "baseline": st.sampled_from(["$base", "a", "zz"])},
    )
    | st.fixed_dictionaries(
        {
            **_BENCHMARK,
            "type": st.just("AlpacaEval"),
            "judgeModel": st.fixed_dictionaries({"model": st.sampled_from(["a", "zz", "$student"])}),
        },
        optional={**SOURCE_FIELDS, "sampling": SAMPLING, "known": SOURCE, "bothOrders": st.booleans()},
    )
    | st.fixed_dictionaries(
        {**_BENCHMARK, "type": st.just("LmEval"), "tasks": st.just(["gsm8k"])},
        optional={**SOURCE_FIELDS, "sampling": SAMPLING, "include": URIS, "numFewshot": st.integers(-1, 65)},
    )
)
OPTIMIZATION = {
    "batchSize": st.integers(1, 12),
    "microBatchSize": SMALL,
    "precision": st.sampled_from(["BF16", "FP32"]),
}
TRAINING = st.fixed_dictionaries({}, optional=OPTIMIZATION)

VALUES: Mapping[str, st.SearchStrategy[Any]] = {
    "metadata.name": st.sampled_from(["vllm", "vllm-run", "run"]),
    "spec.storage": st.fixed_dictionaries(
        {"uri": STORES},
        optional={
            "endpoint": ADDRESSES,
            "region": st.just("eu"),
            "secret": st.just({"name": "s"}),
            "weights": st.sampled_from(["Store", "Hub"]),
        },
    ),
    "spec.models.*": MODEL,
    "spec.models.*.name": NAMES.filter(lambda name: name != "$student"),
    "spec.models.*.source": _optional(URIS),
    "spec.models.*.endpoint": ENDPOINT,
    "spec.models.*.extraBody": BODY,
    "spec.models.*.serving": st.fixed_dictionaries(
        {}, optional={"maxModelLen": WINDOWS, "args": ARGS, "template": TEMPLATES}
    ),
    "spec.student": DECLARED | st.just("zz"),
    "spec.mixture": st.just(GONE),
    "spec.mixture.layers": st.lists(PROPOSERS.map(lambda entries: {"proposers": entries}), min_size=1, max_size=2),
    "spec.mixture.aggregator": _ask(),
    "spec.mixture.minProposals": st.integers(1, 6),
    "spec.mixture.addStudent": st.booleans() | st.just(True),
    "spec.mixture.studentSampling": SAMPLING,
    "spec.judge": _optional(JUDGES),
    "spec.data.sft": st.lists(SFT_SOURCE, max_size=2),
    "spec.data.preference": st.lists(SOURCE, max_size=2),
    "spec.data.allowReuse": st.booleans(),
    "spec.training.sft": _optional(TRAINING),
    "spec.training.dpo": _optional(st.fixed_dictionaries({}, optional={**OPTIMIZATION, "maxTokens": WINDOWS})),
    "spec.training.resources": st.fixed_dictionaries(
        {}, optional={"workers": SMALL, "gpusPerWorker": st.integers(0, 1), "template": TEMPLATES}
    ),
    "spec.evaluation.selection": st.lists(BENCHMARK, max_size=2),
    "spec.evaluation.report": st.lists(BENCHMARK, max_size=2),
    "spec.evaluation.gate": st.sampled_from(["-1", "1", "1.01", "-1.5", "0.02", "1e0"]).map(
        lambda gain: {"minGain": gain}
    ),
    "spec.iterations": SMALL,
    "spec.prompts": st.fixed_dictionaries(
        {}, optional={info.alias or name: PROMPT for name, info in Prompts.model_fields.items()}
    ),
}
"""Values by where they may stand; `*` is any entry of a list."""


@st.composite
def mutated(draw: st.DrawFn, bases: list[Document]) -> Document:
    """A copy of one of `bases` with one to four places changed."""
    document = copy.deepcopy(draw(st.sampled_from(bases)))
    for path in draw(st.lists(st.sampled_from(sorted(VALUES)), min_size=1, max_size=4, unique=True)):
        *parents, last = path.split(".")
        node: Any = document
        for step in parents:
            node = _inside(draw, node, step)
        value = draw(VALUES[path])
        if last == "*":
            node[draw(st.integers(0, len(node) - 1))] = value
        elif value is GONE:
            node.pop(last, None)
        else:
            node[last] = value
    return document


def _inside(draw: st.DrawFn, node: Any, step: str) -> Any:
    return node[draw(st.integers(0, len(node) - 1))] if step == "*" else node.setdefault(step, {})
