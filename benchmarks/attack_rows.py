"""The table of the benchmark: each attack, how much it may spend, and what Salus must show beside its peers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from attack_bars import ART, FOOLBOX, Bar, at_largest, faster, fewer_passes, no_farther, no_weaker, of_nominal

Counts = Mapping[str, int]
Radii = Mapping[str, tuple[float, ...]]


def on(beats: int, fashion: int) -> Counts:
    """Give a number for each data set."""
    return {"beats": beats, "fashion": fashion}


#: Two balls: one in which nearly everything falls, and one in which the attacks differ.
BALLS: Radii = {"beats": (0.01, 0.003), "fashion": (8 / 255, 4 / 255)}
SMALL: Radii = {"beats": (0.003,), "fashion": (4 / 255,)}
NO_BALL: Radii = {"beats": (), "fashion": ()}
MANY, FEW = on(beats=128, fashion=64), on(beats=16, fashion=8)
NEAR = (no_weaker, no_farther)


@dataclass(frozen=True, kw_only=True)
class Row:
    """An attack of the table.

    Attributes:
        title: what it is called in the table.
        attack: Salus's class.
        goal: a success ``"inside"`` a ball, the ``"nearest"`` success, or a ``"universal"`` perturbation.
        norm: ``"linf"`` or ``"l2"``.
        eps: radii for each data set; none where the smallest change is looked for.
        budget: steps, searches or queries.
        samples: how many are attacked.
        few: how many by attacks that take one after another.
        repeats: how often each contender runs, unless its first run is slow.
        bars: what Salus must show.
    """

    title: str
    attack: str
    goal: str = "inside"
    norm: str = "linf"
    eps: Radii = field(default_factory=lambda: SMALL)
    budget: Mapping[str, int] = field(default_factory=dict)
    samples: Counts = field(default_factory=lambda: MANY)
    few: Counts = field(default_factory=lambda: FEW)
    repeats: int = 3
    bars: tuple[Bar, ...] = (no_weaker,)


ROWS: dict[str, Row] = {
    "fgsm": Row(title="FGSM", attack="FGSM"),
    "bim": Row(title="BIM, 10 steps", attack="BIM", budget={"steps": 10}),
    "pgd": Row(
        title="PGD-40",
        attack="PGD",
        budget={"steps": 40},
        eps=BALLS,
        repeats=5,
        bars=(no_weaker, of_nominal(1.0, "every step"), at_largest(faster(2, settings="early stopping"))),
    ),
    "apgd-ce": Row(
        title="APGD-CE, 100 steps", attack="APGD", budget={"steps": 100}, eps=BALLS, bars=(no_weaker, faster(1))
    ),
    "apgd-dlr": Row(title="APGD-DLR, 100 steps", attack="APGD", budget={"steps": 100}),
    "fab": Row(
        title="FAB, 100 steps",
        attack="FAB",
        goal="nearest",
        eps=NO_BALL,
        budget={"steps": 100},
        samples=on(32, 16),
        bars=NEAR,
    ),
    "cw-l2": Row(
        title="CW-L2, 9 × 100",
        attack="CarliniWagnerL2",
        goal="nearest",
        norm="l2",
        eps=NO_BALL,
        budget={"searches": 9, "steps": 100},
        samples=on(32, 16),
        few=on(8, 4),
        repeats=2,
        bars=(*NEAR, fewer_passes(0.5)),
    ),
    "cw-linf": Row(
        title="CW-L∞",
        attack="CarliniWagnerLinf",
        goal="nearest",
        eps=NO_BALL,
        budget={"steps": 100},
        samples=on(32, 16),
        few=on(4, 2),
        repeats=2,
        bars=NEAR,
    ),
    "deepfool": Row(
        title="DeepFool",
        attack="DeepFool",
        goal="nearest",
        norm="l2",
        eps=NO_BALL,
        repeats=5,
        bars=(*NEAR, faster(1)),
    ),
    "deepfool-linf": Row(title="DeepFool-L∞", attack="DeepFool", goal="nearest", eps=NO_BALL, bars=NEAR),
    "hop-skip-jump": Row(
        title="HopSkipJump",
        attack="HopSkipJump",
        goal="nearest",
        norm="l2",
        eps=NO_BALL,
        # The peers' steps take them 2,000 to 2,900 queries.
        budget={"queries": 1900, "art_steps": 10, "foolbox_steps": 10},
        samples=on(64, 16),
        repeats=2,
        bars=(*NEAR, faster(5, ART), faster(2, FOOLBOX)),
    ),
    "boundary": Row(
        title="Boundary",
        attack="Boundary",
        goal="nearest",
        norm="l2",
        eps=NO_BALL,
        budget={"queries": 12000, "art_steps": 600, "foolbox_steps": 12000},  # 12,800 to 13,400 queries in the peers
        samples=on(16, 8),
        few=on(4, 2),
        repeats=2,
        bars=(*NEAR, faster(20, ART, per_query=True)),
    ),
    "square": Row(
        title="Square, 1,000 queries",
        attack="Square",
        budget={"queries": 1000},
        eps={"beats": (0.005,), "fashion": (8 / 255,)},
        bars=(no_weaker, faster(2)),
    ),
    "autoattack": Row(title="AutoAttack, standard", attack="AutoAttack", samples=on(64, 32), repeats=2),
    "uap": Row(
        title="UAP",
        attack="UAP",
        goal="universal",
        budget={"epochs": 10, "own_epochs": 4},  # it does as well as its peers sooner
        eps={"beats": (0.01,), "fashion": (16 / 255,)},
        samples=on(64, 32),
        repeats=2,
        bars=(no_weaker, faster(10, ART)),
    ),
}
