"""docs/queries.md."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from salus_studies.frame.markdown import Record, done, markdown, not_run
from salus_studies.frame.page import Page, Show, compose
from salus_studies.frame.results import Results
from salus_studies.queries import bars
from salus_studies.queries.life import LIFE
from salus_studies.queries.sentences import (
    BEFORE_ATTACKS,
    BEFORE_KNOWING,
    BEFORE_LIFE,
    GUARD,
    HEAD,
    LESIONS,
    LOWER,
    NOT_SEEN,
    OUTSIDER,
    REST,
    SPEED,
)

_OPERATING = 1.0


def page(results: Results) -> Page:
    """Put the page together; it has no figures."""
    values = results.values

    def parts(_: Show) -> Iterator[str]:
        yield HEAD
        yield f"```\n{GUARD}\n{values['command']}\n```\n"
        many, knowing = values["beats"], values["knowing"]
        yield (
            f"{values['machine']}, torch {values['versions']['torch']}, seed {values['seed']}, one run. {many} beats "
            f"of DS2 that the guard accepts and gets right, {values['queries']:,} queries each; attackers who know the "
            f"monitor: {knowing[0]} beats, {knowing[1]:,} queries. The guard: `ecg-cnn` with "
            f"{', '.join(each['text'] for each in values['guard'])}\n"
        )
        yield "## Honest callers\n"
        yield BEFORE_LIFE
        yield _life(values["life"])
        yield _lesions(values["lesions"])
        yield "## Attackers who do not know of the monitor\n"
        yield BEFORE_ATTACKS
        yield _naive(values["attacks"])
        yield "### The frontier\n"
        yield _frontier(values)
        yield "## Attackers who know the monitor\n"
        yield BEFORE_KNOWING
        yield _knowing(values["attacks"])
        yield from _lower(values)
        yield OUTSIDER
        yield _outsider(values["outsider"])
        yield NOT_SEEN
        yield _transfer(values["transfer"])
        yield _speed(values["speed"])
        yield REST.format(
            bars=bars.table(values),
            naive=bars.naive(values),
            hidden=bars.hidden(values),
            honest=bars.honest(values),
        )

    return compose({}, "", parts)


def _life(life: Mapping[str, Record]) -> str:
    rows = []
    for monitor, found in life.items():
        for way, sent in found.items():
            if not done(sent):
                rows.append([monitor, way, not_run(sent), "", "", ""])
            else:
                names = ", ".join(name.removeprefix("record ") for name in sent["alarmed"])
                rows.append(
                    [
                        monitor,
                        way,
                        f"{sent['beats']:,}",
                        f"{len(sent['alarmed'])} of {sent['callers']}",
                        f"{100 * sent['refused']:.1f}",
                        names or "none",
                    ]
                )
    header = ["monitor", "what was sent", "beats", "callers with an alarm", "beats refused %", "who"]
    return markdown(header, rows, 2)


def _naive(attacks: Sequence[Record]) -> str:
    rows = []
    for row in attacks:
        if row["way"] != "one account, naive":
            continue
        bare = _row(attacks, attack=row["attack"], monitor="nobody")
        if not done(row):
            rows.append([row["monitor"], row["attack"], not_run(row), "", "", ""])
            continue
        at = next(level for level in row["levels"] if level["level"] == _OPERATING)
        rows.append(
            [
                row["monitor"],
                row["attack"],
                _won(bare),
                f"{at['won']} of {row['beats']}",
                f"{at['noticed']} of {row['beats']}",
                "more than half unnoticed" if at["first"] is None else f"{at['first']:g}",
            ]
        )
    header = ["monitor", "attack", "won unwatched", "won watched", "noticed", "queries until noticed, median"]
    return markdown(header, rows, 2)


def _frontier(values: Record) -> str:
    rows = []
    for monitor, life in values["life"].items():
        naive = [row for row in values["attacks"] if row["monitor"] == monitor and row["way"] == "one account, naive"]
        honest = life[LIFE]
        if not done(honest) or not naive or not all(done(row) for row in naive):
            continue
        for place, level in enumerate(naive[0]["levels"]):
            alarmed = sum(top >= level["level"] for top in honest["tops"].values())
            won = sum(row["levels"][place]["won"] for row in naive)
            middles = [row["levels"][place]["first"] for row in naive]
            rows.append(
                [
                    monitor,
                    f"{level['level']:g}",
                    f"{alarmed} of {honest['callers']}",
                    f"{won} of {sum(row['beats'] for row in naive)}",
                    ", ".join("never" if middle is None else f"{middle:g}" for middle in middles),
                ]
            )
    names = list(dict.fromkeys(row["attack"] for row in values["attacks"]))
    header = [
        "monitor",
        "alarm, as a multiple of the fitted one",
        "callers outside DS1 with an alarm",
        "naive attacks that won, all together",
        f"median queries until noticed: {', '.join(names)}",
    ]
    return markdown(header, rows, 1)


def _knowing(attacks: Sequence[Record]) -> str:
    rows = []
    for row in attacks:
        if not str(row["way"]).endswith("knowing") or row.get("alarm", _OPERATING) != _OPERATING:
            continue
        way = str(row["way"]).removesuffix(", knowing")
        if not done(row):
            rows.append([row["monitor"], way, row["attack"], not_run(row), "", "", ""])
            continue
        rows.append(
            [
                row["monitor"],
                way,
                row["attack"],
                f"{row['won']} of {row['beats']}",
                f"{row['over']} of {row['beats']}",
                f"{row['queries']:g}",
                f"{row['unsent']:,}",
            ]
        )
    header = ["monitor", "way", "attack", "won", "all accounts refused", "queries sent, median", "held back"]
    return markdown(header, rows, 3)


def _lower(values: Record) -> Iterator[str]:
    """Show what lower alarms cost attackers who know them, and honest callers; nothing where none was tried."""
    known = [row for row in values["attacks"] if row["way"] == "one account, knowing" and done(row)]
    monitors = {row["monitor"] for row in known if row.get("alarm", _OPERATING) != _OPERATING}
    for monitor in sorted(monitors):
        rows = []
        honest = values["life"][monitor][LIFE]
        those = [row for row in known if row["monitor"] == monitor]
        names = list(dict.fromkeys(row["attack"] for row in those))
        for alarm in sorted({row.get("alarm", _OPERATING) for row in those}):
            alarmed = sum(top >= alarm for top in honest["tops"].values())
            at = {row["attack"]: row for row in those if row.get("alarm", _OPERATING) == alarm}
            cells = [f"{at[name]['won']} of {at[name]['beats']}" if name in at else "not run" for name in names]
            rows.append([monitor, f"{alarm:g}", f"{alarmed} of {honest['callers']}", *cells])
        header = ["monitor", "alarm, as a multiple of the fitted one", "callers outside DS1 with an alarm", *names]
        yield LOWER
        yield markdown(header, rows, 1)


def _outsider(row: Record) -> str:
    if not done(row):
        return f"{not_run(row)}\n"
    rows = [
        [words, f"{row[policy]['won']} of {row['beats']}", f"{row[policy]['refused']}", f"{row[policy]['asked']:g}"]
        for policy, words in (("off", "nobody"), ("refuse", "lifelike, policy `refuse`"))
    ]
    table = markdown(["who watches", "won", "refused", "queries sent, median"], rows, 1)
    said = row["refuse"]["sentence"]
    return table if said is None else f"{table}\nWhat ART gets is one sentence: *{said}*\n"


def _lesions(found: Record) -> str:
    rows = [
        [
            monitor,
            way,
            f"{row['photographs']:,}",
            f"{row['alarmed']} of {row['callers']}",
            f"{100 * row['refused']:.1f}",
        ]
        for monitor, ways in found["monitors"].items()
        for way, row in ways.items()
    ]
    header = ["monitor", "what was sent", "photographs", "callers with an alarm", "refused %"]
    answered = "a guard answers" if found["answered"] else "nobody answers, so that wavering is not tested"
    return LESIONS.format(
        size=found["size"],
        answered=answered,
        several=found["lesions"]["several"],
        lesions=found["lesions"]["test"],
        command=found["command"],
        **found["fitted"],
    ) + markdown(header, rows, 2)


def _speed(found: Record) -> str:
    rows = [
        [
            monitor,
            f"{row['batch_per_second']:,.0f}",
            f"{row['single_per_second']:,.0f}",
            f"{row['memory_bytes'] / 2**20:,.0f}",
            f"{row['disk_bytes'] / 2**20:,.0f}",
        ]
        for monitor, row in found["monitors"].items()
    ]
    header = [
        "monitor",
        f"checks a second, {found['batch']} at once",
        "one at a time",
        "MiB of memory",
        "MiB on disk",
    ]
    short = "" if found["stored"] >= bars.STORED else f", and {bars.STORED:,} stored queries were not run"
    slow = [name for name, row in found["monitors"].items() if row["single_per_second"] < bars.RATE]
    missed = f"\nOne at a time these do not reach it: {', '.join(slow)}.\n" if slow else ""
    return SPEED.format(**found, short=short) + markdown(header, rows, 1) + missed


def _transfer(row: Record) -> str:
    if not done(row):
        return not_run(row)
    return (
        f"A perceptron that learnt from DS1 alone ({100 * row['accuracy']:.1f}% right on DS2), attacked by PGD-40 "
        f"within 0.01, without a question: **{row['won']} of {row['beats']}** beats are accepted and wrong.\n"
    )


def _row(attacks: Sequence[Record], **values: Any) -> Record | None:
    return next((row for row in attacks if all(row[name] == value for name, value in values.items())), None)


def _won(row: Record | None) -> str:
    return not_run(row) if row is None or not done(row) else f"{row['won']} of {row['beats']}"
