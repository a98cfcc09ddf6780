"""Parquet schemas of every row type in `moaa.rows`, column for column.

A column that a row may leave out or set to None is nullable; every other one must be there.
"""

import pyarrow as pa


def _field(name: str, kind: pa.DataType) -> "pa.Field[pa.DataType]":
    return pa.field(name, kind, nullable=False)


def _list(item: pa.DataType) -> pa.DataType:
    """A list without holes."""
    return pa.list_(pa.field("item", item, nullable=False))


_STRING = pa.string()
_MESSAGES = _list(pa.struct([_field("role", _STRING), _field("content", _STRING)]))
_PROPOSALS = _list(pa.struct([_field("path", _STRING), _field("model", _STRING), _field("text", _STRING)]))
_ABSENT = _list(pa.struct([_field("path", _STRING), _field("model", _STRING), _field("reason", _STRING)]))
_COMPARISONS = _list(
    pa.struct(
        [
            _field("a", pa.int32()),
            _field("b", pa.int32()),
            _field("criteria", _list(_STRING)),
            _field("chosen", pa.bool_()),
            pa.field("score", pa.float64()),
            pa.field("forward", pa.int32()),
            pa.field("backward", pa.int32()),
            _field("votes", _list(pa.list_(pa.int32()))),
            pa.field("skipped", _list(_STRING)),
        ]
    )
)

PROMPTS = pa.schema(
    [
        _field("id", _STRING),
        _field("messages", _MESSAGES),
        pa.field("answer", _STRING),
        pa.field("facts", _STRING),
    ]
)
"""PromptRow: `sft-<k>`, `preference-<k>`, `eval-<benchmark>`."""

TASK_FILES = pa.schema([_field("name", _STRING), _field("body", _STRING)])
"""TaskFileRow: `eval-<benchmark>.include`."""

LABELLED = pa.schema(
    [
        *(_field(name, _STRING) for name in ("id", "question_id", "question", "right", "wrong")),
        pa.field("subset", _STRING),
    ]
)
"""LabelledRow: `anchors` of stage-data."""

VERDICTS = pa.schema(
    [
        _field("id", _STRING),
        _field("kind", _STRING),
        _field("question_id", _STRING),
        pa.field("subset", _STRING),
        _field("judge", _STRING),
        pa.field("score", pa.float64()),
        pa.field("forward", pa.int32()),
        pa.field("backward", pa.int32()),
        pa.field("longer", pa.int32()),
    ]
)
"""AnchorRow: `verdicts` of anchors."""

DROPPED = pa.schema([_field(name, _STRING) for name in ("table", "where", "reason", "detail")])
"""DroppedRow."""

CONVERSATIONS = pa.schema(
    [
        _field("id", _STRING),
        _field("messages", _MESSAGES),
        _field("proposals", _PROPOSALS),
        _field("missing", pa.int32()),
        _field("absent", _ABSENT),
        _field("shortened", pa.int32()),
        pa.field("wrote", _list(_STRING)),
    ]
)
"""ConversationRow."""

SAMPLES = pa.schema([_field("id", _STRING), _field("messages", _MESSAGES), _field("samples", _list(_STRING))])
"""SampleRow."""

RANKINGS = pa.schema(
    [
        _field("id", _STRING),
        _field("messages", _MESSAGES),
        _field("samples", _list(_STRING)),
        _field("points", pa.list_(pa.float64())),
        _field("comparisons", _COMPARISONS),
        _field("outcome", _STRING),
        pa.field("scores", pa.list_(pa.float64())),
    ]
)
"""RankingRow."""

JUDGEMENTS = pa.schema(
    [
        _field("id", _STRING),
        _field("benchmark", _STRING),
        _field("model", _STRING),
        _field("sample", pa.int32()),
        _field("a", pa.int32()),
        _field("b", pa.int32()),
        _field("order", _STRING),
        _field("role", _STRING),
        _field("judge", _STRING),
        pa.field("verdict", _STRING),
        _field("text", _STRING),
        _field("failure", _STRING),
        pa.field("longer", _STRING),
        pa.field("probability", pa.float64()),
        pa.field("mass", pa.float64()),
        pa.field("label", _STRING),
    ]
)
"""JudgementRow."""

PAIRS = pa.schema(
    [
        _field("id", _STRING),
        _field("messages", _MESSAGES),
        _field("chosen", _STRING),
        _field("rejected", _STRING),
        _field("chosen_points", pa.float64()),
        _field("rejected_points", pa.float64()),
    ]
)
"""PairRow."""

ANSWERS = pa.schema(
    [
        _field("benchmark", _STRING),
        _field("model", _STRING),
        _field("id", _STRING),
        _field("sample", pa.int32()),
        _field("prompt", _STRING),
        _field("text", _STRING),
        pa.field("gold", _STRING),
        pa.field("score", pa.float64()),
    ]
)
"""AnswerRow."""

SCORES = pa.schema(
    [
        _field("benchmark", _STRING),
        _field("model", _STRING),
        _field("id", _STRING),
        _field("score", pa.float64()),
        _field("length", pa.float64()),
        pa.field("baseline_length", pa.float64()),
        pa.field("refused", pa.float64()),
        pa.field("repeated", pa.float64()),
        pa.field("detail", _STRING),
    ]
)
"""ScoreRow."""
