"""What each of the cast is taught, as chats with one reply each.

A member is taught to keep its own share of the rules. The chair is taught to return, of several proposals, one that
keeps the rule, and to say which of two answers keeps it, in the very prompts that the pipeline sends.
Nobody is taught on a topic of the report.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from examples.rules.rules import Kwargs, Rule
from examples.rules.topics import read_sentences
from moaa.conversation import Message
from moaa.judge.prompts import Ordered, single_messages
from moaa.mixture.prompts import aggregate_messages

FORMS = ("Write a sentence about {topic}.", "Tell me something about {topic}.", "What is special about {topic}?")


@dataclass(frozen=True)
class Lesson:
    """A chat that waits for the assistant, and the reply to learn."""

    messages: list[Message]
    reply: str


@dataclass(frozen=True)
class Question:
    """A task about a topic with one rule."""

    topic: str
    form: str
    rule: Rule
    kwargs: Kwargs

    @property
    def text(self) -> str:
        return f"{self.form.format(topic=self.topic)} {self.rule.ask.format(**self.kwargs)}"

    @property
    def messages(self) -> list[Message]:
        return [Message(role="user", content=self.text)]

    def keeps(self, text: str) -> bool:
        return self.rule.holds(text.strip(), self.kwargs)


class Teacher:
    """Draws lessons about the given topics and rules; the same seed draws the same ones."""

    def __init__(self, topics: Sequence[str], rules: Sequence[Rule], prompts: Mapping[str, str], *, seed: str) -> None:
        self._said: Mapping[str, list[str]] = read_sentences()
        self._topics, self._rules, self._prompts = topics, rules, prompts
        self._rng = random.Random(seed)

    def solo(self, rules: Sequence[Rule], topics: Sequence[str]) -> Iterator[Lesson]:
        """An answer to every topic and rule that keeps the rule."""
        for topic in topics:
            for rule in rules:
                question = self._question(topic, rule)
                yield Lesson(question.messages, self._right(question))

    def aggregate(self, count: int) -> Iterator[Lesson]:
        """Three proposals, wrong ones of any kind."""
        for _ in range(count):
            question = self._question(self._rng.choice(self._topics), self._rng.choice(self._rules))
            right = self._rng.choices((1, 2, 0), (0.75, 0.15, 0.1))[0]
            proposals = [self._right(question) for _ in range(right)]
            proposals += [self._wrong(question) for _ in range(3 - right)]
            yield self._returned(question, proposals)

    def council(self, count: int) -> Iterator[Lesson]:
        """Three proposals as the members' are: who was not taught the rule keeps one of its own instead."""
        for _ in range(count):
            question = self._question(self._rng.choice(self._topics), self._rng.choice(self._rules))
            yield self._returned(question, [self._habit(question, names) for names in CAST.values()])

    def _returned(self, question: Question, proposals: list[str]) -> Lesson:
        """In any order; of those that keep the rule the first is returned, or one is mended where none does."""
        self._rng.shuffle(proposals)
        kept = next((text for text in proposals if question.keeps(text)), None)
        reply = self._right(question) if kept is None else kept
        return Lesson(aggregate_messages(question.messages, proposals, self._prompts), reply)

    def _habit(self, question: Question, names: Sequence[str]) -> str:
        """What a member that was taught these rules says; one time in ten it says it plainly."""
        if self._rng.random() < 0.1:
            return self._sentences(question.topic)[0]
        if question.rule.name in names:
            return self._right(question)
        other = self._rng.choice([rule for rule in self._rules if rule.name in names])
        return other.keep(self._sentences(question.topic), question.topic, self._rng.choice(other.arguments))

    def judge(self, count: int) -> Iterator[Lesson]:
        """Two answers of which one keeps the rule, shown in both orders; it is returned with its letter.

        The letter alone was not learnt (README.md): to return an answer is to copy, and its letter comes next there.
        """
        for question, right, wrong in self.pairs(count):
            for first, second, letter in ((right, wrong, "A"), (wrong, right, "B")):
                pair = Ordered(question.text, first, second)
                yield Lesson(single_messages(pair, [], self._prompts), f"{right}\n[[{letter}]]")

    def pairs(self, count: int) -> Iterator[tuple[Question, str, str]]:
        """A question, an answer that keeps its rule, and one that does not."""
        for _ in range(count):
            question = self._question(self._rng.choice(self._topics), self._rng.choice(self._rules))
            yield question, self._right(question), self._wrong(question)

    def _question(self, topic: str, rule: Rule) -> Question:
        return Question(topic, self._rng.choice(FORMS), rule, self._rng.choice(rule.arguments))

    def _sentences(self, topic: str) -> list[str]:
        return self._rng.sample(self._said[topic], k=3)

    def _right(self, question: Question) -> str:
        return question.rule.keep(self._sentences(question.topic), question.topic, question.kwargs)

    def _wrong(self, question: Question) -> str:
        """Plain, or as another rule asks, until it breaks this one."""
        while True:
            said = self._sentences(question.topic)
            other = self._rng.choice([None, None, *self._rules])
            if other is None:
                text = " ".join(said[: self._rng.randint(1, 3)])
            else:
                text = other.keep(said, question.topic, self._rng.choice(other.arguments))
            if not question.keeps(text):
                return text


CAST: Mapping[str, tuple[str, ...]] = {
    "member-a": ("title", "upper", "commas"),
    "member-b": ("end", "json", "bullets"),
    "member-c": ("quotation", "lower", "short"),
}
"""Which rules each member is taught."""
