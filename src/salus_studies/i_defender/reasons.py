"""Why our numbers differ from the paper's: what runs have shown, what was tried, and what remains."""

from __future__ import annotations

from collections.abc import Iterator

from salus.metrics.wording import percent, present
from salus_studies.frame.markdown import Record, bullets, done, find, listed, not_run
from salus_studies.i_defender.black_box import RELEASED, SETTINGS, SUBSTITUTE, TABLE_1
from salus_studies.i_defender.choice import LIKELIHOOD
from salus_studies.i_defender.published import BLACK_BOX, EPSILONS, METHOD_NAMES, SEMI_WHITE_BOX
from salus_studies.i_defender.tables import AGREES, RULE_NAMES, agrees, black_box, distances
from salus_studies.i_defender.tables_gray import I_DEFENDER, judged, semi_white_box
from salus_studies.i_defender.trend import ARMS, OURS, STEPS, lines

#: What counts as telling more held-out pairs than by chance: some hundreds are held out.
_MORE = 0.05


def text(results: Record) -> str:
    """Write the section; every sentence that gives a reason names the run."""
    known = [*_layers(results), *_networks(results), *_reads(results)]
    tried = [*_trend(results), *_cifar_layers(results)]
    parts = [
        ("What is known", known or ["Nothing yet: none of the runs that would show it is stored."]),
        ("What was tried", tried or ["Nothing yet: none of the runs is stored."]),
        ("What remains", list(_remains(results))),
    ]
    return "\n".join(f"### {title}\n\n{bullets(sentences)}" for title, sentences in parts)


def _layers(results: Record) -> Iterator[str]:
    for data, paper in BLACK_BOX.items():
        record = black_box(results, data, f"fgsm-{EPSILONS[0]:g}")
        if record is None or not done(record):
            continue
        areas = [(one["auc"], one["title"]) for one in record["detectors"] if present(one["auc"])]
        if not areas:
            continue
        (low, worst), (high, best) = min(areas), max(areas)
        yield (
            f"**{paper.title}: the layer decides.** At eps {EPSILONS[0]:g} the AUC goes from {low:.3f} ({worst}) to "
            f"{high:.3f} ({best}), and the paper does not say which layer it took. The run: “What each layer gives on "
            f"{paper.title}”."
        )


def _networks(results: Record) -> Iterator[str]:
    for data, paper in BLACK_BOX.items():
        farthest = {
            setting.key: {
                rule: max(apart.values(), key=abs)
                for rule in RULE_NAMES
                if (apart := distances(results, data, setting, rule)) is not None
            }
            for setting in SETTINGS
        }
        if not farthest[TABLE_1.key] or not (farthest[RELEASED.key] or farthest[SUBSTITUTE.key]):
            continue
        near = {key: min(of.values(), key=abs) for key, of in farthest.items() if of}
        clauses = [f"{setting.title}: {near[setting.key]:+.3f}" for setting in SETTINGS if setting.key in near]
        agreeing = [setting.title for setting in SETTINGS if setting.key in near and abs(near[setting.key]) <= 0.01]
        verdict = (
            f"Agreement within 0.01 is reached with: {'; '.join(agreeing)}."
            if agreeing
            else "None brings any reading to agree: the third convolution and the substitute do not explain it."
        )
        yield (
            f"**{paper.title}: the networks.** How far the nearest of the three readings lies from the paper at its "
            f"farthest eps, by networks: {'; '.join(clauses)}. {verdict} The run: “Three readings of I-defender on "
            f"{paper.title}”."
        )


def _reads(results: Record) -> Iterator[str]:
    rows = [row for row in results.get("reads") or () if done(row)]
    for method in ("svm", "msvm", "subnet"):
        of = [row for row in rows if row["method"] == method]
        averaged = [row for row in of if not any(name.endswith("/flat") for name in row["layers"])]
        kept = [row for row in of if row not in averaged]
        if not averaged or not kept:
            continue
        before, best = averaged[0], max(kept, key=lambda row: float(row["told"]))
        verdict = (
            "averaging over the positions hides what tells the attack"
            if best["told"] - before["told"] > _MORE
            else "keeping the positions adds little, so that averaging over them is not what is wrong"
        )
        yield (
            f"**{METHOD_NAMES[method]}.** Of held-out pairs it tells {percent(before['told'])}% right by "
            f"{listed(before['layers'])}, and {percent(best['told'])}% by {listed(best['layers'])}: {verdict}. The "
            "run: “What the supervised detectors read”."
        )


def _apart(results: Record, data: str) -> dict[str, float]:
    """Tell how far each arm's areas lie from the paper's lines of a hundred steps, at their farthest, by arm."""
    published = {one.restarts: one.auc for one in BLACK_BOX[data].descents if one.iterations == STEPS}
    apart = {}
    for arm in ARMS:
        row = find(results.get("trend"), data=data, arm=arm.key)
        if row is None or not done(row):
            continue
        areas = {one["restarts"]: one["auc"] for one in row["rows"]}
        if all(present(areas.get(count)) for count in lines(data)):
            apart[arm.key] = max(abs(areas[count] - published[count]) for count in lines(data))
    return apart


def _explained(apart: dict[str, float]) -> str | None:
    """Name the arm that brings the lines to less than half as far from the paper as ours lie; None where none does."""
    nearest = min(apart, key=apart.__getitem__)
    return nearest if apart[nearest] < apart[OURS] / 2 else None


def _trend(results: Record) -> Iterator[str]:
    titles = {arm.key: arm.title for arm in ARMS}
    for data, paper in BLACK_BOX.items():
        apart = _apart(results, data)
        if OURS not in apart or len(apart) < 2:
            continue
        arm = _explained(apart)
        verdict = (
            "No change of those tried brings that to less than half."
            if arm is None
            else f"One change brings that to less than half, {apart[arm]:.3f}: {titles[arm]}."
        )
        others = [f"{titles[key]}: {value:.3f}" for key, value in apart.items() if key not in (OURS, arm)]
        yield (
            f"**{paper.title}: Defense-GAN's trend.** Descents as here lie up to {apart[OURS]:.3f} from the paper's "
            f"lines of {STEPS} steps. {verdict} The others: {'; '.join(others)}. The run: “What Defense-GAN's trend "
            f"hangs on, {paper.title}”."
        )


def _cifar_layers(results: Record) -> Iterator[str]:
    cells = [semi_white_box(results, column, I_DEFENDER) for column in SEMI_WHITE_BOX]
    if any(cell is None or not done(cell) for cell in cells):
        return
    best = []
    for cell in cells:
        areas = [] if cell is None else [one["auc"] for one in cell["detectors"] if present(one["auc"])]
        best.append(max(areas, default=0.0))
    own = [judged(cell) for cell in cells]
    taken = [100 * one["auc"] for one in own if one is not None and present(one["auc"])]
    if not taken:
        return
    yield (
        f"**CIFAR-10: other layers.** By likelihood I-defender's AUC is {min(taken):.1f} to {max(taken):.1f}% over the "
        f"six columns; the best of all rows, chosen after the fact for each column, has {100 * min(best):.1f} to "
        f"{100 * max(best):.1f}%. The run: “What each layer gives on CIFAR-10”."
    )


def _remains(results: Record) -> Iterator[str]:
    for data, paper in BLACK_BOX.items():
        known = {rule: distances(results, data, TABLE_1, rule) for rule in RULE_NAMES}
        missing = [rule for rule, apart in known.items() if apart is None]
        if missing:
            record = black_box(results, data, f"fgsm-{EPSILONS[0]:g}")
            yield f"{paper.title}: whether a reading agrees with the paper ({not_run(record)})."
        elif not any(map(agrees, known.values())):
            yield (
                f"{paper.title}: none of the three readings agrees within 0.01 at every eps. Which states the paper "
                "modelled, and with how many Gaussians, no run here can tell."
            )
        elif not agrees(known[LIKELIHOOD]):
            yield (
                f"{paper.title}: the rule that was fixed first does not agree; one that was added later does, which is "
                "weaker evidence than if it had been the first."
            )
        apart = _apart(results, data)
        if OURS in apart and len(apart) > 1 and _explained(apart) is None and apart[OURS] > AGREES:
            yield (
                f"{paper.title}: why Defense-GAN's restarts matter less here than in the paper's table; what was tried "
                f"stands under “What Defense-GAN's trend hangs on, {paper.title}”."
            )
        if OURS not in apart:
            row = find(results.get("trend"), data=data)
            yield f"{paper.title}: what Defense-GAN's trend hangs on ({not_run(row)})."
    meta = results.get("meta") or {}
    if meta.get("scale") != "full":
        yield "The paper's WRN-34-8 and WRN-46-8 and Defense-GAN's 1,000 epochs of training: the scale “full”."
    if not any(done(row) for row in results.get("imagenet") or ()):
        yield f"Table 9 on ImageNet ({not_run(find(results.get('imagenet')))})."
    yield "The second halves of Tables 7 and 8, which our copy of the paper lacks."
