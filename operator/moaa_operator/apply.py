"""Making the cluster as a decision wants it. The only module that writes children.

Servers are applied server-side: an edit updates them in place. What runs a stage is made once: a name that is taken by
a child of the same MoAA and attempt is the success of an earlier try. Whoever else holds the name is left alone and
named in the error.
"""

import logging
from collections.abc import Iterable

from moaa_operator.api import BY_NAME, CONFIG_MAP, Api
from moaa_operator.errors import AlreadyExists, ApiError, Conflict, NotFound
from moaa_operator.observe import Ref
from moaa_operator.owner import ATTEMPT_ANNOTATION, FINGERPRINT_ANNOTATION, Owner
from moaa_operator.renderer import Manifest

logger = logging.getLogger(__name__)


class NameTaken(Exception):
    """An object that is not this run's has the name of one of its children."""


def apply(api: Api, owner: Owner, manifests: Iterable[Manifest]) -> None:
    """Raises ApiError: the server refuses one (a quota, Pod Security, rights); its words say why."""
    for manifest in manifests:
        api.apply(BY_NAME[manifest["kind"]], owner.namespace, manifest)
        logger.info("applied kind=%s name=%s", manifest["kind"], manifest["metadata"]["name"])


def create(api: Api, owner: Owner, manifests: Iterable[Manifest]) -> None:
    """ConfigMaps before what mounts them.

    Raises:
        NameTaken: see the class; it passes when the other object is gone.
        ApiError: as `apply`.
    """
    for manifest in sorted(manifests, key=lambda m: m["kind"] != CONFIG_MAP.kind):
        kind, name = BY_NAME[manifest["kind"]], manifest["metadata"]["name"]
        try:
            api.create(kind, owner.namespace, manifest)
        except AlreadyExists:
            _check_ours(api, owner, manifest)
        else:
            logger.info("created kind=%s name=%s", kind.kind, name)


def _check_ours(api: Api, owner: Owner, manifest: Manifest) -> None:
    kind, name = BY_NAME[manifest["kind"]], manifest["metadata"]["name"]
    try:
        there = api.get(kind, owner.namespace, name)
    except NotFound:  # gone between the two requests; the next look makes it
        return
    meta = there["metadata"]
    references = meta.get("ownerReferences") or ()
    same = all(_note(there, note) == _note(manifest, note) for note in (FINGERPRINT_ANNOTATION, ATTEMPT_ANNOTATION))
    if same and any(ref.get("uid") == owner.uid for ref in references) and not meta.get("deletionTimestamp"):
        return
    state = "is on its way out" if meta.get("deletionTimestamp") else "belongs to somebody else; delete or rename it"
    raise NameTaken(f"{kind.kind} {owner.namespace}/{name} {state}")


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


__all__ = ["ApiError", "NameTaken", "apply", "create", "delete"]
