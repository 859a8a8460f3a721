"""Charts show what they were given, and say it in words and in a table too."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
from django.template.loader import render_to_string

from bunker.traffic.counts import COLUMNS
from bunker.traffic.series import SPANS, TimeSlot, TrafficSeries
from keycast.operations.charts import BOTTOM, LEFT, RIGHT, TOP, Chart, charts, milliseconds, nice_ticks, short

HOUR, DAY, WEEK = SPANS
BEGINNING = 29_400_000 * 60


def series(span_number: int = 0, **slots: dict[str, int]) -> TrafficSeries:
    """A series whose slots are given by ``s`` and their place."""
    span = SPANS[span_number]
    numbers = {int(name[1:]): values for name, values in slots.items()}
    return TrafficSeries(
        span,
        [
            TimeSlot(BEGINNING + place * span.minutes * 60, [numbers.get(place, {}).get(name, 0) for name in COLUMNS])
            for place in range(span.steps)
        ],
    )


def drawn(chart: Chart) -> ElementTree.Element:
    """The chart's picture, parsed as XML: it must be well-formed."""
    html = render_to_string("admin/overview/chart.html", {"chart": chart})
    start, end = html.index("<svg"), html.index("</svg>") + len("</svg>")
    return ElementTree.fromstring(html[start:end])  # noqa: S314 -- our own


def test_an_empty_series_is_drawn_without_bars_or_lines() -> None:
    for chart in charts(series()):
        assert chart.is_empty
        picture = drawn(chart)
        assert not picture.findall("rect")
        assert not picture.findall("polyline")
        assert not chart.rows


def test_bars_are_as_high_as_their_counts_and_stand_on_each_other() -> None:
    chart = charts(series(s0={"signed": 40}, s59={"signed": 10, "used": 30}))[0]
    first, second, upper = chart.bars
    assert (first.y, first.height) == (TOP, BOTTOM - TOP)
    assert second.height == pytest.approx((BOTTOM - TOP) / 4, abs=0.02)
    assert second.y + second.height == pytest.approx(BOTTOM)
    assert upper.y + upper.height == pytest.approx(second.y)
    assert LEFT <= first.x < first.x + first.width < upper.x < upper.x + upper.width <= RIGHT
    assert "40 signatures, 0 other uses" in first.title
    assert "50 signatures, 30 other uses of keys. At most 40 in a minute" in chart.description
    assert [cells for _, cells in chart.rows] == [["10", "30"], ["40", "0"]]


def test_lines_break_where_nothing_was_answered() -> None:
    chart = charts(series(s3={"ms_5": 10}, s4={"ms_8": 10}, s9={"ms_5": 1}))[2]
    assert [line.look for line in chart.lines] == ["p50", "p50", "p95", "p95", "p99", "p99"]
    assert all(len(line.points.split()) == 2 for line in chart.lines)
    assert ("p50", "p50", "4.9 ms") in chart.legend


@pytest.mark.parametrize("number", range(len(SPANS)))
def test_pictures_are_well_formed_and_named(number: int) -> None:
    for chart in charts(series(number, s1={"signed": 5, "refused": 2, "failed": 1, "ms_3": 5}, s2={"ms_more": 1})):
        picture = drawn(chart)
        names = {picture.find("title").get("id"), picture.find("desc").get("id")}  # type: ignore[union-attr]
        assert set((picture.get("aria-labelledby") or "").split()) == names
        assert picture.get("role") == "img"
        assert picture.find("desc").text == chart.description  # type: ignore[union-attr]
        for rect in picture.findall("rect"):
            assert float(rect.get("width") or 0) > 0
            assert float(rect.get("height") or 0) > 0


def test_nothing_in_a_picture_is_inline_style_or_script() -> None:
    html = render_to_string("admin/overview/chart.html", {"chart": charts(series(s1={"signed": 5}))[0]})
    assert "style=" not in html
    assert "<script" not in html
    assert " on" not in html.replace(" on ", "")


@pytest.mark.parametrize(
    ("most", "whole", "expected"),
    [
        (0, True, [0, 1]),
        (1, True, [0, 1]),
        (3, True, [0, 1, 2, 3]),
        (40, True, [0, 10, 20, 30, 40]),
        (41, True, [0, 20, 40, 60]),
        (0.7, False, [0, 0.2, 0.4, 0.6, 0.8]),
        (987_654, True, [0, 250_000, 500_000, 750_000, 1_000_000]),
    ],
)
def test_axes_have_round_numbers(most: float, whole: bool, expected: list[float]) -> None:
    assert nice_ticks(most, whole=whole) == pytest.approx(expected)


def test_numbers_are_short_enough_for_an_axis() -> None:
    assert [short(value) for value in (0, 2.5, 999, 2500, 1e6, 2.5e9)] == ["0", "2.5", "999", "2.5k", "1M", "2.5G"]
    assert [milliseconds(value) for value in (None, 1.234, 4321.0)] == ["-", "1.2 ms", "4,321 ms"]
