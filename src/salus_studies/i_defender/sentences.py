"""Sentences about I-defender's tables that are computed from stored results."""

from __future__ import annotations

from salus.metrics.wording import number, percent, present, rate
from salus_studies.frame.markdown import NOT_STORED, Record, done, find, listed, not_run
from salus_studies.i_defender.black_box import TABLE_1
from salus_studies.i_defender.choice import LIKELIHOOD
from salus_studies.i_defender.published import (
    ALPHAS,
    BLACK_BOX,
    DETECTION,
    GRAY_BOX,
    IMAGENET,
    METHOD_NAMES,
    SEMI_WHITE_BOX,
    STRONGEST,
    TIME_RATIO,
)
from salus_studies.i_defender.scales import wide_name
from salus_studies.i_defender.tables import (
    AGREES,
    RULE_NAMES,
    agrees,
    black_box,
    chosen,
    distances,
    form,
    rival_row,
)
from salus_studies.i_defender.tables_gray import judged, semi_white_box


def summary(results: Record) -> list[str]:
    """Say what the numbers come to."""
    lines = []
    meta = results.get("meta") or {}
    if meta.get("scale") != "full":
        networks = [
            wide_name(options) for options in map((meta.get("settings") or {}).get, ("shallow", "deep")) if options
        ]
        smaller = f" On CIFAR-10 {' and '.join(networks)} stand for WRN-34-8 and WRN-46-8." if networks else ""
        lines.append(f"This is the scale “{meta.get('scale') or NOT_STORED}”, not the paper's effort.{smaller}")
    for data in BLACK_BOX:
        lines += strengths(results, data)
        lines.append(rival(results, data))
    lines += [speed(results), supervised(results), gray(results), deeper(results), alone(results), own(results)]
    lines.append(imagenet(results))
    return lines


def strengths(results: Record, data: str) -> list[str]:
    """Compare the readings of I-defender with the paper at every eps, and say whether one agrees."""
    paper = BLACK_BOX[data]
    records = [black_box(results, data, f"fgsm-{line.eps:g}") for line in paper.strengths]
    known = {rule: apart for rule in RULE_NAMES if (apart := distances(results, data, TABLE_1, rule)) is not None}
    if not known:
        return [f"{paper.title}, I-defender: {not_run(records[0])}."]
    sizes = ", ".join(f"{line.eps:g}" for line in paper.strengths)
    theirs = " / ".join(f"{line.i_defender:.3f}" for line in paper.strengths)
    agreeing = [rule for rule, apart in known.items() if agrees(apart)]
    fixed = f"{'the rule that was fixed first' if LIKELIHOOD in agreeing else 'a rule that was added later'}"
    verdict = (
        f"Within {AGREES:g} of the paper at every eps: {listed([RULE_NAMES[rule] for rule in agreeing])}, {fixed}."
        if agreeing
        else f"None of the {len(known)} readings agrees with the paper within {AGREES:g} at every eps."
    )
    lines = [f"{paper.title}, model E to F under FGSM at {sizes}, AUC; the paper has {theirs}. {verdict}"]
    for rule, apart in known.items():
        owns = [chosen(record, rule) for record in records]
        own = owns[0]
        areas = " / ".join(f"{one['auc']:.3f}" for one in owns if one is not None)
        what = "" if own is None else f" ({form(own)} covariance)"
        lines.append(
            f"  {RULE_NAMES[rule][0].upper()}{RULE_NAMES[rule][1:]}{what}: {areas}; at its farthest "
            f"{max(apart.values(), key=abs):+.3f}."
        )
    return lines


def rival(results: Record, data: str) -> str:
    """Compare Defense-GAN's areas with those that the paper copied."""
    paper = BLACK_BOX[data]
    rows = [(line, rival_row(results, data, line.restarts, line.iterations, STRONGEST)) for line in paper.descents]
    measured = [(line, row) for line, row in rows if row is not None and done(row) and present(row["auc"])]
    if not measured:
        return f"{paper.title}, Defense-GAN: {not_run(rows[0][1])}."
    clauses = [f"{line.restarts} × {line.iterations}: {row['auc']:.3f} ({line.auc:g})" for line, row in measured]
    better = _better(results, data)
    return (
        f"{paper.title}, Defense-GAN at eps {STRONGEST:g}, runs × iterations, ours (paper): {'; '.join(clauses)}, on "
        f"{measured[0][1]['n']:,} test images.{better}"
    )


def _better(results: Record, data: str) -> str:
    """Say at how many sizes I-defender comes out above Defense-GAN, on the same images."""
    paper = BLACK_BOX[data]
    wins = places = 0
    for line in paper.strengths:
        record = black_box(results, data, f"fgsm-{line.eps:g}")
        other = rival_row(results, data, *paper.setting, line.eps)
        if record is None or other is None or not done(record) or not done(other):
            continue
        own = record["first"][LIKELIHOOD]
        if present(own["auc"]) and present(other["auc"]):
            places += 1
            wins += own["auc"] > other["auc"]
    theirs = sum(line.i_defender > line.defense_gan for line in paper.strengths)
    if not places:
        return ""
    return (
        f" At {paper.setting[0]} × {paper.setting[1]} I-defender, by likelihood, has the larger AUC at {wins} of "
        f"{places} sizes on the same images, in the paper at {theirs} of {len(paper.strengths)}."
    )


def speed(results: Record) -> str:
    """Say how many times as long Defense-GAN takes."""
    rows = [row for row in results.get("speed") or () if done(row)]
    if not rows:
        return f"Time, Defense-GAN against I-defender: {not_run(find(results.get('speed')))}."
    ratios = [
        f"{row['ratio']:,.0f} on {BLACK_BOX[row['data']].title} ({row['restarts']} × {row['steps']})" for row in rows
    ]
    return (
        f"Defense-GAN takes so many times as long as model F with its I-defender, for an image: {', '.join(ratios)}. "
        f"The paper estimates {TIME_RATIO:,.0f}, against times that Defense-GAN's paper gives for other hardware; here "
        "all inputs and restarts descend in one batch, on the same hardware as I-defender."
    )


def supervised(results: Record) -> str:
    """Compare Table 6's methods on the attack that the supervised ones know and on the others."""
    counted = {"svm": "own", "msvm": "own", "subnet": "own", "i-defender": "id-95"}
    names = {**METHOD_NAMES, "i-defender": METHOD_NAMES["id-95"]}
    rows = {method: [semi_white_box(results, column, method) for column in SEMI_WHITE_BOX] for method in counted}
    values = {
        method: [cell["at"][counted[method]]["accuracy"] for row in of if (cell := judged(row)) is not None]
        for method, of in rows.items()
    }
    whole = {method: rates for method, rates in values.items() if len(rates) == len(SEMI_WHITE_BOX)}
    if "i-defender" not in whole:
        return f"Table 6: {not_run(rows['i-defender'][0])}."
    clauses = [
        f"{names[method]} {percent(rates[0])} and {percent(sum(rates[1:]) / len(rates[1:]))}"
        for method, rates in whole.items()
    ]
    others = [rates for method, rates in whole.items() if method != "i-defender"]
    own = whole["i-defender"]
    wins = sum(all(own[i] > rates[i] for rates in others) for i in range(1, len(own))) if others else 0
    published = [DETECTION[name] for name in ("svm", "msvm", "subnet")]
    theirs = sum(all(DETECTION["id-95"][i] > rates[i] for rates in published) for i in range(1, len(own)))
    return (
        "Table 6, accuracy of detection in percent, on the attack that the supervised methods were trained on and in "
        f"the mean of the other five: {'; '.join(clauses)}. ID-95 comes first in {wins} of the five columns that are "
        f"not their training attack; in the paper in {theirs}."
    )


def gray(results: Record) -> str:
    """Compare the target with the source in Table 7."""
    rows = [
        find(results.get("gray_box"), pair="shallow", column=column.key, alpha=alpha)
        for column in GRAY_BOX
        for alpha in ALPHAS
    ]
    measured = [row for row in rows if row is not None and done(row)]
    known = [row for row in measured if present(row["target"]["auc"]) and present(row["source"]["auc"])]
    if not known:
        return f"Tables 7 and 8: {not_run(rows[0])}."
    wins = sum(row["target"]["auc"] > row["source"]["auc"] for row in known)
    accuracy = [row["target"]["adversarial_accuracy"] for row in known]
    return (
        f"Table 7: by AUC the target tells attacks made on its twin better than the twin itself in {wins} of "
        f"{len(known)} places; in every place of our copy of the paper it does. These attacks leave the target an "
        f"accuracy of {percent(min(accuracy))}% to {percent(max(accuracy))}%, and those that do not fool it count in "
        "the AUC over all images."
    )


def deeper(results: Record) -> str:
    """Compare the two sizes of Table 8."""
    apart = []
    for column in GRAY_BOX:
        for alpha in ALPHAS:
            both = [
                find(results.get("gray_box"), pair=pair, column=column.key, alpha=alpha) for pair in ("shallow", "deep")
            ]
            areas = [row["target"]["auc"] for row in both if row is not None and done(row)]
            if len(areas) == 2 and all(map(present, areas)):
                apart.append(100 * (areas[1] - areas[0]))
    if not apart:
        return f"Table 8, the deeper pair: {not_run(find(results.get('gray_box'), pair='deep'))}."
    return (
        f"Table 8: the deeper network's AUC differs from the shallower one's by {min(apart):+.1f} to "
        f"{max(apart):+.1f} points; in the paper by up to 4.3."
    )


def alone(results: Record) -> str:
    """Compare the attackers of the source with the control."""
    record = find(results.get("alone"), pair="shallow")
    if record is None or not done(record):
        return f"Each attacker of the source alone: {not_run(record)}."
    clauses = [
        f"{row['attacker']} {percent(row['source']['fallen_all'])} and {percent(row['target']['fallen_all'])}"
        for row in record["rows"]
    ]
    return (
        f"Each attacker of the source alone, {GRAY_BOX[0].title} at {GRAY_BOX[0].eps:g}: accepted and wrong on the "
        f"source and on the target, in percent of the test images: {'; '.join(clauses)}."
    )


def own(results: Record) -> str:
    """Say what Eq. 6 leaves standing and attackers that know more do not."""
    rows = [row for row in results.get("own") or () if done(row)]
    if not rows:
        return f"Salus's own attackers on the target: {not_run(find(results.get('own')))}."
    clauses = [f"{row['threat_model']} {rate(row, 'attack_success_rate')}" for row in rows]
    return (
        f"Salus's own attackers on the guard of the target, {GRAY_BOX[0].title} at {GRAY_BOX[0].eps:g}, ID-95: of the "
        "images that were accepted and right they turn so many, in percent, into accepted and wrong: "
        f"{'; '.join(clauses)}. What Tables 6 to 8 show against attackers who know less is an upper bound of what the "
        "defence holds."
    )


def imagenet(results: Record) -> str:
    """Say whether Table 9 was run."""
    rows = results.get("imagenet") or ()
    measured = [row for row in rows if done(row)]
    if not measured:
        return f"Table 9, ImageNet: {not_run(find(rows))}."
    areas = [row["target"]["auc"] for row in measured if present(row["target"]["auc"])]
    reach = f" AUC {number(min(areas), '.3f')} to {number(max(areas), '.3f')}." if areas else ""
    return f"Table 9: {len(measured)} of {len(rows)} places were run, of {len(IMAGENET)} attacks.{reach}"
