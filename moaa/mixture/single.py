"""Method Single: one teacher. The aggregator answers, and nobody proposes. Its call of a turn is named `single`."""

from collections.abc import Iterator
from dataclasses import dataclass

from moaa.api.mixture import Aggregator, Mixture
from moaa.asking.cut import unless_cut
from moaa.asking.load import PROMPT_TOKENS, Load, written
from moaa.mixture.method import Turn, Writer, Written


def method(mixture: Mixture) -> "OneTeacher":
    assert mixture.aggregator is not None, "the resource's validation asks for one"
    return OneTeacher(mixture.aggregator)


@dataclass(frozen=True)
class OneTeacher:
    """A method (`moaa.mixture.method.Method`) that asks one model."""

    teacher: Aggregator

    prompts: tuple[str, ...] = ()
    names = ("",)
    without_effect = frozenset({"layers", "minProposals"})

    @property
    def models(self) -> tuple[str, ...]:
        return (self.teacher.model,)

    @property
    def authors(self) -> tuple[str, ...]:
        return (self.teacher.model,)

    @property
    def answer_tokens(self) -> int:
        return self.teacher.max_tokens

    def loads(self, prompts: int) -> Iterator[Load]:
        yield Load(self.teacher.model, prompts, PROMPT_TOKENS, written(self.teacher.max_tokens))

    def writer(self, row: str, name: str) -> Writer:  # noqa: ARG002 - every row is answered alike
        return self

    async def write(self, turn: Turn) -> Written:
        """The teacher's answer.

        Raises:
            CallError: as `Caller.call`; also when the answer is cut and `whenCut` says Fail.
            ModelAbsent: as `Caller.call`.
        """
        reply = await turn.asker.at("single").ask(self.teacher.model, turn.history, self.teacher)
        return Written(unless_cut(reply, self.teacher, model=self.teacher.model).text, self.teacher.model)
