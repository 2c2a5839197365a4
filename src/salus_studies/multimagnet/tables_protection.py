"""What MultiMagNet protects from: Table 5, and what it leaves out."""

from __future__ import annotations

from salus.metrics.wording import NOTHING, percent, present, rate
from salus_studies.frame.markdown import Record, done, markdown, not_run
from salus_studies.multimagnet.attacked import ARMS
from salus_studies.multimagnet.judging import CONFIGURATIONS, READINGS
from salus_studies.multimagnet.measured import arms, data_name, row, spread, written
from salus_studies.multimagnet.published import (
    ATTACKS,
    DATASETS,
    PROTECTED,
    SCENARIOS,
)

#: Which figure of an experiment is which scenario of Table 5: the defence and the figure's name.
FIGURES = {
    "none": ("multimagnet", "undefended"),
    "magnet": ("magnet", "accepted"),
    "multimagnet": ("multimagnet", "accepted"),
    "magnet-reformer": ("magnet", "reformed"),
    "multimagnet-reformer": ("multimagnet", "reformed"),
}


def scenarios_table(results: Record, dataset: str) -> str:
    """Table 5 of one set of data."""
    rows = []
    for attack, title in ATTACKS.items():
        rows.append([title, "paper", *(written(PROTECTED[dataset, attack][each]) for each in SCENARIOS)])
        for arm in arms(results, dataset, attack):
            for reading, configurations in READINGS.items():
                cells = []
                for defence, figure in FIGURES.values():
                    record = row(results, dataset, attack, arm, configurations[defence])
                    cells.append(not_run(record) if record is None or not done(record) else spread(record, figure))
                if len(set(cells)) == 1 and cells[0].startswith("not run"):
                    cells[1:] = [NOTHING] * (len(cells) - 1)
                rows.append([title, f"**ours**, {ARMS[arm]}, {reading}", *cells])
    return markdown(["attack", "source", *SCENARIOS.values()], rows, 2)


def cost_table(results: Record, dataset: str) -> str:
    """What Table 5 leaves out: legitimate images that are lost, and attacked ones that come through wrong."""
    rows = []
    for attack, title in ATTACKS.items():
        for arm in arms(results, dataset, attack):
            for name in ("magnet", "multimagnet", "table-4", "clean"):
                record = row(results, dataset, attack, arm, name)
                whose = [title, ARMS[arm], CONFIGURATIONS[name]]
                if record is None or not done(record):
                    rows.append([*whose, not_run(record), *[NOTHING] * 3])
                    continue
                figures = ("kept", "kept_reformed", "fallen", "fallen_reformed")
                rows.append([*whose, *(percent((record[figure] or {}).get("mean"), 2) for figure in figures)])
    return markdown(
        [
            "attack",
            "arm",
            "defence",
            "legitimate, accepted and right",
            "the same, reformed",
            "attacked, accepted and wrong",
            "the same, reformed",
        ],
        rows,
        3,
    )


def adaptive_table(results: Record) -> str:
    """An attacker who knows the defence beside one who does not."""
    rows = []
    for dataset in DATASETS:
        stored = [one for one in results.get("adaptive") or () if one.get("dataset") == dataset]
        for record in stored or [{"status": "not run", "reason": "not in the stored results"}]:
            norm = {"linf": "L∞", "l2": "L2"}.get(record.get("norm") or "", "both")
            eps = f" {record['eps']:g}" if present(record.get("eps")) else ""
            whose = [data_name(results, dataset), norm + eps, record.get("threat_model") or "both"]
            if not done(record):
                rows.append([*whose, not_run(record), *[NOTHING] * 4])
                continue
            figures = ("clean_accuracy", "robust_accuracy", "rejected_clean", "rejected_adversarial")
            rows.append([*whose, f"{record['n']}", *(rate(record, name) for name in figures)])
    return markdown(
        [
            "data",
            "norm",
            "attacker",
            "images",
            "clean accuracy (95%)",
            "robust accuracy (95%)",
            "clean rejected",
            "attacked rejected",
        ],
        rows,
        3,
    )
