"""Tables of the I-defender page for CIFAR-10 and ImageNet, Tables 6 to 9: the paper's numbers beside stored ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from salus.metrics.wording import NOTHING, number, percent, rate
from salus_studies.frame.markdown import Record, done, find, markdown, not_run
from salus_studies.i_defender.choice import LIKELIHOOD
from salus_studies.i_defender.published import (
    ALPHAS,
    DETECTION,
    GRAY_BOX,
    IMAGENET,
    IMAGENET_ACCURACY,
    IMAGENET_LINES,
    METHOD_NAMES,
    SEMI_WHITE_BOX,
    SHALLOW_AND_DEEP,
    TARGET_AND_SOURCE,
    Column,
)
from salus_studies.i_defender.tables import RULE_NAMES, setting_of, shape_of

I_DEFENDER = "i-defender"

#: What our copy of the paper has no number for.
NOT_IN_OUR_COPY = "not in our copy"

#: Method of Table 6 -> the stored method, and the threshold at which it was counted.
_COUNTED = {
    "svm": ("svm", "own"),
    "msvm": ("msvm", "own"),
    "subnet": ("subnet", "own"),
    "id-95": (I_DEFENDER, "id-95"),
    "id-99": (I_DEFENDER, "id-99"),
}


def _headers() -> list[str]:
    return [f"{column.title}, {column.adversarial_accuracy:g}%" for column in SEMI_WHITE_BOX]


def once(cells: Sequence[str]) -> list[str]:
    """Give a reason that stands in every cell of a line once."""
    same = len(set(cells)) == 1 and cells[0].startswith("not run")
    return [cells[0], *[NOTHING] * (len(cells) - 1)] if same else list(cells)


def semi_white_box(results: Record, column: Column, method: str) -> Record | None:
    """Find what a stored method made of a column of Table 6."""
    return find(results.get("semi_white_box"), column=column.key, method=method)


def judged(row: Record | None, rule: str = LIKELIHOOD) -> Record | None:
    """Take out of a stored cell of Table 6 what was counted; of I-defender's several, that of a rule."""
    if row is None or not done(row):
        return None
    return find(row["detectors"], key=row["chosen"][rule]) if row["method"] == I_DEFENDER else row


def detection_table(results: Record) -> str:
    """Table 6: accuracy of detection on as many clean as attacked images, in percent."""
    rows = []
    for method, published in DETECTION.items():
        stored, threshold = _COUNTED[method]
        rows.append([METHOD_NAMES[method], "paper", *(f"{value:g}" for value in published)])
        for rule, words in RULE_NAMES.items() if stored == I_DEFENDER else ((LIKELIHOOD, ""),):
            ours, of_fooled = [], []
            for column in SEMI_WHITE_BOX:
                row = semi_white_box(results, column, stored)
                own = judged(row, rule)
                at = None if own is None else own["at"][threshold]
                ours.append(not_run(row) if at is None else f"**{percent(at['accuracy'])}**")
                of_fooled.append(NOTHING if at is None else percent(at["accuracy_fooled"]))
            rows.append(["", f"**ours**{', ' if words else ''}{words}", *once(ours)])
            if rule == LIKELIHOOD:
                rows.append(["", "the same, fooled images alone", *of_fooled])
    return markdown(["method", "", *_headers()], rows, left=2)


def wide_layers_table(results: Record) -> str:
    """What each layer of the wide residual network gives against each attack: AUC / accuracy of ID-95, in percent."""
    records = [semi_white_box(results, column, I_DEFENDER) for column in SEMI_WHITE_BOX]
    known = next((one for one in records if one is not None and done(one)), None)
    header = ["layer", "setting", "Gaussians a class", "covariance", "components", *_headers()]
    if known is None:
        return markdown(header, [["all", not_run(records[0]), *[NOTHING] * (len(header) - 2)]], left=2)
    rows = []
    for one in known["detectors"]:
        cells = []
        for record in records:
            own = find(record["detectors"], key=one["key"]) if record is not None and done(record) else None
            cells.append(
                not_run(record) if own is None else f"{percent(own['auc'])} / {percent(own['at']['id-95']['accuracy'])}"
            )
        rows.append([one["title"], setting_of(one, known["chosen"]), *shape_of(one), *cells])
    return markdown(header, rows, left=2)


def alarms_table(results: Record) -> str:
    """Share of clean test images that each method of Table 6 rejects."""
    rows = []
    for method, name in METHOD_NAMES.items():
        stored, threshold = _COUNTED[method]
        row = semi_white_box(results, SEMI_WHITE_BOX[0], stored)
        own = judged(row)
        counted = not_run(row) if own is None else percent(own["at"][threshold]["false_alarms"])
        note = "; ".join(row.get("notes") or ()) if row is not None and done(row) else ""
        rows.append([name, note or NOTHING, counted])
    return markdown(["method", "trained", "clean images rejected, %"], rows, left=2)


def area_table(results: Record) -> str:
    """Areas under the ROC curve of Table 6's attacks, over all images / over fooled images."""
    names = {
        "svm": METHOD_NAMES["svm"],
        "msvm": METHOD_NAMES["msvm"],
        "subnet": METHOD_NAMES["subnet"],
    }
    listed = [(method, LIKELIHOOD, name) for method, name in names.items()]
    listed += [(I_DEFENDER, rule, f"I-defender, {words}") for rule, words in RULE_NAMES.items()]
    rows = []
    for method, rule, name in listed:
        cells = []
        for column in SEMI_WHITE_BOX:
            row = semi_white_box(results, column, method)
            own = judged(row, rule)
            cells.append(not_run(row) if own is None else f"{percent(own['auc'])} / {percent(own['auc_fooled'])}")
        rows.append([name, *once(cells)])
    return markdown(["method", *_headers()], rows)


def strengths_of_attacks_table(results: Record) -> str:
    """What the attacks of Table 6 were tuned to."""
    rows = []
    for column in SEMI_WHITE_BOX:
        row = find(results.get("tuned"), column=column.key)
        test = semi_white_box(results, column, "i-defender")
        whose = [column.title, f"{column.adversarial_accuracy:g}"]
        if row is None or not done(row):
            rows.append([*whose, not_run(row), NOTHING, NOTHING])
            continue
        on_test = rate(test, "adversarial_accuracy") if test is not None and done(test) else not_run(test)
        rows.append([*whose, f"{number(row['eps'], '.3g')} ({row['norm']})", percent(row["reached"], 2), on_test])
    header = [
        "attack",
        "paper: Adv Acc, %",
        "eps found",
        "Adv Acc on the images tuned on, %",
        "**Adv Acc on the test images, %** (95%)",
    ]
    return markdown(header, rows)


def _gray(results: Record, section: str, pair: str, column: Column, alpha: float) -> Record | None:
    return find(results.get(section), pair=pair, column=column.key, alpha=alpha)


def _area(record: Record | None, side: str, name: str) -> str:
    if record is None or not done(record):
        return not_run(record)
    return percent(record[side].get(name), 2)


def _pairs(cells: Sequence[str]) -> str:
    """Join two cells, or say once why there are none."""
    return cells[0] if cells[0] == cells[1] and cells[0].startswith("not run") else " / ".join(cells)


def _gray_table(
    results: Record,
    published: Mapping[str, Sequence[tuple[float, float]]],
    sides: Sequence[tuple[str, str]],
    heading: str,
) -> str:
    rows = []
    for line in range(4):
        cells = [
            " / ".join(f"{value:.3f}" for value in published[column.key][line])
            if column.in_our_copy
            else NOT_IN_OUR_COPY
            for column in GRAY_BOX
        ]
        rows.append([f"paper, line {line + 1}", *cells])
    for words, name in (("**ours**", "auc"), ("ours, fooled images alone", "auc_fooled")):
        for alpha in ALPHAS:
            cells = [
                _pairs([_area(_gray(results, "gray_box", pair, column, alpha), side, name) for pair, side in sides])
                for column in GRAY_BOX
            ]
            rows.append([f"{words}, α = {alpha:g}", *once(cells)])
    return markdown(["", *(f"{column.title}, eps {column.eps:g}: {heading}" for column in GRAY_BOX)], rows)


def target_and_source_table(results: Record) -> str:
    """Table 7: AUC on the target and on the source, in percent."""
    sides = (("shallow", "target"), ("shallow", "source"))
    return _gray_table(results, TARGET_AND_SOURCE, sides, "target / source")


def shallow_and_deep_table(results: Record) -> str:
    """Table 8: AUC on the targets of the shallow and of the deep pair, in percent."""
    return _gray_table(results, SHALLOW_AND_DEEP, (("shallow", "target"), ("deep", "target")), "shallow / deep")


def gray_accuracy_table(results: Record) -> str:
    """What Eq. 6 leaves of accuracy, and of answers that are accepted."""
    rows = []
    for pair in ("shallow", "deep"):
        for column in GRAY_BOX:
            for alpha in ALPHAS:
                row = _gray(results, "gray_box", pair, column, alpha)
                whose = [pair, f"{column.title}, eps {column.eps:g}", f"{alpha:g}"]
                if row is None or not done(row):
                    rows.append([*whose, not_run(row), NOTHING, NOTHING, NOTHING])
                    continue
                accuracy = [percent(row[side]["adversarial_accuracy"]) for side in ("source", "target")]
                fallen = [percent(row[side]["fallen_all"]) for side in ("source", "target")]
                rows.append([*whose, *accuracy, *fallen])
    header = [
        "pair",
        "attack",
        "α",
        "source: accuracy",
        "target: accuracy",
        "source: accepted and wrong",
        "target: accepted and wrong",
    ]
    return markdown(header, rows, left=2)


def own_table(results: Record) -> str:
    """What Salus's own attackers do to the guard of the target."""
    rows = []
    for row in results.get("own") or ():
        words = str(row["threat_model"])
        if not done(row):
            rows.append([words, not_run(row), *[NOTHING] * 5])
            continue
        names = ("good", "robust_accuracy", "attack_success_rate", "auc", "auc_fooled")
        rows.append([words, f"{row['n']:,}", *(rate(row, name) for name in names)])
    header = [
        "attacker",
        "images",
        "clean: accepted and right (95%)",
        "robust accuracy (95%)",
        "attack success rate (95%)",
        "AUC, all images",
        "AUC, fooled images alone",
    ]
    return markdown(header, rows or [["all", not_run(None), *[NOTHING] * 5]])


def imagenet_table(results: Record) -> str:
    """Table 9: the target's adversarial accuracy and AUC, in percent."""
    rows = []
    for alpha, line in IMAGENET_LINES.items():
        rows.append([f"paper, α = {alpha:g}", *(f"{accuracy:.3f} / {auc:.3f}" for accuracy, auc in line)])
    for alpha in IMAGENET_LINES:
        cells = []
        for column in IMAGENET:
            row = _gray(results, "imagenet", "imagenet", column, alpha)
            cells.append(
                not_run(row)
                if row is None or not done(row)
                else f"{percent(row['target']['adversarial_accuracy'], 2)} / {percent(row['target']['auc'], 2)}"
            )
        rows.append([f"**ours**, α = {alpha:g}", *once(cells)])
    header = ["", *(f"{column.title}, eps {column.eps:g}: Adv Acc / AUC" for column in IMAGENET)]
    ran = next((row["target"] for row in results.get("imagenet") or () if done(row)), None)
    chosen = ((results.get("meta") or {}).get("settings") or {}).get("imagenet") or {}
    ours = (
        ""
        if ran is None
        else (
            f" Ours, {chosen.get('network', NOTHING)} on images of {chosen.get('size', NOTHING)} pixels, has "
            f"{percent(ran['clean_accuracy'])}% of {ran['n']:,} test images."
        )
    )
    theirs = f"On natural images the paper's target has an accuracy of {IMAGENET_ACCURACY}%."
    return f"{markdown(header, rows)}\n{theirs}{ours}\n"
