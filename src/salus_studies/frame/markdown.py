"""What the pages of all studies are written with: tables and lists as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from salus.metrics.wording import percent, present

Record = Mapping[str, Any]
Cells = Sequence[str]

#: What stands where nothing was stored.
NOT_STORED = "not stored"


def words(text: object) -> str:
    """Let text stand in a cell of a table."""
    return " ".join(str(text).split()).replace("|", "\\|")


def markdown(header: Cells, rows: Iterable[Cells], left: int = 1) -> str:
    """Write a table, its first ``left`` columns aligned to the left and the others to the right."""
    rule = ["---" if column < left else "---:" for column in range(len(header))]
    return "\n".join(f"| {' | '.join(map(words, cells))} |" for cells in (header, rule, *rows)) + "\n"


def ruled_table(header: str, rule: str, rows: Iterable[Cells]) -> str:
    """Write a table under a header and a rule of its own, both as they stand behind the first ``|``."""
    lines = [f"| {header}", f"|{rule}", *(f"| {' | '.join(cells)} |" for cells in rows)]
    return "\n".join(lines) + "\n"


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


def find(rows: Iterable[Record] | None, **values: Any) -> Record | None:
    """Return the first record with these values, a measured one before one that was not run."""
    matching = [row for row in rows or () if all(row.get(name) == value for name, value in values.items())]
    return next((row for row in matching if done(row)), matching[0] if matching else None)


def listed(names: Sequence[str]) -> str:
    """Write names one after the other, "and" before the last."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}" if names else ""


def span(shares: Sequence[float]) -> str:
    """Write the lowest and the highest of some shares in percent; one where both read the same."""
    low, high = percent(min(shares)), percent(max(shares))
    return f"{low}%" if low == high else f"{low}% to {high}%"


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
    return f"```\n{meta.get('command') or NOT_STORED}\n```\n\n{markdown(['', ''], rows, 2)}{_runs(meta)}"


def _runs(meta: Record) -> str:
    """Write the table of the runs whose records stand together; nothing where there was one."""
    runs = meta.get("runs")
    if not runs:
        return ""
    rows = [
        [
            ", ".join(f"{name} {count}" for name, count in run["records"].items()) or "none",
            f"`{run['command']}`",
            str(run["created"]),
            str(run["machine"]),
            f"{run['seconds'] / 60:.1f}",
        ]
        for run in runs
    ]
    title = "The records come from several runs, the last one first; each part was done by one run whole.\n\n"
    return f"\n{title}{markdown(['records', 'command', 'made', 'machine', 'minutes'], rows, 4)}"
