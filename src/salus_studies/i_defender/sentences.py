"""Sentences about I-defender's tables that are computed from stored results."""

from __future__ import annotations

from salus.metrics.wording import number, percent, present, rate
from salus_studies.frame.markdown import NOT_STORED, Record, done, find, not_run
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
from salus_studies.i_defender.tables import black_box, chosen
from salus_studies.i_defender.tables_gray import semi_white_box

#: An area counts as reached from this far under the paper's upwards.
CLOSE = 0.005


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
    lines += [speed(results), supervised(results), gray(results), deeper(results), own(results), imagenet(results)]
    return lines


def strengths(results: Record, data: str) -> list[str]:
    """Compare I-defender's areas with the paper's at every eps, and say which layer comes nearest."""
    paper = BLACK_BOX[data]
    records = [black_box(results, data, f"fgsm-{line.eps:g}") for line in paper.strengths]
    shown = {
        line.eps: own
        for line, record in zip(paper.strengths, records, strict=True)
        if (own := chosen(record)) is not None and present(own["auc"])
    }
    if not shown:
        return [f"{paper.title}, I-defender: {not_run(records[0])}."]
    ours = {eps: own["auc"] for eps, own in shown.items()}
    theirs = {line.eps: line.i_defender for line in paper.strengths if line.eps in ours}
    hits = sum(area >= theirs[eps] - CLOSE for eps, area in ours.items())
    first = next(record for record in records if record is not None and done(record))
    own = next(iter(shown.values()))
    listed = ", ".join(f"{area:.3f} ({theirs[eps]:.3f} in the paper) at {eps:g}" for eps, area in ours.items())
    lines = [
        f"{paper.title}, model E to F under FGSM: the I-defender chosen on clean validation likelihood ({own['title']};"
        f" Gaussians a class: {own['components']}, {own['covariance']} covariance) has an AUC of {listed}. It reaches "
        f"the paper, to {CLOSE:g}, at {hits} of {len(ours)} sizes."
    ]
    reaching = []
    for one in first["detectors"]:
        areas = [
            (theirs[record["eps"]], detector["auc"])
            for record in records
            if record is not None and done(record) and (detector := find(record["detectors"], key=one["key"]))
        ]
        if areas and all(present(area) and area >= published - CLOSE for published, area in areas):
            reaching.append(f"{one['title']} ({one['components']}, {one['covariance']})")
    if hits < len(ours):
        which = f"reached by these: {'; '.join(reaching)}" if reaching else "reached by none of the layers tried"
        lines.append(
            f"  At every size the paper's AUC is {which}. The layer decides, and the paper does not say which it took; "
            "likelihood on clean images says which model describes a layer best, not which layer attacks disturb most."
        )
    return lines


def rival(results: Record, data: str) -> str:
    """Compare Defense-GAN's areas with those that the paper copied."""
    paper = BLACK_BOX[data]
    rows = [
        (
            line,
            find(
                results.get("defense_gan"), data=data, restarts=line.restarts, iterations=line.iterations, eps=STRONGEST
            ),
        )
        for line in paper.descents
    ]
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
        other = find(
            results.get("defense_gan"), data=data, restarts=paper.setting[0], iterations=paper.setting[1], eps=line.eps
        )
        if record is None or other is None or not done(record) or not done(other):
            continue
        if present(record["first"]["auc"]) and present(other["auc"]):
            places += 1
            wins += record["first"]["auc"] > other["auc"]
    theirs = sum(line.i_defender > line.defense_gan for line in paper.strengths)
    if not places:
        return ""
    return (
        f" At {paper.setting[0]} × {paper.setting[1]} I-defender has the larger AUC at {wins} of {places} sizes on the "
        f"same images, in the paper at {theirs} of {len(paper.strengths)}."
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
        method: [row["at"][counted[method]]["accuracy"] for row in of if row is not None and done(row)]
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
