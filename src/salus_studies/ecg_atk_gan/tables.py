"""Table 1 as published, and the beats it is of: the papers' numbers beside those of stored results."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise

from salus.metrics.wording import NOTHING, estimate, number, percent, rate, signed
from salus_studies.ecg_atk_gan.naming import COLUMNS, NAMES, column_name, network_name, place
from salus_studies.ecg_atk_gan.published import ARCHITECTURES, CLASSES, FOUR, SIX, classification, six_row
from salus_studies.frame.markdown import Record, done, find, markdown, not_run


def accuracy_table(results: Record, split: str) -> str:
    """Table 1 of both papers: accuracy as they count it, and right answers."""
    rows = []
    for column, attack in COLUMNS.items():
        for architecture in ARCHITECTURES:
            cell = find(
                results.get("cells"), protocol="as-published", split=split, architecture=architecture, attack=column
            )
            four, six = classification(FOUR, attack, architecture), six_row(attack, architecture)
            papers = [NOTHING if four is None else f"{four.accuracy:.1f}", f"{six.accuracy:.1f}"]
            if cell is None or not done(cell):
                ours = [not_run(cell), NOTHING, f"{six.true_accuracy:.1f}", NOTHING, NOTHING]
            else:
                difference = signed(100 * cell["paper_accuracy"] - six.accuracy)
                ours = [
                    percent(cell["paper_accuracy"]),
                    difference,
                    f"{six.true_accuracy:.1f}",
                    rate(cell, "accuracy"),
                    percent(cell.get("macro_f1")),
                ]
            rows.append([column_name(column), NAMES[architecture], *papers, *ours])
    return markdown(
        [
            "attack",
            "architecture",
            "four attacks",
            "six attacks",
            "**ours, as they count**",
            "ours − six attacks",
            "six attacks: right answers",
            "**ours: right answers** (95%)",
            "ours: macro-F1",
        ],
        rows,
        left=2,
    )


def per_class_table(results: Record, split: str, figure: str) -> str:
    """Published beside ours for each class; ``figure`` is ``sensitivity``, ``specificity`` or ``auc``."""

    def ours(cell: Record, name: str) -> str:
        if figure == "auc":
            return percent((cell.get("paper_auc") or {}).get(name))
        of_class: Record = next((row for row in cell.get("per_class") or () if row["class"] == name), {})
        return rate(of_class, figure)

    rows = []
    for column, attack in COLUMNS.items():
        for architecture in ARCHITECTURES:
            cell = find(
                results.get("cells"), protocol="as-published", split=split, architecture=architecture, attack=column
            )
            line = [f"{column_name(column)}, {NAMES[architecture]}"]
            for index, name in enumerate(CLASSES):
                printed = [
                    f"{getattr(row, figure)[name]:.1f}"
                    for paper in (FOUR, SIX)
                    if (row := classification(paper, attack, architecture)) is not None and getattr(row, figure)
                ]
                line.append(" / ".join(dict.fromkeys(printed)) or NOTHING)
                if cell is not None and done(cell):
                    line.append(ours(cell, name))
                else:
                    line.append(NOTHING if index else not_run(cell))
            rows.append(line)
    header = [title for name in CLASSES for title in (f"{name}: papers", f"**{name}: ours**")]
    return markdown(["attack, architecture", *header], rows)


def score_auc_table(results: Record, split: str) -> str:
    """Our area under the ROC curve of each class's probability, with intervals."""
    rows = []
    for column in COLUMNS:
        for architecture in ARCHITECTURES:
            cell = find(
                results.get("cells"), protocol="as-published", split=split, architecture=architecture, attack=column
            )
            if cell is None or not done(cell):
                areas = [not_run(cell), *[NOTHING] * (len(CLASSES) - 1)]
            else:
                stored = cell.get("score_auc") or {}
                areas = [estimate(*(stored.get(name) or (None, None, None))) for name in CLASSES]
            rows.append([column_name(column), NAMES[architecture], *areas])
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
    """The order of architectures in each column, published and ours."""
    rows = []
    for column, attack in COLUMNS.items():
        printed = {
            paper: {key: row.accuracy for key in ARCHITECTURES if (row := classification(paper, attack, key))}
            for paper in (FOUR, SIX)
        }
        cells = {
            key: cell
            for key in ARCHITECTURES
            if (
                cell := find(
                    results.get("cells"), protocol="as-published", split=split, architecture=key, attack=column
                )
            )
            is not None
            and done(cell)
        }

        def apart(one: str, other: str, cells: Mapping[str, Record] = cells) -> bool:
            low, high = cells[one].get("accuracy_low"), cells[other].get("accuracy_high")
            return low is not None and high is not None and low > high

        ours = {key: cell["paper_accuracy"] for key, cell in cells.items()}
        six = printed[SIX]
        pairs = [(a, b) for a in ours for b in ours if six[a] > six[b]]
        kept = sum(ours[a] > ours[b] for a, b in pairs)
        rows.append(
            [
                column_name(column),
                ranking(printed[FOUR]),
                ranking(six),
                ranking(ours, apart) if ours else "not run: no architecture of this column",
                f"{kept} of {len(pairs)}" if pairs else NOTHING,
            ]
        )
    return markdown(["attack", "four attacks", "six attacks", "**ours**", "pairs in the order of six attacks"], rows, 4)


def attack_data_table(results: Record, split: str) -> str:
    """What the released way of attacking does to the beats."""
    rows = []
    stored = [row for row in results.get("attack_data") or () if row.get("split") == split]
    for row in sorted(
        stored, key=lambda row: (place(COLUMNS, row["attack"]), place(ARCHITECTURES, row["architecture"]))
    ):
        whose = [column_name(row["attack"]), network_name(row), row["part"]]
        if not done(row):
            rows.append([*whose, not_run(row), *[NOTHING] * 5])
            continue
        distances = [number(row.get(name)) for name in ("linf_mean", "linf_max", "l2_mean")]
        kept, same = percent(row.get("unchanged")), percent(row.get("label_kept"))
        rows.append([*whose, f"{row['n']:,}", kept, same, *distances])
    return markdown(
        ["attack", "architecture", "part", "beats", "unchanged", "answer kept", "mean L∞", "largest L∞", "mean L2"],
        rows or [["all", "all", "all", not_run(None), *[NOTHING] * 5]],
        left=3,
    )


def changed_table(results: Record, split: str) -> str:
    """Right answers on beats that the attack changed and on those that it left as they were."""
    rows = []
    for column in list(COLUMNS)[1:]:
        for architecture in ARCHITECTURES:
            cell = find(
                results.get("cells"), protocol="as-published", split=split, architecture=architecture, attack=column
            )
            if cell is None or not done(cell):
                figures = [not_run(cell), NOTHING, NOTHING]
            else:
                names = ("unchanged", "accuracy_on_changed", "accuracy_on_unchanged")
                figures = [percent(cell.get(name)) for name in names]
            rows.append([column_name(column), NAMES[architecture], *figures])
    header = ["attack", "architecture", "unchanged", "right on changed beats", "right on unchanged beats"]
    return markdown(header, rows, 2)
