"""docs/queries.md, and how its figures are counted."""

from __future__ import annotations

from typing import Any

import torch

from salus.detectors.queries import Nearest, Stream
from salus.threats.watched import QueryTrail
from salus_studies.queries import bars
from salus_studies.queries.life import LIFE, Recording, sent, ways
from salus_studies.queries.protocol import _at, _middle
from salus_studies.queries.study import STUDY


def test_the_page_in_the_repository_is_what_the_stored_results_give() -> None:
    assert STUDY.check() == ""


def test_a_win_after_the_alarm_is_none() -> None:
    early, late = QueryTrail(won=5, scores=[(3, 0.5), (9, 2.0)]), QueryTrail(won=12, scores=[(9, 2.0)])
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


def _attack(name: str, way: str, won: int, first: float | None = 12.0, **others: Any) -> dict[str, Any]:
    levels = [{"level": 1.0, "won": won, "noticed": 100 - won, "first": first}]
    counts = {"beats": 100, "won": won, "over": 40, "levels": levels}
    return {"attack": name, "monitor": "lifelike", "way": way, "alarm": 1.0, **counts, **others}


def test_each_bar_stands_beside_what_was_measured() -> None:
    attacks = [
        _attack("HopSkipJump", "one account, naive", 1),
        _attack("Boundary", "one account, naive", 0, first=31.0),
        _attack("Square", "one account, naive", 6, first=5.0),
        {"attack": "NES", "monitor": "lifelike", "way": "one account, naive", "status": "not run", "reason": "no time"},
        _attack("Square", "one account, knowing", 5),
        _attack("Square", "one account, knowing", 0, alarm=0.5),
        _attack("Square", "ten accounts, half real, knowing", 16),
    ]
    life: dict[str, Any] = {
        LIFE: {"callers": 26, "beats": 50_417, "alarmed": ["record 1", "record 2"], "refused": 0.076},
        "twice": {"status": "not run"},
    }
    speed: dict[str, Any] = {
        "stored": bars.STORED,
        "monitors": {"lifelike": {"batch_per_second": 1000.0, "single_per_second": 999.0}},
    }
    values: dict[str, Any] = {"attacks": attacks, "life": {"lifelike": life}, "speed": speed}
    reached = [row.split(" | ")[-1].strip(" |") for row in bars.table(values).splitlines()[2:]]
    assert reached == [
        *("yes, as counted", "**no**", "not run", "**no**, as counted"),  # naive: HopSkipJump, Boundary, NES, Square
        *("yes, as counted", "**no**, as counted"),  # knowing: Square by one account, and by ten
        *("**no**", "not run"),  # life
        *("yes", "**no**"),  # checks a second
    ]
    assert bars._by_shares(0, 1000, 0.01) == "yes" and bars._by_shares(30, 100, 0.01) == "**no**"
    assert "1 of 100 (0.2–5.4%); after 12" in bars.table(values)
    assert bars.naive(values) == "7 of 300 attacks of these four kinds won"
    assert bars.hidden(values).startswith("by one account 5 of 100 won, and 40 ended")
    assert bars.honest(values) == "2 of 26"
    fewer = {**values, "speed": {**speed, "stored": 10}}
    assert bars.table(fewer).splitlines()[-1].endswith("not run |")
