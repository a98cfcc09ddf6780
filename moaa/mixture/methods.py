"""Where answer methods are registered: a declared mixture becomes a method that can be asked."""

from typing import assert_never

from moaa.api.mixture import Judge, Mixture, MixtureMethod
from moaa.judge import methods as judges
from moaa.mixture import best_of_n, each, mixture, single
from moaa.mixture.method import Method


def method_of(declared: Mixture, *, judge: Judge | None, seed: int) -> Method:
    """The method of a mixture. It and `judge`, the resource's own, name models as the asker's caller knows them
    (`$student` is replaced); `seed` is the run's."""
    match declared.method:
        case MixtureMethod.MIXTURE:
            return mixture.method(declared)
        case MixtureMethod.SINGLE:
            return single.method(declared)
        case MixtureMethod.RANDOM:
            return each.random(declared, seed)
        case MixtureMethod.BEST_OF_N:
            assert judge is not None, "the resource's validation asks for one"
            return best_of_n.method(declared, judges.method_of(judge))
        case MixtureMethod.COMBINED:
            return each.combined(declared)
        case _:
            assert_never(declared.method)
