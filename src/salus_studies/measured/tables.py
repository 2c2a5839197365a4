"""Print the tables of docs/results.md from the results.json of audits.

Run: python docs/results_table.py RUN [RUN ...]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def main() -> None:
    """Print one section for each run."""
    for folder in sys.argv[1:]:
        results = json.loads((Path(folder) / "results.json").read_text(encoding="utf-8"))
        meta = results["meta"]
        print(f"```\n{meta['command']}\n```\n")
        print(
            f"{meta['data']['name']}, {meta['split']}. "
            f"{meta['samples']} attacked samples, seed {meta['seed']}, one run, "
            f"{meta['device']}, {meta['threads']} thread(s), torch {meta['versions']['torch']}. "
            f"Clean accuracy on the whole test side {_rate(meta['model'], 'clean_accuracy')}.\n"
        )
        print("| guard | attack | eps | attacker | clean % | robust % | attack success % | rejected % | AUC, fooled |")
        print("|---|---|---|---|---|---|---|---|---|")
        for cell in results["cells"]:
            print(f"| {' | '.join(_row(cell))} |")
        print()
        for sentence in (*meta["verdict"], *(f"Warning: {warning}" for warning in meta["warnings"])):
            print(f"- {sentence}")
        print()


def _row(cell: dict[str, Any]) -> list[str]:
    clean = cell["attack"] is None
    steps = "" if clean else cell["attack_options"].get("steps")
    name = "none (clean)" if clean else f"{cell['attack'].upper()}{f'-{steps}' if steps else ''}"
    return [
        "bare" if cell["guard"] == "none" else cell["guard"],
        name,
        "" if clean else f"{cell['eps']:g}",
        cell["threat_model"] or "",
        _rate(cell, "clean_accuracy"),
        _rate(cell, "robust_accuracy"),
        _rate(cell, "attack_success_rate"),
        "" if cell["guard"] == "none" else _rate(cell, "rejected_clean" if clean else "rejected_adversarial"),
        "" if cell["detection_auc"] is None else f"{cell['detection_auc']:.3f}",
    ]


def _rate(record: dict[str, Any], name: str) -> str:
    if record[name] is None:
        return ""
    return f"{100 * record[name]:.1f} ({100 * record[f'{name}_low']:.1f}–{100 * record[f'{name}_high']:.1f})"


if __name__ == "__main__":
    main()
