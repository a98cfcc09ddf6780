"""Which objects of a run are to be deleted. Pure.

Kept are: everything of an attempt under way; the last ended attempt of a stage that is not done, so that its logs can
be read; the objects of finished stages while their iteration is open, for the same reason. Everything else goes: older
attempts, stopped ones, other fingerprints, servers that no stage needs.
"""

from moaa_operator.decide.queueing import is_outdated
from moaa_operator.decide.scope import CHECKS, Scope
from moaa_operator.kube.objects import Ref
from moaa_operator.kube.owner import Role
from moaa_operator.observe.observed import Child
from moaa_operator.tell.results import iteration_of, last_closed


def sweep(scope: Scope) -> list[Ref]:
    """Objects to delete once the status is written."""
    gone = [child.ref for child in scope.observed.children if not child.is_leaving and not _stays(scope, child)]
    idle = [s for s in scope.observed.servers if s.ref.name not in scope.kept_servers]
    gone += [server.ref for server in idle if not server.is_leaving]
    gone += [ref for name, ref in scope.observed.services.items() if name not in scope.kept_servers]
    return gone


def _stays(scope: Scope, child: Child) -> bool:
    entry = scope.entries.get(child.stage)
    if is_outdated(scope, child):
        return False
    if child.stage in CHECKS:
        return entry is not None and entry.attempt == child.attempt and (entry.step is not None or entry.failures > 0)
    if entry is not None and entry.fingerprint == child.fingerprint:
        if entry.attempt != child.attempt:
            return False
        return entry.step is not None or not child.is_live
    result = scope.held.results.get(child.stage) or scope.held.aside.get(child.stage)
    if result is None or result.fingerprint != child.fingerprint:
        return False
    is_open = iteration_of(child.stage) > last_closed(scope.held.results) or iteration_of(child.stage) == 0
    return is_open and not child.is_live and child.role in (Role.STAGE, Role.FINALISE)
