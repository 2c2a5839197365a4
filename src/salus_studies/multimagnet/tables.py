"""Tables of the MultiMagNet page: the paper's numbers beside stored results."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from salus.detectors.multimagnet_grid import Outcome, literal_eq9
from salus.metrics.wording import NOTHING, number, percent, present, rate
from salus_studies.frame.markdown import Record, done, find, markdown, not_run
from salus_studies.multimagnet.attacked import AS_PRINTED, STRENGTHS
from salus_studies.multimagnet.judging import CONFIGURATIONS
from salus_studies.multimagnet.published import (
    ATTACKS,
    CLASSIFIER,
    CLASSIFIER_ACCURACY,
    DATASETS,
    DEFENCES,
    PARAMETERS,
    PROTECTED,
    SCENARIOS,
    SIZES,
    UNDEFENDED,
    Chosen,
    Spread,
    chosen,
    detection,
)

#: Which figure of an experiment is which scenario of Table 5: the configuration and the figure's name.
FIGURES = {
    "none": ("multimagnet", "undefended"),
    "magnet": ("magnet", "accepted"),
    "multimagnet": ("multimagnet", "accepted"),
    "magnet-reformer": ("magnet", "reformed"),
    "multimagnet-reformer": ("multimagnet", "reformed"),
}


def row(results: Record, dataset: str, attack: str, strength: str, configuration: str) -> Record | None:
    """Find what the experiments of one configuration came to."""
    place = {"dataset": dataset, "attack": attack, "strength": strength, "configuration": configuration}
    return find(results.get("rows"), **place)


def strengths(results: Record, dataset: str, attack: str) -> list[str]:
    """List how strong an attack was run, Table 1's strength in any case."""
    run = {
        one.get("strength")
        for one in results.get("rows") or ()
        if (one.get("dataset"), one.get("attack")) == (dataset, attack)
    }
    return [strength for strength in STRENGTHS if strength == AS_PRINTED or strength in run]


def comparable(results: Record, dataset: str, attack: str) -> str:
    """Name the strength that meets Table 6: retuned where Table 1's does not."""
    return strengths(results, dataset, attack)[-1]


def data_name(results: Record, dataset: str) -> str:
    """Name the set of data as it was loaded: JPEG images are not the original ones."""
    name = ((results.get("meta") or {}).get("data") or {}).get(dataset, {}).get("name", dataset)
    return f"{DATASETS[dataset]} (JPEG)" if name.endswith("-jpeg") else DATASETS[dataset]


def _published(spread: Spread) -> str:
    return f"{spread.mean:.2f} ± {spread.deviation:.2f}"


def spread(record: Record, name: str) -> str:
    """Print a mean, its deviation over batches of 100 and, in parentheses, over experiments on all images."""
    figure = record.get(name) or {}
    if not present(figure.get("mean")):
        return NOTHING
    return f"{percent(figure['mean'], 2)} ± {percent(figure['batches'], 2)} ({percent(figure['experiments'], 2)})"


def attacks_table(results: Record) -> str:
    """Table 1, and what was used."""
    rows = []
    for (dataset, attack), printed in PARAMETERS.items():
        whose = [DATASETS[dataset], ATTACKS[attack]]
        rows.append([*whose, "paper", _options(printed)])
        for strength in strengths(results, dataset, attack):
            record = find(results.get("attacks"), dataset=dataset, attack=attack, strength=strength)
            what = not_run(record) if record is None or not done(record) else _options(record.get("parameters") or {})
            rows.append([*whose, f"**ours**, {STRENGTHS[strength]}", what])
    return markdown(["data", "attack", "source", "parameters"], rows, 4)


def _options(parameters: Record) -> str:
    return (
        ", ".join(f"{name.replace('_', ' ')} {number(value, '.4g')}" for name, value in parameters.items()) or NOTHING
    )


def undefended_table(results: Record) -> str:
    """Table 6."""
    rows = []
    for (dataset, attack), printed in UNDEFENDED.items():
        for strength in strengths(results, dataset, attack):
            record = find(results.get("attacks"), dataset=dataset, attack=attack, strength=strength)
            whose = [data_name(results, dataset), ATTACKS[attack], STRENGTHS[strength], f"{printed:.2f}"]
            if record is None or not done(record):
                rows.append([*whose, not_run(record), *[NOTHING] * 4])
                continue
            rows.append(
                [
                    *whose,
                    percent(record["accuracy_test"], 2),
                    percent(record["accuracy_validation"], 2),
                    percent(record["unchanged_test"]),
                    number(record["linf_test"]),
                    number(record["l2_test"]),
                ]
            )
    return markdown(
        [
            "data",
            "attack",
            "strength",
            "paper",
            "**ours**",
            "on validation images",
            "unchanged images",
            "median L∞",
            "median L2",
        ],
        rows,
        3,
    )


def detection_table(results: Record, dataset: str) -> str:
    """Table 2 or 3."""
    rows = []
    for attack, title in ATTACKS.items():
        for defence, name in DEFENCES.items():
            printed = detection(dataset, defence, attack)
            shown = map(_published, (printed.accuracy, printed.ppv, printed.npv))
            rows.append([title, name, "paper", *shown])
            for strength in strengths(results, dataset, attack):
                record = row(results, dataset, attack, strength, defence)
                rows.append([title, name, f"**ours**, {STRENGTHS[strength]}", *_detected(record)])
    return markdown(["attack", "defence", "source", "ACC", "PPV", "NPV"], rows, 3)


def _detected(record: Record | None) -> list[str]:
    if record is None or not done(record):
        return [not_run(record), NOTHING, NOTHING]
    return [spread(record, name) for name in ("accuracy", "ppv", "npv")]


def configurations_table(results: Record, dataset: str) -> str:
    """What stands beside the paper's way of choosing, at the strength that meets Table 6."""
    rows = []
    for attack, title in ATTACKS.items():
        for strength in strengths(results, dataset, attack):
            for name, words in CONFIGURATIONS.items():
                record = row(results, dataset, attack, strength, name)
                what = settings(record["combination"]) if record is not None and done(record) else NOTHING
                rows.append([title, STRENGTHS[strength], words, what, *_detected(record)])
    return markdown(["attack", "strength", "defence", "configuration", "ACC", "PPV", "NPV"], rows, 4)


def settings(combination: Record) -> str:
    """Write a combination in a few words."""
    n = combination["n"]
    drawn = f"n from {', '.join(map(str, n))}" if isinstance(n, list) else f"n = {n}"
    metric = combination["metric"].upper()
    if present(combination.get("temperature")):
        metric += f" at T = {combination['temperature']:g}"
    return f"{metric}, drop rate {combination['drop_rate']:g}, {combination['approach']}, {drawn}"


def chosen_table(results: Record) -> str:
    """Table 4."""
    rows = []
    for dataset, title in DATASETS.items():
        for attack, name in ATTACKS.items():
            rows.append([title, name, "paper", *_choice(chosen(dataset, attack)), NOTHING])
            for strength in strengths(results, dataset, attack):
                record = find(
                    results.get("chosen"),
                    dataset=dataset,
                    attack=attack,
                    strength=strength,
                    configuration="multimagnet",
                )
                absent = row(results, dataset, attack, strength, "multimagnet")
                source = f"**ours**, {STRENGTHS[strength]}"
                rows.append([title, name, source, *_ours(record, absent)])
        record = find(results.get("chosen"), dataset=dataset, configuration="clean")
        rows.append([title, "any", "**ours**, clean images alone", *_ours(record, None)])
    return markdown(
        ["data", "attack", "source", "drop rate", "thresholds", "metric", "K", "n", "ACC when chosen"], rows, 3
    )


def _choice(printed: Chosen) -> list[str]:
    sizes = f"one of {', '.join(map(str, SIZES))}"
    return [f"{printed.drop_rate:g}", printed.approach, printed.metric.upper(), number(printed.temperature), sizes]


def _ours(record: Record | None, absent: Record | None) -> list[str]:
    if record is None or not done(record):
        return [not_run(record or absent), *[NOTHING] * 5]
    scored = percent(record["accuracy"], 2) if record.get("attack") else NOTHING
    return [
        f"{record['drop_rate']:g}",
        record["approach"],
        record["metric"].upper(),
        number(record["temperature"]),
        str(record["n"]),
        scored,
    ]


def scenarios_table(results: Record, dataset: str) -> str:
    """Table 5 of one set of data."""
    rows = []
    for attack, title in ATTACKS.items():
        rows.append([title, "paper", *(_published(PROTECTED[dataset, attack][each]) for each in SCENARIOS)])
        for strength in strengths(results, dataset, attack):
            cells = []
            for configuration, figure in FIGURES.values():
                record = row(results, dataset, attack, strength, configuration)
                cells.append(not_run(record) if record is None or not done(record) else spread(record, figure))
            if len(set(cells)) == 1 and cells[0].startswith("not run"):
                cells[1:] = [NOTHING] * (len(cells) - 1)
            rows.append([title, f"**ours**, {STRENGTHS[strength]}", *cells])
    return markdown(["attack", "source", *SCENARIOS.values()], rows, 2)


def cost_table(results: Record, dataset: str) -> str:
    """What Table 5 leaves out: legitimate images that are lost, and attacked ones that come through wrong."""
    rows = []
    for attack, title in ATTACKS.items():
        for strength in strengths(results, dataset, attack):
            for name in ("magnet", "multimagnet", "clean"):
                record = row(results, dataset, attack, strength, name)
                whose = [title, STRENGTHS[strength], CONFIGURATIONS[name]]
                if record is None or not done(record):
                    rows.append([*whose, not_run(record), *[NOTHING] * 3])
                    continue
                figures = ("kept", "kept_reformed", "fallen", "fallen_reformed")
                rows.append([*whose, *(percent((record[figure] or {}).get("mean"), 2) for figure in figures)])
    return markdown(
        [
            "attack",
            "strength",
            "defence",
            "legitimate, accepted and right",
            "the same, reformed",
            "attacked, accepted and wrong",
            "the same, reformed",
        ],
        rows,
        3,
    )


def eq9_table(results: Record) -> str:
    """The literal Eq. 9 of one choice, beside the tables' reading of it."""
    record = next(_chosen_done(results), None)
    if record is None:
        return not_run(None) + "\n"
    names = ("accepted_clean", "rejected_clean", "accepted_adversarial", "rejected_adversarial")
    outcome = Outcome(**{name: record[name] for name in names})
    literal = literal_eq9(outcome)
    tables = (outcome.accuracy, outcome.ppv, outcome.npv)
    what = f"{DATASETS[record['dataset']]}, {ATTACKS[record['attack']]}, validation images"
    return markdown(
        [what, "ACC", "PPV", "NPV"],
        [
            ["Eq. 8 and 9 to the letter", *(percent(value, 2) for value in literal)],
            ["as Tables 2 and 3 use them", *(percent(value, 2) for value in tables)],
        ],
    )


def _chosen_done(results: Record) -> Iterator[Record]:
    """Choices of MultiMagNet, those under CW first, where PPV and NPV differ most."""
    rows = [one for one in results.get("chosen") or () if one.get("configuration") == "multimagnet"]
    yield from sorted(rows, key=lambda one: one["attack"] != "cw")


def classifiers_table(results: Record) -> str:
    """The classifiers: the paper's and ours."""
    rows = []
    for dataset, title in DATASETS.items():
        rows.append([title, "paper", CLASSIFIER[dataset], f"{CLASSIFIER_ACCURACY[dataset]:.2f}", *[NOTHING] * 5])
        record = find(results.get("classifiers"), dataset=dataset)
        whose = [data_name(results, dataset), "**ours**"]
        if record is None or not done(record):
            rows.append([*whose, not_run(record), *[NOTHING] * 6])
            continue
        options = "".join(f", {key.replace('_', ' ')} {value}" for key, value in (record.get("options") or {}).items())
        rows.append(
            [
                *whose,
                record["network"] + options,
                percent(record["accuracy"], 2),
                percent(record["accuracy_drawn"], 2),
                f"{record['epochs']}",
                f"{record['images']:,}",
                f"{record['parameters']:,}",
                number(record["seconds"], ",.0f"),
            ]
        )
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


def repository_table(results: Record, dataset: str) -> str:
    """The autoencoders and their errors; the paper's lie below 0.001 on training images."""
    record = find(results.get("repositories"), dataset=dataset)
    if record is None or not done(record):
        return not_run(record) + "\n"
    rows = [
        [
            member["name"],
            " ".join(member["structure"]),
            member["activation"],
            f"{member['noise']:g}",
            member["loss"],
            f"{member['parameters']:,}",
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
            "error on training images",
            "on legitimate images",
        ],
        rows,
        3,
    )


def adaptive_table(results: Record) -> str:
    """An attacker who knows the defence beside one who does not."""
    rows = []
    for dataset in DATASETS:
        stored = [one for one in results.get("adaptive") or () if one.get("dataset") == dataset]
        for record in stored or [{"status": "not run", "reason": "not in the stored results"}]:
            whose = [data_name(results, dataset), record.get("threat_model") or "both"]
            if not done(record):
                rows.append([*whose, not_run(record), *[NOTHING] * 4])
                continue
            figures = ("clean_accuracy", "robust_accuracy", "rejected_clean", "rejected_adversarial")
            rows.append([*whose, f"{record['n']}", *(rate(record, name) for name in figures)])
    return markdown(
        [
            "data",
            "attacker",
            "images",
            "clean accuracy (95%)",
            "robust accuracy (95%)",
            "clean rejected",
            "attacked rejected",
        ],
        rows,
        2,
    )


def settings_table(results: Record) -> str:
    """The paper's sizes and ours."""
    meta = results.get("meta") or {}
    settings: dict[str, Any] = meta.get("settings") or {}
    sets: dict[str, Any] = settings.get("datasets") or {}

    def each(name: str) -> str:
        values = {dataset: own.get(name) for dataset, own in sets.items()}
        shown = {
            DATASETS[dataset]: "as many as suit" if value is None else f"{value:,}" for dataset, value in values.items()
        }
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
        ["epochs of an autoencoder", "not given", each("autoencoder_epochs")],
        ["images on which FGSM and BIM are fitted to Table 6", NOTHING, number(settings.get("tried"), ",d")],
    ]
    return markdown(["setting", "paper", "here"], rows, 1)
