"""Checkpoints by the clock: all ranks save after the same step, whatever their own clocks say."""

from moaa_jobs.training.worker.cadence import Cadence


class Shared:
    """What ranks have told each other."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}

    def set(self, key: str, value: str, /) -> None:
        assert key not in self.values, "one rank decides, once a step"
        self.values[key] = value.encode()

    def get(self, key: str, /) -> bytes:
        return self.values[key]


def test_every_rank_follows_the_clock_of_the_first() -> None:
    shared, clocks = Shared(), [0.0, 0.0]
    ranks = [
        Cadence(shared, rank=0, minutes=10, clock=lambda: clocks[0]),
        Cadence(shared, rank=1, minutes=10, clock=lambda: clocks[1]),
    ]
    saved = []
    for step in range(1, 31):
        clocks[0] += 150.0
        clocks[1] += 7.0 * step  # another machine's clock may run as it likes
        due = [rank.is_due(step) for rank in ranks]
        assert due[0] == due[1]
        if due[0]:
            saved.append(step)
            for rank in ranks:
                rank.saved()
    assert saved == [4, 8, 12, 16, 20, 24, 28]
