"""Which models a row may still ask.

A server may go as soon as no row will ask its model any more. Only what asks knows that, so it says so: methods of a
mixture narrow the rest of their row as answers come in. What is given up cannot be had back: `check` refuses it.
"""

from collections.abc import Callable, Collection

from moaa.errors import StageError


class Rest:
    """Of one row. It only ever shrinks."""

    def __init__(self, models: Collection[str], gave_up: Callable[[Collection[str]], None]) -> None:
        self._models = frozenset(models)
        self._gave_up = gave_up
        """Is told what goes, each model once."""

    def only(self, models: Collection[str]) -> None:
        """From here on the row asks none but `models`, if any. All calls of the others have a recorded outcome."""
        gone = self._models.difference(models)
        if gone:
            self._models -= gone
            self._gave_up(gone)

    def check(self, model: str) -> None:
        """Raises StageError: the row had given the model up, a mistake of its method."""
        if model not in self._models:
            raise StageError(f"model {model!r} is asked by a row that had said that it would not ask it again")
