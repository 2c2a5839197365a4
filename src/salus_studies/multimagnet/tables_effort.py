"""What was trained for MultiMagNet, and how much of the paper's effort was spent."""

from __future__ import annotations

from typing import Any

from salus.metrics.wording import NOTHING, number, percent
from salus_studies.frame.markdown import Record, done, find, markdown, not_run
from salus_studies.multimagnet.measured import data_name
from salus_studies.multimagnet.published import (
    CLASSIFIER,
    CLASSIFIER_ACCURACY,
    DATASETS,
)


def classifiers_table(results: Record) -> str:
    """The classifiers: the paper's and ours."""
    rows = []
    for dataset, title in DATASETS.items():
        rows.append([title, "paper", CLASSIFIER[dataset], f"{CLASSIFIER_ACCURACY[dataset]:.2f}", *[NOTHING] * 5])
        for kind, role in (("classifiers", "**ours**"), ("surrogates", "**ours**, the surrogate")):
            record = find(results.get(kind), dataset=dataset)
            whose = [data_name(results, dataset), role]
            if record is None or not done(record):
                rows.append([*whose, not_run(record), *[NOTHING] * 6])
            else:
                rows.append([*whose, *_network(record)])
    return markdown(
        [
            "data",
            "source",
            "network",
            "accuracy on all test images",
            "on those drawn",
            "epochs",
            "training images",
            "parameters",
            "seconds",
        ],
        rows,
        3,
    )


def _network(record: Record) -> list[str]:
    options = "".join(f", {key.replace('_', ' ')} {value}" for key, value in (record.get("options") or {}).items())
    return [
        record["network"] + options,
        percent(record["accuracy"], 2),
        percent(record["accuracy_drawn"], 2),
        f"{record['epochs']}",
        f"{record['images']:,}",
        f"{record['parameters']:,}",
        number(record["seconds"], ",.0f"),
    ]


def repository_table(results: Record, dataset: str) -> str:
    """The autoencoders and their errors; the paper's lie below 0.001 on training images."""
    record = find(results.get("repositories"), dataset=dataset)
    if record is None or not done(record):
        return not_run(record) + "\n"
    rows = [
        [
            member["name"],
            " ".join(member["structure"]) + (", batch norm" if member.get("batch_norm") else ""),
            member["activation"],
            f"{member['noise']:g}",
            member["loss"],
            f"{member['parameters']:,}",
            number(member.get("epochs"), "d"),
            number(member["training_error"], ".2e"),
            number(member["error"], ".2e"),
        ]
        for member in record["members"]
    ]
    return markdown(
        [
            "member",
            "encoder",
            "activation",
            "noise",
            "loss",
            "parameters",
            "epochs",
            "error on training images",
            "on legitimate images",
        ],
        rows,
        3,
    )


def settings_table(results: Record) -> str:
    """The paper's sizes and ours."""
    meta = results.get("meta") or {}
    settings: dict[str, Any] = meta.get("settings") or {}
    sets: dict[str, Any] = settings.get("datasets") or {}

    def each(name: str) -> str:
        values = {dataset: own.get(name) for dataset, own in sets.items()}
        suits = {"autoencoder_epochs": "until the error stops falling", "iterations": "Table 1's"}.get(name, NOTHING)
        shown = {DATASETS[dataset]: suits if value is None else f"{value:,}" for dataset, value in values.items()}
        if len(set(shown.values())) == 1:
            return next(iter(shown.values()))
        return ", ".join(f"{dataset} {value}" for dataset, value in shown.items()) or "not stored"

    rows = [
        ["training images", "45,000", each("images")],
        ["legitimate images, V_leg", "5,000", number(settings.get("legitimate"), ",d")],
        ["attacked validation images, V_atk", "2,000", each("attacked")],
        ["legitimate test images, and as many attacked", "2,000", number(settings.get("tested"), ",d")],
        ["experiments", "40", number(settings.get("experiments"), "d")],
        ["inputs that one ensemble serves", "100", "100"],
        ["combinations of the calibration stage", "not given", number(settings.get("combinations"), ",d")],
        [
            "training images that tell when an autoencoder is trained",
            "none: a fixed number of epochs",
            each("held_out"),
        ],
        ["epochs of an autoencoder", "30 to 55 in the released list", each("autoencoder_epochs")],
        ["iterations of BIM", "MNIST 50, CIFAR-10 1,000", each("iterations")],
        ["images of the attackers who know it", NOTHING, number(settings.get("adaptive"), "d")],
        ["images on which FGSM and BIM are fitted to Table 6", NOTHING, number(settings.get("tried"), ",d")],
    ]
    return markdown(["setting", "paper", "here"], rows, 1)
