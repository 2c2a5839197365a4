"""Write docs/defences.md: every defence, what it needs and costs, what it holds against, and who breaks it.

Run: python docs/defences_page.py [--check]
     python docs/defences_page.py --collect AUDIT [AUDIT ...]

Everything measured comes from docs/defences-results.json, which --collect makes of folders that `salus audit` wrote
(of several on the same data the first shows what attackers leave, the one of most samples AUC and false alarms), from
docs/defences-broken-*.json, which benchmarks/break_purifiers.py writes, and from docs/ecg-results.json, where the
hardened heartbeat classifiers stand. With --check nothing is written: it ends with 1 where the page is stale.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from defences_words import CONTROLS, HARDENING, REMARKS, WORDS
from ecg_goals import attacked
from ecg_numbers import between

DOCS = Path(__file__).parent
STORED, PAGE, HARDENED = DOCS / "defences-results.json", DOCS / "defences.md", DOCS / "ecg-results.json"
BROKEN = "defences-broken-*.json"
Record = Mapping[str, Any]

#: Data that there is a plan for.
PLANS = ("mitdb", "ham10000")

HEAD = """\
# Defences

*Written by `python docs/defences_page.py`; do not edit by hand.*

Detectors reject inputs, purifiers change them, hardening changes the classifier. What matters is the last column of
the tables of figures: what is left when the attacker knows the defence. A defence that shines under the oblivious
attacker alone has not been tested.
"""

MEANINGS = """\
**Guarded accuracy** counts inputs that are accepted and right as they are, and not accepted and wrong after the attack,
so that a guard which rejects everything has none. The **oblivious** attacker does not know of the defence, the
**gray-box** attacker has a twin of the guard, trained apart with another seed, and the **adaptive** attacker has the
guard itself; **broken by** is its variant that won most of what the oblivious attack had left. **AUC** tells attacked
inputs that fooled the classifier from clean ones, under the oblivious attacker; “–” where fewer than 50 did. **False
alarms** are clean inputs that were rejected, and inputs with harmless changes. **Cost** is the time beside the
classifier's own, as a multiple of its forward pass. Intervals of 95% in parentheses.
"""


ATTEMPTS = """\
What holds at one size of change need not hold at a larger one. The same attacker with more room; what is drawn counts
in expectation. Seed 0, one run.
"""


def main() -> int:
    """Collect, write the page, or check it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; end with 1 where the page is stale")
    parser.add_argument("--collect", nargs="+", type=Path, metavar="AUDIT", help="folders of audits, one a data set")
    given = parser.parse_args()
    if given.collect:
        STORED.write_text(json.dumps([slim(folder) for folder in given.collect], indent=1) + "\n", encoding="utf-8")
    audits = json.loads(STORED.read_text(encoding="utf-8")) if STORED.exists() else []
    broken = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(DOCS.glob(BROKEN), reverse=True)]
    text = page(audits, broken, json.loads(HARDENED.read_text(encoding="utf-8")))
    if given.check:
        return int(not PAGE.exists() or PAGE.read_text(encoding="utf-8") != text)
    PAGE.write_text(text, encoding="utf-8")
    return 0


def slim(folder: Path) -> dict[str, Any]:
    """Keep of an audit what the page shows."""
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    rates = (
        "clean_accuracy", "robust_accuracy", "attack_success_rate", "rejected_clean", "rejected_adversarial",
        "rejected_noise", "detection_auc",
    )  # fmt: skip
    kept = (
        "guard", "attack", "attack_options", "eps", "norm", "threat_model", "n", "cost", "error", "variants",
        "successes",
        *(name for rate in rates for name in (rate, f"{rate}_low", f"{rate}_high")),
    )  # fmt: skip
    meta = results["meta"]
    told = ("salus", "created", "command", "seed", "device", "threads", "samples", "split", "versions")
    return {
        **{name: meta[name] for name in told},
        "data": meta["data"]["name"],
        "model": meta["model"]["name"],
        "guards": {
            name: {key: guard[key] for key in ("text", "false_alarm_rate")} for name, guard in meta["guards"].items()
        },
        "cells": [{name: cell.get(name) for name in kept} for cell in results["cells"]],
    }


def page(audits: Sequence[Record], broken: Sequence[Record], hardened: Record) -> str:
    """Write the whole page."""
    parts = [HEAD, "## What there is\n", catalogue()]
    parts.append("## What was measured\n")
    parts.append(MEANINGS)
    for name in dict.fromkeys(audit["data"] for audit in audits):
        own = [audit for audit in audits if audit["data"] == name]
        parts.extend(measured(own[0], max(own, key=lambda audit: audit["samples"])))
    for name in PLANS:
        if name not in {audit["data"] for audit in audits}:
            plan = f"salus audit benchmarks/defences-{name}.yaml --out runs/defences-{name}"
            parts.append(f"### {name}\n\nNot run: `{plan}`.\n")
    if broken:
        parts.extend(["## Purifiers that seemed to hold\n", ATTEMPTS, *map(attempts, broken)])
    parts.extend(["## Hardened classifiers\n", hardening(hardened)])
    return "\n".join(parts)


def catalogue() -> str:
    """List every defence, what it is and what it needs."""
    rows = [[f"`{name}`", word.kind, word.what, word.needs, word.paper] for name, word in (WORDS | HARDENING).items()]
    return table(["defence", "kind", "what it is", "what it needs", "from"], rows, left=5)


def measured(audit: Record, wider: Record) -> Iterator[str]:
    """Write the section of one data set; detection is shown as the wider audit found it."""
    cells, detected = (done(one) for one in (audit, wider))
    attacks = [cell for cell in cells if cell["threat_model"] == "white-box"]
    yield f"### {audit['data']}, `{audit['model']}`\n"
    yield (
        f"{audit['split'].capitalize()}. {audit['samples']} test samples, seed {audit['seed']}, one run, "
        f"{audit['device']}, {audit['threads']} thread(s), torch {audit['versions']['torch']}, "
        f"{audit['created'][:10]}.\n"
    )
    yield f"```\n{audit['command']}\n```\n"
    if wider is not audit:
        yield f"AUC and false alarms on {wider['samples']} test samples:\n\n```\n{wider['command']}\n```\n"
    if audit["data"] in REMARKS:
        yield f"{REMARKS[audit['data']]}\n"
    bare = only(cells, guard="none", attack=None)
    for attack in attacks:
        yield (
            f"**{title(attack)}.** Without a defence the classifier is right on {percent(bare, 'clean_accuracy')}% as "
            f"they are and on {percent(attack, 'robust_accuracy')}% under this attack.\n"
        )
        yield table(
            ["defence", "cost", "clean %", "AUC", "oblivious %", "gray-box %", "adaptive %", "broken by"],
            [row(cells, detected, guard, attack) for guard in audit["guards"]],
        )
    yield from alarms(detected, list(audit["guards"]))


def done(audit: Record) -> list[Record]:
    """List the cells that did not fail."""
    return [cell for cell in audit["cells"] if not cell["error"]]


def row(cells: Sequence[Record], detected: Sequence[Record], guard: str, attack: Record) -> list[str]:
    """Write one defence's line under one attack."""
    clean = only(cells, guard=guard, attack=None)
    same = {key: attack[key] for key in ("attack", "attack_options", "eps", "norm")}
    known = {
        name: only(cells, guard=guard, threat_model=name, **same) for name in ("oblivious", "gray-box", "adaptive")
    }
    blind = only(detected, guard=guard, threat_model="oblivious", **same)
    auc = "–" if blind is None or blind["detection_auc"] is None else f"{blind['detection_auc']:.3f}"
    cost = "–" if clean is None or clean["cost"] is None else f"{clean['cost']:.2f}"
    left = [percent(cell, "robust_accuracy") for cell in known.values()]
    return [f"`{guard}`", cost, percent(clean, "clean_accuracy"), auc, *left, breaker(known)]


def breaker(known: Mapping[str, Record | None]) -> str:
    """Name what won most of the inputs that the oblivious attack had not, or say who suffices."""
    knowing, blind, twin = known["adaptive"], known["oblivious"], known["gray-box"]
    if knowing is None:
        return "not tried, or failed"
    if blind is not None and blind["robust_accuracy"] <= 0.05:
        return "anyone"
    holds = 0.5 * knowing["clean_accuracy"]
    if knowing["robust_accuracy"] > holds:
        fell = twin is not None and twin["robust_accuracy"] <= holds
        return "who has a twin" if fell else "nobody here, which is no proof"
    knew = {name: share for name, share in (knowing["variants"] or {}).items() if name != "oblivious" and share > 0}
    return max(knew, key=knew.__getitem__) if knew else "the adaptive attacker"


def alarms(cells: Sequence[Record], guards: Sequence[str]) -> Iterator[str]:
    """Write the table of false alarms, on clean inputs and under harmless changes."""
    rejecting = [g for g in guards if any(c["guard"] == g and c["rejected_adversarial"] for c in cells)]
    changes = list(dict.fromkeys(str(c["attack"]) for c in cells if c["threat_model"] == "control"))
    if not rejecting:
        return
    yield "False alarms, in percent:\n"
    rows = []
    for guard in rejecting:
        found = [percent(only(cells, guard=guard, attack=None), "rejected_clean")]
        found += [percent(only(cells, guard=guard, attack=name), "rejected_adversarial") for name in changes]
        found += [percent(only(cells, guard=guard, threat_model="oblivious"), "rejected_noise")]
        rows.append([f"`{guard}`", *found])
    names = (CONTROLS.get(name, name) for name in changes)
    yield table(["defence", "clean", *names, "noise of the attack's size"], rows)


def attempts(broken: Record) -> str:
    """Show what stronger attacks leave of the purifiers of which the adaptive attack left most."""
    sizes = sorted({row["eps"] for row in broken["rows"]})
    lines = []
    for guard in dict.fromkeys(row["guard"] for row in broken["rows"]):
        own = {row["eps"]: row for row in broken["rows"] if row["guard"] == guard}
        clean = next(iter(own.values()))["clean"]
        lines.append([f"`{guard}`", *(f"{100 * value:.1f}" for value in (clean, *(own[eps]["left"] for eps in sizes)))])
    return (
        f"`{broken['data']}`, {broken['samples']} test samples, PGD-{broken['steps']}:\n\n"
        f"```\n{broken['command']}\n```\n\n"
        + table(["defence", "clean %", *(f"eps {eps:g} %" for eps in sizes)], lines)
    )


def hardening(results: Record) -> str:
    """Refer to the hardened heartbeat classifiers."""
    rows = []
    for split, name in (("beats", "by beats"), ("patients", "by patients")):
        under = attacked(results[split], "pgd")
        rows.append([name, between(results[split]["clean"]), "not run" if under is None else between(under)])
    return (
        "They cost nothing when they answer, and what is left under attack was measured with the network known. "
        "Heartbeats, eps 0.01, PGD-40 from five starts; more in [ecg.md](ecg.md):\n\n"
        + table(["split", "clean %", "under PGD-40x5 %"], rows)
    )


def only(cells: Sequence[Record], **wanted: Any) -> Record | None:
    """Return the first cell with these values."""
    return next((cell for cell in cells if all(cell[key] == value for key, value in wanted.items())), None)


def percent(cell: Record | None, name: str) -> str:
    """Print a rate with its interval."""
    if cell is None or cell.get(name) is None:
        return "–"
    return f"{100 * cell[name]:.1f} ({100 * cell[f'{name}_low']:.1f}–{100 * cell[f'{name}_high']:.1f})"


def title(cell: Record) -> str:
    """Name an attack."""
    steps = (cell["attack_options"] or {}).get("steps")
    return f"{cell['attack'].upper()}{f'-{steps}' if steps else ''} at eps {cell['eps']:.4g}"


def table(header: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """Write a Markdown table."""
    rule = ["---" if column < left else "---:" for column in range(len(header))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, rule, *rows)) + "\n"


if __name__ == "__main__":
    sys.exit(main())
