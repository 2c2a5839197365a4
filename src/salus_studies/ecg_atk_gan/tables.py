"""Tables of the ECG-ATK-GAN page: the papers' numbers beside those of stored results, as Markdown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise
from typing import Any

import numpy as np

from salus.metrics.wording import NOTHING, estimate, number, percent, present, rate, signed
from salus_studies.ecg_atk_gan.published import (
    ARCHITECTURES,
    ATTACKS,
    CLASSES,
    COUNTS_AS_THE_TABLES_HAVE_THEM,
    COUNTS_AS_THE_TEXT_HAS_THEM,
    DATABASE_COUNTS,
    FOUR,
    PAPERS,
    PTB,
    SIX,
    TRAINING,
    SimilarityRow,
    classification,
    generator,
)
from salus_studies.frame.markdown import Record, done, find, markdown, not_run

#: Columns of the papers' tables: their key in stored results, and the paper's name of the attack.
COLUMNS: dict[str, str | None] = {"none": None, **{name.lower(): name for name in PAPERS[SIX].attacked}}

#: Short names of what the tables compare.
NAMES = {key: cited.split(",")[0] for key, cited in ARCHITECTURES.items()}

#: How a split is named in a sentence.
SPLITS = {"beats": "by beats", "patients": "by patients"}


def column_name(column: str) -> str:
    """Name a column as the papers do."""
    return COLUMNS.get(column, column.upper()) or "no attack"


def network_name(record: Record) -> str:
    """Name the architecture of a record."""
    name = str(record["architecture"])
    return NAMES.get(name, name)


def trained_name(column: str) -> str:
    """Name what a network was trained on."""
    return "clean beats" if column == "none" else f"clean and {column_name(column)}"


def attack_name(record: Record) -> str:
    """Name an attack of an honest record: the papers' name where they have one, with its steps."""
    name = record.get("attack")
    if name is None:
        return "no attack"
    known = {attack.salus: attack.name for attack in ATTACKS.values()}
    steps = (record.get("attack_options") or {}).get("steps")
    return f"{known.get(name, name)}{'' if steps is None else f'-{steps}'}"


def macro_f1(confusion: Mapping[str, Any]) -> float | None:
    """Mean F1 of the classes that occur, from a stored confusion matrix; rejected inputs are missed."""
    matrix = np.array(confusion["matrix"], float)
    truth, answers = matrix.sum(1) + np.array(confusion["rejected"], float), matrix.sum(0)
    occurring = truth + answers > 0
    if not occurring.any():
        return None
    return float((2 * matrix.diagonal()[occurring] / (truth + answers)[occurring]).mean())


def accuracy_table(results: Record, split: str) -> str:
    """Table 1 of both papers: accuracy as they count it, and right answers."""
    rows = []
    for column, attack in COLUMNS.items():
        for architecture in ARCHITECTURES:
            cell = find(
                results.get("cells"), protocol="as-published", split=split, architecture=architecture, attack=column
            )
            four, six = (classification(paper, attack, architecture) for paper in (FOUR, SIX))
            assert six is not None  # noqa: S101 - the six-attack paper has all of these rows
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
        stored, key=lambda row: (_place(COLUMNS, row["attack"]), _place(ARCHITECTURES, row["architecture"]))
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


def generator_table(results: Record, dataset: str = "MIT-BIH") -> str:
    """Table 2 of the four-attack and Table 3 of the six-attack paper, as printed and corrected, beside ours."""
    splits = list(dict.fromkeys(row["split"] for row in results.get("generator") or ())) or ["beats"]
    rows = []
    for column, attack in COLUMNS.items():
        four, six = (generator(paper, attack, dataset) for paper in (FOUR, SIX))
        if four is not None:
            rows.append([column_name(column), "four attacks", *_printed(four)])
        assert six is not None  # noqa: S101 - the six-attack paper has all of these rows
        rows.append([column_name(column), "six attacks, as printed", *_printed(six)])
        if six.swapped:
            rows.append([column_name(column), "six attacks, MSE and NRMSE exchanged", *_printed(six.corrected)])
        if dataset != "MIT-BIH":
            rows.append([column_name(column), "**ours**", _no_ptb(results), *[NOTHING] * 4])
            continue
        for split in splits:
            found = find(results.get("generator"), split=split, attack=column)
            for key, against in (("input", "its input"), ("clean", "the clean beat")):
                source = f"**ours**, {SPLITS.get(split, split)}, against {against}"
                row = found.get(key) if found is not None and done(found) else None
                figures = (
                    [not_run(found), *[NOTHING] * 4]
                    if row is None
                    else [
                        number(row.get("mse"), ".2e"),
                        percent(row.get("ssim"), 2),
                        percent(row.get("ssim_range_2"), 2),
                        percent(row.get("cross_correlation"), 2),
                        number(row.get("nrmse"), ".4f"),
                    ]
                )
                rows.append([column_name(column), source, *figures])
    return markdown(["attack", "source", "MSE", "SSIM", "SSIM, range 2", "cross-correlation", "NRMSE"], rows, 2)


def _printed(row: SimilarityRow) -> list[str]:
    return [f"{row.mse:.4g}", f"{row.ssim:.2f}", NOTHING, f"{row.cross_correlation:.2f}", f"{row.nrmse:.4g}"]


def _no_ptb(results: Record) -> str:
    return not_run(results.get("ptb") or {"reason": "no data"})


def ptb_table(results: Record) -> str:
    """Table 2 of the six-attack paper."""
    rows = []
    for figure in ("accuracy", "sensitivity", "specificity"):
        for architecture in ARCHITECTURES:
            of = [row for row in PTB if row.architecture == architecture]
            rows.append([figure, NAMES[architecture], *(f"{getattr(row, figure):.1f}" for row in of)])
        rows.append([figure, "**ours**", _no_ptb(results), *[NOTHING] * (len(COLUMNS) - 1)])
    return markdown(["", "architecture", *map(column_name, COLUMNS)], rows, 2)


def bare(results: Record, split: str) -> list[Record]:
    """Honest records of bare networks, those trained on clean beats first, in the order of the papers."""
    rows = [
        row for row in results.get("honest") or () if row.get("split") == split and row.get("guard") in (None, "none")
    ]
    return sorted(
        rows, key=lambda row: (_place(ARCHITECTURES, row["architecture"]), _place(COLUMNS, row["trained_on"]))
    )


def guarded(results: Record, split: str) -> list[Record]:
    """Honest records of networks behind their attacked/clean head."""
    return [
        row
        for row in results.get("honest") or ()
        if row.get("split") == split and row.get("guard") not in (None, "none")
    ]


def _place(order: Iterable[str], name: str) -> int:
    names = list(order)
    return names.index(name) if name in names else len(names)


def honest_table(results: Record, split: str) -> str:
    """Bare networks under attacks at full strength."""
    stored = bare(results, split)
    rows = []
    for row in stored:
        whose = [network_name(row), trained_name(row["trained_on"]), attack_name(row)]
        radius = number(row.get("eps"))
        if not done(row):
            rows.append([*whose, radius, NOTHING, not_run(row), *[NOTHING] * 3])
            continue
        f1 = macro_f1(row["confusion"]) if row.get("confusion") else None
        figures = [rate(row, "clean_accuracy"), rate(row, "robust_accuracy"), percent(f1)]
        rows.append([*whose, radius, f"{row['n']:,}", *figures, number(row.get("distance_median"))])
    for name in ARCHITECTURES:
        if not any(row["architecture"] == name for row in stored):
            rows.append([NAMES[name], *[NOTHING] * 4, not_run(None), *[NOTHING] * 3])
    return markdown(
        [
            "architecture",
            "trained on",
            "attack",
            "eps",
            "beats",
            "clean accuracy (95%)",
            "robust accuracy (95%)",
            "macro-F1",
            "median distance",
        ],
        rows,
        left=3,
    )


def honest_classes_table(results: Record, split: str) -> str:
    """Sensitivity of each class under the honest attacks."""
    rows = []
    for row in bare(results, split):
        if not done(row):
            continue  # said in the table above
        by_class = {figures["class"]: figures for figures in row.get("per_class") or ()}
        trained = f"{NAMES.get(row['architecture'], row['architecture'])}, trained on {trained_name(row['trained_on'])}"
        attacked = attack_name(row) + (f", eps {row['eps']:g}" if present(row.get("eps")) else "")
        rows.append([trained, attacked, *(rate(by_class.get(name, {}), "sensitivity") for name in CLASSES)])
    return markdown(["network", "attack", *CLASSES], rows or [["all", not_run(None), *[NOTHING] * 4]], 2)


def head_table(results: Record, split: str) -> str:
    """The head that tells attacked from clean beats, as the only defence."""
    rows = []
    for row in guarded(results, split):
        radius = f", eps {row['eps']:g}" if present(row.get("eps")) else ""
        whose = [
            network_name(row),
            trained_name(row["trained_on"]),
            attack_name(row) + radius,
            row.get("threat_model") or NOTHING,
        ]
        if not done(row):
            rows.append([*whose, not_run(row), *[NOTHING] * 4])
            continue
        names = ("rejected_clean", "rejected_adversarial", "detection_auc", "robust_accuracy")
        rows.append([*whose, f"{row['n']:,}", *(rate(row, name) for name in names)])
    return markdown(
        [
            "architecture",
            "trained on",
            "attack",
            "attacker",
            "beats",
            "clean rejected",
            "attacked rejected",
            "detection AUC",
            "robust accuracy",
        ],
        rows or [[NAMES["proposed"], NOTHING, NOTHING, NOTHING, not_run(None), *[NOTHING] * 4]],
        left=4,
    )


def trainings_table(results: Record, split: str) -> str:
    """What was trained, how long, and what was not."""
    rows = []
    for architecture in ARCHITECTURES:
        for column in COLUMNS:
            row = find(results.get("trainings"), split=split, architecture=architecture, attack=column)
            whose = [NAMES[architecture], trained_name(column)]
            if row is None or not done(row):
                rows.append([*whose, not_run(row), *[NOTHING] * 3])
                continue
            seconds, parameters = row.get("seconds"), row.get("parameters")
            rows.append(
                [
                    *whose,
                    number(row.get("epochs"), "d"),
                    number(parameters, ",d"),
                    number(seconds, ",.0f"),
                    number(row.get("beats_per_second"), ",.0f"),
                ]
            )
    return markdown(["architecture", "trained on", "epochs", "parameters", "seconds", "beats a second"], rows, 2)


def counts_table(data: Record) -> str:
    """Beats of each class: the papers', the database's and ours."""
    text, tables = COUNTS_AS_THE_TEXT_HAS_THEM, COUNTS_AS_THE_TABLES_HAVE_THEM
    sources: dict[str, Mapping[str, int]] = {
        "papers, training, as printed": text.train,
        "papers, training, S and V exchanged": tables.train,
        "papers, test, as printed": text.test,
        "papers, test, S and V exchanged": tables.test,
        "the database": DATABASE_COUNTS,
    }
    sets = {"": data} if "counts" in data else {f", {SPLITS.get(name, name)}": of for name, of in data.items()}
    for name, of in sets.items():
        if isinstance(of, Mapping) and "counts" in of:
            sources |= {f"**ours**{name}, {part}": counts for part, counts in of["counts"].items()}
    rows = [
        [source, *(f"{counts[name]:,}" if name in counts else NOTHING for name in CLASSES)]
        for source, counts in sources.items()
    ]
    if len(sources) == 5:
        rows.append(["**ours**", not_run(None), *[NOTHING] * 3])
    return markdown(["source", *CLASSES], rows)


def settings_table(meta: Record) -> str:
    """How the papers trained, and how this run did."""
    four, six = TRAINING[FOUR], TRAINING[SIX]
    settings = dict(meta.get("settings") or {})
    tested = sum(COUNTS_AS_THE_TEXT_HAS_THEM.test.values())

    def shown(value: Any) -> str:
        if isinstance(value, list | tuple):
            return ", ".join(map(shown, value))
        if value is None:
            return NOTHING
        return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)

    papers: dict[str, tuple[str, Any, Any]] = {
        "epochs": ("epochs", four.epochs, six.epochs),
        "per_class": ("beats a class, after SMOTE", four.beats_per_class, six.beats_per_class),
        "folds": ("folds", four.folds, six.folds),
        "folds_trained": ("folds trained", "not given", six.folds),
        "widths": ("widths of the discriminator", four.widths, "not given"),
        "precision": ("precision", "not given", "not given"),
        "test_beats": ("beats tested", tested, tested),
        "learning_rate": ("learning rate", four.learning_rate, six.learning_rate),
        "final_rate": ("share of it left at the end", 1, 1),
        "batch_size": ("beats a batch", four.batch_size, six.batch_size),
        "lambda_mse": ("weight of the generator's error", four.lambda_mse, six.lambda_mse),
        "attack_loss": ("loss of the attacked/clean head", four.attack_loss, six.attack_loss),
        "kappa": ("kappa", four.kappa, six.kappa),
    }
    rows = [
        [title, shown(first), shown(second), shown(settings.pop(key)) if key in settings else "not stored"]
        for key, (title, first, second) in papers.items()
    ]
    rows += [[name.replace("_", " "), NOTHING, NOTHING, shown(value)] for name, value in settings.items()]
    hours = "not stored" if meta.get("seconds") is None else f"{meta['seconds'] / 3600:.2f} for everything on this page"
    rows.append(["hours", f"{four.hours:g} on an NVIDIA P100", f"{six.hours:g} on an NVIDIA P100", hours])
    return markdown(["setting", "four attacks", "six attacks", "here"], rows, 4)
