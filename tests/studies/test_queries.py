"""docs/queries.md, and how its figures are counted."""

from __future__ import annotations

import torch

from salus.detectors.queries import Nearest, Stream
from salus.threats.watched import Trail
from salus_studies.queries.life import LIFE, Recording, sent, ways
from salus_studies.queries.protocol import _at, _middle
from salus_studies.queries.study import STUDY


def test_the_page_in_the_repository_is_what_the_stored_results_give() -> None:
    assert STUDY.check() == ""


def test_a_win_after_the_alarm_is_none() -> None:
    early, late = Trail(won=5, scores=[(3, 0.5), (9, 2.0)]), Trail(won=12, scores=[(9, 2.0)])
    found = torch.tensor([False, True])
    assert _at(1.0, [early, late], found) == {"level": 1.0, "won": 1, "noticed": 2, "first": 9.0}
    assert _at(4.0, [early, late], found)["won"] == 2
    assert _middle([1, None, None]) is None


def test_life_is_counted_from_a_callers_first_alarm_on() -> None:
    draw = torch.Generator().manual_seed(0)
    streams = [
        Stream(f"record {k}", torch.rand(40, 1, 24, generator=draw), torch.zeros(40).long(), torch.arange(40).double())
        for k in range(12)
    ]
    records = {k: Recording(stream, torch.zeros(40).long()) for k, stream in enumerate(streams)}
    monitor = Nearest().fit(streams[:6])
    first = ways(records, fitted=range(6))[0]
    assert first.words == LIFE
    assert len(first.streams) == 6
    twin = streams[11].x.clone()
    twin[30] = twin[29] + 1e-4
    found = sent(monitor, type(first)("twins", [*first.streams[:5], Stream("twin", twin, torch.zeros(40).long())]))
    assert found["alarmed"] == ["twin"]
    assert found["refused"] == 10 / 240
