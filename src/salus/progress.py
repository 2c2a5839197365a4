"""How far long work is: bars on a terminal, and in a log a line at least every half minute."""

from __future__ import annotations

import io
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

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

#: Share of a stage that must be done before the rest is estimated from it.
_TELLING = 0.02

#: Seconds of work before its first line in a log, and between lines.
FIRST, EVERY = 5.0, 30.0


@dataclass(eq=False)
class Stage:
    """Work that is going on.

    Attributes:
        title: what is done.
        total: how many steps it has; None where nobody knows.
        begun: when, by the log's clock.
        done: how many are done.
        start: how many were done when it began.
        note: what is to be said beside.
        left: seconds that it takes from ``since`` on, by somebody who knows better than a rule of three.
        since: when that was said.
        said: a line was written about it.
    """

    title: str
    total: float | None
    begun: float
    done: float = 0
    start: float = 0
    note: str = ""
    left: float | None = None
    since: float = 0
    said: bool = False

    def remaining(self, now: float) -> float | None:
        """Estimate how many seconds it still takes; None where nothing tells."""
        if self.left is not None:
            return max(self.left - (now - self.since), 0.0) or None
        if (
            self.total is None
            or self.done - self.start < _TELLING * (self.total - self.start)
            or self.done == self.start
        ):
            return None
        return (now - self.begun) * (self.total - self.done) / (self.done - self.start)

    def line(self, now: float) -> str:
        """Say how far it is."""
        many = "" if self.total is None else f"{_count(self.done)} of {_count(self.total)}"
        left = self.remaining(now)
        parts = [many, self.note, f"{duration(now - self.begun)} so far"]
        if left is not None:
            parts.append(f"about {duration(left)} left")
        return f"{self.title}: {', '.join(filter(None, parts))}"


class Log:
    """Says in lines how far long work is: nothing of what is soon done, then something at least every half minute.

    Stages may stand inside one another; one line tells of all, the outermost first.

    Args:
        say: takes a line.
        clock: tells the seconds.
    """

    def __init__(self, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._say, self._clock = say, clock
        self._stages: list[Stage] = []
        self._last = clock()
        self._lock = threading.RLock()

    @property
    def busy(self) -> bool:
        """Whether any stage is going on."""
        return bool(self._stages)

    def begin(self, title: str, total: float | None, done: float = 0) -> Stage:
        """Begin a stage inside those that are going on."""
        with self._lock:
            now = self._clock()
            if not self._stages:
                self._last = now
            stage = Stage(title, total, now, done, done)
            self._stages.append(stage)
            return stage

    def advance(self, stage: Stage, amount: float = 1, note: str = "", left: float | None = None) -> None:
        """Go on by some steps, and say how many seconds are left where that is known."""
        with self._lock:
            stage.done += amount
            stage.note = note or stage.note
            if left is not None:
                stage.left, stage.since = left, self._clock()
        self.tick()

    def end(self, stage: Stage) -> None:
        """End a stage; of one that was spoken of, and took a while, it is said."""
        with self._lock:
            self._stages.remove(stage)
            if stage.said and self._clock() - stage.begun >= FIRST:
                self._write(f"{stage.title}: done in {duration(self._clock() - stage.begun)}")

    def heard(self) -> None:
        """Note that somebody else has just written a line about the work."""
        with self._lock:
            self._last = self._clock()

    def tick(self) -> None:
        """Write a line if it is time for one."""
        with self._lock:
            if not self._stages:
                return
            now = self._clock()
            silent = not any(stage.said for stage in self._stages)
            if now - self._last >= (FIRST if silent else EVERY):
                self._write("; ".join(stage.line(now) for stage in self._stages))
                for stage in self._stages:
                    stage.said = True

    def _write(self, line: str) -> None:
        self._say(line)
        self._last = self._clock()


class _Watch:
    """Bars on a terminal, a log elsewhere, for all stages that are going on; they may stand inside one another."""

    def __init__(self) -> None:
        self.log = Log(console.print)
        self._bars: Progress | None = None

    @contextmanager
    def bar(self, title: str, total: float | None, done: float) -> Iterator[Advance]:
        outermost = self._bars is None
        if self._bars is None:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}"),
            )
            self._bars = Progress(*columns, console=console, transient=True)
            self._bars.start()
        bars = self._bars
        task = bars.add_task(title, total=total, completed=int(done), note="")

        def advance(amount: float = 1, note: str = "", left: float | None = None) -> None:
            about = "" if left is None else f"about {duration(left)} left"
            bars.update(task, advance=amount, note=", ".join(filter(None, (note, about))))

        try:
            yield advance
        finally:
            bars.remove_task(task)
            if outermost:
                bars.stop()
                self._bars = None

    @contextmanager
    def lines(self, title: str, total: float | None, done: float) -> Iterator[Advance]:
        log, ended = self.log, threading.Event()
        outermost = not log.busy
        stage = log.begin(title, total, done)
        if outermost:
            threading.Thread(target=_keep_ticking, args=(log, ended), daemon=True).start()

        def advance(amount: float = 1, note: str = "", left: float | None = None) -> None:
            log.advance(stage, amount, note, left)

        try:
            yield advance
        finally:
            log.end(stage)
            ended.set()


class _Silence(_Watch):
    """Shows nothing."""

    @contextmanager
    def bar(self, title: str, total: float | None, done: float) -> Iterator[Advance]:
        yield lambda amount=1, note="", left=None: None

    lines = bar


_watch = _Watch()


@contextmanager
def progress(title: str, total: float | None, *, done: float = 0) -> Iterator[Advance]:
    """Show how far the block is; call what it yields with ``(amount=1, note="", left=None)``, ``left`` in seconds.

    On a terminal a bar moves. In a log nothing is said of what takes a few seconds; of what takes longer there is a
    line after five seconds, one at least every half minute, whatever the block does meanwhile, and one at its end.

    Args:
        title: what is done.
        total: how many steps it has; None where nobody knows.
        done: how many of them are done already.
    """
    show = _watch.bar if sys.stderr.isatty() else _watch.lines
    with show(title, total, done) as advance:
        yield advance


@contextmanager
def captured() -> Iterator[list[str]]:
    """Keep what the block says in a list of lines, and show no progress: for work whose owner shows it."""
    global _watch
    lines: list[str] = []
    watch, file = _watch, console.file
    buffer = io.StringIO()
    _watch, console.file = _Silence(), buffer
    try:
        yield lines
    finally:
        _watch, console.file = watch, file
        lines.extend(buffer.getvalue().splitlines())


def _keep_ticking(log: Log, ended: threading.Event) -> None:
    while not ended.wait(1.0):
        log.tick()


def spaced(say: Callable[[str], None], seconds: float = 5.0) -> Callable[[str], None]:
    """Let a line through every few seconds, for logs; on a terminal the progress bar says it all."""
    last = time.monotonic()

    def log(line: str) -> None:
        nonlocal last
        if not line.startswith("epoch") or (time.monotonic() - last > seconds and not sys.stderr.isatty()):
            say(line)
            last = time.monotonic()
            _watch.log.heard()

    return log


def duration(seconds: float) -> str:
    """Write how long something takes, roughly: ``40 s``, ``5 min``, ``2 h 10 min``."""
    if seconds < 100:
        return f"{max(round(seconds), 1)} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    return f"{minutes // 60} h" + (f" {minutes % 60} min" if minutes % 60 else "")


def _count(steps: float) -> str:
    return f"{int(steps):,}" if steps >= 100 or float(steps).is_integer() else f"{steps:.1f}"
