"""Sentences of the MultiMagNet page that are computed from stored results."""

from __future__ import annotations

from salus.metrics.wording import number, percent, present, rate, signed
from salus_studies.frame.markdown import NOT_STORED, Record, done, find, not_run
from salus_studies.multimagnet.attacked import AS_PRINTED, CLOSE, RETUNED, STRENGTHS
from salus_studies.multimagnet.measured import comparable, data_name, row, strengths
from salus_studies.multimagnet.published import ATTACKS, CLASSIFIER_ACCURACY, DATASETS, UNDEFENDED, detection

#: On CIFAR-10 the classifier is to be at least this good, in percent, when there is a GPU.
WANTED = 89.0
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
        remark = f", below the {WANTED:g}% that is asked for where there is a GPU" if short else ""
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
    """Say where Table 6 is met, and by what."""
    lines = []
    for attack, title in ATTACKS.items():
        clauses = []
        for strength in strengths(results, dataset, attack):
            record = find(results.get("attacks"), dataset=dataset, attack=attack, strength=strength)
            if record is None or not done(record):
                clauses.append(
                    f"{STRENGTHS[strength]} {not_run(record or row(results, dataset, attack, strength, 'magnet'))}"
                )
                continue
            apart = 100 * record["accuracy_test"] - UNDEFENDED[dataset, attack]
            verdict = "within" if abs(apart) <= CLOSE else "not within"
            eps = f", eps {record['eps']:.3g}" if strength == RETUNED else ""
            clauses.append(
                f"{STRENGTHS[strength]}{eps} leaves {percent(record['accuracy_test'], 2)}%, {verdict} {CLOSE:g} points "
                f"({signed(apart, 2)})"
            )
        lines.append(f"  {title} (paper {UNDEFENDED[dataset, attack]:.2f}%): {'; '.join(clauses)}")
    head = f"Table 6 on {data_name(results, dataset)}, accuracy on attacked test images without a defence:"
    return [head, *lines]


def accuracies(results: Record, dataset: str) -> list[str]:
    """Say which accuracies of Tables 2 and 3 are reached by MultiMagNet, at the strength that meets Table 6."""
    lines, missed, reached, run = [], [], 0, 0
    for attack, title in ATTACKS.items():
        strength = comparable(results, dataset, attack)
        record = row(results, dataset, attack, strength, "multimagnet")
        if record is None or not done(record):
            lines.append(f"  {title}: {not_run(record)}")
            continue
        run += 1
        ours = 100 * record["accuracy"]["mean"]
        if attack == "cw":
            singles = [row(results, dataset, attack, strength, name) for name in ("magnet", "magnet-own")]
            best = max((one["accuracy"]["mean"] for one in singles if one is not None and done(one)), default=None)
            met = best is not None and ours >= 100 * best
            theirs = "not run" if best is None else f"{percent(best, 2)}%"
            words = f"MagNet's at its best is {theirs}, so it is {'not below' if met else 'below'} it"
        else:
            printed = detection(dataset, "multimagnet", attack).accuracy
            width = max(printed.deviation, 1.0)
            met = ours >= printed.mean - width
            words = f"{signed(ours - printed.mean)} points from the paper's {printed.mean:.2f}%, "
            words += f"{'reached' if met else 'not reached'}, {width:g} allowed"
        reached += met
        stronger = row(results, dataset, attack, AS_PRINTED, "multimagnet")
        if not met and strength == RETUNED and stronger is not None and done(stronger):
            missed.append(f"{title} {percent(stronger['accuracy']['mean'], 2)}%")
        lines.append(f"  {title}, {STRENGTHS[strength]}: {ours:.2f}%, {words}")
    table = {"mnist": 2, "cifar10": 3}[dataset]
    bar = "the larger of one published deviation and 1 point below the paper, or for CW not below MagNet"
    head = f"MultiMagNet's accuracy, Table {table}, on {data_name(results, dataset)}: {reached} of {run} that were run "
    if missed:
        lines.append(
            f"  At Table 1's strength, which was lowered for those not reached, it is {', '.join(missed)}: an attack "
            "that fools fewer images leaves less to be seen"
        )
    return [f"{head}reach what was asked ({bar}):", *lines]


def ensembles(results: Record, dataset: str) -> list[str]:
    """Say whether several members are better than one, which is the paper's hypothesis."""
    clauses, better, run = [], 0, 0
    for attack, title in ATTACKS.items():
        strength = comparable(results, dataset, attack)
        several, one = (row(results, dataset, attack, strength, name) for name in ("multimagnet", "magnet-own"))
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
        strength = comparable(results, dataset, attack)
        tuned, same = (row(results, dataset, attack, strength, name) for name in ("multimagnet", "clean"))
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
    """Say what an attacker who knows the defence leaves of it."""
    lines = []
    for dataset in DATASETS:
        knows = find(results.get("adaptive"), dataset=dataset, threat_model="adaptive")
        blind = find(results.get("adaptive"), dataset=dataset, threat_model="oblivious")
        name = data_name(results, dataset)
        if knows is None or not done(knows):
            lines.append(f"  {name}: {not_run(knows or find(results.get('adaptive'), dataset=dataset))}")
            continue
        beside = f"; one that does not, {rate(blind, 'robust_accuracy')}" if blind is not None and done(blind) else ""
        lines.append(
            f"  {name}, {knows['n']} images: PGD at eps {knows['eps']:g} that knows the defence leaves a robust "
            f"accuracy of {rate(knows, 'robust_accuracy')}{beside}"
        )
    return [
        "The numbers of all six tables are of attackers who do not know the defence: upper bounds, and no evidence "
        "that it holds. Beside them (robust accuracy, %):",
        *lines,
    ]
