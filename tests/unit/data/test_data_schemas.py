"""A row type and the schema it is written with have the same columns."""

from typing import Any, get_type_hints

import pyarrow as pa
import pytest

from moaa import rows
from moaa.data import schemas


@pytest.mark.parametrize(
    ("row", "schema"),
    [
        (rows.PromptRow, schemas.PROMPTS),
        (rows.ConversationRow, schemas.CONVERSATIONS),
        (rows.SampleRow, schemas.SAMPLES),
        (rows.RankingRow, schemas.RANKINGS),
        (rows.PairRow, schemas.PAIRS),
        (rows.AnswerRow, schemas.ANSWERS),
        (rows.ScoreRow, schemas.SCORES),
    ],
    ids=lambda part: getattr(part, "__name__", "schema"),
)
def test_row_types_and_schemas_have_the_same_columns(row: Any, schema: pa.Schema) -> None:
    assert set(get_type_hints(row)) == set(schema.names)
