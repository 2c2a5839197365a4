"""docs/capacity.md."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from salus.figures.style import BLUE, MUTED, VERMILION, axes, style
from salus.progress import duration
from salus_studies.frame.markdown import Record, markdown
from salus_studies.frame.page import Page, Picture, Show, compose
from salus_studies.frame.results import Results

_HEAD = """\
# Capacity: what so many beats, or so large an audit, need

Measured on one machine, carried further by a discrete-event simulation ([SimPy](https://simpy.readthedocs.io)), which
is first checked against what was measured. What stands behind the last row that was checked is on paper alone.
"""


def page(results: Results, figures: str) -> Page:
    """Put the page together."""
    values = results.values

    def parts(show: Show) -> Iterator[str]:
        yield _HEAD
        yield f"```\n{values['command']}\n```\n"
        yield (
            f"{values['machine']}; Python {values['versions']['python']}, torch {values['versions']['torch']}; seed "
            f"{values['seed']}, one run. The guard is `ecg-cnn` with I-defender; the load and the engines are those of "
            "`benchmarks/service.json` and `benchmarks/engines.json`, which hold their own commands.\n"
        )
        yield "## What was measured\n"
        yield _measured(values)
        yield "## Whether the simulation is to be believed\n"
        yield _checks(values["checks"])
        yield "## Beats a day\n"
        yield _days(values["days"])
        yield show("day", "Cores and logs that so many beats a day need")
        yield _bottleneck(values)
        yield "## Single beats, several processes\n"
        yield _workers(values["workers"])
        yield "## An audit of 10,000 cells\n"
        yield _audits(values["audits"])

    return compose({"day": Picture(lambda: _picture(values["days"]), values["days"])}, figures, parts)


def _measured(values: Record) -> str:
    measured, micro = values["measured"], 1e6
    verdict, log, wire = measured["verdict"], measured["log"], measured["wire"]
    rows = [
        ["a verdict", f"{micro * verdict['fixed']:,.0f} µs a pass + {micro * verdict['each']:,.0f} µs a beat"],
        [
            "an entry of the log (SQLite)",
            f"{micro * log['fixed']:,.0f} µs a transaction + {micro * log['each']:,.0f} µs an entry",
        ],
        ["an entry on the disk", f"{log['bytes_an_entry']:,.0f} bytes"],
        ["a request of one beat: reading, answering, and what surrounds them", f"{micro * values['http']:,.0f} µs"],
        [
            "a beat on the wire",
            f"{wire['array']:,.0f} bytes as an array, {wire['json']:,.0f} as JSON; its answer {wire['answer']:,.0f}",
        ],
    ]
    return markdown(["", "takes"], rows, 2) + (
        "\nVerdicts and entries were timed alone; what surrounds them is what the processor time of the measured load "
        "leaves when both are taken away.\n"
    )


def _checks(checks: Record) -> str:
    rows = []
    for name, words in (("p50_ms", "300 single beats a second: median"), ("p99_ms", "the same: 99th percentile")):
        rows.append(
            [words, f"{checks['single'][name]['measured']:.0f} ms", f"{checks['single'][name]['simulated']:.0f} ms"]
        )
    batched = checks["batched"]
    rows.append(["batches of 64", f"{batched['measured']:,.0f} beats/s", f"{batched['simulated']:,.0f} beats/s"])
    for name, found in checks["audits"].items():
        for part, words in (("seconds", "cells of a second"), ("tiny", "cells of nothing")):
            both = found[part]
            rows.append([f"{words}, {name}", f"{both['measured']:,.0f} s", f"{both['simulated']:,.0f} s"])
    return markdown(["", "measured", "simulated"], rows) + (
        "\nThe 99th percentile is the weakest: the simulation knows of no other process on the machine, no garbage "
        "collection and no slow disk, and here the callers run on the same two cores. Batches are asked for by four "
        "callers who wait. The owner's part of a cell was taken from the cells of nothing, which so agree by "
        "construction; those of a second are a check.\n"
    )


def _days(days: Sequence[Record]) -> str:
    rows = [
        [
            f"{_many(day['millions'])}",
            f"{day['millions'] * 1e6 / 1e5:,.0f}",
            f"{day['peak']:,.0f}",
            f"{max(1, round(day['cores'] + 0.499)):,}",
            f"{max(1, round(day['logs'] + 0.499)):,}",
            f"{day['wire_bits'] / 1e6:,.1f} Mbit/s",
            f"{day['disk_day'] / 1e9:,.1f} GB",
        ]
        for day in days
    ]
    header = ["beats a day", "patients, all day", "beats/s at the peak", "cores", "logs", "wire", "log a day"]
    return markdown(header, rows) + (
        "\nSent in parts of 64, as recordings are; the busiest second has three times the mean of the day, and is to "
        "leave 30% of every core and log free. A log is one chain, with one writer at a time.\n"
    )


def _bottleneck(values: Record) -> str:
    day, wire = values["days"][0], values["measured"]["wire"]
    most = 0.7 * day["entries"] / 3 * 86_400
    return (
        f"**The first bottleneck is the processor**, then the log: one chain takes {day['entries']:,.0f} entries a "
        f"second in transactions of 4,096, and so carries {_many(most / 1e6)} beats a day. Beyond, guards are divided "
        "among several services, each with a log of its own, which `salus log verify` checks one by one; nothing "
        "in them refers to another. The wire is no bottleneck while beats travel as arrays; as JSON they take "
        f"{wire['json'] / wire['array']:.0f} times as much, and most of the event loop. At internet scale (the last "
        "row: a million patients, all day) the disk is what costs: `salus log export` and `prune` move the log to "
        "cheaper storage, signed.\n"
    )


def _workers(workers: Sequence[Record]) -> str:
    rows = [[str(row["workers"]), f"{row['saturation']:,.0f}"] for row in workers]
    return markdown(["processes, a core each", "single beats a second"], rows, 1) + (
        "\nThe rate at which answers still keep up, one beat a request, all processes writing to one log; on paper "
        "beyond what two cores can show.\n"
    )


def _audits(audits: Sequence[Record]) -> str:
    rows = [
        [
            f"{row['mean']:g} s",
            str(row["workers"]),
            duration(row["seconds"]),
            f"{100 * row['efficiency']:.0f}%",
        ]
        for row in audits
    ]
    return markdown(["a cell takes", "workers", "the audit", "of which work"], rows) + (
        "\nCells are log-normal with a spread like their mean. **The first bottleneck is the owner**, which stores one "
        f"cell after another: cells of a second keep it busy from about {_busy(audits):,} workers on.\n"
    )


def _busy(audits: Sequence[Record]) -> int:
    """Find from how many workers on less than nine tenths of their time is work, of cells of a second."""
    return min((row["workers"] for row in audits if row["mean"] == 1 and row["efficiency"] < 0.9), default=0)


def _many(millions: float) -> str:
    for size, word in ((1e6, "trillion"), (1e3, "billion")):
        if millions >= size:
            return f"{millions / size:,.3g} {word}"
    return f"{millions:,.3g} million"


def _picture(days: Sequence[Any]) -> bytes:
    with style(**{"savefig.transparent": False, "savefig.dpi": 150.0}):
        figure = Figure(figsize=(6.4, 3.4))
        ax = axes(figure, grid="both")
        figure.subplots_adjust(left=0.11, right=0.94, bottom=0.17, top=0.95)
        beats = [day["millions"] * 1e6 for day in days]
        for name, colour, words in (("cores", BLUE, "cores"), ("logs", VERMILION, "logs, one writer each")):
            ax.plot(beats, [day[name] for day in days], color=colour, marker="o", markersize=4, label=words)
        ax.axhline(1, color=MUTED, linewidth=0.8, linestyle=(0, (5, 3)))
        ax.set_xscale("log")
        ax.set_yscale("log")
        ax.set_xticks(beats, [_many(each / 1e6) for each in beats])
        ax.xaxis.set_minor_locator(NullLocator())
        ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.12g}"))
        ax.set_xlabel("beats a day")
        ax.set_ylabel("needed")
        ax.legend(frameon=False, loc="upper left")
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png")
    return buffer.getvalue()
