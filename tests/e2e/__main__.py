"""`make e2e`: install the chart on the cluster of KUBECONFIG, run the tiny example on it, check everything.

The cluster needs KubeRay, an S3 server and the images of `make images`; `.ci/one-node` brings all of it up. What it is
told is in tests/e2e/settings.py. Exit code 0: every check held; 1: the output says what did not, with the state of
everything, and runs/e2e/logs has each container's log.
"""

import argparse
import json
import shutil
import sys
import time

from moaa.api.reading.load import load
from tests.e2e import world
from tests.e2e.checks import check
from tests.e2e.kills import Killer
from tests.e2e.kube import Failed, get, items, kubectl, run, until
from tests.e2e.record import Record, save
from tests.e2e.settings import Settings

ENDS = ("Succeeded", "Failed")
GONE_S = 180.0
TAIL = 60


def follow(record: Record, settings: Settings, killer: Killer | None) -> None:
    """Until the run ends. Raises Failed: it did not in time, or ended before everything was killed."""
    deadline = time.monotonic() + settings.timeout_s
    while record.phase not in ENDS:
        if time.monotonic() > deadline:
            raise Failed(f"the run did not end in {settings.timeout_s:.0f} s")
        if killer is not None:
            killer.look(record)
        time.sleep(0.5)
    record.say(f"the run has ended: {record.phase}")
    if killer is not None and killer.left:
        raise Failed(f"never there to be killed: {', '.join(kill.what for kill in killer.left)}")


def delete(settings: Settings) -> None:
    """`kubectl delete moaa` leaves nothing behind. Raises Failed: what is left."""
    namespace = settings.run_namespace
    kubectl("delete", "moaa", "-n", namespace, world.NAME, "--wait=false")
    kinds = "pods,jobs,rayjobs.ray.io,rayclusters.ray.io,deployments,services,configmaps"

    def left() -> list[str]:
        found = items(kinds, namespace, "--selector=moaa.dev/run")
        return [f"{item['kind']} {item['metadata']['name']}" for item in found]

    until(lambda: not left(), GONE_S, f"everything of the deleted run is gone, but {left()}")


def state(settings: Settings) -> str:
    """For a failure: everything there is, and the end of each log."""
    parts: list[str] = []
    for arguments in (
        ("get", "all,moaas,rayjobs.ray.io,events", "-n", settings.run_namespace),
        ("describe", "moaas,jobs,rayjobs.ray.io,pods", "-n", settings.run_namespace),
        ("describe", "pods", "-n", settings.operator_namespace),
    ):
        try:
            parts.append(f"$ kubectl {' '.join(arguments)}\n{kubectl(*arguments)}")
        except Failed as failed:
            parts.append(str(failed))
    for log in sorted((settings.folder / "logs").glob("*.log")):
        lines = log.read_text(errors="replace").splitlines()
        parts.append("\n".join([f"-- {log.name}: the last of {len(lines)} lines", *lines[-TAIL:]]))
    return "\n\n".join(parts)


def clean(settings: Settings) -> None:
    run("helm", "uninstall", world.RELEASE, "-n", settings.operator_namespace, "--ignore-not-found", "--wait")
    namespaces = (settings.run_namespace, *world.extra_namespaces(settings), settings.operator_namespace)
    kubectl("delete", "namespace", *namespaces, "--ignore-not-found")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", action="store_true", help="take away a pod of each kind on the way")
    options = parser.parse_args()
    killer = Killer() if options.kills else None
    settings = Settings()
    shutil.rmtree(settings.folder, ignore_errors=True)
    settings.folder.mkdir(parents=True)
    storage = settings.storage or f"run-{int(time.time())}"
    document = world.resource(settings, storage=storage)
    clean(settings)
    with Record(settings, storage=storage) as record:
        try:
            world.upload(settings)
            world.prepare(settings)
            world.install(settings, world.terraform_values(settings))
            record.say("the chart is installed with the values that Terraform gives")
            world.install(settings, world.values(settings))
            record.say("and upgraded to this cluster's")
            file = world.submit(settings, document)
            record.uid = get("moaa", settings.run_namespace, world.NAME)["metadata"]["uid"]
            follow(record, settings, killer)
            report = world.summary(settings, document, uid=record.uid)
            for line in check(record, load(file), report, settings, killed=options.kills):
                print(f"ok  {line}")
            delete(settings)
            print("ok  nothing of the run is left after its deletion")
        except Failed as failed:
            print(state(settings))
            print(f"\nFAILED\n{failed}", file=sys.stderr)
            return 1
        finally:
            save(record, settings.folder)
            (settings.folder / "ended.json").write_text(json.dumps(record.moaa, indent=1))
    if not settings.keep:
        clean(settings)
    print(f"end to end in {(time.monotonic() - record.started) / 60:.1f} minutes; {settings.folder} has all logs")
    return 0


if __name__ == "__main__":
    sys.exit(main())
