"""What the job's side of a harness lets through, and how task files travel."""

from base64 import b64encode
from pathlib import Path

import pytest

from moaa.errors import DataError
from moaa_jobs.harness import task_files
from moaa_jobs.harness.child import environment
from moaa_jobs.harness.task_files import task_file_rows, write_task_files


def test_the_child_sees_no_secret_and_no_network() -> None:
    outside = {
        "PATH": "/bin",
        "NLTK_DATA": "/data",
        "MOAA_SECRET_A_B": "s",
        "AWS_SECRET_ACCESS_KEY": "s",
        "HF_TOKEN": "s",
        "OPENAI_API_KEY": "s",
        "HOME": "/home/someone",
        "KUBERNETES_SERVICE_HOST": "10.0.0.1",
    }
    made = environment(Path("/scratch"), outside)
    assert "s" not in made.values()
    assert {name: made[name] for name in ("PATH", "NLTK_DATA", "HOME")} == {
        "PATH": "/bin",
        "NLTK_DATA": "/data",
        "HOME": "/scratch",
    }
    assert made["HF_HUB_OFFLINE"] == made["HF_DATASETS_OFFLINE"] == "1"
    assert "KUBERNETES_SERVICE_HOST" not in made


def test_task_files_come_back_as_they_were(tmp_path: Path) -> None:
    files = {"a.yaml": b"task: a\n", "more/b.py": b"x = 1\n", "more/c.bin": bytes(range(256))}
    for name, body in files.items():
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(body)
    listed = [(tmp_path / "in" / name, f"s3://b/tasks/{name}") for name in reversed(files)]
    rows = task_file_rows(listed, "s3://b/tasks/", "field")
    assert [row["name"] for row in rows] == sorted(files)
    write_task_files(rows, tmp_path / "out")
    assert {name: (tmp_path / "out" / name).read_bytes() for name in files} == files


def test_a_folder_of_data_is_no_folder_of_task_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task_files, "MAX_BYTES", 3)
    (tmp_path / "a.yaml").write_text("task")
    with pytest.raises(DataError, match=r"spec\.x: s3://b/t/ holds more than .* name the data set in source"):
        task_file_rows([(tmp_path / "a.yaml", "s3://b/t/a.yaml")], "s3://b/t/", "spec.x")


@pytest.mark.parametrize("name", ["../a.py", "/etc/passwd", "a/../../b"])
def test_a_task_file_stays_in_its_folder(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="lies outside of its folder"):
        write_task_files([{"name": name, "body": b64encode(b"x").decode()}], tmp_path / "out")
