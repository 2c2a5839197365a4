"""Attacks, controls and poisonings that another package brings work like Salus's own."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from salus.attacks import ATTACKS, parse_attack
from salus.attacks.controls import CONTROLS, parse_control
from salus.attacks.poisoning import POISONS
from salus.attacks.taxonomy import taxonomy
from salus.audit.plan import Plan
from salus.data import Dataset, Provenance
from salus.errors import OptionError
from salus.registry import Registry, summary
from salus.report import words

MODULE = '''
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

from pydantic import Field
from salus.attacks import Attack, Search
from salus.attacks.controls import Control
from salus.attacks.poisoning import Poison
from salus.attacks.settings import Eps, Norm

@dataclass(frozen=True, kw_only=True)
class Nudge(Attack):
    """Moves every value up."""

    name: ClassVar[str] = "nudge"
    paper: ClassVar[str] = "Nobody, 2026"
    norms: ClassVar[tuple[str, ...]] = ("linf",)

    eps: Eps
    share: Annotated[float, Field(gt=0, le=1, description="share of eps that is used")] = 1.0

    def perturb(self, search, start):
        search.settle(search.ball.project(search.ball.x + self.share * self.eps))

@dataclass(frozen=True, kw_only=True)
class Flip(Control):
    """A mirror."""

    name: ClassVar[str] = "flip"

    eps: float | None = None
    norm: Norm = "l2"

    def change(self, x, samples):
        return x.flip(-1)

@dataclass(frozen=True, kw_only=True)
class Nothing(Poison):
    """No change at all."""

    name: ClassVar[str] = "nothing"

    def __call__(self, data):
        return replace(data)
'''
POINTS = """\
[salus.attacks]
nudge = salus_nudges:Nudge
[salus.controls]
flip = salus_nudges:Flip
[salus.poisons]
nothing = salus_nudges:Nothing
"""
REGISTRIES: tuple[Registry[object], ...] = (ATTACKS, CONTROLS, POISONS)  # type: ignore[assignment]


@pytest.fixture(autouse=True)
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Install a package with one of each."""
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "salus_nudges.py").write_text(MODULE)
    folder = tmp_path / "salus_nudges-0.3.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: salus_nudges\nVersion: 0.3\n")
    (folder / "entry_points.txt").write_text(POINTS)
    for registry in REGISTRIES:  # what was found before is looked for again
        vars(registry).pop("_loaded", None)
    yield
    sys.modules.pop("salus_nudges", None)
    for registry in REGISTRIES:
        vars(registry).pop("_loaded", None)


def test_they_are_found_and_described_beside_salus_own() -> None:
    assert "nudge" in ATTACKS and "nudge" not in ATTACKS.own and ATTACKS.origin("nudge") == "salus_nudges 0.3"
    assert summary(ATTACKS["nudge"]) == "Moves every value up."
    (share,) = (option for option in ATTACKS.options("nudge") if option.name == "share")
    assert share.help == "share of eps that is used" and share.words == "a number above 0 and up to 1"
    assert type(parse_control("flip", seed=3)).__name__ == "Flip" and CONTROLS.origin("flip") == "salus_nudges 0.3"
    assert POISONS.parse("nothing:share=0.1").share == 0.1


def test_its_options_are_checked_as_ours_are() -> None:
    with pytest.raises(OptionError, match="Attack 'nudge': share must be a number above 0 and up to 1, not 2"):
        parse_attack("nudge:eps=0.1,share=2")
    with pytest.raises(OptionError, match="Attack 'nudge': norm must be 'linf', not 'l2'"):
        parse_attack("nudge:eps=0.1,norm=l2")
    with pytest.raises(OptionError, match="Unknown attack 'nudgee'; did you mean 'nudge'"):
        parse_attack("nudgee")


def test_a_plan_takes_it_and_reports_name_and_place_it() -> None:
    plan = Plan.of({"data": "mitdb", "attack": ["nudge"], "eps": [0.1, 0.2], "norm": "l2"})
    data = Dataset(torch.rand(4, 1, 5), torch.zeros(4, dtype=torch.int64), ("a", "b"), Provenance("made up", "here"))
    attacks = plan.attacks(data)
    assert [(attack.eps, attack.norm) for attack in attacks] == [(0.1, "linf"), (0.2, "linf")]
    assert bool((attacks[0](lambda batch: batch[:, 0, :2], data.x, data.y) >= data.x).all())
    assert words.attack("nudge") == "Nudge" and words.attack("carlini-wagner-linf") == "C&W L∞"
    assert words.attack("flip") == "flip" and words.attack("art:HopSkipJump") == "art:HopSkipJump"
    assert taxonomy(attacks[0].knowledge).atlas == "AML.T0015, AML.T0043.000"
