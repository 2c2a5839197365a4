"""Counts of verdicts, brought to the database minute by minute."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from sqlalchemy import delete, insert, select

from salus.errors import StoreError
from salus.serve.database import Database
from salus.serve.monitoring import Recorder, look_at
from salus.serve.monitoring.axes import MOST_FEATURES, SCORE_EDGES, Axes
from salus.serve.monitoring.counts import Counts, total
from salus.serve.monitoring.windows import Baseline, baseline_of, counted, first_inputs, forget_old, keep_baseline
from salus.serve.schema import baselines, windows
from salus.serve.settings import Settings
from salus.verdict import Verdict

if TYPE_CHECKING:
    from conftest import Toy


class Clock:
    """A clock that a test sets."""

    def __init__(self, minute: int = 1000) -> None:
        self.now = 60.0 * minute

    def __call__(self) -> float:
        return self.now


class _Served:
    def __init__(self, guard: Any, fingerprint: str = "b1") -> None:
        self.guard, self.fingerprint = guard, fingerprint


def _rows(database: Database) -> list[Any]:
    with database.reading() as connection:
        return list(connection.execute(select(windows).order_by(windows.c.minute, windows.c.worker)).all())


def _counted(database: Database, first: int, last: int) -> dict[int, Counts]:
    with database.reading() as connection:
        return counted(connection, "toy", "b1", first, last)


def _equal(first: Counts, second: Counts) -> bool:
    return first.text() == second.text()


def test_counts_are_those_of_the_verdict(toy: Toy) -> None:
    guard = toy.guard()
    x = torch.cat([toy.test.x, torch.rand(100, 8)])
    verdict = guard(x)
    counts = Counts.of(verdict, x, Axes.of(guard))
    assert (counts.judged, counts.rejected) == (400, int((~verdict.accepted).sum()))
    assert counts.rejected_by == {"i-defender": counts.rejected}
    assert counts.predicted == {name: int((verdict.labels == k).sum()) for k, name in enumerate("abc")}
    scores = verdict.scores["i-defender"].double().numpy()
    assert counts.scores["i-defender"].tolist() == np.histogram(scores, [-np.inf, *SCORE_EDGES, np.inf])[0].tolist()
    assert [int(histogram.sum()) for histogram in counts.inputs.values()] == [400] * 8


def test_counts_of_parts_add_up_to_those_of_the_whole_and_survive_storing(toy: Toy) -> None:
    guard, x = toy.guard(), toy.test.x
    axes = Axes.of(guard)
    parts = [Counts.of(guard(part), part, axes) for part in x.split([7, 100, 193])]
    whole = Counts.of(guard(x), x, axes)
    stored = [Counts.read(part.text()) for part in parts]
    assert _equal(total([part for part in stored if part is not None]), whole)


def test_counts_of_another_form_are_left_out_and_damaged_ones_are_an_error() -> None:
    assert Counts.read(Counts(judged=1).text().replace('"form":1', '"form":2')) is None
    with pytest.raises(StoreError, match="damaged"):
        Counts.read('{"form":1,"judged":"many"}')


def test_a_score_that_is_no_number_is_counted_in_the_last_bin() -> None:
    verdict = Verdict(
        torch.zeros(2, dtype=torch.int64),
        torch.ones(2, 1),
        torch.tensor([False, True]),
        {"d": torch.tensor([True, False])},
        {"d": torch.tensor([float("nan"), 0.5])},
        {"d": 1.0},
    )
    counts = Counts.of(verdict, torch.zeros(2, 1, 8), Axes.within((0.0, 1.0), (1, 8), classes=("n",)))
    assert counts.scores["d"][-1] == 1
    assert int(counts.scores["d"].sum()) == 2


def test_figures_of_signals_and_images_are_level_spread_extremes_and_roughness() -> None:
    zigzag = torch.tensor([[[0.0, 1.0, 0.0, 1.0]], [[0.5, 0.5, 0.5, 0.5]]])
    figures = Axes.within((0.0, 1.0), (1, 4)).figures(zigzag)
    assert torch.allclose(figures, torch.tensor([[0.5, 0.5, 0.0, 1.0, 1.0], [0.5, 0.0, 0.5, 0.5, 0.0]]))
    stripes = torch.tensor([[0.0, 1.0], [0.0, 1.0]]).expand(1, 3, 2, 2)
    axes = Axes.within((0.0, 1.0), (3, 2, 2))
    assert axes.figures(stripes)[0].tolist() == [0.5, 0.5, 0.0, 1.0, 1.0]
    assert axes.figures(stripes.transpose(2, 3))[0, 4] == 0  # neighbours in a row are equal
    noise = torch.rand(4, 1, 300, 300, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(axes.figures(noise), torch.tensor([0.5, 0.289, 0.0, 1.0, 0.333]), atol=0.02)


def test_of_a_wide_table_some_features_are_counted_and_the_rest_is_said() -> None:
    axes = Axes.within((0.0, 1.0), (MOST_FEATURES + 9,))
    assert len(axes.inputs) == MOST_FEATURES
    assert axes.left_out == 9


def test_workers_and_minutes_add_up(toy: Toy, database: Database) -> None:
    guard, clock = toy.guard(), Clock()
    guards = {"toy": _Served(guard)}
    workers = [Recorder(database, name, Settings(), guards, clock=clock) for name in ("w1", "w2")]
    for minute, part in enumerate(toy.test.x.split(60)):
        clock.now = 60.0 * (1000 + minute // 2) + minute
        for worker, half in zip(workers, part.split(30), strict=True):
            worker.add("toy", "b1", guard(half), half, not_judged=1)
            worker.write()
    together = _counted(database, 1000, 1002)
    whole = Counts.of(guard(toy.test.x), toy.test.x, Axes.of(guard))
    whole.not_judged = 10
    assert _equal(total(list(together.values())), whole)
    assert {(row.minute, row.worker) for row in _rows(database)} == {
        (m, w) for m in (1000, 1001, 1002) for w in ("w1", "w2")
    }


def test_writing_again_replaces_the_minute_that_goes_on(toy: Toy, database: Database) -> None:
    guard, clock = toy.guard(), Clock()
    recorder = Recorder(database, "w", Settings(), clock=clock)
    for part in toy.test.x.split(100):
        recorder.add("toy", "b1", guard(part), part)
        recorder.write()
        recorder.write()
    assert [row.minute for row in _rows(database)] == [1000]
    assert _counted(database, 1000, 1000)[1000].judged == 300


def test_inputs_that_could_not_be_prepared_are_counted_without_a_verdict(database: Database) -> None:
    recorder = Recorder(database, "w", Settings(), clock=Clock())
    recorder.add("toy", "b1", None, None, not_judged=3)
    recorder.write()
    assert _counted(database, 1000, 1000)[1000].not_judged == 3


def test_a_clock_that_jumps_back_overwrites_nothing(toy: Toy, database: Database) -> None:
    guard, clock = toy.guard(), Clock(1000)
    recorder = Recorder(database, "w", Settings(), clock=clock)
    for minute in (1000, 1001, 5000, 1000, 1001, 900, 1001):
        clock.now = 60.0 * minute
        recorder.add("toy", "b1", guard(toy.test.x[:10]), toy.test.x[:10])
        recorder.write()
    minutes = _counted(database, 0, 9999)
    assert {minute: counts.judged for minute, counts in minutes.items()} == {900: 10, 1000: 20, 1001: 30, 5000: 10}


class _Away:
    """A database that is away until a test brings it back."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.sqlite = database.sqlite
        self.back = False

    @contextmanager
    def writing(self) -> Iterator[Any]:
        if not self.back:
            raise StoreError("The database is away.")
        with self._database.writing() as connection:
            yield connection


def test_while_the_database_is_away_counts_wait_and_are_bounded(
    toy: Toy, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("salus.serve.monitoring.recorder._MOST_MINUTES", 3)
    guard, clock, away = toy.guard(), Clock(), _Away(database)
    recorder = Recorder(away, "w", Settings(), clock=clock)  # type: ignore[arg-type]
    for minute in range(1000, 1005):
        clock.now = 60.0 * minute
        recorder.add("toy", "b1", guard(toy.test.x[:10]), toy.test.x[:10])
        recorder.write()
    assert recorder.fault is not None
    assert "away" in recorder.fault
    assert recorder.lost == 20
    away.back = True
    recorder.write()
    assert recorder.fault is None
    assert {minute: counts.judged for minute, counts in _counted(database, 0, 9999).items()} == dict.fromkeys(
        (1002, 1003, 1004), 10
    )


def test_threads_share_a_recorder_and_closing_writes_the_rest(toy: Toy, database: Database) -> None:
    guard = toy.guard()
    verdict, x = guard(toy.test.x[:5]), toy.test.x[:5]
    recorder = Recorder(database, "w", Settings(), clock=Clock())
    recorder.start()

    def add() -> None:
        for _ in range(300):
            recorder.add("toy", "b1", verdict, x)

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    recorder.close()
    assert _counted(database, 1000, 1000)[1000].judged == 4 * 300 * 5


def test_the_baseline_is_made_of_the_first_whole_minutes_and_kept(database: Database) -> None:
    with database.writing() as connection:
        for minute, judged in ((10, 60), (12, 50), (13, 500)):
            row = {"guard": "toy", "bundle": "b1", "minute": minute, "worker": "w", "counts": Counts(judged).text()}
            connection.execute(insert(windows).values(row))
        assert first_inputs(connection, "toy", "b1", 1000, 14) is None
        assert first_inputs(connection, "toy", "b1", 100, 12) == Baseline(10, 13, Counts(560))  # 12 still goes on
        first = first_inputs(connection, "toy", "b1", 100, 14)
        assert first is not None
        assert (first.first, first.last, first.counts.judged) == (10, 12, 110)
        keep_baseline(connection, "toy", "b1", first, 1.0)
        keep_baseline(connection, "toy", "b1", Baseline(0, 0, Counts(1)), 2.0)  # of a worker that came later
        assert baseline_of(connection, "toy", "b1") == first
        assert baseline_of(connection, "toy", "b2") is None
        assert sorted(first.outside(counted(connection, "toy", "b1", 0, 99))) == [13]
        connection.execute(delete(baselines))
        connection.execute(insert(baselines).values(guard="toy", bundle="b1", time=0.0, counts="{"))
        with pytest.raises(StoreError, match="damaged"):
            baseline_of(connection, "toy", "b1")


def test_old_minutes_are_forgotten(database: Database) -> None:
    with database.writing() as connection:
        for minute in (0, 40 * 1440):
            row = {"guard": "toy", "bundle": "b1", "minute": minute, "worker": "w", "counts": Counts(1).text()}
            connection.execute(insert(windows).values(row))
        forget_old(connection, 40 * 1440)
        assert list(counted(connection, "toy", None, 0, 99999)) == [40 * 1440]


def test_a_look_counts_the_served_bundle_alone(toy: Toy, database: Database) -> None:
    guard = toy.guard()
    recorder = Recorder(database, "w", Settings(), clock=Clock())
    recorder.add("toy", "b1", guard(toy.test.x), toy.test.x)
    recorder.add("toy", "old", guard(toy.test.x), toy.test.x)
    recorder.write()
    with database.reading() as connection:
        look = look_at(connection, "toy", _Served(guard), 60, 1000)
    assert look.counts.judged == 300
    assert look.rate.calibrated == 0.05
    assert look.baseline is None
    assert look.drifts == ()
