"""Alarms: raised, kept, cleared, told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from sqlalchemy import select, update

from salus.errors import OptionError
from salus.serve.database import Database
from salus.serve.monitoring import Recorder, Watch
from salus.serve.monitoring.alarms import open_alarms, recent_alarms
from salus.serve.monitoring.webhook import AlarmMessage
from salus.serve.schema import alarms, windows
from salus.serve.settings import Settings

if TYPE_CHECKING:
    from conftest import Toy


def _strange() -> torch.Tensor:
    """Inputs that no patient has."""
    return 0.8 + 0.2 * torch.rand(100, 8, generator=torch.Generator().manual_seed(0))


class _Served:
    def __init__(self, guard: Any, fingerprint: str = "b1") -> None:
        self.guard, self.fingerprint = guard, fingerprint


class _Told:
    """Takes the place of the webhook."""

    def __init__(self) -> None:
        self.messages: list[AlarmMessage] = []

    def tell(self, message: AlarmMessage) -> bool:
        self.messages.append(message)
        return True

    @property
    def states(self) -> list[tuple[int, str]]:
        return [(message.alarm, message.content["state"]) for message in self.messages]


class Ward:
    """A guard that is asked, minute after minute, and watched."""

    def __init__(self, toy: Toy, database: Database) -> None:
        self.toy, self.database = toy, database
        self.now = 6e6
        self.guards: dict[str, _Served] = {"toy": _Served(toy.guard())}
        self.told = _Told()
        self.settings = Settings(baseline=200, window=10)
        self.recorder = Recorder(database, "w", self.settings, clock=lambda: self.now)
        self.watch = self.another_watch(self.told)

    def another_watch(self, told: _Told) -> Watch:
        guards: Callable[[], Mapping[str, Any]] = lambda: self.guards  # noqa: E731
        return Watch(self.database, self.settings, guards, clock=lambda: self.now, webhook=told)  # type: ignore[arg-type]

    def minute(self, x: torch.Tensor | None) -> None:
        """Ask about some inputs, and look."""
        served = self.guards.get("toy")
        if x is not None and served is not None:
            self.recorder.add("toy", served.fingerprint, served.guard(x), x)
        self.recorder.write()
        self.watch.evaluate()
        assert self.watch.fault is None
        self.now += 60

    def clean(self, minutes: int) -> None:
        rows = torch.arange(120)
        for _ in range(minutes):
            self.minute(self.toy.calibration.x[rows])
            rows = (rows + 120) % 600

    def open(self) -> list[str]:
        with self.database.reading() as connection:
            return sorted(row.kind for row in open_alarms(connection))


@pytest.fixture
def ward(toy: Toy, database: Database) -> Ward:
    return Ward(toy, database)


def test_clean_inputs_raise_no_alarm(ward: Ward) -> None:
    ward.clean(15)
    assert ward.open() == []
    assert ward.told.messages == []


def test_attacked_inputs_raise_alarms_once_and_clean_ones_clear_them(ward: Ward) -> None:
    ward.clean(4)
    for _ in range(3):
        ward.minute(_strange())
    assert ward.open() == ["inputs", "rejections", "scores"]
    assert ward.told.states == [(1, "raised"), (2, "raised"), (3, "raised")]
    text = {message.content["kind"]: message.content["text"] for message in ward.told.messages}
    assert "the service cannot know which inputs are attacks" in text["rejections"]
    assert "do not look like its first 240" in text["inputs"]
    ward.clean(12)
    assert ward.open() == []
    assert sorted(ward.told.states[3:]) == [(1, "cleared"), (2, "cleared"), (3, "cleared")]
    with ward.database.reading() as connection:
        assert len(recent_alarms(connection, 0.0, 10)) == 3


def test_an_alarm_tells_nothing_about_one_patient(ward: Ward) -> None:
    ward.clean(4)
    ward.minute(_strange())
    assert set(ward.told.messages[0].content) == {
        "alarm", "state", "kind", "guard", "bundle", "text", "raised", "cleared",
    }  # fmt: skip


def test_an_alarm_stays_while_nothing_is_judged(ward: Ward) -> None:
    ward.clean(4)
    ward.minute(_strange())
    for _ in range(20):
        ward.minute(None)
    assert "rejections" in ward.open()


def test_an_alarm_ends_with_its_bundle_and_with_its_guard(ward: Ward) -> None:
    ward.clean(4)
    ward.minute(_strange())
    ward.guards["toy"].fingerprint = "b2"
    ward.minute(None)
    assert ward.open() == []
    ward.minute(_strange())
    assert ward.open() == ["rejections"]  # the new bundle has no baseline yet
    ward.guards.clear()
    ward.minute(None)
    assert ward.open() == []


def test_a_clock_that_jumps_breaks_nothing(ward: Ward) -> None:
    ward.now = 4e9  # as a machine without a battery may begin
    ward.clean(3)
    ward.now = 6e6
    ward.clean(3)
    ward.minute(_strange())
    assert ward.open() == ["inputs", "rejections", "scores"]
    ward.now = 1e6
    ward.minute(None)
    assert ward.open() == ["inputs", "rejections", "scores"]
    assert {alarm for alarm, _ in ward.told.states} == {1, 2, 3}  # told again, with the same numbers


def test_several_workers_raise_and_tell_an_alarm_once(ward: Ward) -> None:
    told = _Told()
    others = [ward.another_watch(told) for _ in range(3)]
    ward.clean(4)
    ward.minute(_strange())
    for other in others:
        other.evaluate()
    assert ward.open() == ["inputs", "rejections", "scores"]
    assert len(ward.told.messages) == 3
    assert told.messages == []


def test_a_delivery_that_was_lost_is_begun_again(ward: Ward) -> None:
    ward.clean(4)
    ward.minute(_strange())
    told = _Told()
    later = ward.another_watch(told)
    later.evaluate()
    assert told.messages == []
    ward.watch.delivered(1)
    ward.now += 1000
    later.evaluate()
    assert told.states == [(2, "raised"), (3, "raised")]
    with ward.database.reading() as connection:
        delivered = connection.execute(select(alarms.c.delivered).where(alarms.c.id == 1)).scalar()
    assert delivered is not None
    assert delivered > 0


def test_a_database_that_is_away_is_a_fault_and_not_the_end(ward: Ward, toy: Toy) -> None:
    ward.clean(1)
    with ward.database.writing() as connection:
        connection.execute(update(windows).values(counts="{"))
    ward.watch.evaluate()
    assert ward.watch.fault is not None
    assert "damaged" in ward.watch.fault
    with ward.database.writing() as connection:
        connection.execute(windows.delete())
    ward.watch.evaluate()
    assert ward.watch.fault is None


def test_a_watch_starts_and_ends_with_its_webhook(ward: Ward, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("word\n")
    settings = Settings(webhook="http://127.0.0.1:9/", webhook_secret_file=secret)
    watch = Watch(ward.database, settings, dict)
    watch.start()
    watch.close()
    with pytest.raises(OptionError, match="cannot be read"):
        Watch(
            ward.database,
            Settings(webhook="https://example.org", webhook_secret_file=tmp_path / "none"),
            dict,
        )


def test_counts_baselines_and_alarms_are_kept_in_either_kind_of_database(toy: Toy, database_url: str) -> None:
    database = Database.open(database_url)
    try:
        ward = Ward(toy, database)
        ward.clean(4)
        ward.minute(_strange())
        ward.minute(_strange())
        assert ward.open() == ["inputs", "rejections", "scores"]
        ward.clean(12)
        assert ward.open() == []
    finally:
        database.close()
