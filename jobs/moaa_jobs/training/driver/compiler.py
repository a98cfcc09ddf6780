"""Check for the C compiler that training on GPUs needs, before anything is loaded.

TRL's log-probabilities are Triton kernels there, and Triton compiles its link to NVIDIA's driver at the first step.
"""

import os
import shutil
import subprocess
import sysconfig
import tempfile
from pathlib import Path

from moaa_jobs.runner.context import Permanent

TIMEOUT_S = 60.0
_PROBE = "#include <Python.h>\n#include <dlfcn.h>\n#include <stdlib.h>\n"
"""The headers of what Triton compiles: Python's and the C library's."""
_REMEDY = (
    "training on GPUs compiles its kernels' driver at the first step. Install gcc, libc6-dev and, where Python is the "
    "system's, python3-dev (Debian's names), set CC to a compiler's path, or use an image that `images/build.sh train` "
    "made with CUDA=1"
)


def require() -> None:
    """Return when a C extension can be compiled here, with the compiler that Triton takes: CC, gcc or clang.

    Raises:
        Permanent: there is no compiler, or it lacks headers.
    """
    compiler = os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise Permanent(f"spec.training.resources.gpusPerWorker: there is no C compiler on this machine; {_REMEDY}")
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "probe.c")
        source.write_text(_PROBE)
        include = sysconfig.get_paths(scheme="posix_prefix")["include"]
        command = [compiler, str(source), "-shared", "-fPIC", f"-I{include}", "-o", f"{folder}/probe.so"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
            complaint = done.stderr.strip() if done.returncode else None
        except (OSError, subprocess.TimeoutExpired) as error:
            complaint = str(error)
    if complaint is not None:
        first = next(iter(complaint.splitlines()), "no reason given")
        raise Permanent(
            f"spec.training.resources.gpusPerWorker: the C compiler {compiler} does not work ({first}); {_REMEDY}"
        )
