"""One cell of an audit, described: what decides it, its key, its name, and its record before it is measured."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, is_dataclass
from typing import Any

import torch

from salus.attacks import Attack
from salus.attacks.poisoning import Trigger
from salus.attacks.universal import UAP
from salus.data import Dataset
from salus.guard import Guard
from salus.metrics import Rate
from salus.storage import digest
from salus.threats import ThreatModel

#: Changes whenever a cell's content would: stored cells of older versions are then computed again.
CELL_VERSION = 5

#: The same of what attacks make of classifiers alone, which cells begin with.
BARE_VERSION = 1

_RATES = (
    "clean_accuracy",
    "robust_accuracy",
    "attack_success_rate",
    "fallen_all",
    "robust_accuracy_accepted",
    "rejected_clean",
    "rejected_adversarial",
    "rejected_noise",
    "detection_auc",
    "detection_auc_all",
    "detection_auc_driven",
    "harm",
    "noticed",
    "honest_refused",
)

#: What a record holds beside rates once it is measured.
_MEASURED = (
    "successes",
    "distance_median",
    "snr_median",
    "queries",
    "passes",
    "queries_driven",
    "first_notice",
    "honest",
    "gradients_zero",
    "gradients_nonfinite",
    "cost",
    "seconds",
    "error",
    "confusion",
    "per_class",
    "per_label",
    "worst_label",
    "health",
    "roc",
    "variants",
    "alone",
)


@dataclass(frozen=True, eq=False)
class Attempt:
    """An attack under a threat model.

    Attributes:
        attack: the engine.
        threat: what its attacker knows, and has.
        target: the class that a targeted attack aims for; None for the runner-up.
        fit: the samples that a universal perturbation is fitted to, none of those it is judged on; other attacks need
            none.
    """

    attack: Attack
    threat: ThreatModel
    target: int | None = None
    fit: Dataset | None = None

    @property
    def learns_from(self) -> Dataset | None:
        """The samples that decide what comes of it, beside those attacked."""
        return self.fit if isinstance(self.attack, UAP) else None

    @property
    def aims(self) -> bool:
        """Whether it aims for a class."""
        return self.attack.targeted or isinstance(self.attack, Trigger)


@dataclass(frozen=True, eq=False)
class Cell:
    """What decides a cell's content.

    Attributes:
        data: the samples.
        guard: the guard that judges; without defences for the bare classifier.
        attempt: None for clean inputs.
        probe: digest of a few logits, because a user's code may change while the weights do not.
    """

    data: Dataset
    guard: Guard
    attempt: Attempt | None = None
    probe: str = ""

    def key(self) -> str:
        """Return the hash of all that decides the cell."""
        attempt = self.attempt
        has = {} if attempt is None else attempt.threat.identity(self.guard)
        fit = None if attempt is None else attempt.learns_from
        return digest(
            {
                "version": self._version(),
                "torch": torch.__version__.split("+")[0],
                "device": self.data.x.device.type,
                "data": self.data.fingerprint(),
                "groups": None if self.data.groups is None else digest(self.data.groups.tolist()),
                "positive": self.data.positive,
                "guard": [self.guard.name, self.guard.fingerprint()],
                **({"counted": "in expectation"} if self.guard.random else {}),
                **({"labels": self.data.labels} if self.data.labels and self.data.label is None else {}),
                "probe": self.probe,
                "attack": None if attempt is None else [attempt.attack.name, attempt.attack.identity()],
                "threat_model": None if attempt is None else attempt.threat.name,
                "substitute": None,
                "twin": None,
                **has,
                "target": None if attempt is None else attempt.target,
                "fit": None if fit is None else fit.fingerprint(),
            }
        )

    def _version(self) -> int:
        revision = None if self.attempt is None else self.attempt.threat.revision(self.guard)
        return CELL_VERSION if revision is None else revision

    def title(self) -> str:
        """Name the cell in one line."""
        who = "bare" if self.guard.bare else self.guard.name
        if self.attempt is None:
            return f"{who}, clean"
        attack = self.attempt.attack
        radius = "" if attack.eps is None else f" eps={attack.eps:g}"
        return f"{attack.title}{radius} on {who}, {self.attempt.threat.words}"

    def blank(self) -> dict[str, Any]:
        """Return the record with nothing measured yet."""
        record: dict[str, Any] = {
            "data": self.data.provenance.name,
            "split": self.data.provenance.split or None,
            "model": self.guard.classifier.name,
            "guard": "none" if self.guard.bare else self.guard.name,
            **_described(self.attempt, self.data),
            "n": len(self.data),
        }
        for rate in _RATES:
            record |= Rate(None, None, None, 0).named(rate)
        return record | dict.fromkeys(_MEASURED) | {"examples": []}


def _described(attempt: Attempt | None, data: Dataset) -> dict[str, Any]:
    """Say what was done to the samples; nothing to clean ones."""
    if attempt is None:
        names = (
            "attack",
            "attack_options",
            "eps",
            "norm",
            "finds",
            "threat_model",
            "monitor",
            "accounts",
            "nist",
            "nist_id",
            "atlas",
            "target",
        )
        return dict.fromkeys(names)
    attack = attempt.attack
    place = attempt.threat.placed(attack.knowledge)
    aim = "runner-up" if attempt.target is None else data.classes[attempt.target]
    return {
        "attack": attack.name,
        "attack_options": _options(attack),
        "eps": attack.eps,
        "norm": attack.norm,
        "finds": "nearest" if attack.closest and attack.eps is None else "inside",
        "threat_model": attempt.threat.name,
        "monitor": attempt.threat.watcher,
        "accounts": attempt.threat.accounts,
        "nist": place.nist,
        "nist_id": place.nist_id,
        "atlas": place.atlas,
        "target": aim if attempt.aims else None,
    }


def _options(attack: Attack) -> dict[str, Any]:
    """Return what the record does not say elsewhere: steps, and whatever was set otherwise than by default."""
    said = ("eps", "norm", "bounds", "mask", "units", "ranges", "seed")
    settings: dict[str, Any] = {}
    for field in fields(attack):
        value = getattr(attack, field.name)
        if field.name not in said and (field.name == "steps" or value != field.default):
            settings |= asdict(value) if is_dataclass(value) and not isinstance(value, type) else {field.name: value}
    return settings
