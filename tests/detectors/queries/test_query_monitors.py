"""Monitors of callers: what they keep, what they tell apart, and what they leave alone."""

from __future__ import annotations

import json
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from salus.detectors.queries import (
    MONITORS,
    Blacklight,
    InProcess,
    Lifelike,
    Monitor,
    Nearest,
    Perceptual,
    Stream,
    Updates,
    interleaved,
    load_monitor,
    save_monitor,
)
from salus.detectors.queries.neighbours import nearest_earlier
from salus.detectors.queries.spectrum import bands, spectrum, unspectrum
from salus.detectors.queries.tails import quietest, rarity
from salus.errors import BundleError, CalibrationError, DataError

LENGTH = 96


def recording(seed: int, beats: int = 240, noise: float = 0.02) -> Tensor:
    """Draw the beats of one heart: one shape, a little different in height and time, and a sensor's noise."""
    draw = torch.Generator().manual_seed(seed)
    time = torch.linspace(0, 1, LENGTH)
    middle = 0.5 + 0.02 * torch.randn(beats, 1, generator=draw)
    height = 0.6 + 0.05 * torch.randn(beats, 1, generator=draw)
    wander = (
        0.05
        * torch.randn(beats, 1, generator=draw)
        * torch.sin(2 * math.pi * (time + torch.rand(beats, 1, generator=draw)))
    )
    beat = 0.2 + height * torch.exp(-((time - middle) ** 2) / (2 * (0.02 + 0.005 * (seed % 7)) ** 2)) + wander
    return (beat + noise * torch.randn(beats, LENGTH, generator=draw)).clamp(0, 1)[:, None]


def honest(seed: int, beats: int = 240) -> Stream:
    return Stream(f"patient {seed}", recording(seed, beats), torch.zeros(beats, dtype=torch.int64))


def search_around(x: Tensor, queries: int, length: float, seed: int = 0) -> Tensor:
    """Probe around one input as searches do: white noise of one length about a point."""
    noise = torch.randn(queries, *x.shape, generator=torch.Generator().manual_seed(seed))
    points: Tensor = (x + length * noise / noise.flatten(1).norm(dim=1)[:, None, None]).clamp(0, 1)
    return points


@pytest.fixture(scope="module")
def streams() -> list[Stream]:
    return [honest(seed) for seed in range(1, 7)]


@pytest.mark.parametrize("kind", [Lifelike, Nearest, Blacklight, Perceptual, Updates])
def test_honest_callers_it_was_not_fitted_to_raise_no_alarm(kind: type[Monitor], streams: list[Stream]) -> None:
    monitor = kind().fit(streams, margin=1.5)
    for seed in range(20, 24):
        stream = honest(seed)
        assert not monitor.observe(stream.caller, stream.x, stream.clock, stream.answers).alarm.any()


@pytest.mark.parametrize(
    ("monitor", "length"), [(Lifelike(), 0.03), (Nearest(), 0.03), (Perceptual(block=2, around=40), 0.001)]
)
def test_a_search_around_one_input_is_noticed_within_thirty_queries(
    monitor: Monitor, length: float, streams: list[Stream]
) -> None:
    monitor.fit(streams)
    queries = search_around(recording(30, 1)[0], 60, length)
    answers = torch.arange(60) % 2
    first = monitor.observe("thief", queries, 0.0, answers).first
    assert first is not None
    assert first < 30


def test_steps_that_go_on_in_one_direction_are_noticed_by_their_cosines(streams: list[Stream]) -> None:
    monitor = Updates(span=16).fit(streams)
    here, there = recording(30, 2)
    steps = here + torch.linspace(0, 1, 40)[:, None, None] * (there - here)
    assert monitor.observe("thief", steps, 0.0).first is not None


def test_white_probes_as_long_as_recordings_lie_apart_are_still_too_alike_in_one_band(streams: list[Stream]) -> None:
    lifelike, nearest = Lifelike(reach=0).fit(streams), Nearest().fit(streams)
    queries = search_around(recording(30, 1)[0], 200, 0.3)
    answers = torch.zeros(200, dtype=torch.int64)
    assert nearest.observe("thief", queries, 0.0, answers).first is None
    assert lifelike.observe("thief", queries, 0.0, answers).first is not None


def test_answers_that_waver_among_neighbours_add_up_where_nothing_is_too_near(streams: list[Stream]) -> None:
    monitor = Lifelike().fit(streams)
    x = recording(40, 240)
    steady = monitor.observe("steady", x, 0.0, torch.zeros(240, dtype=torch.int64))
    torn = monitor.observe("torn", x, 0.0, torch.arange(240) % 2)
    assert float(torn.tests[:, 1].max()) > float(steady.tests[:, 1].max())
    assert bool(torn.alarm.any())
    assert not bool(steady.alarm.any())


@pytest.mark.parametrize("name", list(MONITORS))
def test_what_is_sent_twice_adds_nothing(name: str, streams: list[Stream]) -> None:
    monitor = MONITORS.build(name, {}).fit(streams)
    stream = honest(9, 120)
    once = monitor.observe("clinic", stream.x, 0.0, stream.answers)
    twice = monitor.observe("clinic", stream.x, 1.0, stream.answers)
    assert bool(twice.repeats.all())
    assert twice.score.tolist() == pytest.approx([float(once.score[-1])] * 120)
    assert monitor.memory.recall("clinic").asked == 120


@pytest.mark.parametrize("name", list(MONITORS))
def test_batches_say_what_single_queries_say(name: str, streams: list[Stream]) -> None:
    monitor = MONITORS.build(name, {}).fit(streams)
    x = torch.cat([recording(11, 30), search_around(recording(12, 1)[0], 20, 0.05)])
    answers = torch.arange(50) % 3 - 1
    whole = monitor.observe("whole", x, 0.0, answers)
    single = torch.cat([monitor.observe("single", x[k : k + 1], 0.0, answers[k : k + 1]).score for k in range(50)])
    assert whole.score.tolist() == pytest.approx(single.tolist(), rel=1e-4, abs=1e-6)


def test_callers_do_not_see_one_another(streams: list[Stream]) -> None:
    monitor = Nearest().fit(streams)
    x = recording(13, 40)
    monitor.observe("one", x, 0.0)
    assert not monitor.observe("other", x, 0.0).repeats.any()
    assert monitor.standing("nobody") == 0


def test_peeking_takes_no_note(streams: list[Stream]) -> None:
    monitor = Lifelike().fit(streams)
    x = recording(14, 40)
    monitor.observe("caller", x[:20], 0.0)
    before = monitor.memory.recall("caller").asked
    foreseen = monitor.peek("caller", x[20:21])
    assert monitor.memory.recall("caller").asked == before
    came = monitor.observe("caller", x[20:21], 0.0, torch.zeros(1, dtype=torch.int64)).tests[0]
    assert foreseen.tolist() == pytest.approx(came.tolist())


def test_the_memory_of_a_caller_is_bounded_and_expires(streams: list[Stream]) -> None:
    monitor = Nearest().fit(streams)
    monitor.memory = InProcess(window=16, most_callers=2)
    for caller in ("a", "b", "c"):
        for at in range(0, 60, 7):
            monitor.observe(caller, recording(15, 60)[at : at + 7], torch.arange(at, at + min(7, 60 - at)).double())
    assert [caller for caller, _ in monitor.memory.callers()] == ["b", "c"]
    past = monitor.memory.recall("c")
    assert len(past) == 16
    assert past.times.tolist() == list(range(44, 60))
    assert torch.equal(past.traces, recording(15, 60)[44:, 0])
    assert monitor.memory.forget(50) == 12
    assert monitor.memory.forget(100) == 20
    assert list(monitor.memory.callers()) == []


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**20), st.integers(1, 12), st.integers(0, 12))
def test_the_nearest_earlier_query_is_that_of_brute_force(seed: int, count: int, before: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    queries, past = torch.randn(count, 6, generator=draw), torch.randn(before, 6, generator=draw)
    near, place = nearest_earlier(queries, past, (slice(0, 2), slice(2, 6)))
    known = torch.cat([past, queries])
    for row in range(count):
        earlier = known[: before + row]
        if not len(earlier):
            assert bool(near[row].isinf().all())
            assert int(place[row]) == -1
            continue
        gaps = earlier - queries[row]
        wanted = [gaps[:, :2].norm(dim=1).min(), gaps[:, 2:].norm(dim=1).min(), gaps.norm(dim=1).min()]
        assert near[row].tolist() == pytest.approx([float(each) for each in wanted], rel=1e-5)
        assert int(place[row]) == int(gaps.norm(dim=1).argmin())


@pytest.mark.parametrize("at_once", [1, 2])
def test_lifelike_says_the_same_of_queries_one_at_a_time_and_all_at_once(at_once: int) -> None:
    monitor = Lifelike().fit([Stream(f"p{k}", recording(k, 120), torch.arange(120) % 2) for k in range(4)])
    x = recording(9, 700)
    x[400:430] = x[400:401] + 1e-3 * torch.randn(30, *x.shape[1:], generator=torch.Generator().manual_seed(1))
    answers = torch.arange(700) % 3
    whole = monitor.observe("whole", x, 0.0, answers)
    pairs = list(zip(x.split(at_once), answers.split(at_once), strict=True))
    parts = [monitor.observe("parts", point, 0.0, answer).tests for point, answer in pairs]
    torch.testing.assert_close(torch.cat(parts), whole.tests, rtol=1e-4, atol=1e-5)
    alarm = torch.cat(parts).amax(1) >= 1
    assert torch.equal(alarm, whole.alarm)
    assert 0 < int(alarm.sum()) < 700


@pytest.mark.parametrize("shape", [(1, 280), (2, 33), (3, 12, 10), (7,)])
def test_the_spectrum_keeps_lengths_and_comes_back(shape: tuple[int, ...]) -> None:
    x = torch.rand(4, *shape, generator=torch.Generator().manual_seed(0))
    values = spectrum(x)
    assert values.norm(dim=1).tolist() == pytest.approx(x.flatten(1).norm(dim=1).tolist(), rel=1e-5)
    assert torch.allclose(unspectrum(values, shape), x, atol=1e-5)
    parts = bands(shape)
    assert sorted(row for part in parts for row in range(part.start, part.stop)) == list(range(values.shape[1]))


def test_rarity_rises_as_distances_fall_and_is_the_quietest_callers() -> None:
    draw = torch.Generator().manual_seed(0)
    loud, quiet = 1 + torch.rand(4000, 1, generator=draw), 0.5 + torch.rand(4000, 1, generator=draw)
    knots = quietest([loud, quiet])
    assert torch.equal(knots, quietest([quiet]))
    at = torch.tensor([[2.0], [0.9], [0.51], [0.4], [0.1], [math.inf]])
    found = rarity(at, knots)[:, 0].tolist()
    assert found[0] == found[-1] == 0
    assert found[1:5] == sorted(found[1:5])
    assert found[2] == pytest.approx(-math.log(0.01), abs=1)


def test_several_patients_behind_one_account_come_in_turn() -> None:
    one, two = honest(1, 3), honest(2, 2)
    both = interleaved([one, two], "clinic")
    wanted = torch.stack([one.x[0], two.x[0], one.x[1], two.x[1], one.x[2]])
    assert both.caller == "clinic"
    assert torch.equal(both.x, wanted)


@pytest.mark.parametrize("name", list(MONITORS))
def test_a_saved_monitor_judges_as_before_and_its_salt_stays_where_it_was(
    name: str, streams: list[Stream], tmp_path: pytest.TempPathFactory
) -> None:
    monitor = MONITORS.build(name, {}).fit(streams)
    save_monitor(monitor, tmp_path)  # type: ignore[arg-type]
    again = load_monitor(tmp_path)  # type: ignore[arg-type]
    x = search_around(recording(30, 1)[0], 30, 0.05)
    again.memory._salt = monitor.memory.salt()  # type: ignore[attr-defined]
    assert again.observe("a", x, 0.0).score.tolist() == pytest.approx(monitor.observe("a", x, 0.0).score.tolist())
    salt = monitor.memory.salt()
    shown = (tmp_path / "monitor.json").read_bytes() + (tmp_path / "monitor.safetensors").read_bytes()  # type: ignore[operator]
    for text in (salt, salt.hex().encode(), repr(salt).encode()):
        assert text not in shown
        assert text.decode("latin-1") not in repr(monitor) + repr(monitor.memory) + monitor.describe()
    assert json.loads((tmp_path / "monitor.json").read_text())["name"] == name  # type: ignore[operator]


def test_what_is_no_monitor_is_refused_in_a_sentence(tmp_path: pytest.TempPathFactory, streams: list[Stream]) -> None:
    with pytest.raises(BundleError, match="holds no monitor"):
        load_monitor(tmp_path)  # type: ignore[arg-type]
    save_monitor(Nearest().fit(streams), tmp_path)  # type: ignore[arg-type]
    (tmp_path / "monitor.json").write_text('{"format": "salus-monitor-1", "name": "oracle", "settings": {}}')  # type: ignore[operator]
    with pytest.raises(BundleError, match="oracle"):
        load_monitor(tmp_path)  # type: ignore[arg-type]
    (tmp_path / "monitor.json").write_text("{")  # type: ignore[operator]
    with pytest.raises(BundleError, match="damaged"):
        load_monitor(tmp_path)  # type: ignore[arg-type]


def test_what_cannot_be_watched_is_refused(streams: list[Stream]) -> None:
    with pytest.raises(CalibrationError, match="not fitted"):
        Nearest().observe("a", recording(1, 2), 0.0)
    with pytest.raises(CalibrationError, match="give more streams"):
        Nearest().fit(streams[:1], false_alarms=1)
    with pytest.raises(DataError, match="3 answers for 2 queries"):
        Nearest().fit(streams).observe("a", recording(1, 2), 0.0, torch.zeros(3, dtype=torch.int64))
