"""Charts as plain numbers, ready for a template that draws them as SVG: no script, no inline style, no library.

A chart says what it shows three times: as a picture, as one sentence (its description), and as a table.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import ceil, floor, log10
from typing import Final

from bunker.traffic.counts import FAILED, REFUSED, SIGNED, USED
from bunker.traffic.series import TimeSlot, TrafficSeries

WIDTH: Final = 300
HEIGHT: Final = 160
LEFT: Final = 38
RIGHT: Final = 296
TOP: Final = 10
BOTTOM: Final = 136
LABELS_BELOW: Final = 4
GAP: Final = 0.2
"""Share of a step that is left empty beside its bar."""


@dataclass(frozen=True, slots=True)
class ChartBar:
    """One rectangle; ``title`` is what a pointer resting on it shows."""

    x: float
    y: float
    width: float
    height: float
    look: str
    title: str


@dataclass(frozen=True, slots=True)
class ChartLine:
    """One unbroken run of points: ``x,y x,y ...``."""

    points: str
    look: str


@dataclass(frozen=True, slots=True)
class ChartTick:
    """A label at an axis: ``at`` is x or y."""

    at: float
    label: str


@dataclass(frozen=True, slots=True)
class Chart:
    """Everything its template needs. ``legend`` has (look, name, total); ``rows`` have the time and a cell for each."""

    slug: str
    title: str
    description: str
    legend: Sequence[tuple[str, str, str]]
    rows: Sequence[tuple[str, Sequence[str]]]
    across: Sequence[ChartTick]
    up: Sequence[ChartTick]
    bars: Sequence[ChartBar] = ()
    lines: Sequence[ChartLine] = ()
    is_empty: bool = False
    has_lines: bool = False
    width: int = field(default=WIDTH)
    height: int = field(default=HEIGHT)
    left: int = field(default=LEFT)
    right: int = field(default=RIGHT)
    bottom: int = field(default=BOTTOM)


Layer = tuple[str, str, Callable[[TimeSlot], int]]
Curve = tuple[str, str, float]

SIGNATURES: Final[tuple[Layer, ...]] = (
    ("first", "Signatures", lambda slot: slot.outcome(SIGNED)),
    ("second", "Other uses of keys", lambda slot: slot.outcome(USED)),
)
REFUSALS: Final[tuple[Layer, ...]] = (
    ("warn", "Refused", lambda slot: slot.outcome(REFUSED)),
    ("fail", "Failed", lambda slot: slot.outcome(FAILED)),
)
LATENCY: Final[tuple[Curve, ...]] = (("p50", "p50", 0.5), ("p95", "p95", 0.95), ("p99", "p99", 0.99))


def charts(series: TrafficSeries) -> list[Chart]:
    """The dashboard's three: uses of keys, refusals and failures, latency."""
    return [
        stacked("signatures", "Signatures and other uses", series, SIGNATURES),
        stacked("refusals", "Refusals and failures", series, REFUSALS),
        curves("latency", "Latency of uses, milliseconds", series, LATENCY),
    ]


def stacked(slug: str, title: str, series: TrafficSeries, layers: Sequence[Layer]) -> Chart:
    """Counts, one bar a step with its layers on top of each other."""
    totals = [sum(count(slot) for slot in series.slots) for _, _, count in layers]
    most = max(sum(count(slot) for _, _, count in layers) for slot in series.slots)
    ticks = nice_ticks(most, whole=True)
    bars = [
        bar for place, slot in enumerate(series.slots) for bar in _pile(place, slot, series, layers, ticks[-1]) if bar
    ]
    names = [name for _, name, _ in layers]
    told = ", ".join(f"{total:,} {name.lower()}" for name, total in zip(names, totals, strict=True))
    return Chart(
        slug=slug,
        title=title,
        description=f"{series.span.title}: {told}. At most {most:,} in {step_of(series)}.",
        legend=[(look, name, f"{total:,}") for (look, name, _), total in zip(layers, totals, strict=True)],
        rows=_rows(series, lambda slot: [f"{count(slot):,}" for _, _, count in layers]),
        across=_times(series),
        up=[ChartTick(height_of(value, ticks[-1]), short(value)) for value in ticks],
        bars=bars,
        is_empty=not any(totals),
    )


def _pile(place: int, slot: TimeSlot, series: TrafficSeries, layers: Sequence[Layer], top: float) -> list[ChartBar]:
    step = (RIGHT - LEFT) / len(series.slots)
    said = ", ".join(f"{count(slot):,} {name.lower()}" for _, name, count in layers)
    below, bars = 0, []
    for look, _, count in layers:
        value = count(slot)
        if value:
            y, floor_ = height_of(below + value, top), height_of(below, top)
            x = round(LEFT + place * step + step * GAP / 2, 2)
            bars.append(
                ChartBar(
                    x, y, round(step * (1 - GAP), 2), round(floor_ - y, 2), look, f"{moment(slot.at, series)}: {said}"
                )
            )
        below += value
    return bars


def curves(slug: str, title: str, series: TrafficSeries, percentiles: Sequence[Curve]) -> Chart:
    """Percentiles of latency, one line each, broken where nothing was answered."""
    values = [[slot.percentile(share) for slot in series.slots] for _, _, share in percentiles]
    most = max((value for line in values for value in line if value is not None), default=0.0)
    ticks = nice_ticks(most)
    whole = [series.whole.percentile(share) for _, _, share in percentiles]
    told = ", ".join(f"{name} {milliseconds(value)}" for (_, name, _), value in zip(percentiles, whole, strict=True))
    lines = [
        ChartLine(points, look)
        for (look, _, _), line in zip(percentiles, values, strict=True)
        for points in _runs(line, ticks[-1])
    ]
    return Chart(
        slug=slug,
        title=title,
        description=f"{series.span.title}: {told} over all. Highest p99 of {step_of(series)}: {milliseconds(most)}.",
        legend=[(look, name, milliseconds(value)) for (look, name, _), value in zip(percentiles, whole, strict=True)],
        rows=_rows(series, lambda slot: [milliseconds(slot.percentile(share)) for _, _, share in percentiles]),
        across=_times(series),
        up=[ChartTick(height_of(value, ticks[-1]), short(value)) for value in ticks],
        lines=lines,
        has_lines=True,
        is_empty=not lines,
    )


def _runs(values: Sequence[float | None], top: float) -> list[str]:
    """Points of each run of steps that have a value; a lone one becomes a short dash."""
    step = (RIGHT - LEFT) / len(values)
    runs: list[list[tuple[float, float]]] = [[]]
    for place, value in enumerate(values):
        if value is None:
            runs.append([])
        else:
            runs[-1].append((LEFT + (place + 0.5) * step, height_of(value, top)))
    return [_points(run if len(run) > 1 else _dash(run[0], step)) for run in runs if run]


def _dash(point: tuple[float, float], step: float) -> list[tuple[float, float]]:
    return [(point[0] - step * 0.4, point[1]), (point[0] + step * 0.4, point[1])]


def _points(run: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in run)


def height_of(value: float, top: float) -> float:
    """The y of a value where ``top`` is the axis's end."""
    return round(BOTTOM - (BOTTOM - TOP) * min(value / top, 1.0), 2)


def nice_ticks(most: float, *, whole: bool = False) -> list[float]:
    """Round numbers from 0 to at least ``most``, about four of them. ``whole``: no fractions."""
    if most <= 0:
        return [0.0, 1.0]
    rough = most / 4
    unit = 10.0 ** floor(log10(rough))
    step = next(unit * factor for factor in (1, 2, 2.5, 5, 10) if unit * factor >= rough * 0.999)
    if whole:
        step = float(max(1, ceil(step)))
    return [step * number for number in range(ceil(most / step - 1e-9) + 1)]


def short(value: float) -> str:
    """A number of at most five characters, for an axis."""
    for limit, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= limit:
            return f"{value / limit:.3g}{letter}"
    return f"{value:.3g}"


def milliseconds(value: float | None) -> str:
    """A latency as text; a dash for none."""
    if value is None:
        return "-"
    return f"{value:.1f} ms" if value < 100 else f"{value:,.0f} ms"


def moment(at: int, series: TrafficSeries) -> str:
    """The beginning of a step, as precise as its span needs, in UTC."""
    form = "%H:%M" if series.span.minutes * series.span.steps <= 24 * 60 else "%a %d %b, %H:%M"
    return datetime.fromtimestamp(at, UTC).strftime(form)


def step_of(series: TrafficSeries) -> str:
    """How long one step is, in words."""
    minutes = series.span.minutes
    if minutes == 1:
        return "a minute"
    return f"{minutes} minutes" if minutes < 60 else f"{minutes // 60} hours"


def _times(series: TrafficSeries) -> list[ChartTick]:
    """A few labels below the axis."""
    count = len(series.slots)
    step = (RIGHT - LEFT) / count
    days = series.span.minutes * series.span.steps > 24 * 60
    form = "%a" if days else "%H:%M"
    every = count // LABELS_BELOW
    return [
        ChartTick(
            round(LEFT + (place + 0.5) * step, 1), datetime.fromtimestamp(series.slots[place].at, UTC).strftime(form)
        )
        for place in range(every // 2, count, every)
    ]


def _rows(series: TrafficSeries, cells: Callable[[TimeSlot], list[str]]) -> list[tuple[str, list[str]]]:
    """The table's rows, newest first; steps in which nothing happened are left out."""
    busy = [slot for slot in reversed(series.slots) if any(slot.numbers)]
    return [(moment(slot.at, series), cells(slot)) for slot in busy]
