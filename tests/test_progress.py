"""What a log says of long work, by a clock of the test's own."""

from __future__ import annotations

import sys
from itertools import pairwise

import pytest

from salus import progress
from salus.progress import Log, duration


class Clock:
    """A clock that goes when it is told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def lines() -> list[str]:
    return []


@pytest.fixture
def log(clock: Clock, lines: list[str]) -> Log:
    return Log(lines.append, clock)


def test_what_is_soon_done_says_nothing(log: Log, clock: Clock, lines: list[str]) -> None:
    for _ in range(20):
        stage = log.begin("Reading", 4)
        for _ in range(4):
            clock.now += 1
            log.advance(stage)
        log.end(stage)
    assert lines == []


def test_long_work_speaks_at_least_every_half_minute_and_says_how_long_it_still_takes(
    log: Log, clock: Clock, lines: list[str]
) -> None:
    spoken: list[float] = []
    stage = log.begin("Reading", 200)
    for _ in range(200):
        clock.now += 1
        log.advance(stage)
        spoken.extend([clock.now] * (len(lines) - len(spoken)))
    log.end(stage)
    assert lines[0] == "Reading: 5 of 200, 5 s so far, about 3 min left"
    assert lines[3] == "Reading: 95 of 200, 95 s so far, about 2 min left"
    assert lines[-1] == "Reading: done in 3 min"
    assert max(after - before for before, after in pairwise(spoken)) <= 30


def test_work_that_tells_nothing_is_spoken_of_all_the_same(log: Log, clock: Clock, lines: list[str]) -> None:
    log.begin("Fitting", None)
    for _ in range(90):
        clock.now += 1
        log.tick()
    assert lines == [f"Fitting: {seconds} s so far" for seconds in (5, 35, 65)]


def test_one_line_tells_of_the_whole_and_of_what_is_at_hand(log: Log, clock: Clock, lines: list[str]) -> None:
    cells = log.begin("Cells", 3)
    log.advance(cells, 1, left=600.0)
    cell = log.begin("PGD", 200)
    log.advance(cell, 50, "eq6, 9 still standing", left=100.0)
    clock.now += 40
    log.tick()
    assert lines == [
        "Cells: 1 of 3, 40 s so far, about 9 min left; "
        "PGD: 50 of 200, eq6, 9 still standing, 40 s so far, about 60 s left"
    ]
    log.end(cell)
    assert lines[-1] == "PGD: done in 40 s"


def test_lines_of_others_count_and_a_late_estimate_is_left_out(log: Log, clock: Clock, lines: list[str]) -> None:
    stage = log.begin("training", 60)
    clock.now += 4
    log.heard()  # an epoch's own line
    clock.now += 4
    log.tick()
    assert lines == []
    log.advance(stage, 0, left=10.0)
    clock.now += 25
    log.tick()
    assert lines == ["training: 0 of 60, 33 s so far"]


def test_a_stage_that_fails_is_over(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False, raising=False)
    with pytest.raises(ValueError, match="broken"), progress.progress("Reading", 3) as advance:
        advance()
        raise ValueError("broken")
    assert not progress._watch.log.busy
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "1 s"), (42.4, "42 s"), (99, "99 s"), (130, "2 min"), (5000, "83 min"), (7800, "2 h 10 min"), (7200, "2 h")],
)
def test_a_duration_is_told_roughly(seconds: float, words: str) -> None:
    assert duration(seconds) == words
