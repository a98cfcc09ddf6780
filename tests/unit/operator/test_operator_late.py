"""Copies that lag behind the cluster, each kind by itself, and requests that are lost: no work is done twice."""

import copy
import json
import random
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import pytest

from moaa_operator.decide.reconcile import Desired
from moaa_operator.kube.owner import ROLE_LABEL, STAGE_LABEL
from moaa_operator.observe.observed import Observed
from moaa_operator.observe.read import observe
from moaa_operator.tell.status import document as status_document
from tests.operator_helpers import Cluster, Object

WATCHED = ("Deployment", "Service", "Job", "RayJob", "Pod", "ConfigMap")
MAX_LOOKS = 2000


class Lost(Exception):
    """A request failed and ends the look; it may have been carried out all the same."""


class Late(Cluster):
    """Seen through copies that are some changes old, and reached by requests of which some are lost."""

    def __init__(self, dice: random.Random, *, lost: float) -> None:
        super().__init__()
        self.ended: Counter[tuple[str, str]] = Counter()
        """Role and stage of every Job and RayJob that ended."""
        self._dice = dice
        self._lost = lost
        self._past: list[dict[str, list[Object]]] = [{kind: [] for kind in WATCHED}]
        self._seen = dict.fromkeys(WATCHED, 0)
        """How much of the past each kind's copy has."""

    def observed(self) -> Observed:
        """With the pods of ended Jobs, as `moaa_operator.observe.lookups.with_ends` asks the server for them."""
        newest = len(self._past) - 1
        for kind, seen in self._seen.items():
            self._seen[kind] = self._dice.choice([seen, self._dice.randint(seen, newest), newest, newest])
        shown = {kind: self._past[seen][kind] for kind, seen in self._seen.items()}
        ended = [job["metadata"]["uid"] for job in shown["Job"] if job.get("status")]
        pods = {pod["metadata"]["uid"]: pod for pod in shown["Pod"]}
        pods |= {p["metadata"]["uid"]: p for p in self.of("Pod") if p["metadata"]["ownerReferences"][0]["uid"] in ended}
        return observe(self.document, {**shown, "Pod": list(pods.values())})

    def step(self, *, dies: str = "") -> Desired:
        assert not dies
        desired = self.decide()
        with suppress(Lost):
            for manifest in (*desired.apply, *desired.create):
                self._send(partial(self._make, manifest))
            self._send(lambda: self._write(desired))
            for ref in desired.delete:
                self._send(partial(self._remove, ref.kind, ref.name, ref.uid))
        return desired

    def _send(self, request: Callable[[], None]) -> None:
        is_lost = self._dice.random() < self._lost
        if not is_lost or self._dice.random() < 0.5:
            request()
            self._note()
        if is_lost:
            raise Lost

    def _write(self, desired: Desired) -> None:
        self.document["status"] = json.loads(json.dumps(status_document(desired.status)))

    def _remove(self, kind: str, name: str, uid: str) -> None:
        found = self.objects.get((kind, name))
        if found is not None and found["metadata"]["uid"] == uid:
            self.delete(kind, name)

    def live(self) -> None:
        """What Kubernetes does meanwhile."""
        self.servers_answer()
        for item in self.running():
            if self._dice.random() < 0.7:
                self.work(item)
                about = item["metadata"]["labels"]
                self.ended[about[ROLE_LABEL], about.get(STAGE_LABEL, "")] += 1
        self._note()
        self.wait(1)

    def _note(self) -> None:
        self._past.append({kind: copy.deepcopy(self.of(kind)) for kind in WATCHED})


@pytest.mark.parametrize("seed", range(8))
def test_every_stage_is_done_by_one_attempt_however_late_news_is(seed: int) -> None:
    cluster = Late(random.Random(seed), lost=0.3)
    looks = 0
    while cluster.phase != "Succeeded":
        cluster.step()
        cluster.live()
        looks += 1
        assert looks < MAX_LOOKS, cluster.status
    works = {end: count for end, count in cluster.ended.items() if end[0] in ("stage", "finalise")}
    assert set(works.values()) == {1}, works
    assert set(Counter(cluster.created).values()) == {1}
