"""Programs that tests run and that are no Python packages: found, or else built by Go from their modules and kept.

`tool("helm")` is the path of a binary; `python -m tests.tools helm` prints it, or nothing with `--quiet`. Looked for in
PATH, $MOAA_TOOLS, $KUBEBUILDER_ASSETS and what setup-envtest has installed, then in $MOAA_CACHE/bin
(`~/.cache/moaa/bin` when unset), where what is nowhere is built: by the Go in PATH, or else the one of the dev extra.
The first build of kube-apiserver takes minutes and says so on stderr; nothing is built twice.
"""

import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

BUILD_TIMEOUT_S = 7200
"""Far more than the ten minutes it takes: where many things run at once, it is that slow."""
FIND_TIMEOUT_S = 60
GO_VERSION = "1.25.0"
KUBERNETES = "v1.35.4"
_VERSION_PACKAGE = "k8s.io/component-base/version"
_VERSION_FLAGS = (
    f"-X {_VERSION_PACKAGE}.gitVersion={KUBERNETES}",
    f"-X {_VERSION_PACKAGE}.gitMajor=1",
    f"-X {_VERSION_PACKAGE}.gitMinor={KUBERNETES.split('.')[1]}",
)
"""Else programs of Kubernetes call themselves v0.0.0, and find one another too old."""


class ToolUnavailable(RuntimeError):
    """The program is nowhere and cannot be built, or does not start; says what to install."""


@dataclass(frozen=True)
class Source:
    """Where a program comes from: a Go module and the package in it."""

    module: str
    version: str
    package: str = ""
    """Below the module; empty: the module itself."""
    main: str = ""
    """A package of the module whose `Main(os.Args)` is the program, where it has no package `main` of its own."""
    flags: tuple[str, ...] = ()

    @property
    def required(self) -> str:
        return f"{self.module}@{self.version}"


SOURCES: Mapping[str, Source] = {
    "etcd": Source("go.etcd.io/etcd/server/v3", "v3.6.6", main="etcdmain"),
    "helm": Source("helm.sh/helm/v3", "v3.22.0", "cmd/helm"),
    "kube-apiserver": Source("k8s.io/kubernetes", KUBERNETES, "cmd/kube-apiserver", flags=_VERSION_FLAGS),
    "kubectl": Source("k8s.io/kubernetes", KUBERNETES, "cmd/kubectl", flags=_VERSION_FLAGS),
    "tflint": Source("github.com/terraform-linters/tflint", "v0.64.0"),
    "versitygw": Source("github.com/versity/versitygw", "v1.8.0", "cmd/versitygw"),
}
KUBERAY = Source("github.com/ray-project/kuberay/ray-operator", "v1.6.2")
"""Its CRDs are read from its module."""
LEADER_WORKER_SET = Source("sigs.k8s.io/lws", "v0.8.0")
"""So is its CRD."""
PROMETHEUS_OPERATOR = Source("github.com/prometheus-operator/prometheus-operator", "v0.85.0")
"""So are its."""


def cache() -> Path:
    """Where programs are kept once they are built."""
    return Path(os.environ.get("MOAA_CACHE") or Path.home() / ".cache" / "moaa") / "bin"


def tool(name: str) -> Path:
    """The program of that name, built when it is nowhere.

    Raises:
        ToolUnavailable: it is nowhere, and there is no Go, or the build fails.
        KeyError: it is nowhere and none of SOURCES.
    """
    return _found(name) or _built(name, SOURCES[name])


def module_folder(source: Source) -> Path:
    """Where Go keeps the files of the module, fetched when they are not there. Raises ToolUnavailable."""
    return Path(_download(source)["Dir"])


def _found(name: str) -> Path | None:
    places = [Path(found)] if (found := shutil.which(name)) else []
    places += [Path(folder) / name for key in ("MOAA_TOOLS", "KUBEBUILDER_ASSETS") if (folder := os.environ.get(key))]
    places += [folder / name for folder in _envtest_folders()]
    return next((place for place in [*places, cache() / name] if place.is_file()), None)


def _envtest_folders() -> list[Path]:
    """What setup-envtest has installed; nothing is fetched by it."""
    program = shutil.which("setup-envtest")
    if program is None:
        return []
    command = [program, "use", "--installed-only", "--print", "path"]
    asked = subprocess.run(command, capture_output=True, text=True, timeout=FIND_TIMEOUT_S, check=False)
    return [Path(asked.stdout.strip())] if asked.returncode == 0 and asked.stdout.strip() else []


def _built(name: str, source: Source) -> Path:
    """Built in a module of its own: `go install` refuses modules whose go.mod has replace directives."""
    place = cache() / name
    with _locked(name):
        if place.is_file():  # somebody else built it while we waited
            return place
        with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=cache()) as text:
            folder = Path(text)
            (folder / "go.mod").write_text(_module_file(source))
            package = "/".join(part for part in (source.module, source.package) if part)
            if source.main:
                package = "."
                (folder / "main.go").write_text(_main_file(f"{source.module}/{source.main}"))
            flags = " ".join(("-s", "-w", *source.flags))
            started = time.monotonic()
            _say(f"building {name} {source.version} with Go, once; on two cores that takes up to ten minutes")
            _go(folder, "build", "-mod=mod", "-ldflags", flags, "-o", str(folder / name), package)
            (folder / name).replace(place)  # complete, or not there at all
            _say(f"built {name} in {time.monotonic() - started:.0f} s: {place}")
    return place


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


@contextmanager
def _locked(name: str) -> Iterator[None]:
    cache().mkdir(parents=True, exist_ok=True)
    with (cache() / f".{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _module_file(source: Source) -> str:
    lines = ["module moaatools", f"go {GO_VERSION}", f"require {source.module} {source.version}"]
    # Kubernetes replaces its staging modules by folders of its own: v1.35.4 is published as v0.35.4 of each.
    replaced = re.findall(r"^\s*(?:replace\s+)?(k8s\.io/\S+) => \./staging/", _requirements(source), re.MULTILINE)
    published = source.version.replace("v1.", "v0.", 1)
    return "\n".join([*lines, *(f"replace {module} => {module} {published}" for module in replaced)]) + "\n"


def _requirements(source: Source) -> str:
    """The module's own go.mod."""
    return Path(_download(source)["GoMod"]).read_text()


def _download(source: Source) -> dict[str, str]:
    with tempfile.TemporaryDirectory() as folder:
        answer: dict[str, str] = json.loads(_go(Path(folder), "mod", "download", "-json", source.required))
    return answer


def _main_file(package: str) -> str:
    return f'package main\n\nimport (\n\t"os"\n\n\tprogram "{package}"\n)\n\nfunc main() {{ program.Main(os.Args) }}\n'


def _go(folder: Path, *arguments: str) -> str:
    go = shutil.which("go") or shutil.which("go", path=Path(sys.executable).parent)
    if go is None:
        raise ToolUnavailable(
            f"a program is in none of PATH, $MOAA_TOOLS, $KUBEBUILDER_ASSETS and {cache()}, and there is no Go to "
            f"run `go {' '.join(arguments)}`; run `make setup`, install Go {GO_VERSION} or later, or put the program "
            "there"
        )
    environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false", "GOWORK": "off"}
    try:
        done = subprocess.run(
            [go, *arguments],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=BUILD_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ToolUnavailable(
            f"`go {' '.join(arguments)}` took longer than {BUILD_TIMEOUT_S} s; "
            "Go keeps what is compiled, so run it again"
        ) from error
    if done.returncode:
        raise ToolUnavailable(f"`go {' '.join(arguments)}` failed: {(done.stderr or done.stdout)[-2000:]}")
    return done.stdout


def main(arguments: list[str]) -> int:
    """Print where each of the programs is; 1 when one is nowhere and cannot be built."""
    try:
        places = [tool(name) for name in arguments if name != "--quiet"]
    except ToolUnavailable as error:
        print(error, file=sys.stderr)
        return 1
    if "--quiet" not in arguments:
        print("\n".join(map(str, places)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
