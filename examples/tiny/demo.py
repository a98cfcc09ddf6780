"""`make demo`: the tiny world's two iterations on this machine, the report, and a verdict on every claim.

Exit code 0 says that the mechanics worked: every stage is done and the report is written. Whether a claim holds is a
finding, printed and not judged.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import time
from pathlib import Path

from examples.tiny.claims import judge, read_scores
from moaa.api.reading.load import load
from moaa.store.objects.open import StoreSettings, open_store

HERE = Path(__file__).resolve().parent
RESOURCE = HERE / "moaa.yaml"


def moaa(*arguments: str) -> int:
    """Run the command line as a user would."""
    return subprocess.run([Path(sys.executable).with_name("moaa"), *arguments], check=False).returncode


async def verdicts() -> list[str]:
    resource = load(RESOURCE)
    store = open_store(resource.spec.storage, StoreSettings())
    try:
        scores = await read_scores(resource, store)
    finally:
        await store.close()
    return [str(verdict) for verdict in judge(HERE / "claims.yaml", [scores])]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workdir", type=Path, default=Path("runs/tiny"), help="logs, scratch and the report")
    options = parser.parse_args()
    started = time.monotonic()
    for arguments in (
        ("run", str(RESOURCE), "--workdir", str(options.workdir)),
        ("report", str(RESOURCE), "--out", str(options.workdir / "report")),
    ):
        code = moaa(*arguments)
        if code:
            return code
    print("\nClaims (examples/tiny/claims.yaml), this run alone; benchmarks/ has those over several seeds:")
    for line in asyncio.run(verdicts()):
        print(f"  {line}")
    print(
        f"\nDemo done in {(time.monotonic() - started) / 60:.1f} minutes; report: {options.workdir}/report/report.html"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
