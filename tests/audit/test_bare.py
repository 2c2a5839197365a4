"""An attack on the bare classifier is computed once for all cells that begin with it, in this run and in later ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn

from salus.attacks import PGD, Attack, AutoAttack, Square
from salus.audit.bare import BareAttacks
from salus.audit.cell import Attempt, Cell
from salus.audit.duration import Stopwatch
from salus.audit.plan import Plan
from salus.audit.run import _Compute
from salus.classifier import Classifier
from salus.guard import Guard
from salus.purifiers import BitDepth
from salus.storage import Store
from salus.threats import WhiteBox, oblivious
from salus.threats.models import Adaptive, EachAlone, GrayBox, Oblivious

if TYPE_CHECKING:
    from conftest import Toy

#: One step needs no queries through a purifier.
ATTACK = PGD(eps=0.15, steps=1)
SAMPLES = 12


class Runs:
    """What attacks were run on, by the objective's class."""

    def __init__(self) -> None:
        self.on_classifiers = 0

    def of(self, run: Callable[..., Any]) -> Callable[..., Any]:
        def counted(attack: Attack, model: Any, *args: Any, **options: Any) -> Any:
            self.on_classifiers += isinstance(model, Classifier)
            return run(attack, model, *args, **options)

        return counted


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Runs:
    runs = Runs()
    monkeypatch.setattr(Attack, "run", runs.of(Attack.run))
    return runs


def laid_out(toy: Toy, attack: Attack = ATTACK, *, alone: bool = False) -> list[Cell]:
    """Two guards under three threat models, and the bare classifier."""
    data = toy.test.subset(torch.arange(SAMPLES))
    guards = [Guard(toy.classifier, (), BitDepth(bits=bits), name=f"{bits} bits") for bits in (4, 5)]
    twins = {guard.name: guard for guard in guards}
    cells = [Cell(data, Guard(toy.classifier, name="none"), Attempt(attack, WhiteBox()))]
    knowing = EachAlone() if alone else Adaptive()
    for threat in (Oblivious(), GrayBox(twins), knowing):
        cells += [Cell(data, guard, Attempt(attack, threat)) for guard in guards]
    return cells


def computed(store: Store, cells: list[Cell]) -> list[dict[str, Any]]:
    compute = _Compute(store, cells, lambda *args, **options: None)
    records = [compute(cell) for cell in cells]
    assert [record["error"] for record in records] == [None] * len(cells)
    return records


@pytest.mark.parametrize("attack", [ATTACK, AutoAttack(eps=0.1, steps=3, square_queries=30)], ids=lambda a: a.name)
def test_the_bare_attack_is_run_once_and_no_row_changes(toy: Toy, tmp_path: Path, runs: Runs, attack: Attack) -> None:
    cells = laid_out(toy, attack)
    alone = [computed(Store(tmp_path / str(place)), [cell])[0] for place, cell in enumerate(cells)]
    apart = runs.on_classifiers
    together = computed(Store(tmp_path / "run"), cells)
    assert apart == len(cells) and runs.on_classifiers == apart + 1
    for one, other in zip(alone, together, strict=True):
        for name in ("robust_accuracy", "attack_success_rate", "distance_median", "variants"):
            assert other[name] == one[name], (other["threat_model"], name)
    assert together[0]["queries"] == alone[0]["queries"]  # until the first success


def test_an_audit_that_goes_on_reads_what_was_run_before(toy: Toy, tmp_path: Path, runs: Runs) -> None:
    cells, store = laid_out(toy), Store(tmp_path)
    computed(store, cells[:4])
    before = runs.on_classifiers
    assert before == 1
    computed(Store(tmp_path), cells)
    assert runs.on_classifiers == before
    (file,) = (tmp_path / "bare").glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:-9])
    computed(Store(tmp_path), laid_out(toy, alone=True))
    assert runs.on_classifiers == before + 1  # what is damaged is run again


def test_who_is_alone_runs_their_own_and_lets_go_of_who_has_fallen(toy: Toy, tmp_path: Path) -> None:
    attack = PGD(eps=0.4, steps=8)
    (record,) = computed(Store(tmp_path), laid_out(toy, attack)[:1])
    assert not (tmp_path / "bare").exists()
    assert record["queries"] < attack.steps


def test_a_limit_of_time_gives_a_white_box_attacker_an_attack_of_their_own(toy: Toy) -> None:
    limited = PGD(eps=0.15, steps=3, time_limit=100.0)
    assert WhiteBox().begins_with(limited, Guard(toy.classifier)) is None
    assert WhiteBox().begins_with(ATTACK, Guard(toy.classifier)) is toy.classifier


def test_what_others_share_is_counted_once_beforehand(toy: Toy, tmp_path: Path) -> None:
    cells = laid_out(toy, Square(eps=0.1, queries=50))
    shared = dict(BareAttacks(Store(tmp_path), cells).askers())
    assert list(shared) == cells and list(shared.values()) == [False] + [True] * 6
    stopwatch = Stopwatch()
    first, later = (stopwatch.estimate(cells[1], at_hand=ready) for ready in (False, True))
    assert first is not None and later is not None
    assert (first.passes, later.passes) == (50, 0) and later.seconds == 0


class Counting(nn.Module):
    """Counts the samples that go through."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module, self.rows = module, 0

    def forward(self, x: Tensor) -> Tensor:
        self.rows += len(x)
        return self.module(x)  # type: ignore[no-any-return]


def test_oblivious_rows_of_further_guards_take_no_passes_but_their_verdicts(toy: Toy, tmp_path: Path) -> None:
    counting = Counting(toy.classifier.module)
    classifier = Classifier(counting, toy.classifier.classes, shape=(8,))
    data = toy.test.subset(torch.arange(SAMPLES))
    guards = [Guard(classifier, (), BitDepth(bits=bits), name=f"{bits} bits") for bits in (3, 4, 5)]
    attack = PGD(eps=0.15, steps=5)
    cells = [Cell(data, guard, Attempt(attack, Oblivious())) for guard in guards]
    compute = _Compute(Store(tmp_path), cells, lambda *args, **options: None)
    taken = []
    for cell in cells:
        before = counting.rows
        compute(cell)
        taken.append(counting.rows - before)
    assert taken[0] - taken[1] >= SAMPLES * attack.steps and taken[1] == taken[2]  # what is left is judging
    x_adv = oblivious(attack, guards[2], data.x, data.y).x_adv
    from safetensors.torch import load_file

    stored = load_file(tmp_path / "cells" / f"{cells[2].key()[:16]}.safetensors")
    assert torch.equal(stored["x_adv"], x_adv)


def test_a_plan_says_how_variants_are_tried() -> None:
    assert Adaptive in Plan.of({}).threats
    assert EachAlone in Plan.of({"variants": "alone"}).threats


def test_a_record_tells_each_variant_alone_with_the_control_and_the_union(toy: Toy, tmp_path: Path) -> None:
    cell = laid_out(toy, alone=True)[-1]
    (record,) = computed(Store(tmp_path), [cell])
    alone = record["alone"]
    assert {"oblivious", "control", "union"} <= set(alone)
    assert alone["union"]["robust_accuracy"] == record["robust_accuracy"]
    assert all(each["robust_accuracy"] >= alone["union"]["robust_accuracy"] for each in alone.values())
    assert all(each["passes"] <= alone["union"]["passes"] for each in alone.values())
    assert sum(record["variants"].values()) <= 1
