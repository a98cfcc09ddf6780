"""From the informers' copies to what a decision needs: one frozen value for each MoAA. Pure.

Children are known by what rendering wrote on them (labels with the run, the role, the stage; annotations with the
fingerprint, the attempt, the model) and by the owner's UID. A child of a deleted MoAA of the same name is passed over.
"""

from collections.abc import Callable, Iterable, Mapping

from moaa.api.status import MoAAStatus
from moaa_operator.kube.kinds import ServerKind
from moaa_operator.kube.objects import Fields, Object, annotation, is_leaving, is_owned_by, name_of, ref_of
from moaa_operator.kube.owner import HASH_ANNOTATION, owner_of
from moaa_operator.observe import children, jobs, rayjobs, servers
from moaa_operator.observe.children import Heard
from moaa_operator.observe.observed import Child, Observed
from moaa_operator.observe.progress import PodFigures

_CHILDREN: Mapping[str, Callable[[Fields, list[Fields], Heard], Child | None]] = {
    "Job": jobs.job,
    "RayJob": rayjobs.rayjob,
    "ConfigMap": children.config_map,
}
"""How each kind of child is read."""


def observe(
    document: Object,
    objects: Mapping[str, Iterable[Fields]],
    *,
    missing: frozenset[str] = frozenset(),
    figures: Mapping[str, PodFigures] | None = None,
) -> Observed:
    """`objects`: the run's objects by kind, its pods among them, Events about silent children, and Workloads of what a
    queue may hold back. `missing`: kinds that the cluster does not know. `figures`: what pods said of their progress,
    by their UIDs.

    A status that no version of ours wrote counts as lost: what it said is found again.
    """
    owner = owner_of(document)
    mine = {kind: [item for item in items if is_owned_by(item, owner.uid)] for kind, items in objects.items()}
    pods = list(objects.get("Pod", ()))
    services = [item for item in mine.get("Service", []) if servers.is_server(item)]
    workloads = children.workloads_by(objects.get("Workload", ()))
    heard = Heard(children.newest(objects.get("Event", ())), workloads, figures or {})
    return Observed(
        owner=owner,
        generation=int(document["metadata"].get("generation") or 0),
        document=document,
        status=status_of(document),
        is_leaving=is_leaving(document),
        children=tuple(
            child
            for kind, read in _CHILDREN.items()
            for item in mine.get(kind, [])
            if (child := read(item, pods, heard)) is not None
        ),
        servers=tuple(
            servers.server(item, kind, pods, heard)
            for kind in ServerKind
            for item in mine.get(kind, [])
            if servers.is_server(item)
        ),
        services={name_of(item): ref_of(item, "Service") for item in services},
        service_hashes={name_of(item): annotation(item, HASH_ANNOTATION) for item in services},
        missing=missing,
    )


def status_of(document: Fields) -> MoAAStatus:
    """As far as a version of ours wrote it; otherwise an empty one."""
    try:
        return MoAAStatus.model_validate(document.get("status") or {})
    except ValueError:
        return MoAAStatus()
