"""What the pages of all papers are written with: numbers, tables and lists as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from typing import Any, TypeGuard

Record = Mapping[str, Any]
Cells = Sequence[str]

#: What stands where nothing was stored.
NOT_STORED = "not stored"

#: What stands where a number is undefined, or where a paper prints none.
NOTHING = "–"


def present(value: Any) -> TypeGuard[float]:
    """Whether there is a number to print."""
    return value is not None and isfinite(value)


def percent(value: float | None, decimals: int = 1) -> str:
    """Print a fraction in percent, by default with one decimal, as the papers do."""
    return f"{100 * value:.{decimals}f}" if present(value) else NOTHING


def interval(value: float | None, low: float | None, high: float | None) -> str:
    """Print a fraction in percent with its 95% interval."""
    ends = f" ({percent(low)}–{percent(high)})" if present(value) and present(low) and present(high) else ""
    return percent(value) + ends


def rate(record: Record, name: str) -> str:
    """Print a rate of a flat record, which has ``name``, ``name_low`` and ``name_high``."""
    return interval(record.get(name), record.get(f"{name}_low"), record.get(f"{name}_high"))


def number(value: float | None, form: str = ".3g") -> str:
    """Print a plain number."""
    return format(value, form) if present(value) else NOTHING


def signed(points: float, digits: int = 1) -> str:
    """Print a difference in points with its sign, a true minus, and no sign for nothing."""
    shown = f"{points:+.{digits}f}"
    return shown.replace("-", "−") if float(shown) else shown[1:]


def words(text: object) -> str:
    """Let text stand in a cell of a table."""
    return " ".join(str(text).split()).replace("|", "\\|")


def markdown(header: Cells, rows: Iterable[Cells], left: int = 1) -> str:
    """Write a table, its first ``left`` columns aligned to the left and the others to the right."""
    rule = ["---" if column < left else "---:" for column in range(len(header))]
    return "\n".join(f"| {' | '.join(map(words, cells))} |" for cells in (header, rule, *rows)) + "\n"


def done(record: Record | None) -> bool:
    """Whether there is something measured."""
    return record is not None and record.get("status", "done") == "done" and not record.get("error")


def not_run(record: Record | None) -> str:
    """Say why there is nothing measured."""
    if record is None:
        return "not run: not in the stored results"
    if record.get("error"):
        return f"not run: it failed: {record['error']}"
    return f"not run: {record.get('reason') or 'no reason was stored'}"


def find(rows: Iterable[Record] | None, **asked: Any) -> Record | None:
    """Return the first record with these values, a measured one before one that was not run."""
    matching = [row for row in rows or () if all(row.get(name) == value for name, value in asked.items())]
    return next((row for row in matching if done(row)), matching[0] if matching else None)


def bullets(sentences: Iterable[str]) -> str:
    """Write a list; a sentence that begins with two spaces stands under the one before."""
    return "".join(f"{'  - ' if line.startswith('  ') else '- '}{line.strip()}\n" for line in sentences)


def circumstances(meta: Record) -> str:
    """Write the command and the table of what a reproduction ran on and for how long."""
    versions = ", ".join(f"{name} {version}" for name, version in (meta.get("versions") or {}).items())
    budget = meta.get("budget_minutes")
    facts = {
        "scale": meta.get("scale"),
        "protocols": ", ".join(meta.get("protocols") or ()) if "protocols" in meta or not meta else "all",
        "seed": meta.get("seed"),
        "made": meta.get("created"),
        "machine": meta.get("machine"),
        "threads": meta.get("threads"),
        "versions": versions,
        "took": f"{meta['seconds'] / 60:.1f} minutes" if present(meta.get("seconds")) else None,
        "time allowed": f"{budget:g} minutes" if present(budget) else "no limit" if meta else None,
    }
    rows = [[name, NOT_STORED if value in (None, "") else str(value)] for name, value in facts.items()]
    return f"```\n{meta.get('command') or NOT_STORED}\n```\n\n{markdown(['', ''], rows, 2)}"
