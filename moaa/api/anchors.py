"""How judges are measured before they are trusted."""

from decimal import Decimal
from typing import Annotated

from pydantic import Field

from moaa.api.base import NonNegative, Spec
from moaa.api.data import DataSource

Floor = Annotated[NonNegative, Field(lt=1)]


class Anchors(Spec):
    """Pairs with a known better answer. Every judge is measured on them, in both orders, before it is paid for: those
    of the resource as they are declared, and each of their models alone."""

    source: DataSource | None = None
    """Labelled pairs: columns `prompt`, `chosen`, `rejected`, maybe `subset`, as RewardBench 1 and 2 write them.
    Unset: 40 English questions of our own."""
    floor: Floor = Decimal("0.5")
    """The training judge's accuracy has to be shown to be above it (lower end of the 95 % interval), or the run stops
    before the first answer is paid for. 0: nothing stops."""
    evaluation_floor: Floor = Decimal(0)
    """The same for every benchmark's judge."""
