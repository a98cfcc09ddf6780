"""A job's figures, as seen from outside its process."""

import json
import urllib.error
import urllib.request

import pytest

from moaa.contract.progress import Figures
from moaa_jobs.tell.progress import Progress
from moaa_jobs.tell.progress_server import shown_on


def get(port: int, path: str = "/progress") -> dict[str, object]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as response:
        assert response.headers["Content-Type"] == "application/json"
        return dict(json.load(response))


def test_figures_are_those_of_the_moment() -> None:
    progress = Progress("i1-generate", None)
    with shown_on(0, lambda: progress.figures, host="127.0.0.1") as port:
        assert port is not None
        assert get(port) == {"stage": "i1-generate"}
        progress.update(rows_done=3, rows_total=4)
        assert get(port)["rows_done"] == 3


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (Figures(rows_done=800, rows_total=1000), Figures(rows_done=810)),
        (Figures(step=800, steps=1000), Figures(step=810)),
    ],
)
def test_what_was_done_before_this_process_says_nothing_about_its_speed(before: Figures, after: Figures) -> None:
    now = [0.0]
    progress = Progress("i1-generate", None, clock=lambda: now[0])
    now[0] = 50.0  # tokenising, say
    progress.update(**before)
    assert "eta_s" not in progress.figures
    now[0] = 60.0
    progress.update(**after)
    assert progress.figures["eta_s"] == 190.0


def test_nothing_else_is_shown() -> None:
    with shown_on(0, Figures, host="127.0.0.1") as port:
        assert port is not None
        with pytest.raises(urllib.error.HTTPError, match="404") as raised:
            get(port, "/")
        raised.value.close()


def test_without_a_port_nothing_listens() -> None:
    with shown_on(None, Figures) as port:
        assert port is None


def test_a_taken_port_costs_the_view_and_not_the_stage(caplog: pytest.LogCaptureFixture) -> None:
    with shown_on(0, Figures, host="127.0.0.1") as port, shown_on(port, Figures, host="127.0.0.1") as second:
        assert second is None
    assert f"progress_not_shown port={port}" in caplog.text


def test_the_port_is_free_afterwards() -> None:
    with shown_on(0, Figures, host="127.0.0.1") as port:
        assert port is not None
    with pytest.raises(OSError, match="refused"):
        get(port)
