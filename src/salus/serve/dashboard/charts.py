"""What charts show: numbers for the browser to draw, a sentence for who cannot see it, and the same as a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from salus.metrics.wording import percentage
from salus.serve.dashboard.words import clock, count
from salus.serve.monitoring.rates import Span, share

#: Names of the style sheet's colours, in the order in which series take them.
_COLOURS = ("blue", "orange", "green", "pink", "violet", "sky")

#: Detectors that a chart draws; more lines than that nobody tells apart.
_MOST_LINES = 6


@dataclass(frozen=True)
class Series:
    """A line of a chart.

    Attributes:
        label: what it is.
        colour: a name of the style sheet's.
        values: one for each moment; None where there is nothing.
        style: ``line``, ``dashed``, ``bars``, or ``edge`` of a band, which is not drawn itself.
    """

    label: str
    colour: str
    values: Sequence[float | None]
    style: str = "line"


@dataclass(frozen=True)
class Chart:
    """A chart.

    Attributes:
        key: unlike that of any other chart of the page.
        title: what it shows.
        alt: what there is to see, in a sentence.
        moments: seconds since 1970, rising.
        series: its lines.
        percent: whether values are shares.
        band: whether the first two series are the edges of a band.
        head: of the table of the same numbers.
        rows: of that table; the first cell of each is its head.
    """

    key: str
    title: str
    alt: str
    moments: Sequence[int]
    series: Sequence[Series]
    percent: bool
    band: bool
    head: Sequence[str]
    rows: Sequence[Sequence[str]]

    @property
    def content(self) -> dict[str, Any]:
        """What the browser draws, as plain values for JSON."""
        return {
            "moments": list(self.moments),
            "percent": self.percent,
            "band": self.band,
            "series": [
                {"label": line.label, "colour": line.colour, "values": list(line.values), "style": line.style}
                for line in self.series
            ],
        }

    @property
    def legend(self) -> list[Series]:
        """The series that are drawn."""
        return [line for line in self.series if line.style != "edge"]


def charts(spans: Sequence[Span], calibrated: float, detectors: Sequence[str]) -> list[Chart]:
    """Draw what was counted over time.

    Args:
        spans: of time, one after another.
        calibrated: share of clean inputs that the guard's calibration allows to be rejected.
        detectors: names of those that the guard has.
    """
    return [_rejected(spans, calibrated), _verdicts(spans), _detectors(spans, detectors)]


def _rejected(spans: Sequence[Span], calibrated: float) -> Chart:
    judged = [span for span in spans if span.rate.value is not None]
    worst = max(judged, key=lambda span: span.rate.value or 0.0, default=None)
    alt = "Nothing was judged in this time."
    if worst is not None:
        total = share(sum(span.counts.rejected for span in spans), sum(span.counts.judged for span in spans))
        alt = (
            f"{percentage(total.value)} of {count(total.n)} inputs were rejected; at most "
            f"{percentage(worst.rate.value)}, from {clock(worst.start * 60)} UTC; the calibration allows "
            f"{percentage(calibrated)}."
        )
    return Chart(
        "rejected",
        "Rejected, share of judged inputs, with its 95% interval",
        alt,
        _moments(spans),
        [
            Series("95% interval, lower end", "blue", [span.rate.low for span in spans], "edge"),
            Series("95% interval, upper end", "blue", [span.rate.high for span in spans], "edge"),
            Series("rejected", "blue", [span.rate.value for span in spans]),
            Series("allowed by the calibration", "vermilion", [calibrated] * len(spans), "dashed"),
        ],
        percent=True,
        band=True,
        head=("From (UTC)", "Judged", "Accepted", "Rejected", "Rejected, 95% interval"),
        rows=[
            (
                clock(span.start * 60),
                count(span.counts.judged),
                percentage(None if span.rate.value is None else 1 - span.rate.value),
                percentage(span.rate.value),
                "" if span.rate.low is None else f"{percentage(span.rate.low)} to {percentage(span.rate.high)}",
            )
            for span in reversed(judged)
        ],
    )


def _verdicts(spans: Sequence[Span]) -> Chart:
    names = ("accepted", "rejected", "not judged")
    counts = [
        (span.counts.judged - span.counts.rejected, span.counts.rejected, span.counts.not_judged) for span in spans
    ]
    totals = [sum(column) for column in zip(*counts, strict=True)] if counts else [0, 0, 0]
    length = spans[0].minutes if spans else 1
    filled = [(span, row) for span, row in zip(spans, counts, strict=True) if any(row)]
    lines = [
        Series(name, colour, [row[place] for row in counts], "bars" if place == 0 else "line")
        for place, (name, colour) in enumerate(zip(names, ("green", "vermilion", "muted"), strict=True))
        if totals[place] or place < 2
    ]
    return Chart(
        "verdicts",
        f"Inputs in each {'minute' if length == 1 else f'{length} minutes'}",
        ", ".join(f"{count(total)} {name}" for total, name in zip(totals, names, strict=True)) + " in this time.",
        _moments(spans),
        lines,
        percent=False,
        band=False,
        head=("From (UTC)", "Accepted", "Rejected", "Not judged"),
        rows=[(clock(span.start * 60), *map(count, row)) for span, row in reversed(filled)],
    )


def _detectors(spans: Sequence[Span], detectors: Sequence[str]) -> Chart:
    shown = detectors[:_MOST_LINES]
    judged = [span for span in spans if span.counts.judged]
    n = sum(span.counts.judged for span in spans)
    parts = [
        f"{name} {percentage(sum(span.counts.rejected_by.get(name, 0) for span in spans) / n)}"
        for name in detectors
        if n
    ]
    left_out = f" (the first {_MOST_LINES} of {len(detectors)})" if len(detectors) > _MOST_LINES else ""
    return Chart(
        "detectors",
        f"Rejected by each detector, share of judged inputs{left_out}",
        f"Of all inputs in this time: {', '.join(parts)}." if parts else "Nothing was judged in this time.",
        _moments(spans),
        [
            Series(
                name,
                colour,
                [
                    span.counts.rejected_by.get(name, 0) / span.counts.judged if span.counts.judged else None
                    for span in spans
                ],
            )
            for name, colour in zip(shown, _COLOURS, strict=False)
        ],
        percent=True,
        band=False,
        head=("From (UTC)", "Judged", *detectors),
        rows=[
            (
                clock(span.start * 60),
                count(span.counts.judged),
                *(percentage(span.counts.rejected_by.get(name, 0) / span.counts.judged) for name in detectors),
            )
            for span in reversed(judged)
        ],
    )


def _moments(spans: Sequence[Span]) -> list[int]:
    return [span.start * 60 for span in spans]
