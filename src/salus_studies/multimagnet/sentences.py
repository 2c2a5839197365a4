"""Sentences of the MultiMagNet page that are computed from stored results."""

from __future__ import annotations

from collections import Counter

from salus.metrics.wording import number, percent, present, rate, signed
from salus_studies.frame.markdown import NOT_STORED, Record, done, find, not_run
from salus_studies.multimagnet.attacked import ARMS, CLOSE, RETUNED, WHITE_BOX
from salus_studies.multimagnet.judging import READINGS
from salus_studies.multimagnet.measured import agreements, comparable, data_name, row
from salus_studies.multimagnet.published import (
    ATTACKS,
    CLASSIFIER_ACCURACY,
    DATASETS,
    DEFENCES,
    UNDEFENDED,
    Spread,
    detection,
)

#: On CIFAR-10 the classifier is to be at least this good, in percent.
WANTED = 89.0
#: A defence is broken where an attacker who knows it leaves at most so much robust accuracy, in percent.
BROKEN = 10.0
#: Points to either side that an accuracy on CIFAR-10 may be apart from the paper's.
ON_CIFAR10 = 5.0
#: The mean squared error that the paper's autoencoders stay below on training images.
RECONSTRUCTED = 1e-3


def summary(results: Record) -> list[str]:
    """Say what the numbers come to."""
    lines = []
    scale = (results.get("meta") or {}).get("scale")
    if scale != "full":
        lines.append(f"This is the scale “{scale or NOT_STORED}”; the table of settings says what the paper had.")
    lines += classifiers(results)
    lines += autoencoders(results)
    for dataset in DATASETS:
        lines += undefended(results, dataset)
    for dataset in DATASETS:
        lines += accuracies(results, dataset)
    for dataset in DATASETS:
        lines += ensembles(results, dataset)
        lines += general(results, dataset)
    lines += reformer(results)
    lines += adaptive(results)
    return lines


def classifiers(results: Record) -> list[str]:
    """Say how good the classifiers are."""
    clauses = []
    for dataset in DATASETS:
        record = find(results.get("classifiers"), dataset=dataset)
        name = data_name(results, dataset)
        if record is None or not done(record):
            clauses.append(f"{name} {not_run(record)}")
            continue
        short = dataset == "cifar10" and 100 * record["accuracy"] < WANTED
        remark = f", below the {WANTED:g}% that is asked for" if short else ""
        clauses.append(
            f"{name} {percent(record['accuracy'], 2)}% (paper {CLASSIFIER_ACCURACY[dataset]:.2f}% on "
            f"{DATASETS[dataset]}){remark}"
        )
    return [f"Right answers of the classifiers on all clean test images: {'; '.join(clauses)}."]


def autoencoders(results: Record) -> list[str]:
    """Say how many autoencoders are as good as the paper's, and how bad the worst is."""
    clauses = []
    for dataset in DATASETS:
        record = find(results.get("repositories"), dataset=dataset)
        if record is None or not done(record):
            continue
        errors = {member["name"]: member["training_error"] for member in record["members"]}
        good = sum(error < RECONSTRUCTED for error in errors.values())
        worst = max(errors, key=errors.__getitem__)
        count = f"{good} of {len(errors)} (the worst, {worst}: {number(errors[worst], '.2g')})"
        clauses.append(f"{data_name(results, dataset)} {count}")
    if not clauses:
        return []
    head = f"Autoencoders whose mean squared error on training images lies below {RECONSTRUCTED:g}, as all the paper's"
    return [f"{head} do: {'; '.join(clauses)}."]


def undefended(results: Record, dataset: str) -> list[str]:
    """Say which arm meets Table 6 and NPV, and by how much."""
    lines = []
    for attack, title in ATTACKS.items():
        clauses = []
        for each in agreements(results, dataset, attack):
            npv = "" if each.npv is None else f", NPV {signed(each.npv)}"
            clauses.append(f"{ARMS[each.arm]} {signed(each.undefended, 2)}{npv}, agrees {each.verdict}")
        retuned = find(results.get("attacks"), dataset=dataset, attack=attack, arm=RETUNED)
        if retuned is not None and done(retuned):
            apart = 100 * retuned["accuracy_test"] - UNDEFENDED[dataset, attack]
            clauses.append(f"{ARMS[RETUNED]} ({_options(retuned)}) {signed(apart, 2)}")
        if not clauses:
            record = find(results.get("attacks"), dataset=dataset, attack=attack)
            clauses.append(not_run(record or row(results, dataset, attack, WHITE_BOX, "magnet")))
        else:
            clauses.append(f"compared below: {ARMS[comparable(results, dataset, attack)]}")
        lines.append(f"  {title} (paper {UNDEFENDED[dataset, attack]:.2f}%): {'; '.join(clauses)}")
    head = (
        f"Table 6 on {data_name(results, dataset)}, accuracy on attacked test images without a defence, and NPV by "
        f"Table 4's settings: points apart from the paper's in each arm; it agrees where it is within {CLOSE:g}:"
    )
    return [head, *lines]


def _options(record: Record) -> str:
    return ", ".join(f"{name} {value:.3g}" for name, value in (record.get("parameters") or {}).items())


def allowed(dataset: str, printed: Spread) -> float:
    """Return how many points apart a number may be from the paper's, to either side, and still be reproduced."""
    return max(printed.deviation, 1.0) if dataset == "mnist" else ON_CIFAR10


def accuracies(results: Record, dataset: str) -> list[str]:
    """Say which accuracies of Tables 2 and 3 are met, to both sides, in the arm that is nearest to the paper."""
    lines, met, run = [], Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    for attack, title in ATTACKS.items():
        arm = comparable(results, dataset, attack)
        counted = [row(results, dataset, attack, arm, name) for each in READINGS.values() for name in each.values()]
        if not any(one is not None and done(one) for one in counted):
            lines.append(f"  {title}: {not_run(counted[0])}")
            continue
        clauses = []
        for defence, name in DEFENCES.items():
            printed = detection(dataset, defence, attack).accuracy
            width, ours = allowed(dataset, printed), []
            for reading, configurations in READINGS.items():
                record = row(results, dataset, attack, arm, configurations[defence])
                if record is None or not done(record):
                    ours.append(f"{reading} {not_run(record)}")
                    continue
                accuracy = 100 * record["accuracy"]["mean"]
                within = abs(accuracy - printed.mean) <= width
                met[defence, reading] += within
                run[defence, reading] += 1
                words = "within" if within else "not within"
                ours.append(f"{reading} {accuracy:.2f}% ({signed(accuracy - printed.mean)}, {words} {width:g})")
            clauses.append(f"{name} {printed.mean:.2f}% printed, {', '.join(ours)}")
        lines.append(f"  {title}, {ARMS[arm]}: {'; '.join(clauses)}")
    table = {"mnist": 2, "cifar10": 3}[dataset]
    bar = "max(one published deviation, 1 point)" if dataset == "mnist" else f"{ON_CIFAR10:g} points"
    counts = (
        f"{DEFENCES[defence]}{' (n = 1)' if defence == 'magnet' else ''} {met[defence, reading]} of "
        f"{run[defence, reading]} by {reading if reading.startswith('Table') else 'what was ' + reading}"
        for defence in ("multimagnet", "magnet")
        for reading in READINGS
    )
    head = (
        f"Accuracy, Table {table}, on {data_name(results, dataset)}, within {bar} of the paper's to either side: "
        f"{', '.join(counts)}:"
    )
    return [head, *lines]


def ensembles(results: Record, dataset: str) -> list[str]:
    """Say whether several members are better than one, which is the paper's hypothesis."""
    clauses, better, run = [], 0, 0
    for attack, title in ATTACKS.items():
        arm = comparable(results, dataset, attack)
        several, one = (row(results, dataset, attack, arm, name) for name in ("multimagnet", "magnet-own"))
        if several is None or one is None or not done(several) or not done(one):
            continue
        run += 1
        points = 100 * (several["accuracy"]["mean"] - one["accuracy"]["mean"])
        better += points > 0
        clauses.append(f"{title} {signed(points)}")
    if not run:
        return []
    return [
        f"The hypothesis that several members are better than one, on {data_name(results, dataset)}: MultiMagNet is "
        f"more accurate than MagNet with the best configuration of its own under {better} of {run} attacks (points: "
        f"{', '.join(clauses)})."
    ]


def general(results: Record, dataset: str) -> list[str]:
    """Say what it costs not to know the attack."""
    clauses = []
    for attack, title in ATTACKS.items():
        arm = comparable(results, dataset, attack)
        tuned, same = (row(results, dataset, attack, arm, name) for name in ("multimagnet", "clean"))
        if tuned is not None and same is not None and done(tuned) and done(same):
            ours = 100 * same["accuracy"]["mean"]
            clauses.append(f"{title} {ours:.2f}% ({signed(ours - 100 * tuned['accuracy']['mean'])})")
    if not clauses:
        return []
    return [
        f"One configuration for all attacks, chosen on clean images alone, on {data_name(results, dataset)}: accuracy "
        f"(points from that which is tuned to each attack) {', '.join(clauses)}."
    ]


def reformer(results: Record) -> list[str]:
    """Say whether the reformer helps those images that are accepted."""
    clauses = []
    for dataset in DATASETS:
        gains = []
        for attack, title in ATTACKS.items():
            record = row(results, dataset, attack, comparable(results, dataset, attack), "multimagnet")
            if record is None or not done(record):
                continue
            before, after = ((record.get(name) or {}).get("mean") for name in ("accepted", "reformed"))
            if present(before) and present(after):
                gains.append(f"{title} {signed(100 * (after - before))}")
        if gains:
            clauses.append(f"{data_name(results, dataset)} {', '.join(gains)}")
    if not clauses:
        return []
    return [f"The reformer changes the accuracy on images that MultiMagNet accepts by (points) {'; '.join(clauses)}."]


def adaptive(results: Record) -> list[str]:
    """Say what attackers who know the deployment leave of it, and whether it is broken."""
    lines = []
    for dataset in DATASETS:
        name = data_name(results, dataset)
        stored = [one for one in results.get("adaptive") or () if one.get("dataset") == dataset]
        knowing = [one for one in stored if done(one) and one.get("threat_model") == "adaptive"]
        if not knowing:
            lines.append(f"  {name}: {not_run(stored[0] if stored else None)}")
            continue
        clauses = []
        for knows in knowing:
            blind = find(stored, threat_model="oblivious", norm=knows["norm"])
            beside = (
                f", one that does not {rate(blind, 'robust_accuracy')}" if blind is not None and done(blind) else ""
            )
            norm = {"linf": "L∞", "l2": "L2"}[knows["norm"]]
            clauses.append(f"in {norm} at eps {knows['eps']:g} {rate(knows, 'robust_accuracy')}{beside}")
        worst = min(100 * knows["robust_accuracy"] for knows in knowing)
        verdict = "broken" if worst <= BROKEN else "not broken by these"
        clean = rate(knowing[0], "clean_accuracy")
        lines.append(
            f"  {name}, {knowing[0]['n']} images, clean accuracy {clean}: PGD that knows it leaves "
            f"{'; '.join(clauses)}; so it is {verdict}"
        )
    return [
        "The numbers of all six tables are of attackers who do not know the defence: upper bounds, and no evidence "
        "that it holds. The deployment, detector and reformer of one draw, against those who know it (robust accuracy, "
        "%):",
        *lines,
    ]
