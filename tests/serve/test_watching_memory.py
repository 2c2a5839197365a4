"""What is remembered of callers lies in the database: shared, bounded, and there after a restart."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from sqlalchemy import func, select
from torch import Tensor

from salus.detectors.queries import Lifelike, Monitor, Nearest, Stream
from salus.serve.database import Database
from salus.serve.schema import callers, queries
from salus.serve.watching.memory import SharedMemory, shared_salt


def beats(seed: int, count: int = 60) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return (0.5 + 0.1 * torch.randn(count, 1, 32, generator=draw)).clamp(0, 1)


@pytest.fixture(scope="module")
def monitors() -> dict[str, Monitor]:
    streams = [Stream(f"p{seed}", beats(seed), torch.zeros(60).long()) for seed in range(4)]
    return {"lifelike": Lifelike().fit(streams), "nearest": Nearest().fit(streams)}


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    opened = Database.open(database_url)
    yield opened
    opened.close()


def worker(database: Database, monitor: Monitor, window: int = 40, most: int = 10) -> Monitor:
    """Let another process have the same monitor."""
    again = type(monitor).restore(monitor.settings(), monitor.tensors())
    again.memory = SharedMemory(database, "hearts", again, shared_salt(database), window=window, most=most)
    return again


def memory(monitor: Monitor) -> SharedMemory:
    assert isinstance(monitor.memory, SharedMemory)
    return monitor.memory


def search(count: int = 12) -> Tensor:
    point = beats(99, 1)
    noise = torch.randn(count, 1, 32, generator=torch.Generator().manual_seed(5))
    points: Tensor = (point + 0.02 * noise / noise.flatten(1).norm(dim=1)[:, None, None]).clamp(0, 1)
    return points


def test_all_workers_have_one_salt_and_nothing_shows_it(database: Database, monitors: dict[str, Monitor]) -> None:
    one, two = shared_salt(database), shared_salt(database)
    assert one == two
    assert len(one) == 32
    for text in (repr(worker(database, monitors["nearest"]).memory), str(vars(database))):
        assert one.hex() not in text
        assert repr(one) not in text


@pytest.mark.parametrize("name", ["lifelike", "nearest"])
def test_a_restart_goes_on_where_it_was(database: Database, monitors: dict[str, Monitor], name: str) -> None:
    alone, first = monitors[name], worker(database, monitors[name])
    x, answers = torch.cat([beats(7, 20), search()]), torch.arange(32) % 2
    wanted = type(alone).restore(alone.settings(), alone.tensors()).observe("t", x, 1.0, answers)
    begun = first.observe("t", x[:25], 1.0, answers[:25])
    memory(first).sync()
    ended = worker(database, monitors[name]).observe("t", x[20:], 2.0, answers[20:])
    assert ended.repeats.tolist() == [True] * 5 + [False] * 7
    assert torch.cat([begun.score, ended.score[5:]]).tolist() == pytest.approx(wanted.score.tolist(), rel=1e-4)


def test_workers_see_what_the_others_were_asked(database: Database, monitors: dict[str, Monitor]) -> None:
    one, two = (worker(database, monitors["nearest"]) for _ in range(2))
    x = search(2)
    assert one.observe("t", x[:1], 1.0).first is None
    assert two.observe("t", x[:1], 1.0).first is None  # neither knows of the other yet
    memory(one).sync()
    memory(two).sync()
    assert two.observe("t", x[1:], 2.0).first == 0
    memory(two).sync()
    memory(one).sync()
    assert one.standing("t") >= 1


def test_evidence_of_several_workers_adds_up(database: Database, monitors: dict[str, Monitor]) -> None:
    one, two = (worker(database, monitors["lifelike"]) for _ in range(2))
    one.observe("t", search(10)[:5], 1.0)
    two.observe("t", search(10)[5:], 1.0)
    apart = one.memory.recall("t").state + two.memory.recall("t").state
    memory(one).sync()
    memory(two).sync()
    memory(one).sync()
    assert one.memory.recall("t").state.tolist() == pytest.approx(apart.tolist())
    assert two.memory.recall("t").state.tolist() == pytest.approx(apart.tolist())
    assert one.memory.recall("t").traces.shape == (10, 32)


def test_it_is_bounded_and_repeats_outlast_the_window(database: Database, monitors: dict[str, Monitor]) -> None:
    watching = worker(database, monitors["nearest"], window=16, most=2)
    for number, caller in enumerate(("a", "b", "c")):
        watching.observe(caller, beats(30 + number, 40), float(number))
        memory(watching).sync()
    with database.reading() as connection:
        count = func.count(queries.c.trace)
        rows = connection.execute(select(queries.c.caller, count).group_by(queries.c.caller)).all()
        held = {row[0]: row[1] for row in rows}
        known = list(connection.execute(select(callers.c.caller).order_by(callers.c.caller)).scalars())
    assert known == ["b", "c"]
    assert held == {"b": 16, "c": 16}
    again = worker(database, monitors["nearest"], window=16).observe("c", beats(32, 40), 9.0)
    assert bool(again.repeats.all())


def test_what_is_old_is_forgotten(database: Database, monitors: dict[str, Monitor]) -> None:
    watching = worker(database, monitors["nearest"])
    watching.observe("t", beats(1, 10), torch.arange(10).double())
    memory(watching).sync()
    assert memory(watching).forget(4.0) == 4
    assert memory(watching).forget(100.0) == 6
    with database.reading() as connection:
        assert connection.execute(select(func.count()).select_from(callers)).scalar() == 0


def test_a_lifted_suspicion_is_lifted_for_every_worker(database: Database, monitors: dict[str, Monitor]) -> None:
    one, two = (worker(database, monitors["nearest"]) for _ in range(2))
    one.observe("t", search(3), 1.0)
    memory(one).sync()
    two.memory.recall("t")
    assert two.standing("t") >= 1
    assert memory(one).lift("t", 5.0)
    assert not memory(one).lift("nobody", 5.0)
    for each in (one, two):
        memory(each).sync()
        assert each.standing("t") == 0
