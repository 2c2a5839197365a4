"""What was trained for the thesis, how much of its effort was spent, and what of its settings is inferred."""

from __future__ import annotations

from typing import Any

from salus.metrics.wording import NOTHING, percent
from salus_studies.frame.markdown import Cells, Record, done, find, markdown, not_run
from salus_studies.skin_lesion import published
from salus_studies.skin_lesion.measured import title
from salus_studies.skin_lesion.published import NETWORKS

#: The sides of the published networks' inputs, which the thesis does not name.
_SIDES = {"inception-v3": "299 px", "resnet50": "224 px"}


def classifiers_table(results: Record) -> str:
    """What was trained."""
    lines: list[Cells] = []
    for record in results.get("classifiers") or ():
        name = [title(results, record["network"]), record["model"]]
        if not done(record):
            lines.append([*name, not_run(record), "", "", "", "", ""])
            continue
        rounds = record.get("rounds")
        epochs = f"{len(rounds)} rounds" if rounds else f"{record['epochs']}, the {record['best']}. kept"
        last: Record = rounds[-1] if rounds else {}
        lines.append(
            [
                *name,
                f"{record['parameters']:,}",
                epochs,
                percent(last.get("accuracy", record.get("validation_accuracy"))),
                percent(last.get("macro_recall", record.get("validation_macro_recall"))),
                percent(record.get("test_accuracy")),
                f"{record['seconds'] / 60:.1f}",
            ]
        )
    header = [
        "network",
        "model",
        "parameters",
        "epochs",
        "validation accuracy",
        "validation recall",
        "test accuracy",
        "minutes",
    ]
    return markdown(header, lines, 2)


def settings_table(results: Record) -> str:
    """What the thesis did beside what this scale does, for each network, and what of the thesis's is inferred."""
    settings: dict[str, Any] = (results.get("meta") or {}).get("settings") or {}
    if not settings:
        return ""
    rounds, many = settings["rounds"], settings["uap_images"]
    lines: list[Cells] = []
    for network, spec in settings["networks"].items():
        training = spec["training"]
        pretrained = "ImageNet's weights" if "pretrained" in spec["options"] else "from scratch"
        options = ", ".join(
            f"{name.replace('_', ' ')} {value}" for name, value in spec["options"].items() if name != "pretrained"
        )
        head = training.get("head_epochs")
        first = f"the last layer alone for {head} epochs, then " if head else ""
        balance = {"weights": "class weights", "none": "no class weights"}.get(training["balance"], training["balance"])
        if training["prior_shift"]:
            balance += f", {training['prior_shift']:g} of the log prior added to the logits (logit adjustment)"
        name = NETWORKS[network]
        averaged = f"; weights averaged, decay {training['averaging']:g}" if training["averaging"] else ""
        lines += [
            [name, "network", name, "", ", ".join(filter(None, [title(results, network), options]))],
            [name, "first weights", "transfer learning; ImageNet's", "inferred", pretrained],
            [name, "images", "not given", f"inferred: {_SIDES[network]}, its own size", f"{spec['size']} px"],
            [name, "what learns", "not given", "", f"{first}all layers"],
            [name, "epochs", str(published.EPOCHS), "", str((head or 0) + training["epochs"])],
            [name, "batches", str(published.BATCH_SIZE), "", str(training["batch_size"])],
            [
                name,
                "optimiser, highest rate",
                "not given",
                "",
                f"AdamW, {training['learning_rate']:g}, one cycle; weight decay {training['weight_decay']:g}",
            ],
            [name, "classes", "class weights", "", balance],
            [
                name,
                "epoch that is kept",
                "not given",
                "inferred: the last",
                f"{'the last' if training['keep'] == 'last' else 'that of the lowest validation loss'}{averaged}",
            ],
            [name, "augmentation", "not given", "inferred: none", settings["recipe"]],
        ]
    lines += [
        [
            "both",
            "parts",
            "70 / 17.5 / 12.5% at random",
            "",
            "70 / 17.5 / 12.5%, no lesion on two sides" if (results["meta"].get("split") == "lesions") else "as there",
        ],
        [
            "both",
            "adversarial retraining",
            f"{published.ROUNDS} rounds of {published.ROUND_EPOCHS} epochs on {published.ROUND_SHARE:.0%}",
            "",
            f"{rounds['rounds']} rounds of {rounds['epochs']} epochs on {rounds['share']:.0%}; the control as long on "
            "clean images; augmented in both",
        ],
        ["both", "FGSM", "eps 2/255", "", "eps 2/255"],
        [
            "both",
            "UAP",
            "ART's; eps, inner attack's options and images not given",
            "inferred: FGSM inside",
            f"Salus's, fitted to {'all' if many is None else f'{many:,}'} training images; eps from the curve; "
            f"ART's once, on {settings.get('art_images', NOTHING)}",
        ],
        ["both", "WebP", "quality not given", "", "quality 50 in the tables; others below"],
    ]
    return markdown(["network", "setting", "thesis", "inferred", "here"], lines, 5)


def split_table(results: Record) -> str:
    """The plain classifiers on both ways to deal images."""
    lines: list[Cells] = []
    for network in NETWORKS:
        for model, called in (("plain", "by lesion"), ("plain-by-image", "by image, as in the thesis")):
            record = find(results.get("classifiers"), network=network, model=model)
            value = percent(record.get("test_accuracy")) if record is not None and done(record) else not_run(record)
            recall = percent(record.get("validation_macro_recall")) if record is not None and done(record) else ""
            lines.append([title(results, network), called, value, recall])
    return markdown(["network", "dealt", "accuracy on test images", "recall on validation images"], lines, 2)


def classes_table(results: Record) -> str:
    """How many images of each class each part has."""
    counts = (results.get("meta") or {}).get("counts")
    if not counts:
        return f"{not_run(None)}\n"
    parts = [part for part in ("train", "validation", "test") if part in counts]
    classes = list(counts[parts[0]])
    rows = [[part, *(str(counts[part][name]) for name in classes), str(sum(counts[part].values()))] for part in parts]
    return markdown(["part", *classes, "all"], rows)
