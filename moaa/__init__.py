"""MoAA: a group of open language models as teacher and judge of one student, again and again.

The light core. Nothing in this package imports kubernetes, torch, ray, vllm, transformers, trl or deepspeed, and
nothing in it knows which executor runs it (docs/architecture.md).
"""

__version__ = "0.1.0"
