"""The attacks of MultiMagNet and their detection: Tables 1 to 4 and 6, the paper's numbers beside stored results."""

from __future__ import annotations

from collections.abc import Iterator

from salus.detectors.multimagnet_grid import DetectionShares, literal_eq9
from salus.metrics.wording import NOTHING, number, percent, present, signed
from salus_studies.frame.markdown import Record, done, find, markdown, not_run
from salus_studies.multimagnet.attacked import ARMS
from salus_studies.multimagnet.judging import CONFIGURATIONS, READINGS
from salus_studies.multimagnet.measured import agreements, arms, comparable, data_name, row, spread, written
from salus_studies.multimagnet.published import (
    ATTACKS,
    DATASETS,
    DEFENCES,
    PARAMETERS,
    SIZES,
    UNDEFENDED,
    Chosen,
    chosen,
    detection,
)


def attacks_table(results: Record) -> str:
    """Table 1, and what was used."""
    rows = []
    for (dataset, attack), printed in PARAMETERS.items():
        whose = [DATASETS[dataset], ATTACKS[attack]]
        rows.append([*whose, "paper", _options(printed)])
        for arm in arms(results, dataset, attack):
            record = find(results.get("attacks"), dataset=dataset, attack=attack, arm=arm)
            what = not_run(record) if record is None or not done(record) else _options(record.get("parameters") or {})
            rows.append([*whose, f"**ours**, {ARMS[arm]}", what])
    return markdown(["data", "attack", "source", "parameters"], rows, 4)


def _options(parameters: Record) -> str:
    return (
        ", ".join(f"{name.replace('_', ' ')} {number(value, '.4g')}" for name, value in parameters.items()) or NOTHING
    )


def undefended_table(results: Record) -> str:
    """Table 6."""
    rows = []
    for (dataset, attack), printed in UNDEFENDED.items():
        for arm in arms(results, dataset, attack):
            record = find(results.get("attacks"), dataset=dataset, attack=attack, arm=arm)
            whose = [data_name(results, dataset), ATTACKS[attack], ARMS[arm], f"{printed:.2f}"]
            if record is None or not done(record):
                rows.append([*whose, not_run(record), *[NOTHING] * 5])
                continue
            rows.append(
                [
                    *whose,
                    percent(record["accuracy_test"], 2),
                    percent(record["accuracy_validation"], 2),
                    percent(record["unchanged_test"]),
                    number(record["linf_test"]),
                    number(record["l2_test"]),
                    number(record.get("seconds"), ",.0f"),
                ]
            )
    return markdown(
        [
            "data",
            "attack",
            "arm",
            "paper",
            "**ours**",
            "on validation images",
            "unchanged images",
            "median L∞",
            "median L2",
            "seconds",
        ],
        rows,
        3,
    )


def agreement_table(results: Record) -> str:
    """Which arm agrees with Table 6 and with NPV."""
    rows = []
    for dataset in DATASETS:
        for attack, title in ATTACKS.items():
            chosen_arm = comparable(results, dataset, attack)
            for each in agreements(results, dataset, attack):
                npv = NOTHING if each.npv is None else signed(each.npv)
                verdict = each.verdict + (", compared below" if each.arm == chosen_arm else "")
                rows.append([data_name(results, dataset), title, ARMS[each.arm], signed(each.undefended), npv, verdict])
    if not rows:
        return not_run(None) + "\n"
    return markdown(["data", "attack", "arm", "Table 6", "NPV", "agrees"], rows, 3)


def detection_table(results: Record, dataset: str) -> str:
    """Table 2 or 3."""
    rows = []
    for attack, title in ATTACKS.items():
        for defence, name in DEFENCES.items():
            printed = detection(dataset, defence, attack)
            shown = map(written, (printed.accuracy, printed.ppv, printed.npv))
            rows.append([title, name, "paper", *shown])
            for arm in arms(results, dataset, attack):
                for reading, configurations in READINGS.items():
                    record = row(results, dataset, attack, arm, configurations[defence])
                    rows.append([title, name, f"**ours**, {ARMS[arm]}, {reading}", *_detected(record)])
    return markdown(["attack", "defence", "source", "ACC", "PPV", "NPV"], rows, 3)


def _detected(record: Record | None) -> list[str]:
    if record is None or not done(record):
        return [not_run(record), NOTHING, NOTHING]
    return [spread(record, name) for name in ("accuracy", "ppv", "npv")]


def configurations_table(results: Record, dataset: str) -> str:
    """What stands beside the paper's way of choosing, in every arm."""
    rows = []
    for attack, title in ATTACKS.items():
        for arm in arms(results, dataset, attack):
            for name, words in CONFIGURATIONS.items():
                record = row(results, dataset, attack, arm, name)
                what = settings(record["combination"]) if record is not None and done(record) else NOTHING
                rows.append([title, ARMS[arm], words, what, *_detected(record)])
    return markdown(["attack", "arm", "defence", "configuration", "ACC", "PPV", "NPV"], rows, 4)


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
            for arm in arms(results, dataset, attack):
                record = find(
                    results.get("chosen"),
                    dataset=dataset,
                    attack=attack,
                    arm=arm,
                    configuration="multimagnet",
                )
                absent = row(results, dataset, attack, arm, "multimagnet")
                source = f"**ours**, {ARMS[arm]}"
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


def eq9_table(results: Record) -> str:
    """The literal Eq. 9 of one choice, beside the tables' reading of it."""
    record = next(_chosen_done(results), None)
    if record is None:
        return not_run(None) + "\n"
    names = ("accepted_clean", "rejected_clean", "accepted_adversarial", "rejected_adversarial")
    outcome = DetectionShares(**{name: record[name] for name in names})
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
