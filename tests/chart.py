"""The chart as Helm renders it, for tests."""

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.tools import tool

Object = dict[str, Any]

CHART = Path(__file__).parents[1] / "charts" / "moaa"
KUBERNETES = "1.35.0"
"""A Helm that was built without a word about its version takes clusters for very old ones."""
TIMEOUT_S = 120


class HelmRefused(RuntimeError):
    """Helm ended with an error: its words."""


def helm(*arguments: str, values: Mapping[str, Any] | None = None) -> str:
    """What Helm prints; `values` go in as a values file. Raises HelmRefused."""
    given = ["--values", "-"] if values is not None else []
    done = subprocess.run(
        [tool("helm"), *arguments, *given],
        input=json.dumps(values),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    if done.returncode:
        raise HelmRefused(done.stderr)
    return done.stdout


def render(
    values: Mapping[str, Any] | None = None, *, release: str = "moaa", namespace: str = "moaa-system"
) -> list[Object]:
    """The objects of an installation, in the order in which Helm makes them. Raises HelmRefused."""
    text = helm("template", release, str(CHART), "-n", namespace, "--kube-version", KUBERNETES, values=values or {})
    return [document for document in yaml.load_all(text, Loader=yaml.CSafeLoader) if document]


def only(objects: list[Object], kind: str, name: str | None = None) -> Object:
    """The one object of that kind (and name)."""
    (found,) = [one for one in objects if one["kind"] == kind and name in (None, one["metadata"]["name"])]
    return found
