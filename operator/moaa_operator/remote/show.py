"""`moaa status`: runs of a namespace, or one run's stages."""

from datetime import UTC, datetime

from rich.console import Console

from moaa_operator.kube.kinds import MOAA
from moaa_operator.remote.cluster import Cluster, told
from moaa_operator.remote.requests import Status
from moaa_operator.remote.table import run_view, runs_table


def show(request: Status, cluster: Cluster, console: Console) -> None:
    """Raises UsageError: there is no such MoAA; and as `told`."""
    now = datetime.now(UTC)
    if request.name is not None:
        console.print(run_view(cluster.get(request.name), now=now))
        return
    space = None if request.all_namespaces else cluster.namespace
    where = "any namespace" if space is None else f"namespace {space}"
    with told(cluster.api, f"list runs in {where}"):
        found, _ = cluster.api.list(MOAA, space)
    if found:
        console.print(runs_table(found, now=now))
    else:
        console.print(f"no runs in {where}; `moaa submit FILE` starts one, --all-namespaces looks everywhere")
