"""One attack judged: calibrated on validation images, then ensembles drawn for the test images."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from salus.detectors.multimagnet_calibration import Measured, choose_by_accuracy
from salus.detectors.multimagnet_grid import Calibration, Combination
from salus.detectors.votes import drop_rate_thresholds
from salus.errors import CalibrationError
from salus_studies.multimagnet.draws import Side, experiments
from salus_studies.multimagnet.observed import first
from salus_studies.multimagnet.published import SIZES, chosen
from salus_studies.multimagnet.scales import MagNetScale

#: Configurations, in the order of the tables: as the paper does it, then what stands beside it.
CONFIGURATIONS = {
    "magnet": "MagNet",
    "multimagnet": "MultiMagNet",
    "magnet-own": "MagNet, its own best configuration",
    "table-4-magnet": "MagNet, Table 4's configuration",
    "table-4": "MultiMagNet, Table 4's configuration",
    "clean": "MultiMagNet, one configuration for all",
}
#: What of them Tables 2, 3 and 5 are compared with: the paper's defences by its own settings, and as calibrated here.
READINGS = {
    "Table 4's settings": {"magnet": "table-4-magnet", "multimagnet": "table-4"},
    "calibrated here": {"magnet": "magnet", "multimagnet": "multimagnet"},
}
#: Of the configuration that is chosen on clean images alone.
FALSE_ALARM_RATE = 0.05


@dataclass(frozen=True)
class JudgingPlan:
    """What is judged.

    Attributes:
        dataset: a key of ``DATASETS``.
        attack: a key of ``ATTACKS``.
        general: the one configuration for all attacks; None where it was not chosen.
        reason: why it was not.
    """

    dataset: str
    attack: str
    general: Combination | None
    reason: str


def judged(
    plan: JudgingPlan,
    legitimate: Measured,
    validation: Measured,
    drawn: Side,
    attacked: Side,
    scale: MagNetScale,
    *,
    seed: int,
) -> tuple[Calibration, dict[str, Any]]:
    """Choose the best combination for this attack, draw ensembles by every configuration, and count.

    Args:
        plan: what is judged.
        legitimate: V_leg, measured; thresholds come from all of it.
        validation: its first images after the attack, measured; accuracy is counted on them and on the same clean.
        drawn: the legitimate half of D.
        attacked: the attacked half.
        scale: the grid, and how many experiments.
        seed: of the draws.

    Returns:
        The calibration, and ``rows`` of each configuration and what was ``chosen``, as plain values.
    """
    clean, alone = first(legitimate, len(validation)), replace(scale.grid, sizes=(1,))
    best, single = (
        choose_by_accuracy(clean, validation, grid, attack=plan.attack, legitimate=legitimate)
        for grid in (scale.grid, alone)
    )
    printed = chosen(plan.dataset, plan.attack)
    as_printed = Combination(
        metric=printed.metric,
        temperature=printed.temperature or 1.0,
        drop_rate=printed.drop_rate,
        approach=printed.approach,
    )
    combinations = {
        "magnet": replace(best.best.combination, n=1, approach="MTA"),
        "multimagnet": best.best.combination,
        "magnet-own": single.best.combination,
        "table-4-magnet": replace(as_printed, n=1, approach="MTA"),
        "table-4": as_printed,
        "clean": plan.general,
    }
    rows = []
    for name, combination in combinations.items():
        sizes = tuple(size for size in SIZES if size <= len(legitimate.members)) if name == "table-4" else ()
        row: dict[str, Any] = {"configuration": name, "status": "not run", "reason": plan.reason}
        if combination is not None:
            try:
                thresholds = drop_rate_thresholds(legitimate.values[combination.measure], combination.drop_rate)
            except CalibrationError as error:  # V_leg is too small for a drop rate of Table 4
                row["reason"] = str(error)
            else:
                row |= experiments(
                    drawn, attacked, combination, thresholds, count=scale.experiments, seed=seed, sizes=sizes
                )
                settings = {**asdict(combination), "n": list(sizes) or combination.n}
                row |= {"status": "done", "reason": None, "combination": settings}
        rows.append(row)
    outcomes = {"multimagnet": best.best, "magnet-own": single.best}
    return best, {"rows": rows, "chosen": {name: scored.row() for name, scored in outcomes.items()}}
