"""The table on the generator, MIT-BIH: the papers' numbers beside ours, where the scaling agrees."""

from __future__ import annotations

from salus.metrics.wording import NOTHING, number, percent
from salus_studies.ecg_atk_gan.naming import COLUMNS, PRESETS, column_name
from salus_studies.ecg_atk_gan.published import FOUR, SIX, PaperName, SimilarityRow, generator
from salus_studies.frame.markdown import Record, done, find, markdown, not_run

#: What the issue asks of a trained generator, on clean beats and on those of four attacks.
SSIM, CROSS_CORRELATION = 0.990, 0.994

_HEADER = ["attack", "source", "MSE", "SSIM", "SSIM, range 2", "cross-correlation", "NRMSE"]


def scaling_of(record: Record) -> str:
    """Say by what the beats of a record were scaled; runs that do not say scaled each by itself."""
    return str(record.get("scaling") or "beat")


def generated(results: Record, column: str, paper: PaperName) -> Record | None:
    """What a paper's preset made of a column's beats."""
    return find(results.get("generator"), attack=column, preset=paper)


def generator_table(results: Record) -> str:
    """Table 2 of the four-attack and Table 3 of the six-attack paper, as printed and corrected, beside ours."""
    rows = []
    for column, attack in COLUMNS.items():
        for paper, title in ((FOUR, "four attacks"), (SIX, "six attacks, as printed")):
            printed = generator(paper, attack)
            if printed is None:
                continue
            rows.append([column_name(column), title, *_printed(printed)])
            if printed.swapped:
                rows.append([column_name(column), "six attacks, MSE and NRMSE exchanged", *_printed(printed.corrected)])
            record = generated(results, column, paper)
            if record is not None and done(record) and scaling_of(record) != "record":
                whose = f"**ours**, {PRESETS[paper]}"
                rows.append([column_name(column), whose, "not compared: scaled by the beat", *[NOTHING] * 4])
                continue
            for key, against in (("input", "its input"), ("clean", "the clean beat")):
                row = record.get(key) if record is not None and done(record) else None
                rows.append(
                    [column_name(column), f"**ours**, {PRESETS[paper]}, against {against}", *_ours(record, row)]
                )
    return markdown(_HEADER, rows, 2)


def _printed(row: SimilarityRow) -> list[str]:
    return [f"{row.mse:.4g}", f"{row.ssim:.2f}", NOTHING, f"{row.cross_correlation:.2f}", f"{row.nrmse:.4g}"]


def _ours(record: Record | None, row: Record | None) -> list[str]:
    if row is None:
        return [not_run(record), *[NOTHING] * 4]
    return [
        number(row.get("mse"), ".2e"),
        percent(row.get("ssim"), 2),
        percent(row.get("ssim_range_2"), 2),
        percent(row.get("cross_correlation"), 2),
        number(row.get("nrmse"), ".4f"),
    ]
