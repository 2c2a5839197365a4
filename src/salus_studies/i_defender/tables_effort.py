"""Tables of the I-defender page on what was trained, and how much of the paper's effort was spent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from salus.metrics.wording import NOTHING, number, percent
from salus_studies.frame.markdown import Record, done, markdown, not_run
from salus_studies.i_defender.scales import SCALES

#: What None stands for where it is not "all".
_NONE = {"substitute": "60 short epochs", "trend_images": "as Defense-GAN's"}


def trainings_table(results: Record) -> str:
    """What was trained."""
    rows = []
    for row in (*(results.get("trainings") or ()), *(results.get("generators") or ())):
        options = ", ".join(f"{name} {value}" for name, value in (row.get("options") or {}).items())
        whose = [str(row["data"]), str(row["role"]), f"{row['network']}{f' ({options})' if options else ''}"]
        if not done(row):
            rows.append([*whose, not_run(row), *[NOTHING] * 4])
            continue
        weights = f"{row['weights']:,}" if "weights" in row else NOTHING
        reached = percent(row.get("accuracy")) if "accuracy" in row else f"distance {number(row.get('distance'))}"
        minutes = f"{(row.get('seconds') or 0) / 60:.1f}"
        rows.append([*whose, weights, f"{row['train_images']:,}", str(row["epochs"]), minutes, reached])
    header = ["data", "role", "network", "weights", "training images", "epochs", "minutes", "test accuracy, %"]
    return markdown(header, rows or [["all", NOTHING, NOTHING, not_run(None), *[NOTHING] * 4]], left=3)


def settings_table(meta: Record) -> str:
    """What the scale spends, beside what the scale full does."""
    settings, full = meta.get("settings") or {}, asdict(SCALES["full"])
    names = {
        "train_images": "training images of each data set",
        "test_images": "test images, Tables 2 to 5, I-defender",
        "projected": "test images, Tables 2 to 5, Defense-GAN",
        "wide_images": "test images, Table 6",
        "gray_images": "test images, Tables 7 and 8",
        "own_images": "test images of Salus's own attackers",
        "shallow": "in the place of WRN-34-8",
        "deep": "in the place of WRN-46-8",
        "wide": "training of the wide residual networks",
        "small_networks": "training of models E and F",
        "generator": "Defense-GAN's generator",
        "components": "Gaussians a class to choose from",
        "choosing": "training images a class, for the choice",
        "fitting": "training images a class, for the mixtures",
        "validation_images": "validation images, for the choice",
        "tuning_images": "validation images, for the strengths of Table 6",
        "halvings": "halvings in tuning a strength",
        "supervised": "training images a class, attacked for SafetyNet and Subnetwork",
        "choosing_pairs": "pairs that these choose what they read on",
        "branch": "maps of Subnetwork's convolutions",
        "branch_epochs": "epochs of its training",
        "substitute": "training of each round of E's substitute",
        "young_epochs": "epochs of the generator that is trained for less time",
        "trend_images": "test images, descents that go otherwise",
        "shorter": "Defense-GAN's iterations divided by",
    }
    rows = [[words, _setting(name, settings), _setting(name, full)] for name, words in names.items()]
    return markdown(["", "this run", "scale full"], rows)


def _setting(name: str, settings: Record) -> str:
    value = settings.get(name)
    if value is None:
        return _NONE.get(name, "all")
    if isinstance(value, dict):
        names = ("depth", "width", "epochs", "batch_size", "learning_rate", "precision")
        return ", ".join(f"{name.replace('_', ' ')} {value[name]}" for name in names if name in value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(map(str, value))
    return str(value)
