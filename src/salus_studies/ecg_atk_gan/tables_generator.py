"""The tables on the generator and on PTB: the papers' numbers beside those of stored results."""

from __future__ import annotations

from salus.metrics.wording import NOTHING, number, percent
from salus_studies.ecg_atk_gan.naming import COLUMNS, NAMES, SPLITS, column_name
from salus_studies.ecg_atk_gan.published import ARCHITECTURES, FOUR, PTB, SimilarityRow, generator, six_generator
from salus_studies.frame.markdown import Record, done, find, markdown, not_run


def generator_table(results: Record, dataset: str = "MIT-BIH") -> str:
    """Table 2 of the four-attack and Table 3 of the six-attack paper, as printed and corrected, beside ours."""
    splits = list(dict.fromkeys(row["split"] for row in results.get("generator") or ())) or ["beats"]
    rows = []
    for column, attack in COLUMNS.items():
        four, six = generator(FOUR, attack, dataset), six_generator(attack, dataset)
        if four is not None:
            rows.append([column_name(column), "four attacks", *_printed(four)])
        rows.append([column_name(column), "six attacks, as printed", *_printed(six)])
        if six.swapped:
            rows.append([column_name(column), "six attacks, MSE and NRMSE exchanged", *_printed(six.corrected)])
        if dataset != "MIT-BIH":
            rows.append([column_name(column), "**ours**", _no_ptb(results), *[NOTHING] * 4])
            continue
        for split in splits:
            record = find(results.get("generator"), split=split, attack=column)
            for key, against in (("input", "its input"), ("clean", "the clean beat")):
                source = f"**ours**, {SPLITS.get(split, split)}, against {against}"
                row = record.get(key) if record is not None and done(record) else None
                figures = (
                    [not_run(record), *[NOTHING] * 4]
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
