"""What MultiMagNet protects from: Table 5, and what it leaves out."""

from __future__ import annotations

from salus.metrics.wording import NOTHING, percent, rate
from salus_studies.frame.markdown import Record, done, markdown, not_run
from salus_studies.multimagnet.attacked import STRENGTHS
from salus_studies.multimagnet.judging import CONFIGURATIONS
from salus_studies.multimagnet.measured import data_name, row, spread, strengths, written
from salus_studies.multimagnet.published import (
    ATTACKS,
    DATASETS,
    PROTECTED,
    SCENARIOS,
)

#: Which figure of an experiment is which scenario of Table 5: the configuration and the figure's name.
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
        for strength in strengths(results, dataset, attack):
            cells = []
            for configuration, figure in FIGURES.values():
                record = row(results, dataset, attack, strength, configuration)
                cells.append(not_run(record) if record is None or not done(record) else spread(record, figure))
            if len(set(cells)) == 1 and cells[0].startswith("not run"):
                cells[1:] = [NOTHING] * (len(cells) - 1)
            rows.append([title, f"**ours**, {STRENGTHS[strength]}", *cells])
    return markdown(["attack", "source", *SCENARIOS.values()], rows, 2)


def cost_table(results: Record, dataset: str) -> str:
    """What Table 5 leaves out: legitimate images that are lost, and attacked ones that come through wrong."""
    rows = []
    for attack, title in ATTACKS.items():
        for strength in strengths(results, dataset, attack):
            for name in ("magnet", "multimagnet", "clean"):
                record = row(results, dataset, attack, strength, name)
                whose = [title, STRENGTHS[strength], CONFIGURATIONS[name]]
                if record is None or not done(record):
                    rows.append([*whose, not_run(record), *[NOTHING] * 3])
                    continue
                figures = ("kept", "kept_reformed", "fallen", "fallen_reformed")
                rows.append([*whose, *(percent((record[figure] or {}).get("mean"), 2) for figure in figures)])
    return markdown(
        [
            "attack",
            "strength",
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
            whose = [data_name(results, dataset), record.get("threat_model") or "both"]
            if not done(record):
                rows.append([*whose, not_run(record), *[NOTHING] * 4])
                continue
            figures = ("clean_accuracy", "robust_accuracy", "rejected_clean", "rejected_adversarial")
            rows.append([*whose, f"{record['n']}", *(rate(record, name) for name in figures)])
    return markdown(
        [
            "data",
            "attacker",
            "images",
            "clean accuracy (95%)",
            "robust accuracy (95%)",
            "clean rejected",
            "attacked rejected",
        ],
        rows,
        2,
    )
