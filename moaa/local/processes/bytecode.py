"""Keep compiled modules, so that processes that import thousands of them need not compile them each time."""

from collections.abc import Mapping
from pathlib import Path


def keep_bytecode(inherited: Mapping[str, str], *, cache: Path) -> dict[str, str]:
    """The environment, with bytecode kept under `cache` where it may not be written beside the sources.

    Compiling costs a server 13 s of CPU on each start. Source folders stay clean for those who set
    PYTHONDONTWRITEBYTECODE.
    """
    env = dict(inherited)
    if env.pop("PYTHONDONTWRITEBYTECODE", ""):
        env.setdefault("PYTHONPYCACHEPREFIX", str(cache / "bytecode"))
    return env
