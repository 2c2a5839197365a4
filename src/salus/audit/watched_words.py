"""What monitors of callers come to, in sentences: how far attackers got, and what it costs who is honest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from salus.audit.records import Record, attack_words, first
from salus.metrics.wording import in_sentence as share_of

#: What a watched cell and the one beside it that nobody watched have in common.
_TWIN = ("guard", "attack", "eps", "norm", "target", "attack_options", "threat_model")


def under_watch(records: Sequence[Record]) -> Iterator[str]:
    """Say of each guard and monitor how far the attack got that got furthest, and how many honest requests it costs."""
    for guard, monitor in _pairs(records):
        rows = [r for r in _watched(records) if (r["guard"], r["monitor"]) == (guard, monitor)]
        rows = [r for r in rows if r["attack_success_rate"] is not None]
        if not rows:
            continue
        worst = max(rows, key=lambda r: r["attack_success_rate"])
        alone = unwatched(records, worst)
        beside = "" if alone is None else f", of {share_of(alone, 'attack_success_rate')} where nobody watches"
        accounts = "one account" if worst["accounts"] == 1 else f"{worst['accounts']} accounts"
        where = "the bare classifier" if guard == "none" else f"the guard {guard!r}"
        yield (
            f"With the monitor {monitor!r} before {where}, which refuses whoever raises the alarm, an attacker with "
            f"{accounts} gets {share_of(worst, 'attack_success_rate')} accepted and wrong by then "
            f"({attack_words(worst)}, {worst['queries']:,.0f} questions each){beside}; it notices "
            f"{share_of(worst, 'noticed')} of these attacks{notice(worst)}, and refuses {honest(worst)}."
        )


def unaware(records: Sequence[Record]) -> Iterator[str]:
    """Say that nobody was tried who knows of the monitor."""
    for monitor in dict.fromkeys(r["monitor"] for r in _watched(records)):
        yield (
            f"Nobody was tried who knows of the monitor {monitor!r} and keeps questions as far apart as it tolerates "
            "(docs/queries.md shows who gets past): what it stops is an upper bound."
        )


def unwatched(records: Sequence[Record], watched: Record) -> Record | None:
    """Return the cell of the same attack that nobody watched."""
    return first(records, **{name: watched[name] for name in _TWIN})


def notice(record: Record) -> str:
    """Say after how many questions half the attacks were noticed, as the end of a phrase."""
    count = record["first_notice"]
    return ", most of them never" if count is None else f", half of them by question {count:g}"


def honest(record: Record) -> str:
    """Say what the monitor costs honest callers of the test part."""
    facts: dict[str, Any] = record["honest"]
    if not facts["callers"]:
        return "nobody honest, as no caller of the test part sends enough to tell"
    return (
        f"{share_of(record, 'honest_refused')} of the {facts['sent']:,} inputs that the {facts['callers']} honest "
        f"callers of the test part send in order ({facts['alarmed']} raise the alarm)"
    )


def _watched(records: Sequence[Record]) -> list[Record]:
    return [r for r in records if r.get("monitor") is not None and r["error"] is None]


def _pairs(records: Sequence[Record]) -> list[tuple[str, str]]:
    return list(dict.fromkeys((r["guard"], r["monitor"]) for r in _watched(records)))
