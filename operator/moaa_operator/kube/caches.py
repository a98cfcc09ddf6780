"""The informers' copies together: what belongs to a run, and which run an object belongs to."""

from collections.abc import Mapping

from moaa_operator.kube.informer import Informer
from moaa_operator.kube.kinds import CHILDREN, MOAA, Kind
from moaa_operator.kube.objects import Fields, Key, Object, key_of, label
from moaa_operator.kube.owner import RUN_LABEL, Owner


class Caches:
    """The copies of all kinds in every watched namespace. Any thread may call anything."""

    def __init__(self, informers: list[Informer]) -> None:
        self.informers = informers

    def has_kind(self, kind: Kind) -> bool:
        """The server has this kind."""
        return not any(informer.is_absent for informer in self.informers if informer.kind is kind)

    def is_synced(self, namespace: str) -> bool:
        """The copies of that namespace are complete."""
        return all(i.is_synced for i in self.informers if i.namespace in (None, namespace))

    def runs(self) -> list[Key]:
        """Every MoAA there is."""
        return [key_of(item) for informer in self.informers if informer.kind is MOAA for item in informer.all()]

    def run(self, key: Key) -> Object | None:
        """The metadata of a MoAA."""
        found = (informer.get(*key) for informer in self.informers if informer.kind is MOAA)
        return next((item for item in found if item is not None), None)

    def children(self, owner: Owner) -> Mapping[str, list[Object]]:
        """The run's objects by kind."""
        found: dict[str, list[Object]] = {kind.kind: [] for kind in CHILDREN}
        for informer in self.informers:
            if informer.kind is MOAA or informer.namespace not in (None, owner.namespace):
                continue
            found[informer.kind.kind] += informer.of((owner.namespace, owner.name))
        return found

    def children_and_missing(self, owner: Owner) -> tuple[Mapping[str, list[Object]], frozenset[str]]:
        """The run's objects by kind, and kinds that the server lacked at some moment while they were read.

        A copy is empty when its kind goes, and for a moment when it comes back; else that would read as objects that
        are gone.
        """
        before = {kind.kind for kind in CHILDREN if not self.has_kind(kind)}
        found = self.children(owner)
        return found, frozenset(before | {kind.kind for kind in CHILDREN if not self.has_kind(kind)})


def run_of(item: Fields) -> Key | None:
    """The MoAA that an object belongs to, or is; None: it belongs to none."""
    if item.get("kind") == MOAA.kind:
        return key_of(item)
    run = label(item, RUN_LABEL)
    return (key_of(item)[0], run) if run else None
