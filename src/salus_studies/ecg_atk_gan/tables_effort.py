"""The tables of what was trained, on what, and how: the papers' settings beside ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from salus.metrics.wording import NOTHING, number
from salus_studies.ecg_atk_gan.attacked import LOTTERY
from salus_studies.ecg_atk_gan.naming import COLUMNS, NAMES, PRESETS, SPLITS, trained_name
from salus_studies.ecg_atk_gan.published import (
    ARCHITECTURES,
    CLASSES,
    COUNTS_AS_THE_TABLES_HAVE_THEM,
    COUNTS_AS_THE_TEXT_HAS_THEM,
    DATABASE_COUNTS,
    FOUR,
    SIX,
    TRAINING,
    PaperName,
)
from salus_studies.frame.markdown import Record, done, find, markdown, not_run


def trainings_table(results: Record, split: str) -> str:
    """What was trained, how long, and what was not; ``split`` is ``record`` as published, else that of ``honest``."""
    rows = []
    for architecture in ARCHITECTURES:
        for column in COLUMNS:
            for preset in _presets(architecture, column, split):
                of = {"preset": preset} if preset else {}
                row = find(results.get("trainings"), split=split, architecture=architecture, attack=column, **of)
                whose = [NAMES[architecture] + (f", {PRESETS[preset]}" if preset else ""), trained_name(column)]
                if row is None or not done(row):
                    rows.append([*whose, not_run(row), *[NOTHING] * 4])
                    continue
                folds, epochs = row.get("folds") or 1, number(row.get("epochs"), "d")
                rows.append(
                    [
                        *whose,
                        epochs if folds == 1 else f"{epochs}, {folds} folds",
                        number(row.get("steps"), ",d"),
                        number(row.get("parameters"), ",d"),
                        number(row.get("seconds"), ",.0f"),
                        number(row.get("beats_per_second"), ",.0f"),
                    ]
                )
    header = ["architecture", "trained on", "epochs", "steps a fold", "parameters", "seconds", "beats a second"]
    return markdown(header, rows, 2)


def _presets(architecture: str, column: str, split: str) -> list[PaperName | None]:
    """Presets that an architecture is trained under for a column; both papers' only as published."""
    if architecture != "proposed":
        return [None]
    return [SIX] if split != "record" or column in LOTTERY else [FOUR, SIX]


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
    settings, with_four = dict(meta.get("settings") or {}), meta.get("settings_four") or {}
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
    rows = []
    for key, (title, first, second) in papers.items():
        ours = shown(settings.pop(key)) if key in settings else "not stored"
        rows.append([title, shown(first), shown(with_four[key]) if key in with_four else ours, shown(second), ours])
    for name, value in settings.items():
        ours = shown(with_four[name]) if name in with_four else shown(value)
        rows.append([name.replace("_", " "), NOTHING, ours, NOTHING, shown(value)])
    hours = "not stored" if meta.get("seconds") is None else f"{meta['seconds'] / 3600:.2f} for everything on this page"
    rows.append(["hours", f"{four.hours:g} on an NVIDIA P100", hours, f"{six.hours:g} on an NVIDIA P100", hours])
    header = ["setting", "four attacks", "**ours, four-attack preset**", "six attacks", "**ours, six-attack preset**"]
    return markdown(header, rows, 5)
