"""Tables of the I-defender page for the black-box attack and the choice: the paper's numbers beside stored ones."""

from __future__ import annotations

from salus.metrics.wording import NOTHING, number, percent, present, rate
from salus_studies.frame.markdown import Record, done, find, markdown, not_run
from salus_studies.i_defender.published import ATTACK_NAMES, BLACK_BOX, EPSILONS, STRONGEST


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


def black_box(results: Record, data: str, attack: str) -> Record | None:
    """Find what model F and its I-defenders made of an attack."""
    return find(results.get("black_box"), data=data, attack=attack)


def chosen(record: Record | None) -> Record | None:
    """Return the chosen I-defender's areas under an attack."""
    if record is None or not done(record):
        return None
    return find(record["detectors"], key=record["chosen"])


def _rival(results: Record, data: str, restarts: int, iterations: int, eps: float) -> Record | None:
    rows = results.get("defense_gan")
    return find(rows, data=data, restarts=restarts, iterations=iterations, eps=eps)


def _rival_cells(row: Record | None) -> list[str]:
    if row is None or not done(row):
        return [not_run(row), NOTHING, NOTHING]
    return [fraction(row), fraction(row, "auc_fooled"), f"{row['n']:,}"]


def descents_table(results: Record, data: str) -> str:
    """Table 2 or 4: detection AUC at eps 0.3, Defense-GAN with different restarts and iterations."""
    paper = BLACK_BOX[data]
    record = black_box(results, data, f"fgsm-{STRONGEST:g}")
    own = chosen(record)
    rows = [["I-defender", f"{paper.i_defender:g}", not_run(record), NOTHING, NOTHING, "N/A", "N/A"]]
    if record is not None and own is not None:
        rows[0][2:5] = [fraction(own), fraction(own, "auc_fooled"), f"{record['n']:,}"]
        few = [fraction(record["first"]), fraction(record["first"], "auc_fooled")]
        images = next((row["n"] for row in results.get("defense_gan") or () if row["data"] == data and done(row)), None)
        if images is not None:
            rows.append(["I-defender, on Defense-GAN's images", NOTHING, *few, f"{images:,}", "N/A", "N/A"])
    for line in paper.descents:
        row = _rival(results, data, line.restarts, line.iterations, STRONGEST)
        setting = [str(line.restarts), _iterations(row, line.iterations)]
        rows.append(["Defense-GAN", f"{line.auc:g}", *_rival_cells(row), *setting])
    header = [
        "method",
        "paper: AUC",
        "**ours: AUC** (95%)",
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
        own, rival = chosen(record), _rival(results, data, *paper.setting, line.eps)
        cells = [f"{line.eps:g}", f"{line.defense_gan:g}", *_rival_cells(rival)[:2], f"{line.i_defender:g}"]
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
            "I-defender: paper",
            "**I-defender: ours** (95%)",
            "fooled images alone",
            "fooled",
            "model F's accuracy, %",
        ],
        rows,
    )


def attacks_table(results: Record, data: str) -> str:
    """What Figures 2 to 5 show, in numbers."""
    rows = []
    for record in results.get("black_box") or ():
        if record["data"] != data:
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


def layers_table(results: Record, data: str) -> str:
    """What each layer would have given, at each eps; over all images / over fooled images."""
    records = [black_box(results, data, f"fgsm-{eps:g}") for eps in EPSILONS]
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
        mark = "**" if one["key"] == first["chosen"] else ""
        setting = f"{mark}{one['how']}{', chosen' if mark else ''}{mark}"
        form = [str(one[name]) for name in ("components", "covariance", "kept")]
        rows.append([one["title"], setting, *form, *cells])
    return markdown(header, rows, left=2)


def choice_table(results: Record, data: str) -> str:
    """What was compared in the choice: mean log-likelihoods of clean validation images."""
    records = [row for row in results.get("choices") or () if row["data"] == data]
    ready = [row for row in records if done(row)]
    columns = [_candidate(one) for one in ready[0]["candidates"]] if ready else []
    header = ["layer", "values", "principal components", *columns, "best, per component", ""]
    rows = []
    for row in records:
        if not done(row):
            rows.append([row["title"], not_run(row), *[NOTHING] * (len(header) - 2)])
            continue
        best = _candidate(row["best"])
        cells = [_bold(number(one["likelihood"], ".2f"), _candidate(one) == best) for one in row["candidates"]]
        figures = [str(row["width"]), str(row["dimensions"]), *cells, number(row["per_component"], ".3f")]
        rows.append([row["title"], *figures, "**chosen**" if row.get("chosen") else ""])
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
