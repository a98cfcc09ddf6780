"""MoAA: a group of open language models as teacher and judge of one student, again and again.

The light core. Nothing in this package imports kubernetes, torch, ray, vllm, transformers, trl or deepspeed, and
nothing in it knows which executor runs it (docs/architecture.md).
"""

from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from moaa.api.reading.load import load
    from moaa.notebook import Run, Started, estimates, open_run, start

__all__ = ["Run", "Started", "__version__", "estimates", "load", "open_run", "start"]


def __getattr__(name: str) -> object:
    """What notebooks use, imported when it is asked for. Raises AttributeError: there is no such name."""
    if name == "load":
        from moaa.api.reading.load import load

        return load
    if name in __all__:
        from moaa import notebook

        return getattr(notebook, name)
    raise AttributeError(f"module 'moaa' has no attribute {name!r}")
