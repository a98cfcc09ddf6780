"""What passes between a job and its harness: one JSON object a line, each request answered once, in order."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, TypeAdapter

from moaa.benchmark.checker import Followed, TaskScore


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DataFiles(_Message):
    """Files of one form that hold rows."""

    builder: Literal["json", "csv", "parquet", "arrow"]
    """Which of the library `datasets` reads them."""
    separator: str | None = None
    """Of columns, for `csv`."""
    paths: list[str]


class Suite(_Message):
    """Tasks as a benchmark declares them."""

    tasks: list[str]
    include: str | None
    """A folder of further task files; None: the harness's own tasks only."""
    metric: str | None
    """Which of a task's metrics is the score, as `exact_match` or `exact_match,strict-match`; None: its first."""
    num_fewshot: int | None
    """None: as the task says."""
    run_code: bool


class WriteDocuments(_Message):
    """Write every document of the tasks as a row; answered by `Documents`."""

    do: Literal["documents"] = "documents"
    suite: Suite
    questions: DataFiles
    fewshot: DataFiles | None
    out: str
    """The file to write: JSON lines with `id`, `messages`, `answer` and `facts` (`moaa.benchmark.lm_eval.Facts`)."""


class TaskTold(_Message):
    """One task as it was found."""

    name: str
    version: str
    documents: int
    score: str
    """Metric and filter of the score: `exact_match,strict-match`."""
    differs: list[str]
    """What the task asks of sampling, which the benchmark's own sampling stands for: `max_gen_toks 256`."""


class Documents(_Message):
    tasks: list[TaskTold]
    harness: str
    """Version of lm-evaluation-harness."""


class ScoreAnswer(_Message):
    """Score one answer to one document; answered by `TaskScore`."""

    do: Literal["score"] = "score"
    suite: Suite
    task: str
    document: dict[str, JsonValue]
    answer: str


class CheckRules(_Message):
    """Whether an answer follows IFEval's rules; answered by `Followed`."""

    do: Literal["follow"] = "follow"
    prompt: str
    rules: list[str]
    arguments: list[dict[str, JsonValue]]
    answer: str


class LookAtRules(_Message):
    """Which of these rules cannot be checked here; answered by `RulesSeen`."""

    do: Literal["rules"] = "rules"
    rules: list[tuple[str, list[str]]]
    """Each with the names of the arguments that a question gives it."""


class RulesSeen(_Message):
    refused: list[str]
    """Of each of the rules: why it cannot be checked, and the remedy; empty where it can."""


Request = Annotated[WriteDocuments | ScoreAnswer | CheckRules | LookAtRules, Field(discriminator="do")]
REQUEST: TypeAdapter[WriteDocuments | ScoreAnswer | CheckRules | LookAtRules] = TypeAdapter(Request)


class Answer(_Message):
    """One line of the child. Exactly one field is given."""

    documents: Documents | None = None
    score: TaskScore | None = None
    followed: Followed | None = None
    rules: RulesSeen | None = None
    refused: str | None = None
    """It cannot be done, and would not be done by another attempt."""
    broken: str | None = None
    """The task's own code failed on this answer."""
