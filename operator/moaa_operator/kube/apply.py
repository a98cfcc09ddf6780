"""Making the cluster as a decision wants it. The only module that writes children.

Servers are applied server-side: an edit updates them in place. What runs a stage is made once: a name that is taken by
a child of the same MoAA and attempt is the success of an earlier try. Whoever else holds the name is left alone.

What the server refuses (a quota, Pod Security, rights, a field) is told and the rest is made all the same: it is tried
again by later looks, and people read why in the status. What may be different in a second is an error.
"""

import logging
from collections.abc import Iterable

from moaa_operator.decide.renderer import Manifest
from moaa_operator.kube import rejections
from moaa_operator.kube.api import BY_NAME, CONFIG_MAP, Api
from moaa_operator.kube.errors import AlreadyExists, Conflict, NotFound, Refused
from moaa_operator.kube.owner import ATTEMPT_ANNOTATION, FINGERPRINT_ANNOTATION, Owner
from moaa_operator.observe.pods import Problem
from moaa_operator.observe.read import Place, Ref

logger = logging.getLogger(__name__)


Refusals = dict[Place, Problem]


def apply(api: Api, owner: Owner, manifests: Iterable[Manifest]) -> Refusals:
    """What could not be applied. Raises ApiError: the server is busy, or did not answer."""
    refusals: Refusals = {}
    for manifest in manifests:
        try:
            api.apply(BY_NAME[manifest["kind"]], owner.namespace, manifest)
        except (Refused, NotFound) as error:
            _refused(refusals, owner, manifest, error)
        else:
            logger.info("applied kind=%s name=%s", manifest["kind"], manifest["metadata"]["name"])
    return refusals


def create(api: Api, owner: Owner, manifests: Iterable[Manifest]) -> Refusals:
    """What could not be made; ConfigMaps come before what mounts them. Raises ApiError as `apply`."""
    refusals: Refusals = {}
    for manifest in sorted(manifests, key=lambda m: m["kind"] != CONFIG_MAP.kind):
        kind, name = BY_NAME[manifest["kind"]], manifest["metadata"]["name"]
        try:
            api.create(kind, owner.namespace, manifest)
        except AlreadyExists:
            taken = _taken(api, owner, manifest)
            if taken is not None:
                refusals[kind.kind, name] = taken
        except (Refused, NotFound) as error:
            _refused(refusals, owner, manifest, error)
        else:
            logger.info("created kind=%s name=%s", kind.kind, name)
    return refusals


def _refused(refusals: Refusals, owner: Owner, manifest: Manifest, error: Refused | NotFound) -> None:
    kind, name = manifest["kind"], manifest["metadata"]["name"]
    what = f"{kind} {owner.namespace}/{name}"
    refusals[kind, name] = rejections.problem(what, error.message, reason=error.reason, status=error.status)
    logger.warning("refused kind=%s name=%s error=%s", kind, name, error)


def _taken(api: Api, owner: Owner, manifest: Manifest) -> Problem | None:
    """An object that is not this run's has the name of one of its children; None: it is ours, or gone by now."""
    kind, name = BY_NAME[manifest["kind"]], manifest["metadata"]["name"]
    try:
        there = api.get(kind, owner.namespace, name)
    except NotFound:  # gone between the two requests; the next look makes it
        return None
    meta = there["metadata"]
    references = meta.get("ownerReferences") or ()
    same = all(_note(there, note) == _note(manifest, note) for note in (FINGERPRINT_ANNOTATION, ATTEMPT_ANNOTATION))
    if same and any(ref.get("uid") == owner.uid for ref in references) and not meta.get("deletionTimestamp"):
        return None
    state = "is on its way out" if meta.get("deletionTimestamp") else "belongs to somebody else; delete or rename it"
    return Problem("NameTaken", f"{kind.kind} {owner.namespace}/{name} {state}")


def _note(manifest: Manifest, name: str) -> str | None:
    note = (manifest["metadata"].get("annotations") or {}).get(name)
    return str(note) if note is not None else None


def delete(api: Api, owner: Owner, refs: Iterable[Ref]) -> None:
    """Those very objects; what is gone already, or has a successor of the same name, is no error."""
    for ref in refs:
        try:
            api.delete(BY_NAME[ref.kind], owner.namespace, ref.name, uid=ref.uid or None)
        except (NotFound, Conflict):
            continue
        logger.info("deleted kind=%s name=%s", ref.kind, ref.name)
