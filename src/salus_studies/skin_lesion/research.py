"""The thesis's three research questions, answered by what was measured."""

from __future__ import annotations

from salus.metrics.wording import percent
from salus_studies.frame.markdown import Record
from salus_studies.skin_lesion import baselines
from salus_studies.skin_lesion.cells import KNOWS
from salus_studies.skin_lesion.measured import cell, title, value
from salus_studies.skin_lesion.published import NETWORKS

QUESTIONS = (
    "RQ1: How would the classifiers be impacted by adversarial attacks (e.g. FGSM, UAP)?",
    "RQ2: Concerning adversarial attacks, more precisely for FGSM, is there a way to mitigate this attack?",
    "RQ3: Is there a way to achieve the same results against UAP by simplified or combined known methods?",
)

#: A defence restores a network where its recall under attack is at least this share of the clean one, and above that of
#: the constant answer.
RESTORED = 0.9

_NOT_RUN = "not run: what would answer it is not in the stored results."


def answers(results: Record) -> list[str]:
    """Give the three answers, each a paragraph."""
    found = (impact(results), mitigated(results, "fgsm"), mitigated(results, "uap"))
    return [f"**{question}** {answer}\n" for question, answer in zip(QUESTIONS, found, strict=True)]


def impact(results: Record) -> str:
    """Say what both attacks do, beside what no look at the images scores."""
    clauses = []
    for network in NETWORKS:
        counts = baselines.class_counts(results, network)
        before = value(cell(results, network, "none", "none"), "recall")
        after = {attack: value(cell(results, network, attack, "none"), "recall") for attack in ("fgsm", "uap")}
        missed = {
            attack: value(cell(results, network, attack, "none"), "fnr", "medical")
            for attack in ("none", "fgsm", "uap")
        }
        if counts is None or before is None or None in after.values() or None in missed.values():
            continue
        floor = baselines.scores(counts, "always", "recall") or 0.0
        below = [attack.upper() for attack, left in after.items() if (left or 0.0) <= floor]
        who = {0: "both leave more", 1: f"{below[0] if below else ''} leaves no more", 2: "both leave no more"}[
            len(below)
        ]
        words = f"{who} than always {baselines.ALWAYS} has"
        clauses.append(
            f"{title(results, network)}: macro recall {percent(before)}% → {percent(after['fgsm'])}% under FGSM and "
            f"{percent(after['uap'])}% under UAP ({words}, {percent(floor)}%); malignant missed "
            f"{percent(missed['none'])}% → {percent(missed['fgsm'])}% and {percent(missed['uap'])}%"
        )
    return f"{'; '.join(clauses)}." if clauses else _NOT_RUN


def mitigated(results: Record, attack: str) -> str:
    """Say whether any of the thesis's defences restores recall, with a copy and with knowledge."""
    clauses = []
    for network in NETWORKS:
        before = value(cell(results, network, "none", "none"), "recall")
        counts = baselines.class_counts(results, network)
        if before is None or counts is None:
            continue
        floor, words = baselines.scores(counts, "always", "recall") or 0.0, []
        for who, called in ((None, "an attacker with a copy"), (KNOWS, "one who knows the defence")):
            left = {
                defence: value(cell(results, network, attack, defence, attacker=who), "recall")
                for defence in ("retraining", "low-level", "both")
            }
            known = {name: share for name, share in left.items() if share is not None}
            if not known:
                continue
            best = max(known, key=lambda name: known[name])
            verdict = "yes" if known[best] >= RESTORED * before and known[best] > floor else "no"
            names = {"retraining": "retraining", "low-level": "WebP + flip", "both": "both together"}
            words.append(
                f"against {called} {verdict}: at best {percent(known[best])}% of macro recall, by {names[best]}, where "
                f"{percent(before)}% were there without attack"
            )
        if words:
            clauses.append(f"{title(results, network)}: {'; '.join(words)}")
    return f"{'. '.join(clauses)}." if clauses else _NOT_RUN
