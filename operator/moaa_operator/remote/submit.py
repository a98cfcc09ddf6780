"""`moaa submit`: the cluster's MoAA becomes what the file says; what that changes and repeats is told first."""

from collections.abc import Callable
from dataclasses import dataclass

from moaa.api import MoAA
from moaa.api.reading.load import load, load_document
from moaa.api.resource import API_VERSION, KIND
from moaa.errors import ResourceError, UsageError
from moaa.plan.forecast.show import validate_text
from moaa.plan.history.repeats import differences
from moaa_operator.kube.kinds import MOAA
from moaa_operator.kube.objects import Object
from moaa_operator.kube.owner import Owner
from moaa_operator.observe.read import status_of
from moaa_operator.remote.cluster import FIELD_MANAGER, Cluster, told
from moaa_operator.remote.requests import Submit
from moaa_operator.render import bind
from moaa_operator.settings import Settings
from moaa_operator.tell.results import hold, results_of

MAX_CHANGES = 20
"""Changed fields that are listed; the rest is counted."""
NEW_UID = "00000000-0000-0000-0000-000000000000"
Say = Callable[[str], None]


@dataclass(frozen=True)
class Edit:
    """What a submit does to a MoAA that is there."""

    changes: tuple[str, ...]
    """Fields, before and after."""
    repeats: tuple[str, ...]
    """Stages that are done and would be done again."""

    def lines(self) -> list[str]:
        shown = [f"  {change}" for change in self.changes[:MAX_CHANGES]]
        more = len(self.changes) - MAX_CHANGES
        again = [f"repeats {len(self.repeats)} finished stages: {', '.join(self.repeats)}"] if self.repeats else []
        return [*shown, *([f"  and {more} more fields"] if more > 0 else []), *again]


def submit(request: Submit, cluster: Cluster, say: Say, ask: Callable[[str], bool]) -> None:
    """Raises ResourceError: the file holds mistakes, or says what a cluster cannot carry out; UsageError, MoaaError."""
    resource = load(request.file)
    namespace = place_of(resource, request.namespace, cluster.namespace)
    refuse_what_pods_cannot_do(resource, str(request.file), namespace)
    say(validate_text(resource))
    name = f"{namespace}/{resource.metadata.name}"
    before = cluster.find(resource.metadata.name, namespace)
    body = body_of(resource, namespace, before)
    after = _write(cluster, body, before, dry_run=True)
    if before is None:
        if not request.dry_run:
            _write(cluster, body, before, dry_run=False)
        say(f"{name}: {'would be created' if request.dry_run else 'created'}; {follow(resource, namespace)}")
        return
    edit = edit_of(before, after)
    if not edit.changes:
        say(f"{name}: is there already, and as the file says; {follow(resource, namespace)}")
        return
    say("\n".join([f"{name}: changes", *edit.lines()]))
    if request.dry_run:
        say("nothing was changed; leave out --dry-run to change it")
        return
    if edit.repeats and not request.yes and not ask(f"Change it, and do {len(edit.repeats)} stages again?"):
        raise UsageError(f"{name}: nothing was changed")
    _write(cluster, body, before, dry_run=False)
    say(f"{name}: changed; {follow(resource, namespace)}")


def place_of(resource: MoAA, asked: str | None, context: str) -> str:
    """The namespace to write to. Raises UsageError: the file and the command name different ones."""
    if "namespace" not in resource.metadata.model_fields_set:
        return asked or context
    written = resource.metadata.namespace
    if asked is not None and asked != written:
        raise UsageError(f"--namespace {asked}: the file says metadata.namespace: {written}; leave one of them out")
    return written


def refuse_what_pods_cannot_do(resource: MoAA, file: str, namespace: str) -> None:
    """Raises ResourceError: sources or templates that only one machine, or nobody, can carry out."""
    problems = bind(resource, Owner(resource.metadata.name, namespace, NEW_UID), Settings()).refusals()
    if problems:
        raise ResourceError(file, problems)


def body_of(resource: MoAA, namespace: str, before: Object | None) -> Object:
    """The object to write: the file's spec as it stands; labels and annotations that others have set stay."""
    written: Object = resource.model_dump(mode="json", by_alias=True, exclude_unset=True)
    metadata: Object = {"name": resource.metadata.name, "namespace": namespace}
    if before is not None:
        metadata = dict(before["metadata"])
    for part in ("labels", "annotations"):
        merged = {**(metadata.get(part) or {}), **(written["metadata"].get(part) or {})}
        if merged:
            metadata[part] = merged
    return {"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "spec": written["spec"]}


def _write(cluster: Cluster, body: Object, before: Object | None, *, dry_run: bool) -> Object:
    """As the server has it then. Raises UsageError, MoaaError: as `told`."""
    space, name = body["metadata"]["namespace"], body["metadata"]["name"]
    query = {"fieldManager": FIELD_MANAGER, "fieldValidation": "Strict", **({"dryRun": "All"} if dry_run else {})}
    with told(cluster.api, f"{'create' if before is None else 'change'} {space}/{name}"):
        if before is None:
            return cluster.api.ask("POST", MOAA.path(space), query, body)
        return cluster.api.ask("PUT", MOAA.path(space, name), query, body)


def edit_of(before: Object, after: Object) -> Edit:
    """What differs between the MoAA that is there and what it becomes, defaults filled in by the server in both."""
    changes: list[str] = []
    for part, old, new in [
        ("spec", before["spec"], after["spec"]),
        *(
            (part, before["metadata"].get(part) or {}, after["metadata"].get(part) or {})
            for part in ("labels", "annotations")
        ),
    ]:
        changes += [str(change) for change in differences(old, new, part)]
    return Edit(tuple(changes), repeated(before, after) if changes else ())


def repeated(before: Object, after: Object) -> tuple[str, ...]:
    """Stages whose results, as far as the status lists them, no longer hold under the new spec.

    A stage that rests on one that is repeated counts, too: what it reads may turn out the same, and then it is not.
    """
    known = results_of(status_of(before))
    held = hold(load_document(after), known)
    return tuple(name for name in held.graph.stages if name in known and name not in held.results)


def follow(resource: MoAA, namespace: str) -> str:
    return f"watch it: moaa status {resource.metadata.name} --namespace {namespace}"


def asker(*, is_terminal: bool, read: Callable[[str], str] = input) -> Callable[[str], bool]:
    """Asks a person; raises UsageError where there is none."""

    def ask(question: str) -> bool:
        if not is_terminal:
            raise UsageError(f"{question} Nobody is there to answer; say --yes, or look first with --dry-run")
        return read(f"{question} [y/N] ").strip().lower() in ("y", "yes")

    return ask
