"""`moaa cancel`: suspends a run, which keeps everything; or deletes it, which keeps what is in the store."""

from collections.abc import Callable

from moaa.api.resource import KIND
from moaa.errors import UsageError
from moaa_operator.kube.kinds import MOAA
from moaa_operator.kube.objects import uid_of
from moaa_operator.remote.cluster import FIELD_MANAGER, Cluster, meta, told
from moaa_operator.remote.requests import Cancel
from moaa_operator.remote.submit import Say


def cancel(request: Cancel, cluster: Cluster, say: Say, ask: Callable[[str], bool]) -> None:
    """Raises UsageError: there is no such MoAA, or nobody agreed to its deletion; and as `told`."""
    document = cluster.get(request.name)
    name, storage = meta(document), document["spec"]["storage"]["uri"]
    if request.delete:
        question = f"Delete the {KIND} {name}, its pods and its status? What is finished stays in {storage}."
        if not request.yes and not ask(question):
            raise UsageError(f"{name}: nothing was deleted")
        with told(cluster.api, f"delete {name}"):
            cluster.api.delete(MOAA, cluster.namespace, request.name, uid=uid_of(document))
        say(f"{name}: deleted; what is finished stays in {storage}, and a run over it finds it by `moaa submit FILE`")
        return
    if document["spec"].get("suspend"):
        say(f"{name}: is suspended already; {_go_on(request.name)}")
        return
    with told(cluster.api, f"suspend {name}"):
        cluster.api.ask(
            "PATCH",
            MOAA.path(cluster.namespace, request.name),
            {"fieldManager": FIELD_MANAGER},
            {"spec": {"suspend": True}},
            content_type="application/merge-patch+json",
        )
    say(f"{name}: suspended; its pods and servers end, what they have saved stays; {_go_on(request.name)}")


def _go_on(name: str) -> str:
    return f"`moaa submit FILE` goes on, `moaa cancel {name} --delete` removes it"
