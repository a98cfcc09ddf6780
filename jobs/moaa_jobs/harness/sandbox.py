"""What keeps code of others in: no network, no other processes, no files but those it needs. Linux only.

The network and the processes go by namespaces (`unshare`), the files by Landlock, which a process can put on itself and
never take off (docs.kernel.org, "Landlock: unprivileged access control"). Both are in Debian's base system and in
kernels since 5.13; where either is forbidden, code is not run at all.
"""

import ctypes
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Sequence

from moaa_jobs.prctl import PR_SET_NO_NEW_PRIVS, prctl

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
"""System calls; the same numbers on x86-64 and arm64."""
_PATH_BENEATH = 1
_READ = 1 << 0 | 1 << 2 | 1 << 3
"""Execute, read a file, list a folder."""
_SINCE: Sequence[tuple[int, int]] = ((1, (1 << 13) - 1), (2, 1 << 13), (3, 1 << 14), (5, 1 << 15))
"""Rights over files by the version of Landlock that has them."""
_TRY_S = 20.0

UNSHARED = (
    "setpriv", "--pdeathsig", "KILL",
    "unshare", "--user", "--map-current-user", "--net", "--ipc", "--pid", "--fork", "--kill-child",
)  # fmt: skip
"""What a sandboxed command is started by."""


class NoSandbox(Exception):
    """This machine does not let a process shut code in; the text says what it refused."""


def check() -> None:
    """Raises NoSandbox: code of others cannot be run here."""
    for program in ("setpriv", "unshare"):
        if shutil.which(program) is None:
            raise NoSandbox(f"the program {program} (package util-linux) is missing")
    if _version() < 1:
        raise NoSandbox("the kernel has no Landlock, which keeps files away")
    try:
        subprocess.run([*UNSHARED, "true"], check=True, capture_output=True, timeout=_TRY_S)
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="replace").strip() or f"exit code {error.returncode}"
        raise NoSandbox(f"namespaces without network are refused ({said})") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoSandbox(f"unshare: {error}") from error


def shut_in(*, readable: Iterable[str], writable: Iterable[str]) -> None:
    """From now on this process and its children read nothing but Python, the system and `readable`, and write nothing
    but `writable`.

    Raises:
        NoSandbox: the kernel refuses.
    """
    rights = sum(bits for version, bits in _SINCE if version <= _version())
    attribute = ctypes.c_uint64(rights)
    ruleset = _call(_CREATE_RULESET, ctypes.byref(attribute), ctypes.sizeof(attribute), 0)
    for path in {*_python(), *readable}:
        _allow(ruleset, path, _READ)
    for path in writable:
        _allow(ruleset, path, rights)
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    _call(_RESTRICT_SELF, ruleset, 0)
    os.close(ruleset)


def _python() -> set[str]:
    """Where Python, its packages and the system's libraries lie; none of it holds a secret."""
    paths = {
        *sysconfig.get_paths().values(),
        sys.prefix,
        sys.base_prefix,
        os.path.dirname(os.path.realpath(sys.executable)),
    }
    sources = {path for path in sys.path if path and os.path.isdir(path)}
    system = {"/usr", "/lib", "/lib64", "/bin", "/sbin", "/etc/ld.so.cache", "/etc/localtime", "/etc/mime.types",
              "/dev/urandom", "/dev/null"}  # fmt: skip
    return {path for path in paths | sources | system if os.path.exists(path)}


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = [("rights", ctypes.c_uint64), ("folder", ctypes.c_int32)]


def _allow(ruleset: int, path: str, rights: int) -> None:
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        if not os.path.isdir(path):
            rights &= 1 << 0 | 1 << 1 | 1 << 2 | 1 << 14 | 1 << 15  # others are rights over folders
        beneath = _Beneath(rights, descriptor)
        _call(_ADD_RULE, ruleset, _PATH_BENEATH, ctypes.byref(beneath), 0)
    finally:
        os.close(descriptor)


def _version() -> int:
    """Of Landlock; below 1 where there is none."""
    return int(ctypes.CDLL(None).syscall(_CREATE_RULESET, None, 0, 1))


def _call(number: int, *arguments: object) -> int:
    """Raises NoSandbox: the system call failed."""
    result = int(ctypes.CDLL(None, use_errno=True).syscall(number, *arguments))
    if result < 0:
        raise NoSandbox(f"Landlock (system call {number}): {os.strerror(ctypes.get_errno())}")
    return result
