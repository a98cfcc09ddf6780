"""What `moaa` asks for: one class a command, as JSON on the command line."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, Field, TypeAdapter


class Place(BaseModel, extra="forbid", frozen=True):
    """Which cluster and namespace."""

    kubeconfig: str | None = None
    """None: KUBECONFIG, ~/.kube/config, or in a pod its service account."""
    context: str | None = None
    """None: the kubeconfig's current one."""
    namespace: str | None = None
    """None: the context's, or default."""
    width: int | None = None
    """Columns of tables; None: as the terminal is."""


class Submit(Place):
    command: Literal["submit"]
    file: Path
    dry_run: bool = False
    yes: bool = False
    """Do not ask before an edit repeats stages."""


class Status(Place):
    command: Literal["status"]
    name: str | None = None
    all_namespaces: bool = False


class Logs(Place):
    command: Literal["logs"]
    name: str
    stage: str | None = None
    """None: the one at work, or the last that was."""
    follow: bool = False
    tail: int | None = Field(default=None, ge=0)
    """Last lines of each pod; None: all."""


class Cancel(Place):
    command: Literal["cancel"]
    name: str
    delete: bool = False
    yes: bool = False
    """Do not ask before the deletion."""


Request = Annotated[Submit | Status | Logs | Cancel, Field(discriminator="command")]
REQUEST: TypeAdapter[Request] = TypeAdapter(Request)
