"""Sentences on attacks at full strength, computed from stored results."""

from __future__ import annotations

from collections.abc import Sequence

from salus.metrics.wording import percent, present, rate
from salus_studies.ecg_atk_gan.naming import NAMES, SPLITS, attack_name, network_name, trained_name
from salus_studies.ecg_atk_gan.published import ARCHITECTURES
from salus_studies.ecg_atk_gan.tables_honest import bare, guarded, macro_f1
from salus_studies.frame.markdown import Record, done, find, not_run, span


def attacked_honestly(results: Record) -> list[str]:
    """Say what PGD leaves of each network, trained on clean beats or on attacked ones too."""
    lines = []
    for split in SPLITS:
        rows = [row for row in bare(results, split) if row.get("attack") == "pgd" and done(row)]
        if not rows:
            absent = find(results.get("honest"), split=split, attack="pgd") or find(results.get("honest"), split=split)
            reason = not_run(None if done(absent) else absent)
            lines.append(f"PGD-40 on the trained networks, split {SPLITS[split]}: {reason}.")
        for title in dict.fromkeys(_title(row) for row in rows):
            of = [row for row in rows if _title(row) == title]
            plain = [row for row in of if row["trained_on"] == "none"]
            left = [f"{network_name(row)} {rate(row, 'robust_accuracy')}" for row in plain]
            left += [
                f"{NAMES[name]} not run" for name in ARCHITECTURES if all(row["architecture"] != name for row in plain)
            ]
            sentence = (
                f"{title} on the trained network itself, split {SPLITS[split]}, leaves of those trained on clean "
            )
            sentence += f"beats (robust accuracy, %): {', '.join(left)}."
            taught = [row for row in of if row["trained_on"] != "none" and present(row.get("robust_accuracy"))]
            if taught:
                best = max(taught, key=lambda row: row["robust_accuracy"])
                sentence += (
                    " Of those trained on attacked copies too, which is the papers' defence, it leaves most of "
                    f"{network_name(best)} trained on {trained_name(best['trained_on'])}: "
                    f"{rate(best, 'robust_accuracy')}."
                )
            lines.append(sentence)
    return lines


def _title(row: Record) -> str:
    return attack_name(row) + (f" at eps {row['eps']:g}" if present(row.get("eps")) else "")


def between_patients(results: Record) -> list[str]:
    """Say what becomes of accuracy on patients that were not trained on."""
    sides: dict[str, dict[str, Record]] = {}
    for split in SPLITS:
        rows = [row for row in bare(results, split) if row["trained_on"] == "none" and done(row)]
        # Every row of a network has its accuracy on clean beats; its confusion matrix only that of no attack.
        for row in sorted(rows, key=lambda row: row.get("attack") is not None):
            sides.setdefault(split, {}).setdefault(row["architecture"], row)
    both = [name for name in ARCHITECTURES if all(name in sides.get(split, {}) for split in SPLITS)]
    if not both:
        return ["Clean accuracy by beats against by patients: not run: no network was measured on both splits."]

    def right(split: str, name: str) -> str:
        row = sides[split][name]
        f1 = macro_f1(row["confusion"]) if row.get("attack") is None and row.get("confusion") else None
        return f"{percent(row['clean_accuracy'])}%" + (f" (macro-F1 {percent(f1)})" if present(f1) else "")

    pairs = [
        f"{NAMES[name]} {right('beats', name)} by beats and {right('patients', name)} by patients" for name in both
    ]
    return [f"Right answers on clean beats, trained on clean beats: {'; '.join(pairs)}."]


def head_alone(results: Record, short: bool = False) -> list[str]:
    """Say what the attacked/clean head is worth alone, against an attacker who knows it and one who does not."""
    lines = []
    for split in SPLITS:
        rows = [row for row in guarded(results, split) if row.get("attack") is not None]
        measured = [row for row in rows if done(row) and present(row.get("robust_accuracy"))]
        if not measured:
            absent = not_run(next((row for row in rows if not done(row)), None))
            lines.append(f"The attacked/clean head alone, split {SPLITS[split]}: {absent}.")
            continue
        by_attacker = {
            attacker: [row["robust_accuracy"] for row in measured if row.get("threat_model") == attacker]
            for attacker in ("oblivious", "adaptive")
        }
        clauses = [
            f"{span(values)} against the {attacker} attacker" for attacker, values in by_attacker.items() if values
        ]
        lines.append(
            f"The attacked/clean head alone, split {SPLITS[split]}, rejecting what it calls attacked, leaves a robust "
            f"accuracy of {' and '.join(clauses)}."
        )
        if not by_attacker["adaptive"]:
            lines[-1] += " There is no adaptive row: this is an upper bound, and no evidence of a defence."
        if not short:
            lines += [
                f"  {_head_line(results, row, rows)}" for row in measured if row.get("threat_model") == "oblivious"
            ]
    return lines


def _head_line(results: Record, blind: Record, rows: Sequence[Record]) -> str:
    """Compare one oblivious row with its adaptive one and with no guard."""
    same = {name: blind.get(name) for name in ("split", "architecture", "trained_on", "attack", "eps")}
    seeing = find([row for row in rows if row.get("threat_model") == "adaptive"], **same)
    alone = find([row for row in results.get("honest") or () if row.get("guard") in (None, "none")], **same)
    line = (
        f"{network_name(blind)} trained on {trained_name(blind['trained_on'])}, {_title(blind)}: "
        f"{percent(blind.get('rejected_adversarial'))}% of attacked beats are rejected and "
        f"{percent(blind.get('rejected_clean'))}% of clean ones; robust accuracy {percent(blind['robust_accuracy'])}%"
    )
    if alone is not None and done(alone):
        line += f", against {percent(alone.get('robust_accuracy'))}% without the head"
    if seeing is None or not done(seeing) or not present(seeing.get("robust_accuracy")):
        return f"{line}. The adaptive attacker: {not_run(seeing)}; this is an upper bound."
    line += (
        f". An attacker who knows the head is rejected on {percent(seeing.get('rejected_adversarial'))}% and leaves "
        f"{percent(seeing['robust_accuracy'])}%."
    )
    if seeing["robust_accuracy"] > blind["robust_accuracy"]:
        line += " **The adaptive attack is weaker than the oblivious one: a fault of ours, no strength of the head.**"
    return line
