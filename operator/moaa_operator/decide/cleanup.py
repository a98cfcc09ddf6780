"""What of a run's objects may go. Pure.

Kept: what an attempt under way consists of; the last ended attempt of a stage that is not done, so that its logs can
be read; the objects of finished stages while their iteration is open, for the same reason. Everything else goes:
older attempts, stopped ones, other fingerprints, servers that nobody asks.
"""

from moaa_operator.decide.scope import CHECKS, Work
from moaa_operator.observe.read import Child, Ref, Role
from moaa_operator.tell.results import iteration_of, last_closed


def sweep(work: Work) -> list[Ref]:
    """Objects to delete once the status is written."""
    gone = [child.ref for child in work.observed.children if not child.is_leaving and not _stays(work, child)]
    idle = [s for s in work.observed.servers if s.ref.name not in work.kept_servers]
    gone += [server.ref for server in idle if not server.is_leaving]
    gone += [ref for name, ref in work.observed.services.items() if name not in work.kept_servers]
    return gone


def _stays(work: Work, child: Child) -> bool:
    entry = work.entries.get(child.stage)
    if child.stage in CHECKS:
        return entry is not None and entry.attempt == child.attempt and (entry.step is not None or entry.failures > 0)
    if entry is not None and entry.fingerprint == child.fingerprint:
        if entry.attempt != child.attempt:
            return False
        return entry.step is not None or not child.is_live
    result = work.results.get(child.stage) or work.aside.get(child.stage)
    if result is None or result.fingerprint != child.fingerprint:
        return False
    is_open = iteration_of(child.stage) > last_closed(work.results) or iteration_of(child.stage) == 0
    return is_open and not child.is_live and child.role in (Role.STAGE, Role.FINALISE)
