"""What was asked of the monitor beforehand, and what came of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from salus.metrics import wilson
from salus_studies.frame.markdown import Record, done, markdown
from salus_studies.queries.life import LIFE

#: Shares of naive attacks that may win, and queries after which half must have been noticed.
NAIVE = {"HopSkipJump": (0.01, 30), "Boundary": (0.01, 30), "NES": (0.01, 30), "Square": (0.05, 10)}
#: The same of attackers who know the monitor, by the way they come.
KNOWING = {"one account": 0.05, "ten accounts, half real": 0.15}
#: Beats of honest callers for which one alarm is allowed.
BEATS = 100_000
#: Checks a second that a core is to do, half of what two are.
RATE = 1000
#: Stored queries that a service is to bear.
STORED = 1_000_000

_FIRST = "lifelike"
_HEADER = ["asked of `lifelike`", "measured", "reached"]


def table(values: Mapping[str, Any]) -> str:
    """Set each bar beside what was measured, and say whether so few can tell."""
    attacks = values["attacks"]
    rows = [*_naive(attacks), *_knowing(attacks), *_life(values["life"]), *_speed(values["speed"])]
    return markdown(_HEADER, rows, 1)


YES, NO, NOT_RUN = "yes", "**no**", "not run"
_Bar = tuple[str, str, str]


def _by_shares(count: int, total: int, most: float) -> str:
    """Say whether a share stays below a bar; "as counted" where its 95% interval lies on both sides."""
    low, high = wilson(count, total)
    told = high <= most or low > most
    return (YES if count <= most * total else NO) + ("" if told else ", as counted")


def _by_counts(*, reached: bool) -> str:
    return YES if reached else NO


def _naive(attacks: Sequence[Record]) -> Iterator[_Bar]:
    for name, (most, queries) in NAIVE.items():
        bar = f"{name}, who does not know of it: at most {most:.0%} won, half noticed within {queries} queries"
        row = _find(attacks, name, "one account, naive")
        if row is None:
            yield bar, "", NOT_RUN
            continue
        at = next(level for level in row["levels"] if level["level"] == 1)
        noticed = "never" if at["first"] is None else f"{at['first']:g}"
        late = at["first"] is None or at["first"] > queries
        reached = NO if late else _by_shares(at["won"], row["beats"], most)
        yield bar, f"{_of(at['won'], row['beats'])}; after {noticed}", reached


def _knowing(attacks: Sequence[Record]) -> Iterator[_Bar]:
    for way, most in KNOWING.items():
        names = [row["attack"] for row in attacks if row["monitor"] == _FIRST and row["way"] == f"{way}, knowing"]
        for name in dict.fromkeys(names):
            bar = f"{name}, who knows it, {way}: at most {most:.0%} won"
            row = _find(attacks, name, f"{way}, knowing")
            if row is None:
                yield bar, "", NOT_RUN
            else:
                yield bar, _of(row["won"], row["beats"]), _by_shares(row["won"], row["beats"], most)


def _life(life: Mapping[str, Mapping[str, Record]]) -> Iterator[_Bar]:
    for way, found in life[_FIRST].items():
        bar = f"{way}: at most one alarm in {BEATS:,} beats"
        if not done(found):
            yield bar, "", NOT_RUN
            continue
        alarms = len(found["alarmed"])
        words = f"{alarms} in {found['beats']:,}, {100 * found['refused']:.1f}% of them refused"
        yield bar, words, _by_counts(reached=alarms <= max(found["beats"] / BEATS, 1))


def _speed(speed: Record) -> Iterator[_Bar]:
    row = speed["monitors"][_FIRST]
    enough = speed["stored"] >= STORED
    for words, key in (("64 at once", "batch_per_second"), ("one at a time", "single_per_second")):
        reached = _by_counts(reached=row[key] >= RATE) if enough else NOT_RUN
        yield f"{2 * RATE:,} checks a second on two cores, {words}", f"{row[key]:,.0f} on one", reached


def _find(attacks: Sequence[Record], name: str, way: str) -> Record | None:
    for row in attacks:
        own = (row["monitor"], row["attack"], row["way"], row.get("alarm", 1)) == (_FIRST, name, way, 1)
        if own and done(row):
            return row
    return None


def _of(count: int, total: int) -> str:
    """Write a count with its 95% Wilson interval in percent."""
    low, high = wilson(count, total)
    return f"{count} of {total} ({100 * low:.1f}–{100 * high:.1f}%)"


def naive(values: Mapping[str, Any]) -> str:
    """Count the attacks of all kinds, by who does not know of the monitor, that won before the alarm."""
    rows = [row for name in NAIVE if (row := _find(values["attacks"], name, "one account, naive")) is not None]
    won = sum(level["won"] for row in rows for level in row["levels"] if level["level"] == 1)
    return f"{won} of {sum(row['beats'] for row in rows)} attacks of these four kinds won"


def hidden(values: Mapping[str, Any]) -> str:
    """Say in one sentence what became of attackers who know the monitor; nothing where none was run."""
    parts = []
    for way in KNOWING:
        rows = [
            row
            for row in values["attacks"]
            if (row["monitor"], row["way"], row.get("alarm", 1)) == (_FIRST, f"{way}, knowing", 1) and done(row)
        ]
        if rows:
            won, over, total = (sum(row[key] for row in rows) for key in ("won", "over", "beats"))
            parts.append(f"by {way} {won} of {total} won, and {over} ended at their last refusal")
    return "; ".join(parts)


def honest(values: Mapping[str, Any]) -> str:
    """Say how many callers whom no monitor was fitted to raise the first one's alarm."""
    found = values["life"][_FIRST][LIFE]
    return f"{len(found['alarmed'])} of {found['callers']}" if done(found) else "an unknown number"
