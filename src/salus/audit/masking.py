"""Signs that gradients do not lead where they should, so that an attack on them shows less than there is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from salus.audit.records import Record, attack_words, grouped, matching, threat_of, values
from salus.metrics.wording import percentage

#: A stronger attack may come out this much weaker by chance before it counts as a sign of masked gradients.
_SLACK = 0.02

#: From this share of gradients on that are zero or not finite an attack has lost its way.
_LOST = 0.1

#: Attacks that differ in little but their steps, so that their steps compare.
_STEPWISE = ("fgsm", "bim", "pgd")

#: Of two cells with these in common, one attack is the other at another radius.
_SAME = ("attack", "norm", "target", "attack_options")


def masking(records: Sequence[Record], meta: Record) -> Iterator[str]:
    """Look for gradients that do not lead where they should (Athalye et al., 2018)."""
    attacked = [r for r in matching(records, guard="none") if r["attack"] is not None]
    bare = [r for r in attacked if r["eps"] is not None]
    white = [r for r in bare if "white-box" in r["nist"]]
    beside, sweeps = grouped(bare, ("eps", "norm", "target")), grouped(white, _SAME)
    peaks = {same: max(r["robust_accuracy"] for r in sweep) for same, sweep in sweeps.items()}
    for row in white:
        rivals = beside[values(row, ("eps", "norm", "target"))]
        best = min(r["robust_accuracy"] for r in rivals if "white-box" in r["nist"])
        for other in rivals:
            if "white-box" not in other["nist"] and best - other["robust_accuracy"] > _SLACK:
                yield f"Gradient masking is likely: {_blind(other)} fools more than any attack on the gradients."
            elif _effort(other) < _effort(row) and row["robust_accuracy"] - other["robust_accuracy"] > _SLACK:
                yield (
                    f"Gradient masking is likely: the weaker {attack_words(other)} fools more than {attack_words(row)}."
                )
        same = values(row, _SAME)
        if peaks[same] <= row["robust_accuracy"] + _SLACK:
            continue
        for other in sweeps[same]:
            if other["eps"] > row["eps"] and other["robust_accuracy"] > row["robust_accuracy"] + _SLACK:
                yield (
                    f"Gradient masking is likely: {attack_words(other)} fools fewer than the same attack at "
                    f"eps = {row['eps']:g}."
                )
    check = meta["checks"]
    if check["robust_accuracy"] is not None and check["robust_accuracy"] > 0.05:
        yield (
            f"Gradient masking is likely: with eps = {check['huge_eps']:g}, half the range of values, PGD still "
            f"leaves {percentage(check['robust_accuracy'])} of {check['n']} inputs right; it should leave none."
        )


def lost(records: Sequence[Record]) -> Iterator[str]:
    """Say where the gradients that an attack followed led nowhere: what such an attack leaves is an upper bound."""
    for row in records:
        shares = {"zero": row.get("gradients_zero"), "not finite": row.get("gradients_nonfinite")}
        lost = [f"{percentage(share)} were {what}" for what, share in shares.items() if share and share > _LOST]
        if lost:
            who = "the bare classifier" if row["guard"] == "none" else repr(row["guard"])
            yield (
                f"Gradient masking is likely: of the gradients that {attack_words(row)} on {who} took "
                f"({row['threat_model']}), {' and '.join(lost)}; what it leaves is an upper bound."
            )


def _blind(record: Record) -> str:
    """Name an attack that never saw the model's gradients."""
    if threat_of(record).deals:
        return f"{attack_words(record)} computed on a substitute"
    return attack_words(record)


def _effort(record: Record) -> float:
    """Count an attack's gradient steps: of two of one kind, the one with more should fool no fewer."""
    if record["attack"] not in _STEPWISE:
        return float("nan")  # neither more nor less than any other
    options = record["attack_options"]
    return int(options.get("steps") or 1) * int(options.get("restarts") or 1)
