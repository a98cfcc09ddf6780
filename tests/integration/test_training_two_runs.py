"""Two runs of one resource on one machine: neither removes what the other's processes work in."""

import subprocess
import sys
from pathlib import Path

from moaa_jobs.training.shared.scratch import remove_others

WORKS = """
import sys
from pathlib import Path
from moaa_jobs.training.shared.scratch import hold
hold(Path(sys.argv[1]))
print("works", flush=True)
sys.stdin.read()
"""


def test_a_killed_process_leaves_its_folder_to_others_and_a_living_one_does_not(tmp_path: Path) -> None:
    folder, own = tmp_path / "moaa-abcd-1-aa", tmp_path / "moaa-abcd-1-bb"
    with subprocess.Popen(
        [sys.executable, "-c", WORKS, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "works\n"
        remove_others(own, "abcd-1-bb")
        assert folder.is_dir()
        other.kill()
        other.wait()
    remove_others(own, "abcd-1-bb")
    assert not folder.exists()
