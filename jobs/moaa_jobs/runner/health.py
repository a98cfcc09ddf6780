"""What a finished stage says against its members: sentences for manifest, report and status. Pure.

A stage that ended well may rest on a judge that follows the order of the answers, a coin or their length, and on
members that were absent or cut. Each rule has a threshold, and those about verdicts also a binomial test, so that a
few comparisons accuse nobody.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations, groupby
from typing import cast

from moaa.judge.trail import Role
from moaa.plan.result import MAX_WARNINGS, WARNING_BYTES
from moaa.rows import JudgementRow
from moaa.store.stages.manifest import TokenUsage
from moaa_jobs.runner.binomial import at_least
from moaa_jobs.runner.members import Members, Rows, Trail

OFTEN = 0.1
"""Part of its tries that a member may fail, and of its answers that may be cut, before it is named."""
ALPHA = 0.01
"""Chance at most of naming a judge that is none of this."""
COIN_ALPHA = 0.05
"""A coin is named only while its own figure is no rarer than this among coins."""
COIN = 0.5
COIN_PLACE = 0.25
"""How often a coin names the answer that stands first both times."""
UNSTEADY = 0.25
"""Position consistency below which the order decides."""
ONE_PLACE = 0.9
"""Part of the verdicts that moved with the order in which the same place won."""
SOUND = 0.7
"""Position consistency that a judge worth asking has at least (ours)."""
LONGER = 0.95
"""Part of the verdicts that held in which the longer answer won."""
LONGER_SOUND = 0.8
"""How often the longer answer may be the better one without a fault of the judge (ours)."""
LEAST_MASS = 0.5
"""Mean probability of the two letters together below which a judge does not do what it is asked (ours)."""


@dataclass
class Verdicts:
    """One judge's comparisons of which both orders have a verdict."""

    held: int = 0
    """The same answer won in both orders."""
    first: int = 0
    """Whichever stood first won."""
    second: int = 0
    unequal: Counter[str] = field(default_factory=Counter)
    """Verdicts that held, by the answer that is the longer one (A: the pair's a); those of equal length left out."""
    longer: Counter[str] = field(default_factory=Counter)
    """Those of them in which the longer answer won."""
    alike: int = 0
    """Times that another judge's verdict on the same pair held, too, and was the same."""
    met: int = 0
    """Times that another judge's verdict on the same pair held, too."""
    weighed: int = 0
    """Verdicts by log-probabilities, each order for itself."""
    bias: float = 0.0
    """Sum over these of P(the answer that stands first) − ½."""
    mass: float = 0.0
    """Sum over these of P(A) + P(B)."""

    @property
    def valid(self) -> int:
        return self.held + self.first + self.second


@dataclass
class Health:
    """Counts over a stage's trail; its table is added part by part."""

    members: Members = field(default_factory=Members)
    judges: dict[str, Verdicts] = field(default_factory=dict)

    def add(self, trail: Trail, rows: Rows) -> None:
        self.members.add(trail.parts(rows), lambda _model, _reason: "")
        if trail.has_verdicts:
            for _, said in groupby(cast("Sequence[JudgementRow]", rows), _pair):
                self._compare([row for row in said if row["role"] == Role.VERDICT])

    def _compare(self, said: Sequence[JudgementRow]) -> None:
        """One pair's verdicts: of every judge those of both orders, in the order of the panel. A benchmark may ask in
        one order only; such verdicts have probabilities and say nothing of the order."""
        for row in said:
            verdicts = self.judges.setdefault(row["judge"], Verdicts())
            if row["probability"] is not None and row["mass"] is not None:
                verdicts.weighed += 1
                verdicts.bias += row["probability"] - 0.5
                verdicts.mass += row["mass"]
        forward = [row for row in said if row["order"] == "ab"]
        backward = [row for row in said if row["order"] == "ba"]
        held: list[tuple[Verdicts, str]] = []
        for ab, ba in zip(forward, backward, strict=True) if forward and backward else ():
            verdicts = self.judges[ab["judge"]]
            if ab["verdict"] is None or ba["verdict"] is None:
                continue
            if ab["verdict"] == ba["verdict"]:
                verdicts.first += ab["verdict"] == "A"
                verdicts.second += ab["verdict"] == "B"
                continue
            verdicts.held += 1
            if ab["longer"] is not None:
                verdicts.unequal[ab["longer"]] += 1
                verdicts.longer[ab["longer"]] += ab["longer"] == ab["verdict"]
            held.append((verdicts, ab["verdict"]))
        for (one, its), (other, others) in combinations(held, 2):
            for verdicts in (one, other):
                verdicts.met += 1
                verdicts.alike += its == others

    def warnings(self, usage: Mapping[str, TokenUsage]) -> list[str]:
        """As `fitted`, those about verdicts first."""
        found = [
            *(text for judge, verdicts in self.judges.items() if (text := _judge(judge, verdicts))),
            *(text for judge, verdicts in self.judges.items() if (text := _mass(judge, verdicts))),
            *self._failed(usage),
            *self._cut(usage),
        ]
        return fitted(found)

    def _failed(self, usage: Mapping[str, TokenUsage]) -> Iterator[str]:
        """By the rows, then by the calls of models of whom the rows say nothing bad."""
        named: set[str] = set()
        for (model, role), tries in self.members.tries.items():
            if tries.failed > OFTEN * tries.asked:
                named.add(model)
                told = _told(tries.failures, tries.words or _words(usage.get(model, TokenUsage()), tries.failures))
                yield f"model {model!r} failed {tries.failed} of {tries.asked} times as {role} {told}"
        for model, used in usage.items():
            failures, asked = Counter(used.failures), used.calls + used.reused
            if model not in named and failures.total() > OFTEN * asked:
                told = _told(failures, _words(used, failures))
                yield f"model {model!r} failed {failures.total()} times, with {asked} calls sent or reused {told}"

    def _cut(self, usage: Mapping[str, TokenUsage]) -> Iterator[str]:
        """A reply before a verdict by log-probabilities may be cut: none of its words are read."""
        for model, used in usage.items():
            weighed = model in self.judges and self.judges[model].weighed > 0
            cut = Counter({role: n for role, n in used.cut.items() if not (weighed and role == Role.VERDICT)})
            asked = used.calls + used.reused
            if cut.total() > OFTEN * asked:
                roles = ", ".join(f"{role}: {count}" for role, count in cut.most_common())
                yield (
                    f"model {model!r} ended {cut.total()} of {asked} answers at their limit of tokens ({roles}); "
                    "raise maxTokens there"
                )


def _words(used: TokenUsage, failures: Counter[str]) -> str:
    """What a model's server said with the most frequent of `failures`."""
    [(reason, _)] = failures.most_common(1)
    return used.examples.get(reason, "")


def _told(failures: Counter[str], words: str) -> str:
    counts = ", ".join(f"{reason}: {count}" for reason, count in failures.most_common())
    return f"({counts}): {' '.join(words.split())}" if words else f"({counts})"


def _pair(row: JudgementRow) -> tuple[object, ...]:
    return row["benchmark"], row["model"], row["id"], row["sample"], row["a"], row["b"]


def _judge(judge: str, verdicts: Verdicts) -> str | None:
    """What a judge's verdicts follow in place of the answers; None where nothing shows that."""
    valid = verdicts.valid
    place, count = max(("first", verdicts.first), ("second", verdicts.second), key=lambda found: found[1])
    moved = verdicts.first + verdicts.second
    if (
        verdicts.held < UNSTEADY * valid
        and count >= ONE_PLACE * moved
        and at_least(count, of=valid, chance=COIN_PLACE) < ALPHA
    ):
        told = f" (P(first) {0.5 + verdicts.bias / verdicts.weighed:.2f} on average)" if verdicts.weighed else ""
        return (
            f"judge {judge!r} prefers whichever answer stands {place}: {count} of {valid} comparisons{told}; its "
            "verdicts say nothing about the answers, so name another judge"
        )
    if _is_a_coin(verdicts):
        return (
            f"judge {judge!r} is no better than chance: its verdict held in both orders in {verdicts.held} of {valid} "
            "comparisons, as a coin's would in half; name another judge"
        )
    if _follows_length(verdicts):
        return (
            f"judge {judge!r} prefers the longer answer: {verdicts.longer.total()} of {verdicts.unequal.total()} "
            "verdicts that held in both orders; length is what would be learned"
        )
    return None


def _mass(judge: str, verdicts: Verdicts) -> str | None:
    """What a judge says of the letters it is asked for; None where it takes them up."""
    if not verdicts.weighed or (mean := verdicts.mass / verdicts.weighed) >= LEAST_MASS:
        return None
    return (
        f"judge {judge!r} gives the letters A and B {100 * mean:.0f} % of its probability, over {verdicts.weighed} "
        "verdicts: it would mostly write something else, so they tell little; name another judge"
    )


def _is_a_coin(verdicts: Verdicts) -> bool:
    """Whether the comparisons tell a judge from one worth asking, and do not tell it from a coin.

    Two exact binomial tests of the verdicts that held: so few are rarer than ALPHA for a judge of consistency SOUND,
    and so many are no rarer than COIN_ALPHA for a coin, which holds in half. A judge that agrees with others more often
    than a coin would (again COIN_ALPHA) is none. Few comparisons cannot meet the first test, and nothing is said.
    """
    held, valid = verdicts.held, verdicts.valid
    return (
        at_least(valid - held, of=valid, chance=1 - SOUND) < ALPHA
        and at_least(held, of=valid, chance=COIN) >= COIN_ALPHA
        and at_least(verdicts.alike, of=verdicts.met, chance=COIN) >= COIN_ALPHA
    )


def _follows_length(verdicts: Verdicts) -> bool:
    """Whether the longer answer wins, whichever of the two it is: LONGER of the verdicts, and on either side more often
    than LONGER_SOUND allows (exact binomial test, ALPHA). A student that is better and longer than its baseline wins on
    one side alone, which says nothing about the judge."""
    unequal, longer = verdicts.unequal, verdicts.longer
    return longer.total() >= LONGER * unequal.total() and all(
        at_least(longer[side], of=unequal[side], chance=LONGER_SOUND) < ALPHA for side in "AB"
    )


def fitted(found: Sequence[str]) -> list[str]:
    """At most MAX_WARNINGS of at most WARNING_BYTES, the first first; what does not fit is counted."""
    kept = found if len(found) <= MAX_WARNINGS else found[: MAX_WARNINGS - 1]
    more = [f"{len(found) - len(kept)} more"] if len(kept) < len(found) else []
    return [_bounded(text) for text in (*kept, *more)]


def _bounded(text: str) -> str:
    """In bytes, since a stage's result has to fit into a termination message."""
    raw = text.encode()
    return text if len(raw) <= WARNING_BYTES else f"{raw[: WARNING_BYTES - 3].decode(errors='ignore')}..."
