"""The tables of docs/results.md."""

from __future__ import annotations

from salus.metrics.wording import number, rate
from salus_studies.frame.markdown import Record

_HEADER = """\
| guard | attack | eps | attacker | clean % | robust % | attack success % | rejected % | AUC, fooled |
|---|---|---|---|---|---|---|---|---|
"""


def audit_table(audit: Record) -> str:
    """Show every cell of an audit."""
    return _HEADER + "".join(f"| {' | '.join(_cells(cell))} |\n" for cell in audit["cells"])


def _cells(cell: Record) -> list[str]:
    attack = cell.get("attack")
    steps = (cell.get("attack_options") or {}).get("steps")
    return [
        "bare" if cell["guard"] == "none" else cell["guard"],
        "none (clean)" if attack is None else f"{attack.upper()}{f'-{steps}' if steps else ''}",
        "" if attack is None else f"{cell['eps']:g}",
        cell.get("threat_model") or "",
        _rate(cell, "clean_accuracy"),
        _rate(cell, "robust_accuracy"),
        _rate(cell, "attack_success_rate"),
        "" if cell["guard"] == "none" else _rate(cell, "rejected_clean" if attack is None else "rejected_adversarial"),
        number(cell["detection_auc"], ".3f") if cell.get("detection_auc") is not None else "",
    ]


def _rate(cell: Record, name: str) -> str:
    return "" if cell.get(name) is None else rate(cell, name)
