"""The audits that are to be ranked, and which of them differ in nothing but the seed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from salus.errors import BundleError
from salus.report.fleet_folder import read_fleet
from salus.report.run_folder import Record, Run
from salus.storage import digest

#: A seed within the name of a folder.
_SEED = re.compile(r"[-_. ]?seed[-_= ]?\d+", re.IGNORECASE)


class Trial(NamedTuple):
    """What audits must share to be ranked side by side, beside norm, eps and threat model.

    Attributes:
        fingerprint: of the test part.
        samples: how many of it were attacked.
    """

    fingerprint: str
    samples: int


@dataclass(frozen=True, eq=False)
class Audit:
    """A finished audit.

    Attributes:
        name: the end of its folder's path, as long as it takes to tell it from the others.
        folder: where it is.
        run: what it stored.
    """

    name: str
    folder: Path
    run: Run

    @property
    def seed(self) -> int:
        """Of its draws."""
        return int(self.run.meta["seed"])

    @property
    def trial(self) -> Trial:
        """What was attacked."""
        return Trial(str(self.run.meta["data"]["fingerprint"]), int(self.run.meta["samples"]))

    @property
    def data(self) -> str:
        """The data in words: their name, and how they were split."""
        data = self.run.meta["data"]
        return f"{data['name']}, split {data['split']}" if data.get("split") else str(data["name"])

    @property
    def recipe(self) -> str:
        """A hash of all that was done but the seed: of the data, the model, its training, the guards and the attacks.

        A model that came trained is its weights; one that was trained here is how it was trained.
        """
        meta = self.run.meta
        model, cleaning = meta["model"], meta.get("label_cleaning") or {}
        training = model.get("training")
        return digest(
            {
                "data": [meta["data"]["name"], meta["data"].get("split"), meta["samples"]],
                "model": [model["name"], model.get("parameters"), model.get("architecture")],
                "weights": model["fingerprint"] if training is None else _unseeded(training),
                "rate": (meta.get("false_alarm_rate") or {}).get("asked"),
                "poison": meta.get("poison"),
                "cleaning": [cleaning.get("method"), _unseeded(cleaning.get("options") or {})],
                "cells": sorted({digest(_asked(cell)) for cell in self.run.cells}),
            }
        )


@dataclass(frozen=True, eq=False)
class Contender:
    """What is ranked with each of its guards: one audit, or several that differ in nothing but the seed.

    Attributes:
        name: what it is called.
        audits: by rising seed.
    """

    name: str
    audits: tuple[Audit, ...]

    @property
    def trials(self) -> frozenset[Trial]:
        """What was attacked."""
        return frozenset(audit.trial for audit in self.audits)

    @property
    def guards(self) -> list[str]:
        """What was judged in every one of them."""
        return [guard for guard in self.audits[0].run.guards if all(guard in each.run.guards for each in self.audits)]


def read_audits(folders: Sequence[Path]) -> list[Audit]:
    """Read the results of finished audits, each once.

    Args:
        folders: of audits, or of fleets, which stand for their members.

    Raises:
        BundleError: one holds no results, or damaged ones; or a fleet has no audit that ended.
    """
    places = list({folder.resolve(): folder for each in folders for folder in _audits_in(Path(each))}.values())
    audits = [Audit(name, folder, Run(folder)) for name, folder in zip(_shortest_names(places), places, strict=True)]
    for audit in audits:
        try:
            _ = audit.seed, audit.trial, audit.recipe, audit.data, audit.run.meta["model"]["name"]
            for cell in audit.run.attacked:
                _ = float(cell["n"]), float(cell["clean_accuracy"]), float(cell["robust_accuracy"] or 0.0)
        except (KeyError, TypeError, ValueError) as error:
            raise BundleError(
                f"{audit.folder / 'results.json'} does not say what was audited ({type(error).__name__}: {error}); run "
                "the audit again."
            ) from error
    return audits


def over_seeds(audits: Sequence[Audit]) -> list[Contender]:
    """Gather audits that differ in nothing but the seed; the others stand alone."""
    alike: dict[str, list[Audit]] = {}
    for audit in audits:
        alike.setdefault(audit.recipe, []).append(audit)
    groups: list[list[Audit]] = []
    for each in alike.values():
        if len({audit.seed for audit in each}) == len(each):
            groups.append(sorted(each, key=lambda audit: audit.seed))
        else:  # the same audit twice, or models that results do not tell apart
            groups.extend([audit] for audit in each)
    names = [_name(group) for group in groups]
    return [
        Contender(name if names.count(name) == 1 else f"{name} ({group[0].name})", tuple(group))
        for name, group in zip(names, groups, strict=True)
    ]


def _audits_in(folder: Path) -> Iterator[Path]:
    if (folder / "results.json").exists() or not (folder / "fleet.json").exists():
        yield folder
        return
    members = [
        place for member in read_fleet(folder).members if (place := folder / member.name / "results.json").exists()
    ]
    if not members:
        raise BundleError(f"No audit of the fleet in {folder} has ended; run it again.")
    yield from (place.parent for place in members)


def _shortest_names(folders: Sequence[Path]) -> list[str]:
    """Cut each path from the left as far as it still differs from the others."""
    parts = [folder.resolve().parts for folder in folders]
    names = []
    for mine in parts:
        length = next(
            (size for size in range(1, len(mine)) if sum(other[-size:] == mine[-size:] for other in parts) == 1),
            len(mine),
        )
        names.append("/".join(mine[-length:]))
    return names


def _name(group: Sequence[Audit]) -> str:
    """Name audits that differ in the seed: by what their folders have in common, else by their model."""
    if len(group) == 1:
        return group[0].name
    names = {_SEED.sub("", audit.name).strip("-_. /") for audit in group}
    return names.pop() if len(names) == 1 and "" not in names else str(group[0].run.meta["model"]["name"])


def _asked(cell: Record) -> list[Any]:
    fields = [cell[name] for name in ("guard", "attack", "eps", "norm", "threat_model")]
    return [*fields, _unseeded(cell.get("attack_options") or {})]


def _unseeded(options: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in options.items() if key != "seed"}
