"""What was trained for the thesis, and how much of its effort was spent."""

from __future__ import annotations

from typing import Any

from salus.metrics.wording import NOTHING, percent
from salus_studies.frame.markdown import Cells, Record, done, find, markdown, not_run
from salus_studies.skin_lesion import published
from salus_studies.skin_lesion.published import NETWORKS


def classifiers_table(results: Record) -> str:
    """What was trained."""
    lines: list[Cells] = []
    for record in results.get("classifiers") or ():
        name = [NETWORKS[record["network"]], record["model"]]
        if not done(record):
            lines.append([*name, not_run(record), "", "", "", ""])
            continue
        rounds = record.get("rounds")
        epochs = f"{len(rounds)} rounds" if rounds else f"{record['epochs']}, the {record['best']}. kept"
        validation = rounds[-1]["accuracy"] if rounds else record["validation_accuracy"]
        lines.append(
            [
                *name,
                f"{record['parameters']:,}",
                epochs,
                percent(validation),
                percent(record.get("test_accuracy")),
                f"{record['seconds'] / 60:.1f}",
            ]
        )
    header = ["network", "model", "parameters", "epochs", "validation accuracy", "test accuracy", "minutes"]
    return markdown(header, lines, 2)


def settings_table(results: Record) -> str:
    """What the thesis did beside what this scale does."""
    settings: dict[str, Any] = (results.get("meta") or {}).get("settings") or {}
    if not settings:
        return ""
    networks, rounds = settings["networks"], settings["rounds"]
    training = next(iter(networks.values()))["training"]
    hardened = settings["hardened"]["training"]
    many = settings["uap_images"]
    lines = [
        ["images", "as they are", " and ".join(sorted({f"{each['size']} px" for each in networks.values()}))],
        *(
            [NETWORKS[name], "ImageNet's weights, all its channels", _options(each["options"])]
            for name, each in networks.items()
        ),
        [
            "training",
            f"{published.EPOCHS} epochs, batches of {published.BATCH_SIZE}, class weights",
            f"{training['epochs']} epochs, batches of {training['batch_size']}, class weights; mirrored and shifted",
        ],
        [
            "adversarial retraining",
            f"{published.ROUNDS} rounds of {published.ROUND_EPOCHS} epochs on {published.ROUND_SHARE:.0%}",
            f"{rounds['rounds']} rounds of {rounds['epochs']} epochs on {rounds['share']:.0%}",
        ],
        [
            "UAP",
            "ART's; eps not given",
            f"fitted to {'all' if many is None else f'{many:,}'} training images; eps from the sweep",
        ],
        ["WebP", "quality not given", "quality 50"],
        ["hardened model", NOTHING, f"{NETWORKS[settings['hardened']['network']]}, {hardened['epochs']} epochs"],
    ]
    return markdown(["", "thesis", "here"], lines, 3)


def _options(options: Record) -> str:
    words = [f"{name.replace('_', ' ')} {value}" for name, value in options.items()]
    return ", ".join([*words, *([] if "pretrained" in options else ["from scratch"])])


def split_table(results: Record) -> str:
    """The plain classifiers on both ways to deal images."""
    lines: list[Cells] = []
    for network, title in NETWORKS.items():
        for model, called in (("plain", "by lesion"), ("plain-by-image", "by image, as in the thesis")):
            record = find(results.get("classifiers"), network=network, model=model)
            value = percent(record.get("test_accuracy")) if record is not None and done(record) else not_run(record)
            lines.append([title, called, value])
    return markdown(["network", "dealt", "accuracy on test images"], lines, 2)
