"""One progress bar for all long work: what it does, how far it is, how long it still takes."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

Advance = Callable[..., None]

#: Progress and remarks go to standard error, results to standard output.
console = Console(stderr=True, highlight=False, soft_wrap=True)


@contextmanager
def progress(title: str, total: float, *, done: float = 0) -> Iterator[Advance]:
    """Show a bar while the block runs; call what it yields with ``(amount=1, note="")``.

    On a terminal the bar moves; in a log file a single line says when the work is done.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console, transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(title, total=total, completed=int(done), note="")

        def advance(amount: float = 1, note: str = "") -> None:
            bar.update(task, advance=amount, note=note)

        yield advance


def spaced(say: Callable[[str], None], seconds: float = 5.0) -> Callable[[str], None]:
    """Let a line through every few seconds, for logs; on a terminal the progress bar says it all."""
    last = time.monotonic()

    def log(line: str) -> None:
        nonlocal last
        if not line.startswith("epoch") or (time.monotonic() - last > seconds and not sys.stderr.isatty()):
            say(line)
            last = time.monotonic()

    return log
