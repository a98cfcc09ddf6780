"""How judges are measured before they are trusted."""

from decimal import Decimal
from typing import Annotated

from pydantic import Field

from moaa.api.base import NonNegative, Spec
from moaa.api.data import DataSource, FileSource

Floor = Annotated[NonNegative, Field(lt=1)]


class LabelledSource(FileSource):
    """Columns `prompt`, `chosen`, `rejected`, `subset`, as in RewardBench 1 and 2."""

    limit: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """Questions at most."""


class Anchors(Spec):
    """Pairs with a known better answer, on which every judge is measured before anything is paid for."""

    source: LabelledSource | None = None
    """Unset: 40 English questions of our own."""
    floor: Floor = Decimal("0.5")
    """What the training judge's accuracy has to be shown to exceed, or the run stops. 0: nothing stops."""
    evaluation_floor: Floor = Decimal(0)
    """The same for every benchmark's judge."""

    @property
    def table(self) -> DataSource | None:
        """The source as stage-data reads sources; None where the pairs are our own."""
        return None if self.source is None else DataSource.model_validate(dict(self.source))
