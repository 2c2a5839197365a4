"""The thesis's tables as Markdown: what it prints, what stored results hold, what no look at images scores."""

from __future__ import annotations

from collections.abc import Iterable

from salus.metrics import implied
from salus.metrics.wording import NOTHING, estimate, percent
from salus_studies.frame.markdown import Cells, Record, done, markdown, not_run
from salus_studies.skin_lesion import baselines, claims
from salus_studies.skin_lesion.cells import KNOWS
from salus_studies.skin_lesion.measured import cell, confusion, printed, spelled, title
from salus_studies.skin_lesion.published import DEFENCES, EXPERIMENTS, NETWORKS, Experiment

_PERFORMANCE = {"accuracy": "accuracy", "recall": "recall", "specificity": "specificity", "fooling": "1 − accuracy"}
_HEALTH = {"health_accuracy": "accuracy", "health_sensitivity": "sensitivity", "npv": "NPV", "fnr": "FNR"}

#: The health maps: the thesis's own, and the medically right one.
MAPS = {"thesis": "the thesis's map", "medical": "MEL, BCC, AKIEC"}

#: What the thesis takes for cancerous, of all test images: 12.5% of each class, rounded up.
_CANCEROUS = 1085 / 1256


def performance_table(results: Record, experiment: Experiment) -> str:
    """The first table of an experiment: the seven classes, and beside them the malignant that are missed."""
    lines: list[Cells] = []
    for network, name in NETWORKS.items():
        printed_figures = [_printed(network, experiment, figure) for figure in _PERFORMANCE]
        lines.append([f"{name}, thesis", *printed_figures, NOTHING, NOTHING])
        for words, record in _measured(results, network, experiment):
            called = f"{title(results, network)}, {words}"
            if record is None or not done(record):
                lines.append([called, not_run(record), *[""] * (len(_PERFORMANCE) + 1)])
                continue
            figures = [written(record, figure) for figure in _PERFORMANCE]
            lines.append([called, *figures, written(record, "fnr", "medical"), written(record, "fooling_rate")])
    for called, figures, counts in _baselines(results, _PERFORMANCE):
        missed = percent(baselines.scores(counts, called, "fnr", "medical"))
        lines.append([baselines.NAMES[called], *figures, missed, NOTHING])
    return markdown(["", *_PERFORMANCE.values(), "malignant missed", "answers changed"], lines)


def health_table(results: Record, experiment: Experiment) -> str:
    """The second table of an experiment: cancerous or not, by both maps."""
    lines: list[Cells] = []
    for network, name in NETWORKS.items():
        lines.append([f"{name}, thesis", *(_printed(network, experiment, figure) for figure in _HEALTH)])
        for words, record in _measured(results, network, experiment):
            called = f"{title(results, network)}, {words}"
            if record is None or not done(record):
                lines.append([called, not_run(record), *[""] * (len(_HEALTH) - 1)])
                continue
            for health_map, map_name in MAPS.items():
                figures = [written(record, figure, health_map) for figure in _HEALTH]
                lines.append([f"{called}; {map_name}", *figures])
    for health_map, map_name in MAPS.items():
        for called, figures, _ in _baselines(results, _HEALTH, health_map):
            lines.append([f"{baselines.NAMES[called]}; {map_name}", *figures])
    return markdown(["", *_HEALTH.values()], lines)


def _baselines(
    results: Record, figures: Iterable[str], health_map: str = "thesis"
) -> Iterable[tuple[str, list[str], dict[str, int]]]:
    """Give each baseline's name and figures; none where the test images' classes are not known."""
    counts = baselines.class_counts(results, next(iter(NETWORKS)))
    for name in baselines.NAMES if counts else ():
        known = dict(counts or {})
        yield name, [percent(baselines.scores(known, name, each, health_map)) for each in figures], known


def _measured(results: Record, network: str, experiment: Experiment) -> Iterable[tuple[str, Record | None]]:
    """Ours as the thesis counts it, and where there is a defence, under the attacker who knows it."""
    attack, defence = experiment.attack, experiment.defence
    if defence == "none":
        yield "ours", cell(results, network, attack, defence)
        return
    yield "attacker with a copy", cell(results, network, attack, defence)
    knows = cell(results, network, attack, defence, attacker=KNOWS)
    images = f" ({knows['n']} images)" if done(knows) and knows is not None and knows.get("rows") else ""
    yield f"attacker who knows{images}", knows


def _printed(network: str, experiment: Experiment, figure: str) -> str:
    value = printed(network, experiment.attack, experiment.defence, figure)
    return NOTHING if value is None else f"{value:.1f}"


def written(record: Record | None, figure: str, health_map: str = "thesis") -> str:
    """Write a figure of a record with its interval, or why there is none."""
    if record is None or not done(record):
        return not_run(record)
    interval = spelled(record, figure, health_map)
    return NOTHING if interval is None else estimate(*interval)


def matrices_table(results: Record) -> str:
    """The health matrices of every experiment: how many of the ill and of the healthy are called what."""
    lines: list[Cells] = []
    for experiment in EXPERIMENTS:
        for network in NETWORKS:
            record = cell(results, network, experiment.attack, experiment.defence)
            name = [experiment.tables[1], title(results, network)]
            if record is None or not done(record):
                lines.append([*name, "", not_run(record), "", "", ""])
                continue
            for health_map, called in MAPS.items():
                matrix = (record["figures"]["health"][health_map] or {}).get("confusion")
                counts = [str(count) for row in matrix["matrix"] for count in row] if matrix else [NOTHING] * 4
                lines.append([*name, called, *counts])
    header = ["table", "network", "map", "ill, called ill", "ill, missed", "healthy, called ill", "healthy, called so"]
    return markdown(header, lines, 3)


def confusions(results: Record, network: str) -> list[tuple[str, list[list[int]] | None]]:
    """List the confusion matrix of every experiment of the thesis, counted as there; None where it was not run."""
    found = []
    for experiment in EXPERIMENTS:
        record = cell(results, network, experiment.attack, experiment.defence)
        attack = "no attack" if experiment.attack == "none" else experiment.attack.upper()
        words = attack if experiment.defence == "none" else f"{attack}, {DEFENCES[experiment.defence]}"
        found.append((words, confusion(record) if record is not None and done(record) else None))
    return found


def claims_table(results: Record) -> str:
    """Every sentence tried, by the thesis's tables and by ours, where patients are meant on both health maps."""
    lines = []
    for claim in claims.CLAIMS:
        by_map = {name: claims.spelled_out(claim.by_ours(results, name)) for name in MAPS}
        medical = by_map["medical"] if claim.of_health else "the same: no health map is in it"
        lines.append(
            [
                f"“{claim.sentence}” ({claim.place})",
                claim.rule,
                claims.spelled_out(claim.by(printed)),
                by_map["thesis"],
                medical,
            ]
        )
    header = ["the thesis says", "read as", "by its tables", "by ours, its map", f"by ours, {MAPS['medical']}"]
    return markdown(header, lines, 5)


def arithmetic_table() -> str:
    """Whether the thesis's health tables can be, given how many images it takes for cancerous."""
    lines: list[Cells] = []
    for experiment in EXPERIMENTS:
        for network, name in NETWORKS.items():
            line = experiment.figures[network]
            fit = implied(_CANCEROUS, line.health_accuracy / 100, line.health_sensitivity / 100, line.npv / 100)
            lines.append(
                [
                    experiment.tables[1],
                    name,
                    *(
                        f"{100 * part[0]:.1f} ({100 * part[1]:.1f} to {100 * part[2]:.1f})"
                        for part in (fit.by_accuracy, fit.by_npv)
                    ),
                    percent(fit.prevalence[0]),
                    "yes" if fit.possible else "**no**",
                ]
            )
    header = ["table", "network", "specificity by accuracy", "by NPV", "share that fits both", "can be"]
    return markdown(header, lines, 2)
