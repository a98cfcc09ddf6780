"""Where judge methods are registered: a declared judge becomes a method that can be asked."""

from typing import assert_never

from moaa.api.mixture import Comparisons, Judge, JudgeMethod
from moaa.judge import mixture, panel, single
from moaa.judge.adaptive.asking import Adaptive
from moaa.judge.method import Method
from moaa.judge.pairwise import EveryPair


def method_of(judge: Judge) -> Method:
    """The method of `judge`, which names models as the asker's caller knows them (`$student` is replaced)."""
    every = _every_pair(judge)
    match judge.comparisons:
        case Comparisons.ROUND_ROBIN:
            return every
        case Comparisons.ADAPTIVE:
            return Adaptive(every)
        case _:
            assert_never(judge.comparisons)


def _every_pair(judge: Judge) -> EveryPair:
    match judge.method:
        case JudgeMethod.MIXTURE:
            return mixture.method(judge)
        case JudgeMethod.SINGLE:
            return single.method(judge)
        case JudgeMethod.PANEL:
            return panel.method(judge)
        case _:
            assert_never(judge.method)
