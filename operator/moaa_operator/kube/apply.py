"""Make the cluster as a decision wants it: apply, create and delete the run's children.

Servers are applied server-side: an edit updates them in place. What runs a stage is created once. If its name is taken
by a child of the same MoAA, fingerprint and attempt, an earlier try succeeded; any other holder is left alone.

What the server refuses (a quota, Pod Security, rights, a field) is returned, and the rest is made all the same. Later
looks try again, and the status says why. An error that may pass in a second is raised.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable

from moaa_operator.kube import rejections
from moaa_operator.kube.api import Answer, Api
from moaa_operator.kube.errors import AlreadyExists, Conflict, NotFound, Refused
from moaa_operator.kube.kinds import BY_NAME, CONFIG_MAP, NETWORK_POLICY
from moaa_operator.kube.objects import Manifest, Place, Problem, Ref, annotation, is_leaving, is_owned_by
from moaa_operator.kube.owner import ATTEMPT_ANNOTATION, FINGERPRINT_ANNOTATION, Owner

logger = logging.getLogger(__name__)


Refusals = dict[Place, Problem]
LATELY_S = 300.0


class Lately:
    """What this process has applied and does not watch: network policies. Any thread may call anything.

    They are wanted again before anything else of a run is made, a fifth of all its writes. The same one within
    `LATELY_S` is left out; whoever deletes one has it back after that, as after a start of the operator.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._applied: dict[tuple[str, Place], tuple[float, Manifest]] = {}

    def has(self, owner: Owner, manifest: Manifest) -> bool:
        with self._lock:
            at, applied = self._applied.get(self._key(owner, manifest), (-LATELY_S, {}))
        return self._clock() < at + LATELY_S and applied == manifest

    def note(self, owner: Owner, manifest: Manifest) -> None:
        """It was applied just now; what was longer ago is forgotten."""
        if manifest["kind"] != NETWORK_POLICY.kind:
            return
        now, key = self._clock(), self._key(owner, manifest)
        with self._lock:
            self._applied.pop(key, None)  # so that the first is always the oldest
            self._applied[key] = now, manifest
            while self._applied and next(iter(self._applied.values()))[0] + LATELY_S <= now:
                del self._applied[next(iter(self._applied))]

    def _key(self, owner: Owner, manifest: Manifest) -> tuple[str, Place]:
        return owner.uid, (manifest["kind"], manifest["metadata"]["name"])


def apply(api: Api, owner: Owner, manifests: Iterable[Manifest], *, lately: Lately) -> Refusals:
    """Apply what was not applied `lately`, and return what the server refused.

    Raises:
        ApiError: the server is busy, or did not answer.
    """
    refusals: Refusals = {}
    for manifest in manifests:
        if lately.has(owner, manifest):
            continue
        try:
            api.apply(BY_NAME[manifest["kind"]], owner.namespace, manifest, answer=Answer.METADATA)
        except (Refused, NotFound) as error:
            _refused(refusals, owner, manifest, error)
        else:
            lately.note(owner, manifest)
            logger.info("applied kind=%s name=%s", manifest["kind"], manifest["metadata"]["name"])
    return refusals


def create(api: Api, owner: Owner, manifests: Iterable[Manifest]) -> Refusals:
    """Create, ConfigMaps before what mounts them, and return what the server refused.

    Raises:
        ApiError: the server is busy, or did not answer.
    """
    refusals: Refusals = {}
    for manifest in sorted(manifests, key=lambda m: m["kind"] != CONFIG_MAP.kind):
        kind, name = BY_NAME[manifest["kind"]], manifest["metadata"]["name"]
        try:
            api.create(kind, owner.namespace, manifest, answer=Answer.METADATA)
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
    """The problem of a name that another object holds; None: the object is ours, or gone by now."""
    kind, name = BY_NAME[manifest["kind"]], manifest["metadata"]["name"]
    try:
        there = api.get(kind, owner.namespace, name)
    except NotFound:  # gone between the two requests; the next look makes it
        return None
    notes = (FINGERPRINT_ANNOTATION, ATTEMPT_ANNOTATION)
    same = all(annotation(there, note) == annotation(manifest, note) for note in notes)
    if same and is_owned_by(there, owner.uid) and not is_leaving(there):
        return None
    state = "is on its way out" if is_leaving(there) else "belongs to somebody else; delete or rename it"
    return Problem("NameTaken", f"{kind.kind} {owner.namespace}/{name} {state}")


def delete(api: Api, owner: Owner, refs: Iterable[Ref]) -> None:
    """Delete exactly these objects. One that is gone, or has a successor of the same name, is no error.

    Raises:
        ApiError: the server refused, is busy, or did not answer.
    """
    for ref in refs:
        try:
            api.delete(BY_NAME[ref.kind], owner.namespace, ref.name, uid=ref.uid or None)
        except (NotFound, Conflict):
            continue
        logger.info("deleted kind=%s name=%s", ref.kind, ref.name)
