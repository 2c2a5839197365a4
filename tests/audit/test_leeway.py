"""What an attacker cannot do is said before what they did not achieve."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from salus.attacks import PGD, Attack, SparseRS
from salus.audit import Plan, run_audit
from salus.audit.leeway import Leeway, attacker_can, doubts, leeways, movable_share
from salus.audit.plan import marks
from salus.data import Dataset, FeatureMarks, Provenance, Splits
from salus.data.plausibility import values_of
from salus.report import write_report

FINDINGS = tuple(f"finding {number}" for number in range(8))


@pytest.fixture(scope="module")
def patients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clinical table: an age, and findings that are there or not."""
    rng = np.random.default_rng(0)
    outcome = rng.integers(0, 2, 300)
    present = rng.random((300, 8)) < np.where((outcome[:, None] == np.arange(8) % 2), 0.75, 0.25)
    rows = [",".join(["age", *FINDINGS, "outcome"])]
    ages = rng.integers(20, 90, 300)
    rows += [
        ",".join(map(str, [age, *map(int, row), ("well", "ill")[ill]]))
        for age, row, ill in zip(ages, present, outcome, strict=True)
    ]
    path = tmp_path_factory.mktemp("table") / "patients.csv"
    path.write_text("\n".join(rows))
    return path


def fields(patients: Path, **others: Any) -> dict[str, Any]:
    return {
        "data": str(patients), "label": "outcome", "scale": True, "integer": list(FINDINGS), "immutable": ["age"],
        "eps": 0.1, "attack": "pgd:steps=5", "training": {"epochs": 8}, **others,
    }  # fmt: skip


def test_a_table_in_which_nothing_can_move_is_not_called_robust(patients: Path, tmp_path: Path) -> None:
    outcome = run_audit(Plan.of(fields(patients)), tmp_path / "run")
    verdict = outcome.meta["verdict"]
    assert verdict[0].startswith(
        "The attacker could change nothing at eps = 0.1 (linf): 8 features move by whole units"
    )
    assert "'age' not at all" in verdict[0] and "--attack sparse-rs:eps=3" in verdict[0]
    assert not any(words in " ".join(verdict) for words in ("rarely fooled", "held against", "gets 0.0%"))
    assert "what it is worth against an attack remains open" in " ".join(verdict)
    stored = json.loads((tmp_path / "run" / "results.json").read_text())
    assert [cell["movable"] for cell in stored["cells"] if cell["attack"]] == [0.0, 0.0, 0.0]
    page = write_report(tmp_path / "run").read_text()
    assert "<h1>The attacker could change nothing" in page and "Can change" in page
    # The attack that it names does move them, and what it achieves stands first then.
    named = Plan.of(fields(patients, attack=["sparse-rs:eps=3,queries=200", "pgd:steps=5"], defence="none"))
    better = run_audit(named, tmp_path / "run").meta
    assert better["limits"] is None and "fooled: SparseRS at eps = 3 (l0)" in better["verdict"][0]
    assert any("at eps = 0.1 (linf) can change none of the values" in line for line in better["warnings"])


def table(steps: tuple[float, ...], fixed: tuple[str, ...] = (), bounds: tuple[float, float] = (0, 1)) -> Dataset:
    x = torch.rand(40, len(steps), generator=torch.Generator().manual_seed(1))
    for column, step in enumerate(steps):
        if step:
            x[:, column] = (x[:, column] / step).round() * step
    names = tuple("abcdefgh"[: len(steps)])
    whole = tuple(name for name, step in zip(names, steps, strict=True) if step)
    return Dataset(
        x.clamp(*bounds), torch.arange(40) % 2, ("ill", "well"), Provenance("own", "made here"), bounds=bounds,
        features=names, marks=FeatureMarks(immutable=fixed, integer=whole), steps=steps,
    )  # fmt: skip


def attack(data: Dataset, eps: float | None, norm: str = "linf") -> Attack:
    kind: type[Attack] = SparseRS if norm == "l0" else PGD
    return kind(eps=eps, norm=norm, bounds=data.bounds, **marks(data))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("steps", "fixed", "eps", "norm", "share"),
    [
        ((0.5, 0.05, 0.0, 0.0), (), 0.1, "linf", 0.75),
        ((0.5, 0.05, 0.0, 0.0), ("c",), 0.1, "linf", 0.5),
        ((0.5, 0.5, 0.5, 0.5), (), 0.5, "linf", 1.0),
        ((0.5, 0.5, 0.05, 0.0), (), 0.3, "l2", 0.5),
        ((0.5, 0.5, 0.5, 0.5), ("a", "b", "c"), 1.0, "l0", 0.25),
        ((0.0, 0.0, 0.0, 0.0), ("a", "b", "c", "d"), 0.1, "linf", 0.0),
        ((0.0, 0.0), (), 0.0, "linf", 0.0),
        ((0.0, 0.0), (), 0.1, "linf", 1.0),
    ],
)
def test_the_share_that_can_move_is_counted(
    steps: tuple[float, ...], fixed: tuple[str, ...], eps: float, norm: str, share: float
) -> None:
    data = table(steps, fixed)
    assert movable_share(attack(data, eps, norm), data) == share


def test_what_is_said_to_move_moves_and_the_rest_does_not() -> None:
    data = table((0.5, 0.25, 0.1, 0.0, 0.3), ("d",))
    for eps in (0.05, 0.1, 0.26, 0.6):
        pgd = replace(attack(data, eps), early_stop=False)  # type: ignore[call-arg]
        model = lambda x: torch.stack([x.sum(1), -x.sum(1)], 1)  # noqa: E731
        up, down = (pgd(model, data.x, torch.full_like(data.y, label)) for label in (0, 1))
        moved = (up != data.x) | (down != data.x)
        assert float(moved.float().mean()) == pytest.approx(movable_share(pgd, data), abs=0.03)


def described(data: Dataset) -> dict[str, Any]:
    return Splits(data, data, data, data).describe()


def test_an_attacker_who_can_do_little_is_said_to_first() -> None:
    data = table((0.5, 0.5, 0.5, 0.5, 0.0))
    values = values_of(Splits(data, data, data, data))
    found = leeways([attack(data, 0.1), attack(data, 0.05)], data, values)
    line = attacker_can(list(found.values()), described(data), values)
    assert line is not None and line.startswith("The attacker could change only 20.0% of the features at eps = 0.1")
    most = leeways([attack(data, 0.5)], data, values)
    assert attacker_can(list(most.values()), described(data), values) is None


def test_where_every_feature_is_held_no_attack_is_named() -> None:
    data = table((0.5, 0.5), ("a", "b"))
    values = values_of(Splits(data, data, data, data))
    line = attacker_can(list(leeways([attack(data, 1.0)], data, values).values()), described(data), values)
    assert line is not None and "could change nothing" in line and "sparse-rs" not in line


def test_whole_numbers_that_are_marked_are_told_of_the_attack_that_fits() -> None:
    data = table((1.0, 1.0, 1.0), bounds=(0, 9))
    data = replace(data, x=(data.x * 9).round().clamp(0, 9))
    values = values_of(Splits(data, data, data, data))
    assert values.step == 1
    line = attacker_can(list(leeways([attack(data, 0.9)], data, values).values()), described(data), values)
    assert line is not None and "3 features move by whole units" in line and "sparse-rs:eps=3" in line


def images(scale: float, whole: bool = True) -> Dataset:
    x = torch.rand(30, 1, 8, 8, generator=torch.Generator().manual_seed(2)) * 255
    x = (x.round() if whole else x) * scale
    return Dataset(
        x.clamp(0, 255 * scale), torch.arange(30) % 2, ("a", "b"), Provenance("own", "made here"),
        bounds=(0, 255 * scale),
    )  # fmt: skip


def doubted(data: Dataset, eps: float, norm: str = "linf") -> list[str]:
    values = values_of(Splits(data, data, data, data))
    found = leeways([PGD(eps=eps, norm=norm, bounds=data.bounds)], data, values)  # type: ignore[arg-type]
    return list(doubts(list(found.values()), data, values))


def test_less_than_one_grey_level_is_not_called_robust(tmp_path: Path) -> None:
    data = images(1.0)
    np.savez(tmp_path / "scans.npz", x=data.x.numpy(), y=(data.x[:, 0, :4].mean((1, 2)) > 127).long().numpy())
    plan = {"data": str(tmp_path / "scans.npz"), "bounds": "0,255", "eps": "8/255", "attack": "fgsm",
            "training": {"epochs": 1}, "defence": "none", "threat_model": "white-box"}  # fmt: skip
    meta = run_audit(Plan.of(plan), tmp_path / "run").meta
    assert meta["verdict"][0].startswith("The attacker could change nothing that shows: eps = 0.0313725 is 3.1% of one")
    assert any("less than one step of the data" in line and "(0, 255)" in line for line in meta["warnings"])
    assert "rarely" not in " ".join(meta["verdict"])


@pytest.mark.parametrize(
    ("data", "eps", "norm", "words"),
    [
        (images(1.0), 8 / 255, "linf", "less than one step of the data, 1"),
        (images(1.0), 0.9, "l2", "less than one step of the data, 1"),
        (images(1 / 255), 0.5 / 255, "linf", "less than 1/255, one step of images of 8 bits"),
        (images(1.0, whole=False), 8 / 255, "linf", "0.012% of the range of the values"),
        (images(1 / 255), 0.5, "linf", "at least half the range"),
        (images(1.0), 200.0, "linf", "at least half the range"),
    ],
)
def test_a_radius_at_odds_with_the_data_is_doubted(data: Dataset, eps: float, norm: str, words: str) -> None:
    assert [words in line for line in doubted(data, eps, norm)] == [True]


@pytest.mark.parametrize(
    ("data", "eps"), [(images(1.0), 1.0), (images(1.0), 8.0), (images(1 / 255), 1 / 255), (images(1 / 255), 16 / 255)]
)
def test_a_radius_that_fits_the_data_is_not_doubted(data: Dataset, eps: float) -> None:
    assert doubted(data, eps) == []


def test_unmarked_features_that_take_few_values_are_named() -> None:
    data = replace(table((0.5, 0.0, 1.0, 0.0)), marks=FeatureMarks(), steps=())
    (line,) = doubted(data, 0.1)
    assert "less than one step of 'a' and 'c'" in line and "--integer" in line
    assert doubted(table((0.0, 0.0, 0.0)), 0.1) == []


def test_a_verdict_speaks_of_damage_even_where_nothing_should_have_moved() -> None:
    from salus.audit.summary import _could

    assert _could({"movable": 0.0, "attack_success_rate": 0.4})
    assert not _could({"movable": 0.0, "attack_success_rate": 0.0})
    assert _could({"attack_success_rate": 0.0})  # of an older version's audit
    assert Leeway("linf", None, 1.0).place == "without a limit"
