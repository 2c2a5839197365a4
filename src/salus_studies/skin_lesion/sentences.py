"""Sentences of the skin-lesion page that are computed from stored results."""

from __future__ import annotations

from collections import Counter

from salus.metrics.wording import percent, percentage, rate, signed
from salus_studies.frame.markdown import NOT_STORED, Record, done, find, not_run
from salus_studies.skin_lesion import baselines, claims, tables_defences, tables_poisoning
from salus_studies.skin_lesion.cells import KNOWS
from salus_studies.skin_lesion.measured import (
    answered,
    cell,
    commonest,
    main_network,
    printed,
    title,
    value,
)
from salus_studies.skin_lesion.published import NETWORKS

#: What the networks are to reach: accuracy, macro recall, and the area under the curve of malignant or not.
TARGETS = {"accuracy": 0.78, "recall": 0.62, "auc": 0.90}

#: The hardened model keeps at least so much macro recall above what no look at images scores, under every attack.
ABOVE = 0.10

#: Nor does it miss more than so many times as many malignant lesions.
TIMES = 2.0


def summary(results: Record) -> list[str]:
    """Say what the numbers come to."""
    meta = results.get("meta") or {}
    scale = meta.get("scale")
    lines = []
    if scale != "full":
        stands = "; ".join(
            f"{title(results, network)}" for network, name in NETWORKS.items() if title(results, network) != name
        )
        words = f" Others stand in the published networks' places: {stands}." if stands else ""
        lines.append(
            f"This is the scale “{scale or NOT_STORED}”; the table of settings says what the thesis had.{words}"
        )
    lines += learnt(results)
    lines += plain(results)
    lines += universal(results)
    lines += harm(results)
    lines += defences(results)
    lines += control(results)
    lines += masked(results)
    lines += hardened(results)
    lines += thresholds(results)
    lines += purified(results)
    lines += poisoning(results)
    lines += resolution(results)
    return [*lines, *tried(results)]


def learnt(results: Record) -> list[str]:
    """Say whether the networks have learnt anything: beside the constant answer, and beside what was asked for."""
    lines = []
    counts = baselines.class_counts(results, main_network(results))
    for network in NETWORKS:
        record = cell(results, network, "none", "none")
        accuracy, recall = value(record, "accuracy"), value(record, "recall")
        if accuracy is None or recall is None or counts is None:
            continue
        constant = baselines.scores(counts, "always", "accuracy") or 0.0
        chance = baselines.scores(counts, "always", "recall") or 0.0
        beside = "above" if accuracy > constant else "no better than"
        met = accuracy >= TARGETS["accuracy"] and recall >= TARGETS["recall"]
        word = "reached" if met else "not reached"
        lines.append(
            f"{title(results, network)} answers {percentage(accuracy)} rightly, {beside} always {baselines.ALWAYS} "
            f"({percentage(constant)}); its macro recall is {percentage(recall)}, where that has {percentage(chance)}. "
            f"Asked for were {TARGETS['accuracy']:.0%} and {TARGETS['recall']:.0%}: {word}."
        )
    auc = (find(results.get("thresholds"), model="plain") or {}).get("auc")
    if auc is not None:
        word = "reached" if auc >= TARGETS["auc"] else "not reached"
        lines.append(
            f"Area under the curve of malignant or not, {title(results, main_network(results))}: {auc:.3f} "
            f"(asked for: {TARGETS['auc']:.2f}, {word})."
        )
    return lines


def plain(results: Record) -> list[str]:
    """Say what FGSM leaves of the plain classifiers."""
    clauses = []
    for network in NETWORKS:
        before, after = (value(cell(results, network, attack, "none"), "accuracy") for attack in ("none", "fgsm"))
        if before is None or after is None:
            clauses.append(f"{title(results, network)} {not_run(cell(results, network, 'none', 'none'))}")
            continue
        word = "more than halved" if after < before / 2 else "not halved"
        clauses.append(f"{title(results, network)} {percent(before)}% to {percent(after)}% ({word})")
    return [f"FGSM at 2/255 takes accuracy from: {'; '.join(clauses)}."]


def universal(results: Record) -> list[str]:
    """Say how large a universal perturbation has to be, and into what answers collapse."""
    clauses = []
    for network in NETWORKS:
        chosen = find(results.get("sweep"), network=network, chosen=True)
        if chosen is None:
            clauses.append(f"{title(results, network)}: none of those tried changes 60% of the answers")
            continue
        record = cell(results, network, "uap", "none")
        words = (
            f"{title(results, network)}: {255 * chosen['eps']:.4g}/255, {percent(chosen['fooling_rate'])}% of answers "
        )
        words += "on validation images"
        after = value(record, "accuracy")
        if record is not None and after is not None:
            shares = [percent(commonest(answered(record), most)) for most in (1, 2)]
            words += f"; on test images accuracy falls to {percent(after)}%, {shares[0]}% of all answers are of one "
            words += f"class and {shares[1]}% of two"
        clauses.append(words)
    return ["The smallest eps of UAP that changes at least 60% of the answers:", *(f"  {words}" for words in clauses)]


def harm(results: Record) -> list[str]:
    """Say what an attacker who wants malignant lesions missed gets, beside one who wants any wrong answer."""
    clauses = []
    for network in NETWORKS:
        missed = {
            attack: value(
                cell(results, network, attack, "none", attacker=None if attack == "none" else KNOWS), "fnr", "medical"
            )
            for attack in ("none", "fgsm", "fgsm-harm", "pgd", "pgd-harm")
        }
        clean, any_wrong, wanted = missed["none"], missed["pgd"], missed["pgd-harm"]
        if clean is None or any_wrong is None or wanted is None:
            continue
        word = "more than" if wanted > any_wrong else "no more than"
        clauses.append(
            f"{title(results, network)} {percent(clean)}% as they are, {percent(wanted)}% under PGD that wants that, "
            f"{word} the {percent(any_wrong)}% under PGD that wants any wrong answer"
        )
    return [f"Malignant lesions missed: {'; '.join(clauses)}."] if clauses else []


def defences(results: Record) -> list[str]:
    """Say what each defence leaves to the thesis's attacker, and to the one who knows it: recall, and missed."""
    lines = []
    for network in NETWORKS:
        for attack in ("fgsm", "uap"):
            clauses = []
            for defence, words in (("retraining", "retraining"), ("low-level", "WebP + flip"), ("both", "both")):
                pairs = []
                for who in (None, KNOWS):
                    record = cell(results, network, attack, defence, attacker=who)
                    recall, missed = value(record, "recall"), value(record, "fnr", "medical")
                    if recall is not None and missed is not None:
                        pairs.append(f"{percent(recall)}% ({percent(missed)}% missed)")
                if len(pairs) == 2:
                    clauses.append(f"{words} {pairs[0]} → {pairs[1]}")
            if clauses:
                lines.append(f"  {title(results, network)}, {attack.upper()}: {', '.join(clauses)}")
    head = (
        "Macro recall under attack, and malignant lesions missed; the thesis's attacker (with a copy of the plain "
        "classifier) → one who knows all:"
    )
    return [head, *lines] if lines else []


def control(results: Record) -> list[str]:
    """Say whether retraining does more than going on as long on clean images."""
    lines = []
    for network, attack, health_map, accuracy, missed in tables_defences.gains(results):
        if accuracy is None or missed is None or health_map != "medical":
            continue
        better = accuracy.word == "more" and missed.word == "less"
        worse = missed.word == "more" or accuracy.word == "less"
        word = "more than its control" if better else "less than its control in part" if worse else "nothing certain"
        lines.append(
            f"  {title(results, network)}, {attack.upper()}: {word}: accuracy {signed(accuracy.value)} points "
            f"({signed(accuracy.low)} to {signed(accuracy.high)}), malignant missed {signed(missed.value)} "
            f"({signed(missed.low)} to {signed(missed.high)})"
        )
    head = "What retraining gains over as many epochs on clean images, attacker with a copy, malignant MEL, BCC, AKIEC:"
    return [head, *lines] if lines else []


def masked(results: Record) -> list[str]:
    """Say where an attacker with a copy does better than one with the gradients, which tells of masked ones."""
    clauses = []
    for network in NETWORKS:
        for attack in ("fgsm", "uap"):
            for defence, words in (("retraining", "retraining"), ("both", "both")):
                copy = value(cell(results, network, attack, defence), "accuracy")
                knows = value(cell(results, network, attack, defence, attacker=KNOWS), "accuracy")
                if copy is not None and knows is not None and copy < knows:
                    clauses.append(
                        f"{title(results, network)}, {attack.upper()}, {words}: {percent(copy)}% against "
                        f"{percent(knows)}%"
                    )
    if not clauses:
        return []
    return [
        "A sign of masked gradients: the copy of the plain classifier serves the attacker better than the retrained "
        f"one itself ({'; '.join(clauses)}). There the rows of PGD and AutoAttack tell more."
    ]


def purified(results: Record) -> list[str]:
    """Say what WebP at each quality keeps from the strongest attackers there are."""
    clauses, doubtful, images = [], False, 0
    for quality, attacks in tables_defences.webp(results).items():
        before, *_, worst = attacks.values()
        clean, left, missed = value(before, "recall"), value(worst, "recall"), value(worst, "fnr", "medical")
        if clean is None or left is None or missed is None or worst is None:
            continue
        images = worst["n"]
        clauses.append(f"quality {quality} {percent(clean)}% → {percent(left)}%, {percent(missed)}% missed")
        doubtful = doubtful or left > clean / 2
    if not clauses:
        return []
    end = (
        "So much left puts the attack in doubt: behind WebP its gradients are modelled."
        if doubtful
        else "None keeps half of its recall."
    )
    return [
        f"Macro recall behind WebP under the worse of two attackers who know it, for each of {images} images, and "
        f"malignant missed: {'; '.join(clauses)}. {end}"
    ]


def hardened(results: Record) -> list[str]:
    """Say whether the hardened model keeps what it should: judged by recall and by patients."""
    network = main_network(results)
    clean = cell(results, network, "none", "hardened")
    if clean is None:
        return []
    before = value(clean, "recall")
    counts = baselines.class_counts(results, network)
    if before is None or counts is None:
        return [f"The hardened {title(results, network)}: {not_run(clean)}."]
    floor = max(baselines.scores(counts, name, "recall") or 0.0 for name in baselines.NAMES)
    clauses, met = [], True
    for attack, words in (("pgd", "PGD"), ("auto-attack", "AutoAttack")):
        record = cell(results, network, attack, "hardened", attacker=KNOWS)
        left = value(record, "recall")
        if left is None or record is None:
            clauses.append(f"{words} {not_run(record)}")
            met = False
            continue
        clauses.append(f"{percent(left)}% under {words} ({record['n']} images)")
        met &= left >= floor + ABOVE
    word = "met" if met else "not met"
    return [
        f"The hardened {title(results, network)} has a macro recall of {percent(before)}%, {', '.join(clauses)}; asked "
        f"for was at least {100 * (floor + ABOVE):.1f}%, {100 * ABOVE:.0f} points above no look at the images: {word}."
    ]


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
    """Say what flipped labels do, whether looking for them helps, and whether whole networks tell the same."""
    lines = []
    for network in NETWORKS:
        rows = tables_poisoning.rows_of(results, network=network, way="features", weighting="none")
        shares = sorted({row["share"] for row in rows if row["share"]})
        start = [row for row in rows if row["labels"] == "right"]
        if not shares or not start:
            continue
        clauses = []
        for share in (shares[0], shares[-1]) if len(shares) > 1 else shares:
            flipped, cleaned = (
                [row for row in rows if row["share"] == share and row["labels"] == labels]
                for labels in ("poisoned", "cleaned")
            )
            drop = 100 * ((_mean(flipped, "accuracy")) - _mean(start, "accuracy"))
            words = f"{share:.0%}: accuracy {signed(drop)} points, NV answered BKL {_mean(start, 'aim'):.1%} → "
            words += f"{_mean(flipped, 'aim'):.1%}"
            if cleaned:
                gain = 100 * (_mean(cleaned, "accuracy") - _mean(flipped, "accuracy"))
                found, right = _mean(cleaned, "found"), _mean(cleaned, "precision")
                words += f"; cleaned, {found:.0%} of the flips found, {right:.0%} of the finds flips, accuracy "
                words += f"{signed(gain)} points"
            clauses.append(words)
        draws = len([row for row in rows if row["share"] == shares[-1] and row["labels"] == "poisoned"])
        lines.append(
            f"With a share of NV labelled BKL, last layer of {title(results, network)}, mean of {draws} "
            f"{'draw' if draws == 1 else 'draws'} of the flips: {'; '.join(clauses)}."
        )
    return [*lines, *whole(results)]


def whole(results: Record) -> list[str]:
    """Compare flips in whole networks with those under a last layer alone: does the shortcut tell the same?"""
    clauses = []
    network = main_network(results)
    for row in tables_poisoning.rows_of(results, network=network, way="network"):
        short = tables_poisoning.rows_of(
            results, network=network, way="features", share=row["share"], labels="poisoned", weighting="none"
        )
        if short and row.get("aim") is not None:
            clauses.append(f"{row['share']:.0%}: {row['aim']:.1%} against {_mean(short, 'aim'):.1%}")
    return [f"NV answered BKL, whole network against last layer alone: {'; '.join(clauses)}."] if clauses else []


def _mean(rows: list[Record], figure: str) -> float:
    return tables_poisoning.mean(rows, figure) or 0.0


def resolution(results: Record) -> list[str]:
    """Say how much FGSM takes at each size."""
    clauses = []
    rows = list(results.get("resolution") or ())
    for size in dict.fromkeys(row["size"] for row in rows):
        before, after = (value(find(rows, size=size, attack=attack), "recall") for attack in ("none", "fgsm"))
        if before is not None and after is not None:
            clauses.append(f"{size} px {percent(before)}% → {percent(after)}%")
    return [f"Macro recall under FGSM at 2/255, by size: {'; '.join(clauses)}."] if clauses else []


def tried(results: Record) -> list[str]:
    """Count the thesis's sentences by what was found of them."""
    by_tables = [claim.by(printed)[0] for claim in claims.CLAIMS]
    lines = [f"Of {len(by_tables)} sentences of the thesis its own tables confirm {by_tables.count(claims.CONFIRMED)}."]
    for health_map, words in (("thesis", "its map of disease"), ("medical", "MEL, BCC and AKIEC as disease")):
        found = Counter(claim.by_ours(results, health_map)[0] for claim in claims.CLAIMS)
        clauses = ", ".join(f"{count} {word}" for word, count in sorted(found.items()))
        lines.append(f"By ours{claims.alone(results)}, with {words}: {clauses}.")
    return lines
