"""`python -m benchmarks.operator_scale`: every phase in order, then the result (see the package's text)."""

import argparse
import shutil
import signal
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

from benchmarks.commit import commit
from benchmarks.operator_scale import audit, report
from benchmarks.operator_scale.cluster import PlayedCluster, Progress
from benchmarks.operator_scale.world import NAMESPACE, Bench, Start, resource
from moaa_operator.kube.kinds import MOAA
from tests.integration.apiserver import install_crds, make_namespace, run_api_server

APPLIED, PARKED = "applied", "i1-generate"
"""A phase, and the stage at which every run then stands."""
HANDS = 4
"""Who applies MoAAs."""
SETTLED_S = 35.0
"""After a start: the first round in which pods are asked is over, and its answers are in the statuses."""
BETWEEN_S = 1.0
"""From one run that ends its stage to the next, where they do so one after the other."""


def measure(bench: Bench, progress: Progress, asked: argparse.Namespace) -> Start:
    """Every phase; how the operator started with all runs there."""
    names = [f"run-{number:04}" for number in range(asked.objects)]
    bench.start_operator(runs=0)
    with bench.phase(APPLIED):
        with ThreadPoolExecutor(HANDS) as pool:
            list(pool.map(lambda name: bench.server.admin.create(MOAA, NAMESPACE, resource(name)), names))
        bench.until(lambda: len(bench.cluster.parked()) == len(names) and bench.is_idle())
    bench.stop_operator()
    start = bench.start_operator(runs=len(names))
    with bench.phase("after the start"):
        time.sleep(SETTLED_S)
    with bench.phase(report.STEADY):
        time.sleep(asked.steady_s)
    with bench.phase("figures move"):
        progress.is_moving = True
        time.sleep(asked.moving_s)
        progress.is_moving = False
    parked = iter(names)
    done = asked.singles
    with bench.phase(report.ONE_BY_ONE):
        for name in islice(parked, asked.singles):
            bench.cluster.release([name])
            time.sleep(BETWEEN_S)
        bench.until_succeeded(done)
    for many in asked.at_once:
        done += many
        with bench.phase(f"{many} {report.AT_ONCE}"):
            bench.cluster.release(islice(parked, many))
            bench.until_succeeded(done)
    return start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=int, default=1000, help="MoAAs")
    parser.add_argument("--singles", type=int, default=24, help="runs that end their stage one after the other")
    parser.add_argument("--at-once", type=int, nargs="*", default=[50, 200], help="runs that then do so at once")
    parser.add_argument("--steady-s", type=float, default=180.0)
    parser.add_argument("--moving-s", type=float, default=35.0)
    parser.add_argument(
        "--write", action="store_true", help="write operator_scale_<year><month>.md beside this package"
    )
    asked = parser.parse_args()
    if asked.singles + sum(asked.at_once) > asked.objects:
        parser.error("more runs are to end a stage than there are")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # else the servers outlive it
    named = commit() if asked.write else "(not committed)"
    folder = Path(tempfile.mkdtemp(prefix="moaa-scale-"))
    try:
        options = audit.options(folder)
        with run_api_server(folder / "server", options) as server, Progress() as progress:
            install_crds(server)
            make_namespace(server.admin, NAMESPACE)
            cluster = PlayedCluster(server.admin, NAMESPACE, parked=PARKED)
            bench = Bench(server, folder, cluster, audit.Log(folder))
            bench.install()
            cluster.start()
            try:
                start = measure(bench, progress, asked)
            finally:
                cluster.stop()
                if bench.operator is not None and not bench.operator.has_ended:
                    bench.operator.kill()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    command = f"python -m benchmarks.operator_scale {' '.join(sys.argv[1:])}".strip()
    moved = {APPLIED: asked.objects, report.ONE_BY_ONE: asked.singles}
    moved |= {f"{many} {report.AT_ONCE}": many for many in asked.at_once}
    text = report.document(command, named, bench.phases, start, objects=asked.objects, runs=moved)
    print(text)
    if asked.write:
        file = Path(__file__).parents[1] / f"operator_scale_{datetime.now(UTC):%Y%m}.md"
        file.write_text(text)
        print(f"wrote {file.name}")


if __name__ == "__main__":
    main()
