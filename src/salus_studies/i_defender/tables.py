"""Tables of the I-defender page for the black-box attack and the choice: the paper's numbers beside stored ones."""

from __future__ import annotations

from collections.abc import Mapping

from salus.metrics.wording import NOTHING, number, percent, present, rate
from salus_studies.frame.markdown import Record, done, find, listed, markdown, not_run
from salus_studies.i_defender.black_box import SETTINGS, SUBSTITUTE, TABLE_1, Setting
from salus_studies.i_defender.choice import BLENDS, LIKELIHOOD
from salus_studies.i_defender.layers import JOINT
from salus_studies.i_defender.published import ATTACK_NAMES, BLACK_BOX, EPSILONS, STRONGEST

#: The rules as readers are told of them.
RULE_NAMES = {LIKELIHOOD: "by likelihood", BLENDS: "by blends", JOINT: "all layers jointly"}

#: An area agrees with the paper's where it is no further from it.
AGREES = 0.01


def fraction(record: Record | None, name: str = "auc") -> str:
    """Print an area as a fraction with its 95% interval, as Tables 2 to 5 have it."""
    if record is None:
        return NOTHING
    value, low, high = (record.get(f"{name}{end}") for end in ("", "_low", "_high"))
    ends = f" ({low:.3f}–{high:.3f})" if present(value) and present(low) and present(high) else ""
    return number(value, ".3f") + ends


def attack_title(record: Record) -> str:
    """Name a black-box attack and its size."""
    name = str(record["attack"])
    kind = "fgsm" if name.startswith("fgsm") else name
    size = "smallest change" if record.get("eps") is None else f"eps {record['eps']:g}"
    return f"{ATTACK_NAMES[kind]}, {size}"


def black_box(results: Record, data: str, attack: str, setting: Setting = TABLE_1) -> Record | None:
    """Find what model F and its I-defenders made of an attack."""
    return find(results.get("black_box"), data=data, attack=attack, setting=setting.key)


def chosen(record: Record | None, rule: str = LIKELIHOOD) -> Record | None:
    """Return the areas under an attack of the I-defender that a rule chooses."""
    if record is None or not done(record):
        return None
    return find(record["detectors"], key=record["chosen"][rule])


def form(one: Record) -> str:
    """Say what an I-defender models, and how."""
    return f"{one['title']}; {one['components']}, {one['covariance']}"


def distances(results: Record, data: str, setting: Setting, rule: str) -> Mapping[float, float] | None:
    """Tell how far a reading's areas lie above the paper's, by eps; None where one is missing."""
    apart = {}
    for line in BLACK_BOX[data].strengths:
        own = chosen(black_box(results, data, f"fgsm-{line.eps:g}", setting), rule)
        if own is None or not present(own["auc"]):
            return None
        apart[line.eps] = own["auc"] - line.i_defender
    return apart


def rival_row(
    results: Record, data: str, restarts: int, iterations: int, eps: float, setting: Setting = TABLE_1
) -> Record | None:
    """Find what Defense-GAN made of a line."""
    rows = results.get("defense_gan")
    return find(rows, data=data, restarts=restarts, iterations=iterations, eps=eps, setting=setting.key)


def _other(results: Record, data: str, restarts: int, iterations: int, eps: float) -> str:
    """Say what it made of the substitute's attack, where that is run."""
    row = rival_row(results, data, restarts, iterations, eps, SUBSTITUTE)
    return NOTHING if row is None else fraction(row) if done(row) else not_run(row)


def _rival_cells(row: Record | None) -> list[str]:
    if row is None or not done(row):
        return [not_run(row), NOTHING, NOTHING]
    return [fraction(row), fraction(row, "auc_fooled"), f"{row['n']:,}"]


def descents_table(results: Record, data: str) -> str:
    """Table 2 or 4: detection AUC at eps 0.3, Defense-GAN with different restarts and iterations."""
    paper = BLACK_BOX[data]
    record = black_box(results, data, f"fgsm-{STRONGEST:g}")
    other = black_box(results, data, f"fgsm-{STRONGEST:g}", SUBSTITUTE)
    rows = []
    for rule, words in RULE_NAMES.items():
        own, beside = chosen(record, rule), chosen(other, rule)
        cells = [not_run(record), NOTHING, NOTHING]
        if record is not None and own is not None:
            cells = [fraction(own), fraction(own, "auc_fooled"), f"{record['n']:,}"]
        theirs = f"{paper.i_defender:g}"
        rows.append([f"I-defender, {words}", theirs, cells[0], fraction(beside), *cells[1:], "N/A", "N/A"])
    images = next((row["n"] for row in results.get("defense_gan") or () if row["data"] == data and done(row)), None)
    if record is not None and done(record) and images is not None:
        few = record["first"][LIKELIHOOD]
        cells = [fraction(few), NOTHING, fraction(few, "auc_fooled"), f"{images:,}"]
        rows.append(["I-defender, by likelihood, on Defense-GAN's images", NOTHING, *cells, "N/A", "N/A"])
    for line in paper.descents:
        place = (line.restarts, line.iterations, STRONGEST)
        row = rival_row(results, data, *place)
        first, *cells = _rival_cells(row)
        setting = [str(line.restarts), _iterations(row, line.iterations)]
        rows.append(["Defense-GAN", f"{line.auc:g}", first, _other(results, data, *place), *cells, *setting])
    header = [
        "method",
        "paper: AUC",
        "**ours: AUC** (95%)",
        "ours, E a substitute",
        "ours, fooled images alone",
        "images",
        "GD runs",
        "iterations in each",
    ]
    return markdown(header, rows)


def _iterations(row: Record | None, published: int) -> str:
    steps = published if row is None else row.get("steps", published)
    return str(published) if steps == published else f"{published} (ours {steps})"


def strengths_table(results: Record, data: str) -> str:
    """Table 3 or 5: detection AUC at each eps."""
    paper = BLACK_BOX[data]
    rows = []
    for line in paper.strengths:
        record = black_box(results, data, f"fgsm-{line.eps:g}")
        own, rival = chosen(record), rival_row(results, data, *paper.setting, line.eps)
        cells = [f"{line.eps:g}", f"{line.defense_gan:g}", *_rival_cells(rival)[:2]]
        cells += [_other(results, data, *paper.setting, line.eps), f"{line.i_defender:g}"]
        if record is None or own is None:
            cells += [not_run(record), NOTHING, NOTHING, NOTHING]
        else:
            cells += [
                fraction(own),
                fraction(own, "auc_fooled"),
                f"{record['fooled']:,} of {record['n']:,}",
                percent(record["adversarial_accuracy"]),
            ]
        rows.append(cells)
    return markdown(
        [
            "eps",
            "Defense-GAN: paper",
            "**Defense-GAN: ours** (95%)",
            "fooled images alone",
            "ours, E a substitute",
            "I-defender: paper",
            "**I-defender: ours, by likelihood** (95%)",
            "fooled images alone",
            "fooled",
            "model F's accuracy, %",
        ],
        rows,
    )


def readings_table(results: Record, data: str) -> str:
    """I-defender's AUC by every rule and with all networks, and how far each lies from the paper."""
    paper = BLACK_BOX[data]
    rows = [["paper", NOTHING, NOTHING, *(f"{line.i_defender:g}" for line in paper.strengths), NOTHING]]
    for setting in SETTINGS:
        for rule, words in RULE_NAMES.items():
            records = [black_box(results, data, f"fgsm-{line.eps:g}", setting) for line in paper.strengths]
            shown = [chosen(record, rule) for record in records]
            known = next((one for one in shown if one is not None), None)
            if known is None:
                rows.append([setting.title, words, not_run(records[0]), *[NOTHING] * (len(shown) + 1)])
                continue
            apart = distances(results, data, setting, rule)
            farthest = NOTHING if apart is None else f"{max(apart.values(), key=abs):+.3f}"
            areas = [fraction(one) for one in shown]
            rows.append([setting.title, words, form(known), *areas, _bold(farthest, agrees(apart))])
    header = ["networks", "rule", "I-defender", *(f"eps {line.eps:g}" for line in paper.strengths), "farthest off"]
    return markdown(header, rows, left=3)


def agrees(apart: Mapping[float, float] | None) -> bool:
    """Whether a reading's areas lie within 0.01 of the paper's at every eps."""
    return apart is not None and all(abs(value) <= AGREES for value in apart.values())


def attacks_table(results: Record, data: str) -> str:
    """What Figures 2 to 5 show, in numbers."""
    rows = []
    for record in results.get("black_box") or ():
        if (record["data"], record["setting"]) != (data, TABLE_1.key):
            continue
        own = chosen(record)
        if own is None:
            rows.append([attack_title(record), not_run(record), NOTHING, NOTHING, NOTHING])
            continue
        rows.append(
            [
                attack_title(record),
                rate(record, "adversarial_accuracy"),
                f"{record['fooled']:,} of {record['n']:,}",
                fraction(own),
                fraction(own, "auc_fooled"),
            ]
        )
    header = [
        "attack on model E",
        "model F's accuracy, % (95%)",
        "fooled",
        "AUC, all images (95%)",
        "AUC, fooled images alone",
    ]
    return markdown(header, rows or [["all", not_run(None), *[NOTHING] * 3]])


def layers_table(results: Record, data: str, setting: Setting = TABLE_1) -> str:
    """What each layer would have given, at each eps; over all images / over fooled images."""
    records = [black_box(results, data, f"fgsm-{eps:g}", setting) for eps in EPSILONS]
    first = next((one for one in records if one is not None and done(one)), None)
    header = [
        "layer of model F",
        "setting",
        "Gaussians a class",
        "covariance",
        "components",
        *(f"eps {eps:g}" for eps in EPSILONS),
    ]
    if first is None:
        return markdown(header, [["all", not_run(records[0]), *[NOTHING] * 8]], left=2)
    rows = []
    for one in first["detectors"]:
        cells = []
        for record in records:
            own = find(record["detectors"], key=one["key"]) if record is not None and done(record) else None
            areas = [number(own.get(name) if own else None, ".3f") for name in ("auc", "auc_fooled")]
            cells.append(" / ".join(areas) if own is not None else not_run(record))
        rows.append([one["title"], setting_of(one, first["chosen"]), *shape_of(one), *cells])
    return markdown(header, rows, left=2)


def setting_of(one: Record, picked: Mapping[str, str]) -> str:
    """Say by what rule an I-defender of a table of layers has its mixture, and whether it is what a rule chooses."""
    rules = [rule for rule, key in picked.items() if key == one["key"]]
    return f"**{one['how']}, chosen**" if rules else str(one["how"])


def shape_of(one: Record) -> list[str]:
    """Give an I-defender's Gaussians, their covariance and the components that it models."""
    return [str(one[name]) for name in ("components", "covariance", "kept")]


def choice_table(results: Record, data: str, network: str) -> str:
    """What was compared in the choice: mean log-likelihoods of clean validation images / AUC against blends."""
    records = [row for row in results.get("choices") or () if row["data"] == data and row["network"] == network]
    ready = [row for row in records if done(row)]
    columns = [_candidate(one) for one in ready[0]["candidates"]] if ready else []
    header = ["layer", "values", "principal components", *columns, "best likelihood, per component", "chosen"]
    rows = []
    for row in records:
        if not done(row):
            rows.append([row["title"], not_run(row), *[NOTHING] * (len(header) - 2)])
            continue
        best, by_blends = _candidate(row["best"]), _candidate(row["best_by_blends"])
        cells = [
            " / ".join(
                (
                    _bold(number(one["likelihood"], ".2f"), _candidate(one) == best),
                    _bold(number(one["blends"], ".3f"), _candidate(one) == by_blends),
                )
            )
            for one in row["candidates"]
        ]
        figures = [str(row["width"]), str(row["dimensions"]), *cells, number(row["per_component"], ".3f")]
        picked = [RULE_NAMES[rule] for rule in row.get("chosen") or ()]
        rows.append([row["title"], *figures, f"**{listed(picked)}**" if picked else ""])
    return markdown(header, rows or [["all", not_run(None), *[NOTHING] * (len(header) - 2)]])


def _candidate(one: Record) -> str:
    return f"{one['components']} {one['covariance']}"


def _bold(text: str, really: bool) -> str:
    return f"**{text}**" if really else text


def speed_table(results: Record) -> str:
    """Seconds for an image, by both detectors."""
    rows = []
    for row in results.get("speed") or ():
        title = BLACK_BOX[row["data"]].title
        setting = f"{row['restarts']} × {row.get('steps', row['iterations'])}"
        if not done(row):
            rows.append([title, setting, not_run(row), NOTHING, NOTHING, NOTHING])
            continue
        times = [_time(row[name]) for name in ("classifier", "i_defender", "defense_gan")]
        rows.append([title, setting, *times, f"{row['ratio']:,.0f}"])
    header = ["data", "GD runs × iterations", "model F alone", "model F and I-defender", "Defense-GAN", "ratio"]
    return markdown(header, rows or [["all", NOTHING, not_run(None), *[NOTHING] * 3]], left=2)


def _time(seconds: float) -> str:
    return (
        f"{1e6 * seconds:,.0f} µs"
        if seconds < 1e-3
        else f"{1e3 * seconds:,.1f} ms"
        if seconds < 1
        else (f"{seconds:,.1f} s")
    )
