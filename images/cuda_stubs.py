"""Stand-ins for NVIDIA's libraries, so that the CUDA build of torch runs on a machine without a GPU and without them.

    cuda_stubs.py TORCH FOLDER     writes them; they belong into torch/lib

PyPI's torch is built for CUDA and loads 15 libraries of NVIDIA's before it looks for a GPU. A stand-in has the
functions that torch's own libraries name, each of which returns 100, cudaErrorNoDevice. For tests on CPUs only; real
images keep the real ones.
"""

import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

LIBRARY = re.compile(r"lib(?:cu|nccl|nvrtc|nvshmem|nvTools|nvJit|nvToolsExt|nvperf)[^/]*\.so[.\d]*")
FUNCTION = re.compile(r"_*(?:cu|nccl|nvrtc|nvshmem|nvtx|nvJit)")
"""What they export besides, `operator new` for one, must stay that of the C++ library."""

TEXT = re.compile(r"(?:String|Name|ncclGetLastError)(?:_v\d+)?(?:@|$)")
"""Functions that return a text; a number in its place is read as an address while an error is being reported."""


def run(*command: object) -> str:
    return subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True).stdout


def needed(library: Path) -> set[str]:
    names = re.findall(r"\(NEEDED\).*\[(.+)\]", run("readelf", "--dynamic", "--wide", library))
    return {name for name in names if LIBRARY.fullmatch(name)}


def version_files(library: Path) -> dict[str, str]:
    """Which file a symbol version is expected in."""
    found: dict[str, str] = {}
    file = ""
    for line in run("readelf", "--version-info", "--wide", library).splitlines():
        if match := re.search(r"File: (\S+)", line):
            file = match[1]
        elif (match := re.search(r"Name: (\S+)\s+Flags", line)) and file:
            found[match[1]] = file
    return found


def wanted(folder: Path) -> tuple[set[str], dict[str, dict[str, set[str]]]]:
    """The libraries to stand in for, and what each has to export: functions by version ("" for none)."""
    files = [*sorted((folder / "lib").glob("*.so*")), *sorted(folder.glob("_C*.so"))]
    libraries = set().union(*(needed(file) for file in files)) - {file.name for file in files}
    exports: dict[str, dict[str, set[str]]] = {name: defaultdict(set) for name in libraries}
    for file in files:
        versions = version_files(file)
        for symbol in re.findall(
            r" U (\S+)", run("nm", "--dynamic", "--undefined-only", "--with-symbol-versions", file)
        ):
            name, _, version = symbol.partition("@")
            if not FUNCTION.match(name):
                continue
            library = versions.get(version.lstrip("@"), "")
            if library in exports:
                exports[library][version.lstrip("@")].add(name)
            elif not version:
                # Any library that is loaded will do.
                exports[min(libraries)][""].add(name)
    return libraries, exports


def write_stub(library: str, exports: dict[str, set[str]], folder: Path) -> None:
    plain = sorted(set().union(*exports.values())) if exports else []
    source, script = folder / "stub.c", folder / "stub.map"
    lines = [
        f'const char *{name}(void) {{ return "no CUDA here"; }}'
        if TEXT.search(name)
        else f"long {name}(void) {{ return 100; }}"
        for name in plain
    ]
    source.write_text("\n".join([*lines, ""]))
    versioned = {version: names for version, names in exports.items() if version}
    nodes = [f"{version} {{ global: {'; '.join(sorted(names))}; }};" for version, names in sorted(versioned.items())]
    script.write_text("\n".join([*nodes, ""]))
    options = [f"-Wl,--version-script={script}"] if nodes else []
    run("gcc", "-shared", "-fPIC", "-Os", "-s", f"-Wl,-soname,{library}", *options, "-o", folder / library, source)
    source.unlink()
    script.unlink()


def main() -> None:
    torch, folder = Path(sys.argv[1]), Path(sys.argv[2])
    libraries, exports = wanted(torch)
    for library in sorted(libraries):
        write_stub(library, exports[library], folder)
    sys.stdout.write(f"{len(libraries)} stand-ins: {' '.join(sorted(libraries))}\n")


if __name__ == "__main__":
    main()
