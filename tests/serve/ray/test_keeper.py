"""What the keeper of a service's bundles gives its replicas."""

from __future__ import annotations

from pathlib import Path

import pytest

from salus.errors import BundleError
from salus.serve.metrics import Metrics
from salus.serve.ray.figures import families_of, merged
from salus.serve.ray.keeper import Keeper


def _asked(count: int) -> Metrics:
    metrics = Metrics()
    metrics.requests.labels("/", "200").inc(count)
    metrics.waiting.set(count)
    return metrics


def test_a_bundle_is_read_whole_with_the_audit_beside_it_and_nothing_else(tmp_path: Path) -> None:
    bundle = tmp_path / "run" / "guards" / "i-defender"
    (bundle / "deeper").mkdir(parents=True)
    (bundle / "guard.json").write_text("{}")
    (bundle / "model.safetensors").write_bytes(b"\0" * 9)
    (bundle / "deeper" / "patients.csv").write_text("who")
    (tmp_path / "run" / "results.json").write_text("[]")
    keeper = Keeper({"hearts": str(bundle)})
    assert keeper.files("hearts") == {
        "guard.json": b"{}",
        "model.safetensors": b"\0" * 9,
        "audit/results.json": b"[]",
    }
    (bundle / "audit").mkdir()
    (bundle / "audit" / "results.json").write_text("[1]")
    assert keeper.files("hearts")["audit/results.json"] == b"[1]"


def test_a_bundle_that_is_gone_is_said_in_one_sentence(tmp_path: Path) -> None:
    keeper = Keeper({"hearts": str(tmp_path / "away"), "empty": str(tmp_path)})
    assert keeper.mark("hearts") == "missing"
    with pytest.raises(BundleError, match=r"away cannot be read \(No such file"):
        keeper.files("hearts")
    with pytest.raises(BundleError, match="holds no bundle"):
        keeper.files("empty")


def test_a_changed_bundle_has_another_mark(tmp_path: Path) -> None:
    (tmp_path / "guard.json").write_text("{}")
    keeper = Keeper({"hearts": str(tmp_path)})
    before = keeper.mark("hearts")
    assert keeper.mark("hearts") == before
    (tmp_path / "guard.json").write_text("{ }")
    assert keeper.mark("hearts") != before


def test_replicas_hear_each_time_that_a_guard_is_to_be_loaded_again() -> None:
    keeper = Keeper({"hearts": "."})
    assert keeper.attend("one", ()).reloads == {}
    first = keeper.pass_on("hearts")
    assert keeper.attend("two", ()).reloads == {"hearts": first}
    assert keeper.pass_on("hearts") != first


def test_replicas_that_give_no_word_are_gone_and_what_they_counted_is_not() -> None:
    now = 0.0
    keeper = Keeper({}, clock=lambda: now)
    for number in range(200):  # far more than are kept apart
        assert keeper.attend(f"replica {number}", families_of(_asked(1).registry)).replicas <= 2
        now += 10.0
    own = families_of(_asked(7).registry)
    keeper.attend("mine", own)
    samples = {
        name: value
        for family in merged([*keeper.figures("mine"), (True, own)])
        for name, _, value in family.samples
        if not name.endswith("_created")
    }
    assert samples["salus_requests_total"] == 207
    assert samples["salus_waiting_inputs"] == 7 + 1  # of the last one, which may still run
    assert len(keeper.figures("mine")) < 60


def test_why_replicas_could_not_start_is_kept() -> None:
    keeper = Keeper({})
    for number in range(100):
        keeper.fail(f"fault {number}")
    assert keeper.faults()[-1] == "fault 99"
    assert len(keeper.faults()) <= 10
