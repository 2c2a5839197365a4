"""The audit that lies beside a bundle: what an attacker who knows the guard achieves stands first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from salus.errors import SalusError

#: Where an audit may lie, from a bundle's folder on; audits keep the guards that they fit in their own ``guards``.
_PLACES, _KEPT = ("audit", "."), "guards"

#: The figures of a row: field of the record, head of the column.
FIGURES = (
    ("clean_accuracy", "Clean accuracy"),
    ("robust_accuracy", "Robust accuracy"),
    ("attack_success_rate", "Attack success"),
    ("rejected_clean", "Rejected clean"),
    ("rejected_adversarial", "Rejected attacked"),
)


@dataclass(frozen=True)
class AuditRow:
    """One attack on the guard.

    Attributes:
        attack: its name and options.
        threat: what the attacker knows.
        eps: the largest change.
        knows: whether the attacker knows the guard.
        figures: each with its 95% interval, in words.
    """

    attack: str
    threat: str
    eps: str
    knows: bool
    figures: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class BesideBundle:
    """What was looked for beside a bundle.

    Attributes:
        place: the audit's file; "" where there is none.
        fault: why it cannot be shown.
        created: when it was made.
        same: whether it is of the very guard that is served.
        command: that made it.
        verdict: its sentences.
        warnings: before anybody relies on it.
        rows: attacks on the guard, first of those who know it, the worst first.
        clean: on inputs that nobody attacked.
    """

    place: str = ""
    fault: str = ""
    created: str = ""
    same: bool = False
    command: str = ""
    verdict: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    rows: tuple[AuditRow, ...] = ()
    clean: tuple[tuple[str, str], ...] = ()

    @property
    def adaptive(self) -> bool:
        """Whether anybody who knows the guard attacked it."""
        return any(row.knows for row in self.rows)


def audit_beside(folder: Path, fingerprint: str) -> BesideBundle:
    """Read the audit beside a bundle.

    Args:
        folder: of the bundle.
        fingerprint: of its guard.
    """
    folder = folder.absolute()
    places = [folder / name for name in _PLACES]
    if folder.parent.name == _KEPT:
        places.append(folder.parent.parent)
    place = next((place for place in places if (place / "results.json").is_file()), None)
    if place is None:
        return BesideBundle()
    file = str(place / "results.json")
    try:
        return _read(place, file, fingerprint)
    except SalusError as error:
        return BesideBundle(file, str(error))
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        return BesideBundle(
            file, f"{file} is no complete audit ({type(error).__name__}: {error}); run the audit again."
        )


def _read(place: Path, file: str, fingerprint: str) -> BesideBundle:
    # Reports draw, and drawing takes a second to load: only where there is something to show.
    from salus.report import words
    from salus.report.run_folder import Run
    from salus.threats import threat_named

    run = Run(place)
    of_audit: Mapping[str, Mapping[str, Any]] = run.meta.get("guards") or {}
    same = [name for name, described in of_audit.items() if described.get("fingerprint") == fingerprint]
    names = same or [name for name in run.guards if name != "none"]
    rows = []
    for cell in run.attacked:
        if cell["guard"] not in names:
            continue
        options = words.option_text(words.options(cell))
        eps = "smallest found"
        if cell["eps"]:
            eps = f"{words.epsilon(cell['eps'], run.kind)} {words.norm(cell['norm'])}"
        row = AuditRow(
            f"{words.attack(cell['attack'])}{f' ({options})' if options else ''}",
            cell["threat_model"],
            eps,
            threat_named(cell["threat_model"]).knows_guard,
            _figures(cell),
        )
        left = cell.get("robust_accuracy")
        rows.append((2.0 if left is None else left, row))
    rows.sort(key=lambda pair: (not pair[1].knows, pair[0]))
    cleans = [clean for name in names if (clean := run.clean(name)) is not None]
    return BesideBundle(
        place=file,
        created=str(run.meta.get("created", "")),
        same=bool(same),
        command=str(run.meta.get("command", "")),
        verdict=tuple(map(str, run.meta.get("verdict") or ())),
        warnings=tuple(map(str, run.meta.get("warnings") or ())),
        rows=tuple(row for _, row in rows),
        clean=_figures(cleans[0]) if cleans else (),
    )


def _figures(cell: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    from salus.report import words

    return tuple(
        (words.percent(cell.get(name)), words.interval(cell.get(f"{name}_low"), cell.get(f"{name}_high")))
        for name, _ in FIGURES
    )
