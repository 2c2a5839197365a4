"""The run that stood on this study's page before: its figures as they were printed there, for its results are gone."""

from __future__ import annotations

from salus.metrics.wording import NOTHING, percent
from salus_studies.ecg_atk_gan.naming import COLUMNS, NAMES, SPLITS, column_name, marked_name, trained_name
from salus_studies.ecg_atk_gan.published import six_row
from salus_studies.ecg_atk_gan.tables import cell_of
from salus_studies.frame.markdown import Record, done, markdown
from salus_studies.frame.published import read_tables

#: What set that run apart, in a sentence.
WHAT = (
    "Made on 2026-11-21 at the scale “small” of that time: every beat scaled by itself, so that eps 0.01 was 1% of its "
    "height; 70% of the beats for training; one preset of the proposed model for both papers, with the gate of our own "
    "in its skip blocks, a learning rate of 5e-4 that fell to 1e-5, the generator's error weighted by 1000 in place of "
    "1, and 6 epochs of one fold on 5,000 beats a class; 4,000 test beats. Its results were not kept: these are the "
    "figures of its page, of which the repository's history has the rest."
)

_TABLES = read_tables(__file__)

#: Accuracy as the papers count it, in percent, by column and architecture.
ACCURACY: dict[tuple[str, str], float] = {(row[0], row[1]): float(row[2]) for row in _TABLES["table 1"]}


def earlier_table(results: Record) -> str:
    """Table 1 of that run, scaled by the beat, between the six-attack paper's and this run's, scaled by the record."""
    rows = []
    for column, architecture, counted, right, f1 in _TABLES["table 1"]:
        cell = cell_of(results, "beats", column, architecture)
        now = percent(cell["paper_accuracy"]) if cell is not None and done(cell) else NOTHING
        printed = f"{six_row(COLUMNS[column], architecture).accuracy:.1f}"
        rows.append(
            [column_name(column), marked_name(architecture), printed, f"{counted:.1f}", now, right, f"{f1:.1f}"]
        )
    header = ["attack", "architecture", "six attacks", "scaled by the beat", "**ours now**, scaled by the record"]
    return markdown([*header, "scaled by the beat: right answers", "macro-F1"], rows, 2)


def earlier_generator() -> str:
    """What that run's generator made, against its input; not comparable with the papers, for the scaling."""
    rows = [
        [column_name(column), f"{mse:.2e}", f"{ssim:.2f}", f"{wide:.2f}", f"{correlation:.2f}", f"{nrmse:.4f}"]
        for column, mse, ssim, wide, correlation, nrmse in _TABLES["generator"]
    ]
    return markdown(["attack", "MSE", "SSIM", "SSIM, range 2", "cross-correlation", "NRMSE"], rows)


def earlier_honest() -> str:
    """What that run's networks withstood at full strength: no attack, PGD and AutoAttack at eps 0.01 of the height."""
    rows = [
        [SPLITS[split], NAMES[name], trained_name(on), attack or "no attack", f"{beats:,}", clean, robust, f1]
        for split, name, on, attack, beats, clean, robust, f1 in _TABLES["honest"]
    ]
    header = ["split", "architecture", "trained on", "attack", "beats", "clean accuracy (95%)"]
    return markdown([*header, "robust accuracy (95%)", "macro-F1"], rows, 4)
