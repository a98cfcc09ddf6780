"""One cluster as a person reaches it, and its refusals in one line that says what to do."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from kubernetes import config
from yaml import YAMLError

from moaa.api.resource import KIND
from moaa.errors import MoaaError, UsageError
from moaa_operator.kube.api import Api, connect
from moaa_operator.kube.errors import ApiError, Busy, Conflict, NotFound, Refused
from moaa_operator.kube.kinds import MOAA
from moaa_operator.kube.objects import Object
from moaa_operator.remote.requests import Place

TIMEOUT_S = 30.0
FIELD_MANAGER = "moaa"
INSTALL = "install the chart (docs/install.md), or name another cluster with --context"


@dataclass(frozen=True)
class Cluster:
    api: Api
    namespace: str
    """The person's, where nothing else is named."""

    def find(self, name: str, namespace: str | None = None) -> Object | None:
        """A MoAA; None: there is none of that name. Raises UsageError, MoaaError: as `told`."""
        space = namespace or self.namespace
        with told(self.api, f"read the {KIND} {space}/{name}"):
            try:
                return self.api.get(MOAA, space, name)
            except NotFound as error:
                if not is_of_object(error):
                    raise
                return None

    def get(self, name: str) -> Object:
        """Raises UsageError: there is none of that name; and as `find`."""
        found = self.find(name)
        if found is None:
            raise UsageError(
                f"there is no {KIND} {name!r} in namespace {self.namespace}; `moaa status` lists those that are there, "
                "--namespace names another"
            )
        return found


def is_of_object(error: NotFound) -> bool:
    """The server knows the kind, and has no such object. Otherwise it answers a path that it does not serve."""
    return error.reason == "NotFound" and '" not found' in error.message


@contextmanager
def connected(place: Place) -> Iterator[Cluster]:
    """Raises UsageError: the kubeconfig cannot be used."""
    try:
        api = connect(timeout_s=TIMEOUT_S, kubeconfig=place.kubeconfig, context=place.context)
    except (config.ConfigException, OSError, ValueError) as error:
        raise _unusable(_one_line(str(error))) from error
    except (YAMLError, TypeError, KeyError, AttributeError) as error:  # the client takes what it reads for well-formed
        raise _unusable(f"it is no kubeconfig ({_one_line(str(error))})") from error
    try:
        yield Cluster(api, place.namespace or _namespace(place))
    finally:
        api.close()


def _unusable(why: str) -> UsageError:
    return UsageError(f"the kubeconfig cannot be used: {why}; set KUBECONFIG, or give --kubeconfig, --context")


def _namespace(place: Place) -> str:
    """Of the context. A pod has no kubeconfig: its service account's namespace is not looked up."""
    try:
        list_contexts: Callable[..., Any] = config.list_kube_config_contexts
        contexts, active = list_contexts(config_file=place.kubeconfig)
    except (config.ConfigException, OSError):
        return "default"
    named = next((c for c in contexts if c.get("name") == place.context), None) if place.context else active
    return str(((named or {}).get("context") or {}).get("namespace") or "default")


@contextmanager
def told(api: Api, what: str) -> Iterator[None]:
    """The server's errors as ours, in one line; `what` was to be done.

    Raises:
        UsageError: a person has to act.
        MoaaError: the server cannot be reached, or failed.
    """
    try:
        yield
    except NotFound as error:
        if is_of_object(error):
            raise UsageError(f"cannot {what}: {_one_line(error.message)}") from error
        raise UsageError(f"cannot {what}: the cluster {api.server} knows no {KIND}; {INSTALL}") from error
    except Conflict as error:
        raise MoaaError(
            f"cannot {what}: somebody has changed it at the same time; run the same command again"
        ) from error
    except Refused as error:
        remedy = "ask for the right" if error.status == 403 else "mend that"
        raise UsageError(f"cannot {what}: the cluster refuses: {_one_line(error.message)}; {remedy}") from error
    except Busy as error:
        if error.status == 0:
            raise MoaaError(
                f"cannot {what}: {api.server} does not answer ({_one_line(error.message)}); look at the network and at "
                "--context, then run the same command again"
            ) from error
        raise MoaaError(f"cannot {what}: the cluster is busy: {_one_line(str(error))}; try again later") from error
    except ApiError as error:
        if error.status == 401:
            raise UsageError(
                f"cannot {what}: {api.server} does not take your credentials; sign in again, or name another --context"
            ) from error
        raise MoaaError(f"cannot {what}: {_one_line(str(error))}") from error


def _one_line(text: str) -> str:
    return " ".join(text.split())


def meta(document: Mapping[str, object]) -> str:
    """Namespace and name, for people."""
    about = document["metadata"]
    assert isinstance(about, Mapping)
    return f"{about['namespace']}/{about['name']}"
