"""The operator's image holds nothing heavy and nothing that could read a store."""

import subprocess
import sys

FORBIDDEN = (
    *("torch", "ray", "vllm", "numpy", "pyarrow", "boto3", "huggingface_hub"),
    *("aiohttp", "jinja2", "tokenizers", "zstandard", "moaa_jobs", "moaa.store"),
)


def test_the_operator_imports_nothing_heavy() -> None:
    code = f"import sys, moaa_operator.main; print([name for name in {FORBIDDEN!r} if name in sys.modules])"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=_environment())
    assert ended.stdout.strip() == "[]"


def _environment() -> dict[str, str]:
    return {"PYTHONPATH": ":".join(path for path in sys.path if path)}
