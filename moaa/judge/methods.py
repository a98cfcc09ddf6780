"""Where judge methods are registered: a declared judge becomes a method that can be asked."""

from typing import assert_never

from moaa.api.mixture import Comparisons, Judge, JudgeMethod
from moaa.judge import mixture, panel, single
from moaa.judge.adaptive.asking import Adaptive
from moaa.judge.method import Method
from moaa.judge.pairwise import EveryPair
from moaa.judge.scalar import reward
from moaa.judge.scalar.seeded import Seeded


def method_of(judge: Judge) -> Method:
    """The method of `judge`, which names models as the asker's caller knows them (`$student` is replaced)."""
    match judge.method:
        case JudgeMethod.MIXTURE:
            return _comparing(mixture.method(judge))
        case JudgeMethod.SINGLE:
            return _comparing(single.method(judge))
        case JudgeMethod.PANEL:
            return _comparing(panel.method(judge))
        case JudgeMethod.REWARD_MODEL:
            return reward.method(judge)
        case _:
            assert_never(judge.method)


def _comparing(every: EveryPair) -> Method:
    """Which pairs are compared."""
    match every.judge.comparisons:
        case Comparisons.ROUND_ROBIN:
            return every
        case Comparisons.ADAPTIVE:
            return Adaptive(every)
        case Comparisons.SEEDED:
            assert every.judge.reward_model is not None, "the resource's validation asks for one"
            return Seeded(every, every.judge.reward_model)
        case _:
            assert_never(every.judge.comparisons)
