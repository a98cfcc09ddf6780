"""Where programs that tests run come from; a script plays Go."""

import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests import tools

PYTHON = sys.executable
GO = """#!/bin/sh
# `go mod download -json` names a go.mod; `go build` writes what follows -o and counts itself.
if [ "$1" = mod ]; then echo '{{"GoMod": "{folder}/upstream.mod", "Dir": "{folder}"}}'; exit; fi
while [ "$1" != -o ]; do shift; done
/bin/cp go.mod "{folder}/asked.mod"
echo built >> "{folder}/builds"
/bin/sleep 0.2
echo program > "$2"
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing is anywhere; what is built is kept in `cache/bin` below."""
    for name in ("MOAA_TOOLS", "KUBEBUILDER_ASSETS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    monkeypatch.setenv("MOAA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "environment" / "python"))
    (tmp_path / "path").mkdir()
    return tmp_path


@pytest.fixture
def with_go(folder: Path) -> Path:
    put(folder / "path" / "go", GO.format(folder=folder))
    (folder / "upstream.mod").write_text("replace (\n\tk8s.io/api => ./staging/src/k8s.io/api\n\ta => b v1\n)\n")
    return folder


def put(place: Path, text: str = "") -> Path:
    place.parent.mkdir(exist_ok=True, parents=True)
    place.write_text(text)
    place.chmod(0o755)
    return place


def test_what_is_there_is_taken_in_order(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cached = put(folder / "cache" / "bin" / "helm")
    assert tools.tool("helm") == cached
    assets = put(folder / "assets" / "helm")
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(assets.parent))
    assert tools.tool("helm") == assets
    named = put(folder / "tools" / "helm")
    monkeypatch.setenv("MOAA_TOOLS", str(named.parent))
    assert tools.tool("helm") == named
    installed = put(folder / "path" / "helm")
    assert tools.tool("helm") == installed


def test_setup_envtest_is_asked_for_what_it_has(folder: Path) -> None:
    etcd = put(folder / "envtest" / "etcd")
    put(folder / "path" / "setup-envtest", f"#!/bin/sh\necho {etcd.parent}\n")
    assert tools.tool("etcd") == etcd


def test_without_go_the_error_says_what_to_install(folder: Path) -> None:
    with pytest.raises(tools.ToolUnavailable, match=r"install Go 1\.\d+\.0 or later, or put the program there"):
        tools.tool("tflint")


def test_the_go_of_the_dev_extra_builds_where_the_machine_has_none(folder: Path) -> None:
    put(folder / "environment" / "go", GO.format(folder=folder))
    put(folder / "upstream.mod")
    assert tools.tool("tflint").read_text() == "program\n"


def test_a_build_says_that_it_takes_minutes_and_how_long_it_took(
    with_go: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = with_go / "cache" / "bin" / "kube-apiserver"
    for _ in range(2):
        assert tools.main(["--quiet", "kube-apiserver"]) == 0
    printed = capsys.readouterr()
    first, second = printed.err.splitlines()
    assert first.startswith(f"building kube-apiserver {tools.KUBERNETES} with Go, once; ")
    assert re.fullmatch(rf"built kube-apiserver in \d+ s: {re.escape(str(place))}", second)
    assert printed.out == ""


def test_what_cannot_be_built_is_a_line_and_no_traceback(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert tools.main(["tflint"]) == 1
    assert re.fullmatch("a program is in none of .* or put the program there\n", capsys.readouterr().err)


def test_a_program_is_built_once_whoever_asks(with_go: Path) -> None:
    command = [PYTHON, "-m", "tests.tools", "kube-apiserver"]
    with ThreadPoolExecutor(3) as pool:
        runs = list(pool.map(lambda _: subprocess.run(command, capture_output=True, text=True), range(3)))
    place = with_go / "cache" / "bin" / "kube-apiserver"
    assert [run.stdout for run in runs] == [f"{place}\n"] * 3, runs
    assert (with_go / "builds").read_text() == "built\n"
    assert sorted(file.name for file in place.parent.iterdir()) == [".kube-apiserver.lock", "kube-apiserver"]


def test_staging_modules_are_replaced_by_what_is_published(with_go: Path) -> None:
    tools.tool("kube-apiserver")
    lines = (with_go / "asked.mod").read_text().splitlines()
    assert f"require k8s.io/kubernetes {tools.KUBERNETES}" in lines
    published = tools.KUBERNETES.replace("v1.", "v0.")
    assert [line for line in lines if line.startswith("replace")] == [
        f"replace k8s.io/api => k8s.io/api {published}"
    ]  # fmt: skip


def test_a_build_without_end_says_that_it_goes_on(with_go: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools, "BUILD_TIMEOUT_S", 0.01)
    put(with_go / "path" / "go", "#!/bin/sh\nexec /bin/sleep 60\n")
    with pytest.raises(tools.ToolUnavailable, match=r"took longer than .*; Go keeps what is compiled, so run it again"):
        tools.tool("etcd")


def test_a_build_that_fails_leaves_nothing(with_go: Path) -> None:
    put(with_go / "path" / "go", '#!/bin/sh\nif [ "$1" = mod ]; then echo "no such module" >&2; exit 1; fi\n')
    with pytest.raises(tools.ToolUnavailable, match="no such module"):
        tools.tool("etcd")
    assert [file.name for file in (with_go / "cache" / "bin").iterdir()] == [".etcd.lock"]
