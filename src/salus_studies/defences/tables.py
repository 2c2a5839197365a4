"""The tables of docs/defences.md."""

from __future__ import annotations

from collections.abc import Sequence

from salus.metrics.wording import number, percent, rate
from salus.threats.adaptive import UNION
from salus.threats.winners import who_wins
from salus_studies.defences.catalogue import catalogue
from salus_studies.defences.measured import breaker, find_cell, measured_cells, under_attack
from salus_studies.frame.markdown import Record, markdown
from salus_studies.heartbeats.measured import SPLITS, attacked

#: How harmless changes head their columns.
CONTROLS = {
    "baseline-wander": "baseline wander",
    "mains-hum": "mains hum",
    "muscle-noise": "muscle noise",
    "blur": "blur",
    "jpeg": "JPEG",
}


def catalogue_table() -> str:
    """List every defence, what it is and what it needs."""
    rows = [[f"`{defence.name}`", defence.kind, defence.what, defence.needs, defence.paper] for defence in catalogue()]
    return markdown(["defence", "kind", "what it is", "what it needs", "from"], rows, left=5)


def attack_table(audit: Record, wider: Record, attack: Record) -> str:
    """Show what each attacker leaves behind each defence under one attack; AUC is the wider audit's."""
    cells, detected = measured_cells(audit), measured_cells(wider)
    rows = []
    for guard in audit["guards"]:
        clean = find_cell(cells, guard=guard, attack=None) or {}
        by_attacker = under_attack(cells, guard, attack)
        oblivious = under_attack(detected, guard, attack)["oblivious"] or {}
        rows.append(
            [
                f"`{guard}`",
                number(clean.get("cost"), ".2f"),
                rate(clean, "clean_accuracy"),
                number(oblivious.get("detection_auc"), ".3f"),
                *(rate(cell or {}, "robust_accuracy") for cell in by_attacker.values()),
                breaker(by_attacker),
            ]
        )
    header = ["defence", "cost", "clean %", "AUC", "oblivious %", "gray-box %", "adaptive %", "broken by"]
    return markdown(header, rows)


def variants_table(audit: Record, attack: Record) -> str | None:
    """Show what each variant of the adaptive attack leaves alone, and their union; None where none was run alone."""
    cells = measured_cells(audit)
    knowing = {guard: under_attack(cells, guard, attack)["adaptive"] for guard in audit["guards"]}
    alone = {guard: cell["alone"] for guard, cell in knowing.items() if cell is not None and cell.get("alone")}
    if not alone:
        return None
    names = list(dict.fromkeys(name for variants in alone.values() for name in variants if name != UNION))
    rows = []
    for guard, variants in alone.items():
        left = [percent(variants[name]["robust_accuracy"]) if name in variants else "" for name in (*names, UNION)]
        rows.append([f"`{guard}`", *left, who_wins(variants)])
    return markdown(["defence", *names, UNION, "wins most alone"], rows)


def false_alarms_table(audit: Record) -> str | None:
    """Show how often each guard that rejects at all rejects clean inputs and harmless changes; None where none does."""
    cells = measured_cells(audit)
    rejecting = [
        guard
        for guard in audit["guards"]
        if any(cell["guard"] == guard and cell.get("rejected_adversarial") for cell in cells)
    ]
    if not rejecting:
        return None
    changes = list(dict.fromkeys(str(cell["attack"]) for cell in cells if cell.get("threat_model") == "control"))
    rows = []
    for guard in rejecting:
        clean = find_cell(cells, guard=guard, attack=None) or {}
        changed = [find_cell(cells, guard=guard, attack=name) or {} for name in changes]
        oblivious = find_cell(cells, guard=guard, threat_model="oblivious") or {}
        rates = [rate(clean, "rejected_clean"), *(rate(cell, "rejected_adversarial") for cell in changed)]
        rows.append([f"`{guard}`", *rates, rate(oblivious, "rejected_noise")])
    names = (CONTROLS.get(name, name) for name in changes)
    return markdown(["defence", "clean", *names, "noise of the attack's size"], rows)


def attempts_table(attempts: Sequence[Record]) -> str:
    """Show what two unlike attacks leave of purifiers at each size of change, and how far they are apart."""
    rows = []
    for row in attempts:
        gradients, queries = row.get("gradients"), row.get("queries")
        apart = None if gradients is None or queries is None else 100 * abs(gradients - queries)
        shares = (percent(share) for share in (row["clean"], gradients, queries, row["left"]))
        rows.append([f"`{row['guard']}`", f"{row['eps']:.4g}", *shares, number(apart, ".1f")])
    header = ["defence", "eps", "clean %", "by gradients %", "without gradients %", "worst of both %", "apart, points"]
    return markdown(header, rows)


def hardened_table(heartbeats: Record) -> str:
    """Show the hardened heartbeat classifiers."""
    rows = []
    for split, words in SPLITS.items():
        under = attacked(heartbeats[split], "pgd")
        rows.append(
            [
                words,
                rate(heartbeats[split]["clean"], "accuracy"),
                "not run" if under is None else rate(under, "accuracy"),
            ]
        )
    return markdown(["split", "clean %", "under PGD-40x5 %"], rows)
