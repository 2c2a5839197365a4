"""The tables of the skin-lesion page, as Markdown: what the thesis prints beside what stored results hold."""

from __future__ import annotations

from collections.abc import Iterable

from salus.metrics import implied
from salus.metrics.wording import NOTHING, estimate, number, percent, rate
from salus_studies.frame.markdown import Cells, Record, done, markdown, not_run
from salus_studies.skin_lesion import claims
from salus_studies.skin_lesion.cells import COPY, KNOWS
from salus_studies.skin_lesion.measured import Lookup, cell, ours, printed, spelled
from salus_studies.skin_lesion.published import ATTACKS, EXPERIMENTS, NETWORKS, Experiment

_PERFORMANCE = {"accuracy": "accuracy", "recall": "recall", "specificity": "specificity", "fooling": "1 − accuracy"}
_HEALTH = {"health_accuracy": "accuracy", "health_sensitivity": "sensitivity", "npv": "NPV", "fnr": "FNR"}

#: What the thesis takes for cancerous, of all test images: 12.5% of each class, rounded up.
_CANCEROUS = 1085 / 1256

_ATTACK_TITLES = {**ATTACKS, "pgd": "PGD-40", "pgd-4": "PGD-40 at 4/255", "auto-attack": "AutoAttack"}
_MODEL_TITLES = {
    "plain": "plain",
    "retrained-fgsm": "retrained on FGSM",
    "retrained-uap": "retrained on UAP",
    "hardened": "hardened",
}
_PURIFIER_TITLES = {None: "none", "low-level": "WebP + flip", "webp": "WebP alone", "flip": "flip alone"}


def performance_table(results: Record, experiment: Experiment) -> str:
    """The first table of an experiment: the seven classes."""
    lines: list[Cells] = []
    for network, title in NETWORKS.items():
        lines.append([f"{title}, thesis", *(_printed(network, experiment, name) for name in _PERFORMANCE), NOTHING])
        for words, record in _measured(results, network, experiment):
            if record is None or not done(record):
                lines.append([f"{title}, {words}", not_run(record), *[""] * len(_PERFORMANCE)])
                continue
            figures = [_spelled(record, name) for name in _PERFORMANCE]
            lines.append([f"{title}, {words}", *figures, _spelled(record, "fooling_rate")])
    return markdown(["", *_PERFORMANCE.values(), "answers changed"], lines)


def health_table(results: Record, experiment: Experiment) -> str:
    """The second table of an experiment: cancerous or not, by both maps."""
    lines: list[Cells] = []
    for network, title in NETWORKS.items():
        lines.append([f"{title}, thesis", *(_printed(network, experiment, name) for name in _HEALTH)])
        for words, record in _measured(results, network, experiment):
            if record is None or not done(record):
                lines.append([f"{title}, {words}", not_run(record), *[""] * (len(_HEALTH) - 1)])
                continue
            for health_map, called in (("thesis", "the thesis's map"), ("medical", "MEL, BCC, AKIEC")):
                figures = [_spelled(record, name, health_map) for name in _HEALTH]
                lines.append([f"{title}, {words}; {called}", *figures])
    return markdown(["", *_HEALTH.values()], lines)


def _measured(results: Record, network: str, experiment: Experiment) -> Iterable[tuple[str, Record | None]]:
    """Ours as the thesis counts it, and where there is a defence, under the attacker who knows it."""
    attack, defence = experiment.attack, experiment.defence
    if defence == "none":
        yield "ours", cell(results, network, attack, defence)
        return
    yield "ours, attacker with a copy", cell(results, network, attack, defence)
    yield "ours, attacker who knows", cell(results, network, attack, defence, attacker=KNOWS)


def _printed(network: str, experiment: Experiment, figure: str) -> str:
    value = printed(network, experiment.attack, experiment.defence, figure)
    return NOTHING if value is None else f"{value:.1f}"


def _spelled(record: Record, figure: str, health_map: str = "thesis") -> str:
    interval = spelled(record, figure, health_map)
    return NOTHING if interval is None else estimate(*interval)


def strong_table(results: Record) -> str:
    """Accuracy and missed disease under stronger attacks that know all of what they attack."""
    lines: list[Cells] = []
    for network, title in NETWORKS.items():
        for record in results.get("cells") or ():
            known = record.get("attacker") == KNOWS or record["attack"] == "none"
            if record["network"] != network or not known or record.get("purifier") in ("webp", "flip"):
                continue
            name = [
                title,
                _MODEL_TITLES[record["model"]],
                _PURIFIER_TITLES[record.get("purifier")],
                _ATTACK_TITLES[record["attack"]],
            ]
            if not done(record):
                lines.append([*name, not_run(record), "", "", ""])
                continue
            lines.append(
                [
                    *name,
                    str(record["n"]),
                    _spelled(record, "accuracy"),
                    _spelled(record, "recall"),
                    _spelled(record, "fnr", "medical"),
                ]
            )
    order = {name: place for place, name in enumerate(_MODEL_TITLES.values())}
    lines.sort(key=lambda line: (list(NETWORKS.values()).index(line[0]), order[line[1]], line[2] != "none"))
    return markdown(
        ["network", "model", "purifier", "attack", "images", "accuracy", "recall", "FNR, medical"], lines, 4
    )


def purifier_table(results: Record) -> str:
    """WebP and flip, each alone and together, clean and attacked."""
    lines: list[Cells] = []
    for network, title in NETWORKS.items():
        for purifier, called in _PURIFIER_TITLES.items():
            defence = purifier or "none"
            cells = [_accuracy(cell(results, network, "none", defence))]
            for attack in ("fgsm", "uap"):
                if purifier is None:
                    same = _accuracy(cell(results, network, attack, "none"))
                    cells += [same, same]
                    continue
                cells += [_accuracy(cell(results, network, attack, defence, attacker=who)) for who in (COPY, KNOWS)]
            lines.append([title, called, *cells])
    header = ["network", "purifier", "clean", "FGSM, unaware", "FGSM, knows", "UAP, unaware", "UAP, knows"]
    return markdown(header, lines, 2)


def _accuracy(record: Record | None) -> str:
    return _spelled(record, "accuracy") if record is not None and done(record) else not_run(record)


def sweep_table(results: Record) -> str:
    """Universal perturbations of growing eps, on validation images."""
    lines: list[Cells] = []
    for record in results.get("sweep") or ():
        title = NETWORKS[record["network"]]
        eps = f"{255 * record['eps']:g}/255"
        if not done(record):
            lines.append([title, eps, not_run(record), "", ""])
            continue
        lines.append(
            [
                title,
                eps,
                percent(record["fooling_rate"]),
                percent(record["error_rate"]),
                "chosen" if record.get("chosen") else "",
            ]
        )
    return markdown(["network", "eps", "answers changed", "1 − accuracy", ""], lines, 2)


def poisoning_table(results: Record) -> str:
    """Figures on clean test images against the share of NV labelled BKL."""
    lines: list[Cells] = []
    for network, title in NETWORKS.items():
        start = cell(results, network, "none", "none")
        rows = [("0%", "as labelled", start)] if start is not None else []
        for record in results.get("poisoning") or ():
            if record["network"] == network:
                rows.append((f"{record['share']:.0%}", record["model"], record))
        for share, model, record in rows:
            if not done(record):
                lines.append([title, share, model, not_run(record), "", "", "", "", ""])
                continue
            finds = ["", ""]
            if model == "cleaned" and record.get("flagged") is not None:
                finds = [rate(record, "recall"), rate(record, "precision")]
            lines.append(
                [
                    title,
                    share,
                    model,
                    *(_spelled(record, name) for name in ("accuracy", "recall", "specificity", "fnr")),
                    *finds,
                ]
            )
    header = [
        "network",
        "share",
        "labels",
        "accuracy",
        "recall",
        "specificity",
        "FNR, thesis's map",
        "flips found",
        "finds that are flips",
    ]
    return markdown(header, lines, 3)


def thresholds_table(results: Record) -> str:
    """The plain and the hardened model asked for malignant or not."""
    lines: list[Cells] = []
    for record in results.get("thresholds") or ():
        if not done(record):
            lines.append([record["model"], not_run(record), *[""] * 6])
            continue
        lines += [
            [
                record["model"],
                percent(row["allowed"], 0),
                number(row["threshold"]),
                rate(row, "fnr"),
                rate(row, "fnr_attacked"),
                _times(row["fnr_attacked"], row["fnr"]),
                rate(row, "specificity"),
                rate(row, "specificity_attacked"),
            ]
            for row in record["rows"]
        ]
    header = [
        "model",
        "chosen to miss",
        "threshold",
        "FNR clean",
        "FNR attacked",
        "times",
        "specificity clean",
        "attacked",
    ]
    return markdown(header, lines)


def _times(after: float | None, before: float | None) -> str:
    return NOTHING if not after or not before else f"{after / before:.2f}"


def claims_table(results: Record) -> str:
    """Every sentence tried, by the thesis's tables and by ours."""
    measured: Lookup = ours(results)
    lines = [
        [
            f"“{claim.sentence}” ({claim.place})",
            claim.rule,
            claims.verdict(claim.test(printed)),
            claims.verdict(claim.test(measured)),
        ]
        for claim in claims.CLAIMS
    ]
    return markdown(["the thesis says", "read as", "by its tables", "by ours"], lines, 4)


def arithmetic_table() -> str:
    """Whether the thesis's health tables can be, given how many images it takes for cancerous."""
    lines: list[Cells] = []
    for experiment in EXPERIMENTS:
        for network, title in NETWORKS.items():
            line = experiment.figures[network]
            fit = implied(_CANCEROUS, line.health_accuracy / 100, line.health_sensitivity / 100, line.npv / 100)
            lines.append(
                [
                    experiment.tables[1],
                    title,
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
