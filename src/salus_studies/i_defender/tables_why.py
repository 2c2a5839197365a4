"""Tables of the runs that look for reasons: descents that go otherwise, what baselines read, each attacker alone."""

from __future__ import annotations

from salus.metrics.wording import NOTHING, number, percent, rate
from salus_studies.frame.markdown import Record, done, find, listed, markdown, not_run
from salus_studies.i_defender.published import BLACK_BOX, METHOD_NAMES
from salus_studies.i_defender.tables import fraction
from salus_studies.i_defender.trend import ARMS, STEPS, lines


def trend_table(results: Record, data: str) -> str:
    """AUC of the lines of a hundred steps, by descents that go otherwise."""
    restarts = lines(data)
    paper = {one.restarts: one.auc for one in BLACK_BOX[data].descents if one.iterations == STEPS}
    rows = [["paper", *(f"{paper[count]:g}" for count in restarts), NOTHING, NOTHING, NOTHING]]
    for arm in ARMS:
        row = find(results.get("trend"), data=data, arm=arm.key)
        if row is None or not done(row):
            rows.append([arm.title, not_run(row), *[NOTHING] * (len(restarts) + 2)])
            continue
        of = {one["restarts"]: one for one in row["rows"]}
        fewest = of[min(restarts)]
        ends = [number(fewest[f"distance_{name}"], ".1f") for name in ("clean", "attacked")]
        rows.append([arm.title, *(fraction(of[count]) for count in restarts), *ends, f"{row['n']:,}"])
    header = [
        "descents",
        *(f"{count} × {STEPS}" for count in restarts),
        f"distance, {min(restarts)} × {STEPS}: clean",
        "attacked",
        "images",
    ]
    return markdown(header, rows)


def reads_table(results: Record) -> str:
    """What each supervised detector tells of held-out pairs, by what it reads."""
    names = {method: METHOD_NAMES[method] for method in ("svm", "msvm", "subnet")}
    rows = []
    for row in results.get("reads") or ():
        whose = [names[row["method"]], listed(row["layers"])]
        if not done(row):
            rows.append([*whose, not_run(row), *[NOTHING] * 4])
            continue
        told = [number(row["auc"], ".3f"), percent(row["told"])]
        pairs = [f"{row['pairs']:,}", f"{row['held_out']:,}"]
        rows.append([*whose, *told, *pairs, "**chosen**" if row.get("chosen") else ""])
    header = ["method", "reads", "AUC", "told right, %", "pairs taught by", "pairs held out", ""]
    return markdown(header, rows or [["all", NOTHING, not_run(None), *[NOTHING] * 4]], left=2)


def alone_table(results: Record) -> str:
    """What each way to attack the source comes to alone, on the source and on the target."""
    record = find(results.get("alone"), pair="shallow")
    header = [
        "attacker of the source",
        "source: accuracy",
        "source: accepted and wrong (95%)",
        "source: AUC",
        "target: accuracy",
        "target: accepted and wrong (95%)",
        "target: AUC",
    ]
    if record is None or not done(record):
        return markdown(header, [["all", not_run(record), *[NOTHING] * 5]])
    rows = []
    for one in record["rows"]:
        cells = []
        for side in ("source", "target"):
            own = one[side]
            cells += [percent(own["adversarial_accuracy"]), rate(own, "fallen_all"), percent(own["auc"])]
        rows.append([one["attacker"], *cells])
    return markdown(header, rows)
