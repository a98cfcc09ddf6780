"""Golden values of what the operator makes: every manifest, with its name, labels, annotations and hashes.

Job files are kept as digests, since `job_files.json` holds some whole.
"""

import json
from typing import Any

from moaa_operator.render.preview import preview
from moaa_operator.settings import Settings
from tests.golden.book import digest
from tests.golden.resources import rich
from tests.render_world import MOAA, changed, everything, servers, stage

LONGEST = 600
"""Characters of a text that is kept whole."""
OTHERS = ("i1-sample", "i1-judge", "i1-promote")
TEMPLATE = {
    "metadata": {"labels": {"a": "b"}, "annotations": {"c": "d"}},
    "spec": {"nodeSelector": {"pool": "gpus"}, "containers": [{"name": "vllm", "env": [{"name": "X", "value": "1"}]}]},
}


def manifests() -> dict[str, Any]:
    """Each manifest by its kind and name."""
    found = {_name(item): _kept(item) for item in everything()}
    for other in OTHERS:
        for item in stage(other, MOAA, shards=2):
            # Like those of other stages, but for what their names, files and secrets say.
            found[_name(item)] = {"metadata": _kept(item["metadata"]), "digest": digest(json.dumps(item))[:16]}
    edited = changed("spec.models.0.serving.template", TEMPLATE)
    found |= {f"{_name(item)} with a template": _kept(item) for item in servers(edited, "big")}
    fewer = changed("spec.training.resources", {"workers": 2})
    found |= {f"{_name(item)} with two workers": _kept(item) for item in stage("i1-sft", fewer, attempt=3)}
    return found


def preview_lines() -> list[str]:
    """`moaa render` of a whole run: a line and a digest for each document."""
    return [_line(text) for text in preview(rich("Mixture", "base"), Settings())]


def _name(manifest: dict[str, Any]) -> str:
    return f"{manifest['kind']} {manifest['metadata']['name']}"


def _line(text: str) -> str:
    lines = text.splitlines()
    name = next((line.strip() for line in lines if line.startswith("  name: ")), "")
    return " ".join(part for part in (" ".join(lines[:2]), name, digest(text)[:16]) if part)


def _kept(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: _kept(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_kept(item) for item in node]
    is_long = isinstance(node, str) and len(node) > LONGEST
    return f"<{len(node)} characters, {digest(node)[:16]}>" if is_long else node
