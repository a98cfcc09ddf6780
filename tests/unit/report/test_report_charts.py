"""Axes and charts: coordinates against values worked out by hand, sane ticks, well-formed and escaped SVG."""

import re
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moaa.report.draw.axis import fit, make_scale, nice_step, text_width
from moaa.report.draw.charts import Bar, Dot, Line, Step, interval_plot, line_chart, progress_chart, stacked_bars

WIDTHS = (1040, 510, 330)
EVIL = '<script>alert("&")</script>'


@pytest.mark.parametrize(
    ("span", "count", "step"),
    [(1.0, 5, 0.2), (0.37, 5, 0.1), (10, 4, 2.5), (1, 1, 1.0), (7000, 6, 2000.0), (3e-7, 5, 1e-7), (9.99, 5, 2.0)],
)
def test_steps_are_round_numbers(span: float, count: int, step: float) -> None:
    assert nice_step(span, count) == pytest.approx(step)


def test_a_scale_maps_its_ends_and_middle() -> None:
    scale = make_scale([0.12, 0.78], 100, 500, count=4)
    assert list(scale.ticks) == [0.0, 0.2, 0.4, 0.6, 0.8]
    assert [scale(v) for v in scale.ticks] == pytest.approx([100, 200, 300, 400, 500])
    assert scale(2.0) == 500, "beyond the end is drawn at the end"


def test_a_snug_scale_ends_at_its_values() -> None:
    scale = make_scale([3, 47], 0, 440, count=5, is_snug=True)
    assert list(scale.ticks) == [10, 20, 30, 40]
    assert scale(3) == 0
    assert scale(25) == 220


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        ([0, 1], ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        ([0.25, 0.75], ["0.2", "0.3", "0.4", "0.5", "0.6", "0.7", "0.8"]),
        ([-0.02, 0.03], ["−0.02", "−0.01", "0.00", "0.01", "0.02", "0.03"]),
        ([900, 2100], ["750", "1,000", "1,250", "1,500", "1,750", "2,000", "2,250"]),
        ([0, 40000], ["0", "10 k", "20 k", "30 k", "40 k"]),
        ([0, 2.5e6], ["0.0", "0.5 M", "1.0 M", "1.5 M", "2.0 M", "2.5 M"]),
        ([0, 4e-5], ["0", "1e-05", "2e-05", "3e-05", "4e-05"]),
    ],
)
def test_tick_labels_have_the_decimals_they_need(values: list[float], labels: list[str]) -> None:
    scale = make_scale(values, 0, 100)
    assert [scale.label(t) for t in scale.ticks] == labels


def test_scales_of_nothing_and_of_one_value() -> None:
    assert make_scale([], 0, 1).ticks[0] == 0
    alone = make_scale([0.5], 0, 100)
    assert alone(0.5) == pytest.approx(50)
    assert make_scale([1.0, 1.0], 0, 100, bounds=(0, 1)).high == 1.0


@given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=8), st.integers(2, 8))
def test_every_value_lies_on_the_scale(values: list[float], count: int) -> None:
    scale = make_scale(values, 0, 100, count=count)
    tiny = 1e-8 * (scale.high - scale.low)  # far below a pixel
    assert scale.low - tiny <= min(values)
    assert max(values) <= scale.high + tiny
    assert 2 <= len(scale.ticks) <= count + 2
    assert list(scale.ticks) == sorted(set(scale.ticks))


def test_a_least_span_keeps_noise_small_and_bounds_hold() -> None:
    scale = make_scale([50.1, 50.2], 0, 100, min_span=10)
    assert scale.low <= 45.2
    assert scale.high >= 55.1
    at_zero = make_scale([0.0, 0.0], 0, 100, bounds=(0, 100), min_span=10)
    assert (at_zero.low, at_zero.high) == (0, 5)


def test_text_is_cut_to_its_room() -> None:
    assert fit("short", 100) == "short"
    assert fit("a very long label indeed", 60).endswith("…")
    assert text_width(fit("a very long label indeed", 60)) <= 60
    assert text_width("漢字") > text_width("ab"), "wide characters count as wide"


def test_interval_plot_places_dots_and_whiskers() -> None:
    svg = interval_plot([Dot("m", 50, 25, 75, text="50")], title="t", desc="d", width=510, bounds=(0, 100))
    # Label column: text_width("m") = 7.8, + 20 + 8 = 35.8. Right: 510 − (2 × 7.5 + 14) − 12 = 469. Domain 22 to 78.
    whisker = re.search(r'<line x1="([\d.]+)" y1="23" x2="([\d.]+)" y2="23" class="whisker', svg)
    dot = re.search(r'<circle cx="([\d.]+)" cy="23"', svg)
    assert whisker
    assert dot
    low, high = float(whisker[1]), float(whisker[2])
    assert float(dot[1]) == pytest.approx((low + high) / 2, abs=0.1)
    assert high - low == pytest.approx((469 - 35.8) * 50 / 56, abs=0.2)


def test_bars_share_the_width_by_their_parts() -> None:
    svg = stacked_bars([Bar("b", (30, 0, 10), "40")], ["x", "y", "z"], title="t", desc="d", width=510)
    widths = [float(w) for w in re.findall(r'width="([\d.]+)" height="22"', svg)]
    room = 510 - (text_width("b") + 14) - (text_width("40", 12.5) + 16)
    assert widths == pytest.approx([room * 0.75 - 1.5, room * 0.25 - 1.5], abs=0.1)
    assert "75 %" in svg
    assert "y 0" not in svg, "a part that is not there is not drawn"


def test_the_line_joins_kept_steps_only() -> None:
    steps = [
        Step("start", 10, is_kept=True),
        Step("SFT\niter. 1", 20),
        Step("DPO\niter. 1", 30, is_kept=True),
        Step("SFT\niter. 2", None),
    ]
    svg = progress_chart(steps, title="t", desc="d", width=510)
    path = re.search(r'<path d="M([^"]+)" class="path kept', svg)
    assert path
    assert path[1].count("L") == 1, "two kept steps, one line between them"
    assert svg.count("hollow") == 1
    assert "not yet" in svg


def test_a_curve_runs_through_its_points() -> None:
    svg = line_chart([Line("loss", ((1, 2.0), (11, 1.0)))], title="t", desc="d", width=510, x_label="step")
    path = re.search(r'<path d="M([\d.]+) ([\d.]+)L([\d.]+) ([\d.]+)"', svg)
    assert path
    x1, y1, x2, y2 = map(float, path.groups())
    assert (x2, y1, y2) == (496, 32, 190), "right edge less 14; top under the legend; bottom above the labels"
    assert x1 < 60


@pytest.mark.parametrize("width", WIDTHS)
def test_charts_are_well_formed_and_escape_their_text(width: int) -> None:
    charts = [
        interval_plot([Dot(EVIL, 0.5, 0.4, 0.6, EVIL)], title=EVIL, desc=EVIL, width=width, zero_label=EVIL),
        interval_plot([Dot("no interval", 0.5)], title=EVIL, desc=EVIL, width=width),
        interval_plot([], title=EVIL, desc=EVIL, width=width),
        progress_chart([Step(EVIL, 0.5, 0.4, 0.6, EVIL)], title=EVIL, desc=EVIL, width=width, reference=(0.7, EVIL)),
        progress_chart([], title=EVIL, desc=EVIL, width=width),
        line_chart([Line(EVIL, ((1, 1),))], title=EVIL, desc=EVIL, width=width, x_label=EVIL),
        line_chart([], title=EVIL, desc=EVIL, width=width, x_label=EVIL),
        stacked_bars([Bar(EVIL, (1, 2), EVIL)], [EVIL, EVIL], title=EVIL, desc=EVIL, width=width),
    ]
    for svg in charts:
        root = ET.fromstring(svg)
        assert root.get("role") == "img"
        assert root.findtext("title") == EVIL
        assert root.findtext("desc") == EVIL
        assert "<script" not in svg


def test_many_steps_thin_their_labels() -> None:
    steps = [Step(f"SFT\niter. {i}", 0.5, text="50.0", is_kept=True) for i in range(60)]
    svg = progress_chart(steps, title="t", desc="d", width=330)
    assert svg.count(">SFT<") < 12
