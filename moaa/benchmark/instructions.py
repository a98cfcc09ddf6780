"""The Instructions benchmark: rules that a program can check, as in IFEval (Zhou et al. 2023, arXiv 2311.07911).

The score is strict accuracy by prompt: 1 when every rule of the question is followed. The rules' code is
lm-evaluation-harness's, in a child of the job.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

from moaa.api.mixture import Judge
from moaa.asking.asker import Asker
from moaa.asking.load import Load
from moaa.benchmark.checker import Checker
from moaa.benchmark.measure import Scored
from moaa.conversation import Conversation
from moaa.rows import PromptRow


class Rules(BaseModel):
    """What a row holds beside its question; IFEval's own names."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    instruction_id_list: list[str] = Field(min_length=1)
    kwargs: list[dict[str, JsonValue]]
    """The arguments of each rule; those that are null are not given."""

    @model_validator(mode="after")
    def _one_each(self) -> "Rules":
        if len(self.kwargs) != len(self.instruction_id_list):
            raise ValueError(
                f"instruction_id_list has {len(self.instruction_id_list)} rules and kwargs {len(self.kwargs)} entries; "
                "give one for each rule, {} where it needs none"
            )
        return self


def given(arguments: Mapping[str, JsonValue]) -> tuple[str, ...]:
    """Names of a rule's arguments that count: to the rules' code 0 and an empty text are as good as nothing.

    >>> given({"num_words": 40, "relation": None, "letter": ""})
    ('num_words',)
    """
    return tuple(sorted(name for name, value in arguments.items() if value))


def rules_of(row: PromptRow) -> Rules:
    facts = row.get("facts")
    assert facts is not None, f"row {row['id']}: stage-data writes facts with every question"
    return Rules.model_validate_json(facts)


@dataclass(frozen=True)
class InstructionsMeasure:
    checker: Checker | None
    """None where nothing is scored: in the plan and in the report."""
    metric: str = "instructions followed"
    needs_gold: bool = False
    needs_given: bool = False
    prompts: tuple[str, ...] = ()
    judge: Judge | None = None
    yardstick: str | None = None

    def loads(self, answers: int) -> Iterator[Load]:  # noqa: ARG002 - no model is asked
        return iter(())

    async def score(self, row: PromptRow, answered: Conversation, asker: Asker) -> Scored:  # noqa: ARG002
        """Raises CallError: as `Checker.follow`."""
        assert self.checker is not None, "the job that evaluates gives a checker"
        rules = rules_of(row)
        prompt = row["messages"][-1]["content"]
        found = await self.checker.follow(prompt, rules.instruction_id_list, rules.kwargs, answered[-1]["content"])
        return Scored(float(all(found.strict)), detail=found.model_dump())
