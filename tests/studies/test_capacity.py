"""The simulations behind docs/capacity.md, against what queues are known to do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from salus.errors import OptionError
from salus_studies.capacity import audits
from salus_studies.capacity.protocol import run
from salus_studies.capacity.service import Service, saturation, simulate
from salus_studies.capacity.study import STUDY, CapacityOptions
from salus_studies.frame.folder import Folder

QUICK = Service(http=0.001, judge=(0.004, 0.0005), log=(0.004, 0.0001))


@settings(max_examples=25, deadline=None)
@given(
    seconds=st.lists(st.floats(0.01, 5), min_size=1, max_size=60),
    workers=st.integers(1, 20),
    owner=st.floats(0, 0.5),
)
def test_an_audit_takes_no_less_than_its_bounds_and_no_more_than_greedy_ones(
    seconds: list[float], workers: int, owner: float
) -> None:
    took = audits.simulate(seconds, workers, owner)
    least = max(sum(seconds) / workers, max(seconds) + owner, len(seconds) * owner)
    assert took >= least - 1e-6
    assert took <= sum(seconds) / workers + max(seconds) + len(seconds) * owner + 1e-6  # Graham's bound


def test_one_worker_and_an_idle_owner_take_the_sum() -> None:
    assert audits.simulate([1.0, 2.0, 3.0], 1, 0.0) == pytest.approx(6.0)
    assert audits.simulate([1.0] * 10, 1, 0.0, way=0.5) == pytest.approx(15.0)
    assert audits.simulate([0.001] * 1000, 100, 0.01) == pytest.approx(10.0, rel=0.01)  # the owner is what binds


def test_drawn_cells_have_the_mean_and_the_spread_that_are_named() -> None:
    drawn = audits.cells(20_000, 2.0, 0)
    mean = sum(drawn) / len(drawn)
    spread = (sum((each - mean) ** 2 for each in drawn) / len(drawn)) ** 0.5
    assert mean == pytest.approx(2.0, rel=0.05)
    assert spread == pytest.approx(2.0, rel=0.1)


def test_a_quiet_service_takes_its_own_times_and_waits() -> None:
    found = simulate(QUICK, 5.0, seconds=20)
    alone = QUICK.http + sum(QUICK.judge) + sum(QUICK.log)
    assert found["p50_ms"] == pytest.approx(1e3 * alone, rel=0.01)
    assert found["answered"] == pytest.approx(5.0, rel=0.05)


def test_what_comes_faster_than_it_is_answered_is_not_answered() -> None:
    limit = saturation(QUICK, seconds=1)
    floor = QUICK.http + QUICK.judge[1] + QUICK.log[1]  # seconds of the loop that no batch saves
    assert limit < 1 / floor
    assert limit > 0.5 / floor
    assert simulate(QUICK, 2 / floor, seconds=1)["answered"] < 1.01 / floor


def test_more_processes_answer_more_until_the_log_binds() -> None:
    one, four = saturation(QUICK, seconds=1), saturation(QUICK, workers=4, seconds=1)
    assert 3 * one < four < 5 * one
    slow = Service(http=0.001, judge=(0.004, 0.0005), log=(0.5, 0.0))
    assert simulate(slow, 200, seconds=5)["p50_ms"] > 500


@pytest.mark.parametrize(("content", "words"), [("{", "cannot be read"), ("{}", "has no part 'load'")])
def test_figures_that_were_not_measured_are_asked_for(tmp_path: Path, content: str, words: str) -> None:
    place = tmp_path / "service.json"
    place.write_text(content)
    with pytest.raises(OptionError, match=words):
        STUDY.reproduce(tmp_path / "out", bundle=str(tmp_path), service=str(place))


def test_the_page_says_what_was_measured_and_what_was_simulated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def guard(folder: Path) -> Any:
        class Guard:
            def fingerprint(self) -> str:
                return "f"

        return Guard()

    for name, value in (
        ("verdict_times", {"fixed": 0.004, "each": 0.0005}),
        ("log_times", {"fixed": 0.004, "each": 0.0001, "bytes_an_entry": 800.0}),
        ("wire", {"json": 5000.0, "array": 1000.0, "answer": 100.0}),
    ):
        monkeypatch.setattr(f"salus_studies.capacity.protocol.{name}", lambda *given, value=value: value)
    monkeypatch.setattr("salus_studies.capacity.protocol.Guard.load", guard)
    monkeypatch.setattr("salus_studies.capacity.protocol.saturation", lambda model, **options: 500.0)
    monkeypatch.setattr("salus_studies.capacity.protocol._WORKERS", (1, 8))
    service, engines = tmp_path / "service.json", tmp_path / "engines.json"
    load = {"single_a_second": 300.0, "p50_ms": 26.0, "p99_ms": 70.0, "cpu_share": 0.7, "batched_beats_a_second": 3000}
    service.write_text(json.dumps({"load": {"medians": {"salus, guarded": load}}}))
    names = ("2 processes", "Ray, 2 workers")
    engines.write_text(
        json.dumps(
            {
                "seconds": {"cells": 50, **{name: {"seconds": 26.0, "seconds_a_cell": 1.0} for name in names}},
                "tiny": {
                    "cells": 100,
                    **{name: {"seconds": 1.0, "work_ms_a_cell": 12.0, "beside_ms_a_cell": 4.0} for name in names},
                },
            }
        )
    )
    options = CapacityOptions(bundle=tmp_path, service=service, engines=engines)

    from salus.storage import Store

    results = run(options, Folder(Store(tmp_path / "out", "reproduction"), "capacity", 1, "salus reproduce capacity"))
    checks = results.values["checks"]
    assert checks["audits"]["2 processes"]["tiny"]["simulated"] == pytest.approx(
        1.0, abs=0.03
    )  # as it was taken from it
    assert checks["audits"]["2 processes"]["seconds"]["simulated"] == pytest.approx(25.2, abs=0.5)
    page = STUDY.compose(results, "images/capacity")
    assert "| 300 single beats a second: median | 26 ms |" in page.text
    assert "**The first bottleneck is the processor**" in page.text
    assert page.pictures["day"].draw().startswith(b"\x89PNG")
