"""An audit holds a part of the attacked inputs at a time, and comes to the same as if it held all."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from salus import batches
from salus.attacks import FGSM, PGD, UAP, Attack, DeepFool, HopSkipJump, Square
from salus.attacks.controls import WhiteGaussianNoise
from salus.audit import Plan, run_audit
from salus.audit.cell import Attempt, Cell
from salus.audit.measure import measure_cell
from salus.classifier import Classifier
from salus.data import load, packed
from salus.errors import DataError
from salus.guard import Guard
from salus.models import build_model
from salus.preprocessing import ImagePreprocessor
from salus.purifiers import BitDepth
from salus.report import run_folder, write_report
from salus.storage import Store
from salus.threats import FIXED, THREAT_MODELS, StandIn, WhiteBox

if TYPE_CHECKING:
    from conftest import Toy

BATCH, PARTS, COUNT = 4, 4, 90
HELD = PARTS * BATCH


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two classes, by how bright an image is."""
    image = pytest.importorskip("PIL.Image")
    rng = np.random.default_rng(0)
    for name, base in (("dark", 60), ("light", 140)):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(COUNT // 2):
            values = rng.integers(base, base + 60, (8, 8, 3), dtype=np.uint8)
            image.fromarray(values).save(tmp_path / "photos" / name / f"{i:03d}.png")
    return tmp_path / "photos"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A network, saved, that tells them apart."""
    module = build_model("small-cnn", (3, 8, 8), 2, {"widths": [2], "hidden": 2})
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.fill_(1.0)
        module.trunk[0][0].weight.fill_(1 / 27)  # type: ignore[index, union-attr]
        module.trunk[0][1].bias.zero_()  # type: ignore[index, union-attr]
        module.hidden[0].bias.fill_(-0.8)  # type: ignore[index, union-attr]
        module.head.weight.copy_(torch.tensor([[-9.0, -9.0], [9.0, 9.0]]))  # type: ignore[operator, union-attr]
        module.head.bias.copy_(torch.tensor([1.0, -1.0]))  # type: ignore[operator, union-attr]
    folder = tmp_path / "model"
    architecture = {"name": "small-cnn", "options": {"widths": [2], "hidden": 2}}
    images = ImagePreprocessor().of(classes=("dark", "light"), bounds=(0, 1), shape=(3, 8, 8))
    Classifier(module, ("dark", "light"), shape=(3, 8, 8), architecture=architecture, preprocessor=images).save(folder)
    return folder


@pytest.fixture
def small_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let few and small images count as many and large."""
    monkeypatch.setenv("SALUS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(batches.MOST_VALUES, "cpu", BATCH * 3 * 8 * 8)
    for module in ("pixels", "pixel_rows"):
        monkeypatch.setattr(f"salus.data.{module}.MOST_VALUES", 1)


class Watch:
    """Counts the rows of floats that are alive, and which attacked inputs are."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.alive, self.most, self.appended, self.read = 0, 0, 0, 0
        self.kept: list[weakref.ref[Tensor]] = []
        floats, cell_rows = packed._floats, Store.cell_rows

        def counted(images: packed.Packed, rows: Tensor) -> Tensor:
            made = floats(images, rows)
            count = len(rows) if rows.ndim else 1
            self.alive += count
            self.most = max(self.most, self.alive)
            weakref.finalize(made, self._gone, count)
            return made

        @contextmanager
        def watched(store: Store, key: str, count: int) -> Iterator[Callable[[Mapping[str, Tensor]], None]]:
            with cell_rows(store, key, count) as append:

                def append_watched(rows: Mapping[str, Tensor]) -> None:
                    if "x_adv" in rows:
                        assert not [one for one in self.kept if one() is not None], "earlier attacked inputs are held"
                        assert len(rows["x_adv"]) <= HELD
                        self.kept = [weakref.ref(rows["x_adv"])]
                        self.appended += len(rows["x_adv"])
                    append(rows)

                yield append_watched
            self.kept = []

        read = run_folder.ArrayFile.rows

        def read_few(stored: run_folder.ArrayFile, name: str, rows: slice) -> Any:
            found = read(stored, name, rows)
            assert found.ndim == 1 or len(found) <= BATCH, "a report reads all inputs"
            self.read += found.ndim > 1
            return found

        monkeypatch.setattr(run_folder, "_VALUES", BATCH * 3 * 8 * 8)
        monkeypatch.setattr(run_folder.ArrayFile, "rows", read_few)
        monkeypatch.setattr(packed, "_floats", counted)
        monkeypatch.setattr(Store, "cell_rows", watched)

    def _gone(self, count: int) -> None:
        self.alive -= count


@pytest.mark.usefixtures("small_memory")
def test_floats_are_bounded_however_many_images_are_attacked(
    photos: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = Plan.of(
        {
            "data": str(photos), "split": "all", "model": str(model), "attack": ["fgsm:eps=0.1", "deepfool:steps=1"],
            "control": "gaussian-noise:eps=0.1", "defence": "low-level",
            "threat_model": ["white-box", "oblivious", "adaptive"], "queries": 40,
        }
    )  # fmt: skip
    watch = Watch(monkeypatch)
    outcome = run_audit(plan, tmp_path / "run")
    write_report(tmp_path / "run")
    cells = [cell for cell in outcome.cells if cell["attack"]]
    assert outcome.failed == 0 and len(cells) == 8
    assert watch.appended == COUNT * (len(cells) + 1)  # one checks for masked gradients
    # A part, and what is looked at beside it; the largest are the 64 that show whether a model draws at random.
    assert watch.read > 0
    assert 0 < watch.most <= 64 + HELD < COUNT
    assert max(cell["attack_success_rate"] for cell in cells) >= 0.5
    samples = load_file(tmp_path / "run" / "samples.safetensors")
    assert torch.equal(samples["x"], load(photos, split="all").test.x[:])
    assert samples["x"].shape == (COUNT, 3, 8, 8) and samples["indices"].tolist() == list(range(COUNT))
    for cell in cells:
        stored = load_file(tmp_path / "run" / "cells" / f"{cell['id']}.safetensors")
        assert stored["x_adv"].shape == samples["x"].shape
        if cell["eps"] is not None:
            assert float((stored["x_adv"].double() - samples["x"].double()).abs().max()) <= 0.1
    assert run_audit(plan, tmp_path / "run").computed == 0


@pytest.mark.usefixtures("small_memory")
@pytest.mark.parametrize(
    ("change", "learner"),
    [
        ({"model": "small-cnn"}, "the network 'small-cnn'"),
        ({"defence": ["i-defender"]}, "the defence 'i-defender'"),
        ({"threat_model": ["transfer"]}, "a transfer or gray-box attacker"),
        ({"attack": ["uap:eps=0.1"]}, "a universal perturbation"),
    ],
)
def test_what_learns_is_refused_where_all_are_test_samples(
    photos: Path, model: Path, tmp_path: Path, change: dict[str, Any], learner: str
) -> None:
    fields = {"data": str(photos), "split": "all", "model": str(model), "attack": ["fgsm"], "defence": ["none"]}
    with pytest.raises(DataError, match=f"there are none for {learner} to learn from"):
        run_audit(Plan.of({**fields, **change}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


ATTACKS: dict[str, tuple[Attack, str]] = {
    "fgsm": (FGSM(eps=0.1), "white-box"),
    "pgd from random starts": (PGD(eps=0.1, steps=3, restarts=2), "white-box"),
    "targeted": (PGD(eps=0.2, steps=3, targeted=True), "white-box"),
    "square": (Square(eps=0.1, queries=20), "white-box"),
    "hop-skip-jump": (HopSkipJump(queries=60, initial_evaluations=5), "decision-only"),
    "transfer": (PGD(eps=0.1, steps=3), "transfer"),
    "oblivious": (PGD(eps=0.1, steps=3), "oblivious"),
    "adaptive": (PGD(eps=0.1, steps=3, queries=40), "adaptive"),
    "adaptive, nearest": (DeepFool(steps=4), "adaptive"),
    "gray-box": (PGD(eps=0.1, steps=3), "gray-box"),
    "noise": (WhiteGaussianNoise(eps=0.1), "control"),
    "uap": (UAP(eps=0.2, epochs=2), "oblivious"),
    "uap, adaptive": (UAP(eps=0.2, epochs=2), "adaptive"),
}


@dataclass(frozen=True)
class Bench:
    """What attackers have."""

    own: StandIn
    guards: dict[str, Guard]

    def substitute(self) -> StandIn:
        return self.own

    def twins(self) -> dict[str, Guard]:
        return self.guards


@pytest.mark.parametrize("name", ATTACKS)
def test_parts_come_to_the_same_as_the_whole(name: str, toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    attack, threat = ATTACKS[name]
    guard = Guard(toy.classifier, purifier=BitDepth(bits=3))
    last = torch.nn.Linear(3, 3)
    other = torch.nn.Sequential(toy.classifier.module, last)
    with torch.no_grad():
        last.weight.copy_(torch.eye(3) + 0.1)
        last.bias.copy_(torch.tensor([0.1, 0.0, -0.1]))
    substitute = Classifier(other, toy.classifier.classes, shape=(8,))
    data, fit = (part.subset(torch.arange(70)) for part in (toy.test, toy.train))
    bench = Bench(StandIn(substitute, fit, {}), {guard.name: Guard(substitute, purifier=BitDepth(bits=3))})
    attempt = Attempt(replace(attack, batch_size=8), {**THREAT_MODELS, **FIXED}[threat].equip(bench), fit=fit)
    cell = Cell(data, guard, attempt)
    monkeypatch.setitem(batches.MOST_VALUES, "cpu", 8 * 8)
    found: list[tuple[dict[str, Any], dict[str, Tensor], int]] = []
    for held in (10**6, 2):
        monkeypatch.setattr(batches, "_HELD", held)
        kept: list[Mapping[str, Tensor]] = []
        record = measure_cell(cell, guard(data.x), kept.append)
        stored = {key: torch.cat([rows[key] for rows in kept]) for key in kept[0]}
        found.append(({**record, "seconds": None}, stored, len(kept)))
    (whole, at_once, one), (parts, bit_by_bit, several) = found
    assert (one, several) == (1, 5)
    assert at_once.keys() == bit_by_bit.keys() == {"x_adv", "label", "accepted", "reached"}
    if name == "adaptive, nearest":  # its later turns take other batches, in which sums are rounded otherwise
        assert torch.allclose(at_once["x_adv"], bit_by_bit["x_adv"], atol=1e-6)
        return
    assert all(torch.equal(value, bit_by_bit[key]) for key, value in at_once.items())
    assert whole == parts


def test_a_budget_of_time_is_dealt_to_the_parts(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(batches.MOST_VALUES, "cpu", 8 * 8)
    given: list[float | None] = []
    run = FGSM.run

    def watched(self: Attack, *arguments: Any, **options: Any) -> Any:
        given.append(self.time_limit)
        return run(self, *arguments, **options)

    monkeypatch.setattr(FGSM, "run", watched)
    data = toy.test.subset(torch.arange(48))
    guard = Guard(toy.classifier)
    measure_cell(Cell(data, guard, Attempt(FGSM(eps=0.1, time_limit=60), WhiteBox())), guard(data.x))
    assert given == pytest.approx([40, 20])


def test_what_a_killed_run_had_half_written_is_taken_away(tmp_path: Path) -> None:
    store = Store(tmp_path)
    (tmp_path / "cells").mkdir()
    litter, cell = (tmp_path / "cells" / name for name in (".0a.safetensors.x1", "0a.safetensors"))
    litter.write_text("half")
    cell.write_text("whole")
    with store.locked():
        assert not litter.exists() and cell.exists()
