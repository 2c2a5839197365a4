"""Table 1 as published, and the beats it is of: the papers' numbers beside those of stored results."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise

from salus.metrics.wording import NOTHING, estimate, number, percent, rate, signed
from salus_studies.ecg_atk_gan.naming import COLUMNS, NAMES, PRESETS, column_name, marked_name, place
from salus_studies.ecg_atk_gan.published import (
    ARCHITECTURES,
    CLASSES,
    FOUR,
    SIX,
    ClassesRow,
    PaperName,
    classification,
)
from salus_studies.frame.markdown import Record, done, find, markdown, not_run


def cell_of(results: Record, split: str, column: str, architecture: str, paper: PaperName = SIX) -> Record | None:
    """The cell of Table 1 that stands beside a paper's: of the proposed model that of the paper's preset."""
    preset = {"preset": paper} if architecture == "proposed" else {}
    return find(
        results.get("cells"),
        protocol="as-published",
        split=split,
        architecture=architecture,
        attack=column,
        **preset,
    )


def printed_row(paper: PaperName, column: str, architecture: str) -> ClassesRow | None:
    """The paper's row of a column; None where it has none."""
    return classification(paper, COLUMNS[column], architecture)


def accuracy_table(results: Record, split: str) -> str:
    """Table 1 of both papers, accuracy as they count it, each beside ours of its preset."""
    rows = []
    for column in COLUMNS:
        for architecture in ARCHITECTURES:
            line = [column_name(column), marked_name(architecture)]
            for paper in (FOUR, SIX):
                row, cell = (
                    printed_row(paper, column, architecture),
                    cell_of(results, split, column, architecture, paper),
                )
                if row is None:
                    line += [NOTHING] * 3
                elif cell is None or not done(cell):
                    line += [f"{row.accuracy:.1f}", "not run", NOTHING]
                else:
                    ours = cell["paper_accuracy"]
                    line += [f"{row.accuracy:.1f}", percent(ours), signed(100 * ours - row.accuracy)]
            rows.append(line)
    header = ["attack", "architecture"]
    for title, preset in (("four attacks", "four-attack preset"), ("six attacks", "six-attack preset")):
        header += [title, f"**ours, {preset}**", f"ours − {title}"]
    return markdown(header, rows, left=2)


def right_table(results: Record, split: str) -> str:
    """Right answers: those that the papers' printed accuracies stand for, and ours."""
    rows = []
    for column in COLUMNS:
        for architecture in ARCHITECTURES:
            line = [column_name(column), marked_name(architecture)]
            for paper in (FOUR, SIX):
                row, cell = (
                    printed_row(paper, column, architecture),
                    cell_of(results, split, column, architecture, paper),
                )
                if row is None:
                    line += [NOTHING] * 3
                elif cell is None or not done(cell):
                    line += [f"{row.true_accuracy:.1f}", "not run", NOTHING]
                else:
                    line += [f"{row.true_accuracy:.1f}", rate(cell, "accuracy"), percent(cell.get("macro_f1"))]
            rows.append(line)
    header = ["attack", "architecture"]
    for title, preset in (("four attacks", "four-attack preset"), ("six attacks", "six-attack preset")):
        header += [title, f"**ours, {preset}** (95%)", "ours: macro-F1"]
    return markdown(header, rows, left=2)


def per_class_table(results: Record, split: str, figure: str) -> str:
    """Published beside ours for each class; ``figure`` is ``sensitivity``, ``specificity`` or ``auc``.

    The proposed model under the four-attack paper's settings has lines of its own.
    """

    def ours(cell: Record, name: str) -> str:
        if figure == "auc":
            return percent((cell.get("paper_auc") or {}).get(name))
        of_class: Record = next((row for row in cell.get("per_class") or () if row["class"] == name), {})
        return rate(of_class, figure)

    rows = []
    for column, architecture, papers in lines_of_table_1():
        cell = cell_of(results, split, column, architecture, papers[-1])
        line = [f"{column_name(column)}, {marked_name(architecture)}{own_preset(architecture, papers)}"]
        for index, name in enumerate(CLASSES):
            printed = [
                f"{getattr(row, figure)[name]:.1f}"
                for paper in papers
                if (row := printed_row(paper, column, architecture)) is not None and getattr(row, figure)
            ]
            line.append(" / ".join(dict.fromkeys(printed)) or NOTHING)
            if cell is not None and done(cell):
                line.append(ours(cell, name))
            else:
                line.append(NOTHING if index else "not run")
        rows.append(line)
    header = [title for name in CLASSES for title in (f"{name}: papers", f"**{name}: ours**")]
    return markdown(["attack, architecture", *header], rows)


def lines_of_table_1() -> Iterator[tuple[str, str, tuple[PaperName, ...]]]:
    """Go through Table 1 in the papers' order: column, architecture, and the papers that a line stands for."""
    for column in COLUMNS:
        for architecture in ARCHITECTURES:
            papers = [paper for paper in (FOUR, SIX) if printed_row(paper, column, architecture) is not None]
            if architecture == "proposed":
                yield from ((column, architecture, (paper,)) for paper in papers)
            else:
                yield column, architecture, tuple(papers)


def own_preset(architecture: str, papers: Sequence[PaperName]) -> str:
    """Name the preset of a line, where the architecture is trained under two."""
    return f", {PRESETS[papers[-1]]}" if architecture == "proposed" else ""


def score_auc_table(results: Record, split: str) -> str:
    """Our area under the ROC curve of each class's probability, with intervals."""
    rows = []
    for column, architecture, papers in lines_of_table_1():
        cell = cell_of(results, split, column, architecture, papers[-1])
        if cell is None or not done(cell):
            areas = ["not run", *[NOTHING] * (len(CLASSES) - 1)]
        else:
            stored = cell.get("score_auc") or {}
            areas = [estimate(*(stored.get(name) or (None, None, None))) for name in CLASSES]
        rows.append([column_name(column), marked_name(architecture) + own_preset(architecture, papers), *areas])
    return markdown(["attack", "architecture", *CLASSES], rows, left=2)


def ranking(accuracies: Mapping[str, float], apart: Callable[[str, str], bool] | None = None) -> str:
    """Order architectures by accuracy: ``=`` between equals, ``≈`` where ``apart`` says that they are not apart."""
    short = {key: name.removesuffix(" et al.") for key, name in NAMES.items()}
    order = sorted(accuracies, key=lambda name: -accuracies[name])
    text = short[order[0]] if order else NOTHING
    for before, after in pairwise(order):
        close = apart is not None and not apart(before, after)
        sign = "=" if accuracies[before] == accuracies[after] else "≈" if close else ">"
        text += f" {sign} {short[after]}"
    return text


def order_table(results: Record, split: str) -> str:
    """The order of architectures in each column, published and ours, with each paper's preset of the proposed model."""
    rows = []
    for column in COLUMNS:
        line = [column_name(column)]
        for paper in (FOUR, SIX):
            printed = {key: row.accuracy for key in ARCHITECTURES if (row := printed_row(paper, column, key))}
            cells = {
                key: cell
                for key in ARCHITECTURES
                if (cell := cell_of(results, split, column, key, paper)) is not None and done(cell)
            }
            line.append(ranking(printed))
            line += _order(printed, cells) if printed else [NOTHING, NOTHING]
        rows.append(line)
    header = ["attack"]
    for title, preset in (("four attacks", "four-attack preset"), ("six attacks", "six-attack preset")):
        header += [title, f"**ours, {preset}**", f"pairs in the order of {title}"]
    return markdown(header, rows, 1)


def _order(printed: Mapping[str, float], cells: Mapping[str, Record]) -> list[str]:
    """Our order, and how many pairs of those that the paper orders stand in its order."""

    def apart(one: str, other: str) -> bool:
        low, high = cells[one].get("accuracy_low"), cells[other].get("accuracy_high")
        return low is not None and high is not None and low > high

    ours = {key: cell["paper_accuracy"] for key, cell in cells.items()}
    pairs = [(a, b) for a in ours for b in ours if printed[a] > printed[b]]
    kept = sum(ours[a] > ours[b] for a, b in pairs)
    return [
        ranking(ours, apart) if ours else "not run: no architecture of this column",
        f"{kept} of {len(pairs)}" if pairs else NOTHING,
    ]


def attack_data_table(results: Record, split: str) -> str:
    """What the released way of attacking does to the beats."""
    rows = []
    stored = [row for row in results.get("attack_data") or () if row.get("split") == split]
    for row in sorted(stored, key=lambda row: place(COLUMNS, row["attack"])):
        whose = [column_name(row["attack"]), row["part"]]
        if not done(row):
            rows.append([*whose, not_run(row), *[NOTHING] * 5])
            continue
        distances = [number(row.get(name)) for name in ("linf_mean", "linf_max", "l2_mean")]
        kept, same = percent(row.get("unchanged")), percent(row.get("label_kept"))
        rows.append([*whose, f"{row['n']:,}", kept, same, *distances])
    return markdown(
        ["attack", "part", "beats", "unchanged", "answer kept", "mean L∞", "largest L∞", "mean L2"],
        rows or [["all", "all", not_run(None), *[NOTHING] * 5]],
        left=2,
    )


def changed_table(results: Record, split: str) -> str:
    """Right answers on beats that the attack changed and on those that it left as they were."""
    rows = []
    for column, architecture, papers in lines_of_table_1():
        if column == "none":
            continue
        cell = cell_of(results, split, column, architecture, papers[-1])
        if cell is None or not done(cell):
            figures = ["not run", NOTHING, NOTHING]
        else:
            names = ("unchanged", "accuracy_on_changed", "accuracy_on_unchanged")
            figures = [percent(cell.get(name)) for name in names]
        rows.append([column_name(column), marked_name(architecture) + own_preset(architecture, papers), *figures])
    header = ["attack", "architecture", "unchanged", "right on changed beats", "right on unchanged beats"]
    return markdown(header, rows, 2)
