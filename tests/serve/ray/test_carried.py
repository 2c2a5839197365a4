"""Guards whose bundles lie on another machine, with a keeper that answers in this process."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from salus.errors import BundleError, EngineError
from salus.guard import Guard
from salus.serve.guards import Shelf
from salus.serve.metrics import Metrics
from salus.serve.ray import carried
from salus.serve.ray.carried import Carried, Replicas, unpack
from salus.serve.ray.keeper import Keeper


class _Actor:
    """A keeper as Ray hands it out: each call gives what is to be waited for."""

    def __init__(self, keeper: Keeper) -> None:
        self.keeper = keeper
        self.away = False

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.keeper, name)

        class Call:
            @staticmethod
            def remote(*arguments: Any) -> Callable[[], Any]:
                return lambda: method(*arguments)

        return Call


@pytest.fixture
def keeper(table_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> _Actor:
    """A keeper of a copy of the patients' bundle."""
    shutil.copytree(table_bundle, tmp_path / "there" / "patients")
    actor = _Actor(Keeper({"patients": str(tmp_path / "there" / "patients")}))

    def asked(answer: Callable[[], Any]) -> Any:
        if actor.away:
            raise EngineError("The command that serves does not answer.")
        return answer()

    monkeypatch.setattr(carried, "asked", asked)
    return actor


def _source(keeper: _Actor, tmp_path: Path) -> Carried:
    return Carried(name="patients", folder=tmp_path / "there" / "patients", keeper=keeper, place=tmp_path / "here")


def _refit(folder: Path) -> None:
    """Put another guard in a bundle's place: one that rejects more."""
    guard = Guard.load(folder)
    for detector in guard.detectors:
        assert detector.threshold_ is not None
        detector.threshold_ = detector.threshold_ / 2
    guard.save(folder)


def test_a_carried_guard_is_the_one_that_lies_there(keeper: _Actor, table_bundle: Path, tmp_path: Path) -> None:
    shelf = Shelf([_source(keeper, tmp_path)])
    served = shelf["patients"]
    assert served.guard.fingerprint() == Guard.load(table_bundle).fingerprint()
    assert served.folder == tmp_path / "there" / "patients"
    assert served.files == tmp_path / "here" / "patients"


def test_a_bundle_that_changes_there_is_taken_once_it_lies_still(keeper: _Actor, tmp_path: Path) -> None:
    shelf = Shelf([_source(keeper, tmp_path)])
    before = shelf["patients"].fingerprint
    assert shelf.changed() == []
    _refit(tmp_path / "there" / "patients")
    assert shelf.changed() == []
    assert shelf.changed() == ["patients"]
    assert shelf.reload("patients").fingerprint != before
    assert shelf.changed() == []


def test_a_bundle_that_is_spoilt_there_leaves_the_old_guard_and_names_its_own_folder(
    keeper: _Actor, tmp_path: Path
) -> None:
    shelf = Shelf([_source(keeper, tmp_path)])
    before = shelf["patients"].guard
    (tmp_path / "there" / "patients" / "detector-0.safetensors").write_bytes(b"spoilt")
    with pytest.raises(BundleError) as caught:
        shelf.reload("patients")
    assert str(tmp_path / "there" / "patients" / "detector-0.safetensors") in str(caught.value)
    assert str(tmp_path / "here") not in str(caught.value)
    assert shelf["patients"].guard is before
    assert shelf["patients"].fault == str(caught.value)


def test_while_nobody_answers_the_guards_that_are_there_go_on_judging(keeper: _Actor, tmp_path: Path) -> None:
    shelf = Shelf([_source(keeper, tmp_path)])
    crew = Replicas(keeper, "one")
    keeper.away = True
    assert shelf.changed() == shelf.changed() == []
    assert crew.heard(Metrics()) == crew.heard(Metrics()) == ()
    assert b"salus_log_available" in crew.figures(Metrics())
    with pytest.raises(BundleError, match="cannot be fetched"):
        shelf.reload("patients")
    keeper.away = False
    assert shelf.reload("patients").fault is None


def test_what_one_replica_is_told_the_others_hear_once(keeper: _Actor, tmp_path: Path) -> None:
    one, two = Replicas(keeper, "one"), Replicas(keeper, "two")
    one.pass_on("patients")
    late = Replicas(keeper, "late")  # it has just loaded what lies there
    assert one.heard(Metrics()) == []
    assert two.heard(Metrics()) == ["patients"]
    assert two.heard(Metrics()) == late.heard(Metrics()) == []
    assert two.size == 3


def test_figures_are_those_of_all_replicas(keeper: _Actor) -> None:
    one, two = Replicas(keeper, "one"), Replicas(keeper, "two")
    metrics = Metrics()
    metrics.requests.labels("/v1", "200").inc(3)
    one.heard(metrics)
    metrics.requests.labels("/v1", "200").inc(4)
    other = Metrics()
    other.requests.labels("/v1", "200").inc(10)
    assert b'salus_requests_total{route="/v1",status="200"} 13.0' in two.figures(other)
    assert b'salus_requests_total{route="/v1",status="200"} 7.0' in one.figures(metrics)


@pytest.mark.parametrize("name", ["../guard.json", "/etc/passwd", "", "audit/../../x"])
def test_a_bundles_files_cannot_leave_its_folder(name: str, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="outside its folder"):
        unpack({"guard.json": b"", name: b"x"}, tmp_path / "here" / "patients")
    assert not (tmp_path / "here").exists()


def test_a_copy_holds_nothing_of_the_one_before(tmp_path: Path) -> None:
    unpack({"guard.json": b"old", "audit/results.json": b"[]"}, tmp_path)
    unpack({"guard.json": b"new"}, tmp_path)
    assert [path.name for path in tmp_path.rglob("*")] == ["guard.json"]
    assert (tmp_path / "guard.json").read_bytes() == b"new"
