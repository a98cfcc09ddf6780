"""One pod of each kind is taken away without warning, when it has something to lose. The run has to end the same."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.e2e.kube import Object, kubectl
from tests.e2e.record import Record


@dataclass(frozen=True)
class Kill:
    what: str
    victims: Callable[[Record], Iterator[Object]]
    """Pods to choose from, as far as they run; none while it is too early."""


def _of_stage(items: list[Object], stage: str) -> list[Object]:
    return [item for item in items if item["metadata"].get("labels", {}).get("moaa.dev/stage") == stage]


def _ray_worker(record: Record) -> Iterator[Object]:
    """As soon as its job runs: the steps themselves take seconds, and a pod that is told to go takes two."""
    running = [job for job in record.of("RayJob") if (job.get("status") or {}).get("jobStatus") == "RUNNING"]
    if _of_stage(running, "i1-sft"):
        yield from _of_stage(record.ray_pods("worker"), "i1-sft")


def _ray_head(record: Record) -> Iterator[Object]:
    """Once the training has told how far it is."""
    if any("/stages/dpo/" in key for key in record.checkpoint_files):
        yield from _of_stage(record.ray_pods("head"), "i1-dpo")


def _server(record: Record) -> Iterator[Object]:
    """While rows are being generated with it."""
    if any(record.is_running(pod) for pod in _of_stage(record.pods("stage"), "i1-generate")):
        ready = [pod for pod in record.pods("server") if pod["metadata"]["uid"] in record.ready_pods]
        yield from (pod for pod in ready if "-proposer-" in pod["metadata"]["name"])


KILLS = (
    Kill("the operator", lambda record: iter(record.operator_pods() if record.pods("server") else ())),
    Kill("a vLLM server", _server),
    Kill("a generation pod", lambda record: iter(_of_stage(record.pods("stage"), "i1-sample"))),
    Kill("a Ray worker", _ray_worker),
    Kill("the Ray head", _ray_head),
)


class Killer:
    """`look` often; `left` are the kills that have not found a victim."""

    def __init__(self) -> None:
        self.left = list(KILLS)

    def look(self, record: Record) -> None:
        for kill in list(self.left):
            victim = next(filter(record.is_running, kill.victims(record)), None)
            if victim is None:
                continue
            meta = victim["metadata"]
            record.say(f"KILL {kill.what}: {meta['name']}")
            kubectl("delete", "pod", "-n", meta["namespace"], meta["name"], "--grace-period=0", "--force")
            self.left.remove(kill)
