"""docs/attacks.md: what attacks there are, and how they stand beside their peers."""

from __future__ import annotations

from collections.abc import Iterator

from salus_studies.attacks import figures, tables
from salus_studies.attacks.measured import LIBRARIES, TITLES, datasets, of_data, title
from salus_studies.attacks.sentences import ANYTHING, CONDITIONS, COST, HEAD, STREAMING
from salus_studies.frame.markdown import Record
from salus_studies.frame.page import Page, Show, compose
from salus_studies.frame.results import Results


def page(results: Results, folder: str) -> Page:
    """Put the page together; see :class:`~salus_studies.frame.study.Study`."""
    values = results.values

    def parts(show: Show) -> Iterator[str]:
        yield HEAD
        yield tables.attacks_table(values)
        yield COST
        yield "## Beside other libraries\n"
        yield conditions(values)
        for data in datasets(values):
            yield from beside_peers(values, data, show)
        yield from streaming(values["streaming"])
        yield ANYTHING

    return compose(figures.draw(values), folder, parts)


def conditions(results: Record) -> str:
    """Say what ran where, how it was counted, and by which commands."""
    meta, records = results["meta"], results["records"]
    words = CONDITIONS.format(
        versions=", ".join(f"{LIBRARIES.get(name, name)} {number}" for name, number in meta["versions"].items()),
        machine=meta["machine"],
        threads=" or ".join(str(count) for count in sorted({record["threads"] for record in records})),
        seed=meta["seed"],
    )
    commands = "\n".join(dict.fromkeys(record["command"] for record in records))
    return f"{words}\n\n```\n{commands}\n```\n"


def beside_peers(results: Record, data: str, show: Show) -> Iterator[str]:
    """Show the benchmark on one data set: the figure, the bars and every row."""
    records = of_data(results, data)
    yield f"### {TITLES[data]}\n"
    yield f"The network gets {records[0]['accuracy']:.1%} of the test samples right.\n"
    yield show(figures.name(data), f"Every attack beside its peers, {TITLES[data]}")
    yield tables.bars_table(records)
    for record in records:
        yield f"#### {title(record)}\n"
        yield tables.record_table(record)


def streaming(run: Record) -> Iterator[str]:
    """Show what memory attacking from disk to disk took."""
    yield STREAMING
    yield f"```\n{run['command']}\n```\n"
    yield tables.streaming_table(run)
    yield f"`{run['attack']}`, {run['threads']} threads.\n"
