"""The tables on PTB: Table 2 and a half of Table 3 of the six-attack paper, beside those of stored results."""

from __future__ import annotations

from salus.metrics.wording import NOTHING, number, percent, rate, signed
from salus_studies.ecg_atk_gan.naming import COLUMNS, NAMES, attack_name, column_name, place, trained_name
from salus_studies.ecg_atk_gan.published import (
    ARCHITECTURES,
    PTB,
    SIX,
    TRAINING,
    BinaryRow,
    SimilarityRow,
    six_generator,
)
from salus_studies.ecg_atk_gan.tables_honest import bare
from salus_studies.frame.markdown import Record, done, find, markdown, not_run

#: Why there is nothing of ours where nobody ran it.
ABSENT = "not run: the database is not here"

#: The class whose sensitivity and specificity are ours; the paper does not say which are its own.
DISEASE = "myocardial infarction"

FIGURES = ("accuracy", "sensitivity", "specificity")

_PRINTED = {(row.attack, row.architecture): row for row in PTB}


def printed(column: str, architecture: str) -> BinaryRow:
    """The column of Table 2, which has one of every attack and architecture."""
    return _PRINTED[COLUMNS[column], architecture]


def cell_of(ptb: Record, column: str, architecture: str) -> Record | None:
    """Our place in Table 2."""
    return find(ptb.get("cells"), protocol="as-published", architecture=architecture, attack=column)


def ptb_table(results: Record) -> str:
    """Table 2, each architecture's row above ours."""
    ptb = results.get("ptb")
    rows = []
    for figure in FIGURES:
        for architecture in ARCHITECTURES:
            theirs = [f"{getattr(printed(column, architecture), figure):.1f}" for column in COLUMNS]
            rows.append([figure, NAMES[architecture], *theirs])
            if ptb:
                ours = [_figure(cell_of(ptb, column, architecture), figure) for column in COLUMNS]
                rows.append([figure, f"{NAMES[architecture]}, **ours**", *ours])
        if not ptb:
            rows.append([figure, "**ours**", ABSENT, *[NOTHING] * (len(COLUMNS) - 1)])
    return markdown(["", "architecture", *map(column_name, COLUMNS)], rows, 2)


def _figure(cell: Record | None, figure: str) -> str:
    if cell is None or not done(cell):
        return "not run"  # why, says the table of differences
    return percent(cell.get("accuracy") if figure == "accuracy" else _of_disease(cell).get(figure))


def _of_disease(cell: Record) -> Record:
    return next((row for row in cell.get("per_class") or () if row["class"] == DISEASE), {})


def apart_table(results: Record) -> str:
    """How far ours are from the paper's, with their intervals, and how many beats were attacked at all."""
    ptb = results.get("ptb") or {}
    rows = []
    for column in COLUMNS:
        for architecture in ARCHITECTURES:
            cell, paper = cell_of(ptb, column, architecture), printed(column, architecture)
            whose = [column_name(column), NAMES[architecture], f"{paper.accuracy:.1f}"]
            if cell is None or not done(cell):
                rows.append([*whose, not_run(cell), *[NOTHING] * 5])
                continue
            rows.append(
                [
                    *whose,
                    rate(cell, "accuracy"),
                    signed(100 * cell["accuracy"] - paper.accuracy),
                    rate(_of_disease(cell), "sensitivity"),
                    rate(_of_disease(cell), "specificity"),
                    percent(cell.get("unchanged")),
                    percent(cell.get("accuracy_on_changed")),
                ]
            )
    return markdown(
        [
            "attack",
            "architecture",
            "six attacks",
            "**ours** (95%)",
            "ours − six attacks",
            "sensitivity (95%)",
            "specificity (95%)",
            "unchanged",
            "right on changed beats",
        ],
        rows,
        2,
    )


def generator_table(results: Record) -> str:
    """The half of Table 3 that is on PTB, as printed and corrected, beside ours."""
    ptb = results.get("ptb")
    rows = []
    for column, attack in COLUMNS.items():
        six = six_generator(attack, "PTB")
        rows.append([column_name(column), "six attacks, as printed", *_similar(six)])
        if six.swapped:
            rows.append([column_name(column), "six attacks, MSE and NRMSE exchanged", *_similar(six.corrected)])
        if not ptb:
            rows.append([column_name(column), "**ours**", ABSENT, *[NOTHING] * 4])
            continue
        record = find(ptb.get("generator"), attack=column)
        for key, against in (("input", "its input"), ("clean", "the clean beat")):
            row = record.get(key) if record is not None and done(record) else None
            rows.append([column_name(column), f"**ours**, against {against}", *_alike(record, row)])
    return markdown(["attack", "source", "MSE", "SSIM", "SSIM, range 2", "cross-correlation", "NRMSE"], rows, 2)


def _similar(row: SimilarityRow) -> list[str]:
    return [f"{row.mse:.4g}", f"{row.ssim:.2f}", NOTHING, f"{row.cross_correlation:.2f}", f"{row.nrmse:.4g}"]


def _alike(record: Record | None, row: Record | None) -> list[str]:
    if row is None:
        return [not_run(record), *[NOTHING] * 4]
    return [
        number(row.get("mse"), ".2e"),
        percent(row.get("ssim"), 2),
        percent(row.get("ssim_range_2"), 2),
        percent(row.get("cross_correlation"), 2),
        number(row.get("nrmse"), ".4f"),
    ]


def attacked_table(ptb: Record) -> str:
    """What the released way of attacking does to the test beats."""
    rows = []
    for column in list(COLUMNS)[1:]:
        row = find(ptb.get("attack_data"), attack=column)
        if row is None or not done(row):
            rows.append([column_name(column), not_run(row), *[NOTHING] * 5])
            continue
        shares = [percent(row.get(name)) for name in ("unchanged", "label_kept")]
        distances = [number(row.get(name)) for name in ("linf_mean", "linf_max", "l2_mean")]
        rows.append([column_name(column), f"{row['n']:,}", *shares, *distances])
    return markdown(["attack", "beats", "unchanged", "answer kept", "mean L∞", "largest L∞", "mean L2"], rows)


def seeds_table(ptb: Record) -> str:
    """DBB and HSJ made on untrained networks of other seeds: the range of what comes out."""
    rows = []
    for row in ptb.get("again") or ():
        seeds = row.get("seeds") or ()
        whose = [column_name(row["attack"]), NAMES[row["architecture"]], trained_name(row["trained_on"])]
        if not done(row) or not seeds:
            rows.append([*whose, not_run(row), NOTHING, NOTHING])
            continue
        ranges = [
            f"{percent(min(seed[name] for seed in seeds))} to {percent(max(seed[name] for seed in seeds))}"
            for name in ("unchanged", "accuracy")
        ]
        rows.append([*whose, str(len(seeds)), *ranges])
    header = ["attack", "architecture", "trained on", "seeds", "unchanged", "accuracy"]
    return markdown(header, rows or [["all", NOTHING, NOTHING, not_run(None), NOTHING, NOTHING]], 3)


def classes_table(ptb: Record) -> str:
    """Sensitivity of both classes under attacks at full strength."""
    rows = []
    for row in bare(ptb, "patients"):
        if not done(row):
            continue  # said in the table of accuracies
        of = {figures["class"]: figures for figures in row.get("per_class") or ()}
        eps = "" if row.get("eps") is None else f", eps {row['eps']:g}"
        rows.append(
            [
                NAMES[row["architecture"]],
                trained_name(row["trained_on"]),
                f"{attack_name(row)}{eps}",
                *(rate(of.get(name, {}), "sensitivity") for name in ("healthy", DISEASE)),
            ]
        )
    header = ["architecture", "trained on", "attack", "healthy", DISEASE]
    return markdown(header, rows or [["all", NOTHING, not_run(None), NOTHING, NOTHING]], 3)


def trainings_table(ptb: Record) -> str:
    """What was trained, on beats scaled by their record or between patients, how long, and what was not."""
    rows = []
    stored = sorted(
        ptb.get("trainings") or (),
        key=lambda row: (
            row["split"] != "record",
            place(ARCHITECTURES, row["architecture"]),
            place(COLUMNS, row["attack"]),
        ),
    )
    for row in stored:
        protocol = "as published" if row["split"] == "record" else "honest"
        whose = [protocol, NAMES[row["architecture"]], trained_name(row["attack"])]
        if not done(row):
            rows.append([*whose, not_run(row), *[NOTHING] * 2])
            continue
        figures = [number(row.get(name), form) for name, form in (("parameters", ",d"), ("seconds", ",.0f"))]
        rows.append([*whose, number(row.get("epochs"), "d"), *figures])
    header = ["protocol", "architecture", "trained on", "epochs", "parameters", "seconds"]
    return markdown(header, rows or [["all", NOTHING, NOTHING, not_run(None), NOTHING, NOTHING]], 3)


def settings_table(meta: Record) -> str:
    """How the paper trained on PTB, and how this run did."""
    six, settings = TRAINING[SIX], meta.get("settings") or {}
    papers = {
        "per_class": ("beats of each class, training and test", "10,000"),
        "test_beats": ("test beats", "4,000"),
        "folds": ("folds", six.folds),
        "folds_trained": ("folds trained", six.folds),
        "epochs": ("epochs of the GAN", six.epochs),
        "batch_size": ("beats a batch", six.batch_size),
        "learning_rate": ("learning rate", six.learning_rate),
        "lambda_mse": ("weight of the generator's error", f"{six.lambda_mse:g}"),
        "widths": ("widths of the discriminator", "not given"),
        "iterations": ("iterations of BIM and PGD in the attacked copies", "not given"),
        "tries": ("random points that HSJ's start is sought among", "not given"),
        "precision": ("precision", "not given"),
    }

    def here(key: str) -> str:
        value = settings.get(key)
        if key == "folds_trained" and key in settings and value is None:
            value = settings.get("folds")
        if isinstance(value, list | tuple):
            return ", ".join(map(str, value))
        return f"{value:,}" if isinstance(value, int) else "not stored" if value is None else str(value)

    return markdown(
        ["setting", "six attacks", "here"], [[title, str(of), here(key)] for key, (title, of) in papers.items()], 3
    )
