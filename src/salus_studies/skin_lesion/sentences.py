"""Sentences of the skin-lesion page that are computed from stored results."""

from __future__ import annotations

from salus.metrics.wording import percent, rate, signed
from salus_studies.frame.markdown import NOT_STORED, Record, done, find, not_run
from salus_studies.skin_lesion import claims
from salus_studies.skin_lesion.cells import KNOWS
from salus_studies.skin_lesion.measured import cell, confusion, ours, printed, value
from salus_studies.skin_lesion.published import NETWORKS

#: The hardened model keeps at least this share of its own clean accuracy under PGD.
KEPT = 0.6

#: Nor does it miss more than so many times as many malignant lesions.
TIMES = 2.0


def summary(results: Record) -> list[str]:
    """Say what the numbers come to."""
    scale = (results.get("meta") or {}).get("scale")
    lines = []
    if scale != "full":
        lines.append(f"This is the scale “{scale or NOT_STORED}”; the table of settings says what the thesis had.")
    lines += plain(results)
    lines += universal(results)
    lines += defences(results)
    lines += masked(results)
    lines += hardened(results)
    lines += purified(results)
    lines += thresholds(results)
    lines += poisoning(results)
    return [*lines, *tried(results)]


def plain(results: Record) -> list[str]:
    """Say how the plain classifiers do, and what FGSM leaves."""
    clauses = []
    for network, title in NETWORKS.items():
        before, after = (value(cell(results, network, attack, "none"), "accuracy") for attack in ("none", "fgsm"))
        if before is None or after is None:
            clauses.append(f"{title} {not_run(cell(results, network, 'none', 'none'))}")
            continue
        word = "more than halved" if after < before / 2 else "not halved"
        clauses.append(f"{title} {percent(before)}% to {percent(after)}% ({word})")
    return [f"FGSM at 2/255 takes accuracy from: {'; '.join(clauses)}."]


def universal(results: Record) -> list[str]:
    """Say how large a universal perturbation has to be."""
    clauses = []
    for network, title in NETWORKS.items():
        chosen = find(results.get("sweep"), network=network, chosen=True)
        if chosen is None:
            clauses.append(f"{title}: none of those tried changes 60% of the answers")
            continue
        record = cell(results, network, "uap", "none")
        words = (
            f"{title}: {255 * chosen['eps']:g}/255, {percent(chosen['fooling_rate'])}% of answers on validation images"
        )
        after = value(record, "accuracy")
        if record is not None and after is not None:
            top = _two_classes(record)
            words += f"; on test images accuracy falls to {percent(after)}%, and {percent(top)}% of all answers are of "
            words += "two classes"
        clauses.append(words)
    return ["The smallest eps of UAP that changes at least 60% of the answers:", *(f"  {words}" for words in clauses)]


def _two_classes(record: Record) -> float:
    matrix = confusion(record)
    answers = sorted((sum(line[k] for line in matrix) for k in range(len(matrix))), reverse=True)
    return sum(answers[:2]) / max(sum(answers), 1)


def defences(results: Record) -> list[str]:
    """Say what each defence leaves to the thesis's attacker, and to the one who knows it."""
    lines = []
    for network, title in NETWORKS.items():
        for attack in ("fgsm", "uap"):
            clauses = []
            for defence, words in (("retraining", "retraining"), ("low-level", "WebP + flip"), ("both", "both")):
                copy = value(cell(results, network, attack, defence), "accuracy")
                knows = value(cell(results, network, attack, defence, attacker=KNOWS), "accuracy")
                if copy is not None and knows is not None:
                    clauses.append(f"{words} {percent(copy)}% → {percent(knows)}%")
            if clauses:
                lines.append(f"  {title}, {attack.upper()}: {', '.join(clauses)}")
    head = "Accuracy under attack, the thesis's attacker (with a copy of the plain classifier) → one who knows all:"
    return [head, *lines] if lines else []


def masked(results: Record) -> list[str]:
    """Say where an attacker with a copy does better than one with the gradients, which tells of masked ones."""
    clauses = []
    for network, title in NETWORKS.items():
        for attack in ("fgsm", "uap"):
            for defence, words in (("retraining", "retraining"), ("both", "both")):
                copy = value(cell(results, network, attack, defence), "accuracy")
                knows = value(cell(results, network, attack, defence, attacker=KNOWS), "accuracy")
                if copy is not None and knows is not None and copy < knows:
                    clauses.append(f"{title}, {attack.upper()}, {words}: {percent(copy)}% against {percent(knows)}%")
    if not clauses:
        return []
    return [
        "A sign of masked gradients: the copy of the plain classifier serves the attacker better than the retrained "
        f"one itself ({'; '.join(clauses)}). There the rows of PGD-40 and AutoAttack tell more."
    ]


def purified(results: Record) -> list[str]:
    """Say what WebP and a flip keep from the attacker who knows them, and from one with twice the eps."""
    clauses, doubtful = [], False
    for network, title in NETWORKS.items():
        before = value(cell(results, network, "none", "low-level"), "accuracy")
        attacked = {
            level: record
            for attack, level in (("pgd", 2), ("pgd-4", 4))
            if (record := cell(results, network, attack, "low-level", attacker=KNOWS)) and done(record)
        }
        if before is None or 2 not in attacked:
            continue
        left = {level: record["figures"]["accuracy"] for level, record in attacked.items()}
        each = ", ".join(f"{percent(accuracy)}% at {level}/255" for level, accuracy in left.items())
        clauses.append(f"{title} {percent(before)}% → {each} ({attacked[2]['n']} images)")
        doubtful = doubtful or left[max(left)] > before / 2
    if not clauses:
        return []
    end = (
        "So much left puts the attack in doubt: behind WebP its gradients are modelled."
        if doubtful
        else "WebP rounds much of so small a change away, so that the attacker needs a larger one."
    )
    return [f"WebP + flip under PGD-40, then 1,000 queries, by the attacker who knows: {'; '.join(clauses)}. {end}"]


def hardened(results: Record) -> list[str]:
    """Say whether the hardened model keeps what it should."""
    lines = []
    for network, title in NETWORKS.items():
        clean = cell(results, network, "none", "hardened")
        if clean is None:
            continue
        attacked = cell(results, network, "pgd", "hardened", attacker=KNOWS)
        before, after = value(clean, "accuracy"), value(attacked, "accuracy")
        if before is None or after is None:
            lines.append(f"The hardened {title}: {not_run(attacked if before is not None else clean)}.")
            continue
        strongest = value(cell(results, network, "auto-attack", "hardened", attacker=KNOWS), "accuracy")
        beside = "" if strongest is None else f"; AutoAttack on fewer images leaves {percent(strongest)}%"
        lines.append(
            f"The hardened {title} answers {percent(before)}% rightly, under PGD-40 at 2/255 with several starts "
            f"{percent(after)}%: {percent(after / before)}% of its clean accuracy (asked for: {KEPT:.0%}){beside}."
        )
    return lines


def thresholds(results: Record) -> list[str]:
    """Say at which thresholds the attacker no more than doubles what is missed."""
    record = find(results.get("thresholds"), model="hardened")
    if record is None or not done(record):
        return []
    met = [row for row in record["rows"] if row["fnr"] and row["fnr_attacked"] <= TIMES * row["fnr"]]
    clauses = "; ".join(
        f"clean {rate(row, 'fnr')}%, attacked {rate(row, 'fnr_attacked')}%" for row in (met or record["rows"][-1:])
    )
    words = f"at {len(met)} of {len(record['rows'])} thresholds" if met else "at none of the thresholds tried"
    return [
        f"Malignant lesions that the hardened model misses under an attacker who wants just that are at most "
        f"{TIMES:g} times those missed clean {words} ({clauses})."
    ]


def poisoning(results: Record) -> list[str]:
    """Say what flipped labels do, and whether looking for them helps."""
    lines = []
    for network, title in NETWORKS.items():
        rows = [record for record in results.get("poisoning") or () if record["network"] == network and done(record)]
        poisoned = [record for record in rows if record["model"] == "poisoned"]
        start = cell(results, network, "none", "none")
        if not poisoned or start is None or not done(start):
            continue
        last = poisoned[-1]
        drops = {
            name: 100 * ((value(last, name) or 0) - (value(start, name) or 0))
            for name in ("accuracy", "recall", "specificity")
        }
        clauses = ", ".join(f"{name} {signed(points)}" for name, points in drops.items())
        words = f"With {last['share']:.0%} of NV labelled BKL, {title} on clean test images (points): {clauses}"
        cleaned = [record for record in rows if record["model"] == "cleaned"]
        if cleaned:
            gains = []
            for record in cleaned:
                before = find(poisoned, share=record["share"])
                gain = 100 * ((value(record, "accuracy") or 0) - (value(before, "accuracy") or 0))
                gains.append(
                    f"{record['share']:.0%}: {percent(record['recall'])}% of the flips found, "
                    f"{percent(record['precision'])}% of the finds flips, accuracy {signed(gain)} points"
                )
            words += f"; looking for the flips: {'; '.join(gains)}"
        lines.append(f"{words}.")
    return lines


def tried(results: Record) -> list[str]:
    """Count the thesis's sentences that hold."""
    by_tables = [claim.test(printed)[0] for claim in claims.CLAIMS]
    by_ours = [claim.test(ours(results))[0] for claim in claims.CLAIMS]
    counted = f"{sum(map(bool, by_ours))} of the {sum(each is not None for each in by_ours)} that ours can tell"
    return [
        f"Of {len(by_tables)} sentences of the thesis its own tables confirm {sum(map(bool, by_tables))}; our tables "
        f"confirm {counted}."
    ]
