"""One cell of an audit: samples attacked in one way, judged by one guard, and counted."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass
from typing import Any

import torch
from torch import Tensor

from salus.attacks import Attack
from salus.attacks.ball import ball
from salus.attacks.controls import Control, signal_to_noise
from salus.attacks.draws import normal
from salus.attacks.poisoning import Trigger
from salus.attacks.taxonomy import taxonomy
from salus.attacks.universal import UAP
from salus.audit.attacker import Attacker
from salus.audit.cost import extra_cost
from salus.batches import give_back, rows_at_once
from salus.classifier import Classifier
from salus.data import Dataset
from salus.data.packed import take
from salus.guard import Guard, Verdict
from salus.metrics import Rate, auc, confusion, health, per_class, proportion, roc
from salus.storage import digest

#: Changes whenever a cell's content would: stored cells of older versions are then computed again.
CELL_VERSION = 5
_VERSIONS = {"adaptive": 8, "gray-box": 8}  # where it changed under one threat model alone
_GUESSED = 9  # adaptive, through a purifier that has no gradient of its own

_RATES = (
    "clean_accuracy", "robust_accuracy", "attack_success_rate", "fallen_all", "robust_accuracy_accepted",
    "rejected_clean", "rejected_adversarial", "rejected_noise", "detection_auc", "detection_auc_all",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Cell:
    """What decides a cell's content.

    Attributes:
        data: the samples.
        guard: the guard that judges; without defences for the bare classifier.
        attack: None for clean inputs.
        threat_model: None for clean inputs.
        substitute: the classifier attacked under ``transfer``.
        twin: the guard attacked under ``gray-box``.
        target: the class that a targeted attack aims for; None for the runner-up.
        fit: the samples that a universal perturbation is fitted to, none of those it is judged on.
        probe: digest of a few logits, because a user's code may change while the weights do not.
    """

    data: Dataset
    guard: Guard
    attack: Attack | None = None
    threat_model: str | None = None
    substitute: Classifier | None = None
    twin: Guard | None = None
    target: int | None = None
    fit: Dataset | None = None
    probe: str = ""

    @property
    def bare(self) -> bool:
        """The classifier stands alone."""
        return not self.guard.detectors and self.guard.purifier is None

    def key(self) -> str:
        """Return the hash of all that decides the cell."""
        return digest(
            {
                "version": self._version(),
                "torch": torch.__version__.split("+")[0],
                "device": self.data.x.device.type,
                "data": self.data.fingerprint(),
                "groups": None if self.data.groups is None else digest(self.data.groups.tolist()),
                "positive": self.data.positive,
                "guard": [self.guard.name, self.guard.fingerprint()],
                "probe": self.probe,
                "attack": None if self.attack is None else [self.attack.name, asdict(self.attack)],
                "threat_model": self.threat_model,
                "substitute": None if self.substitute is None else self.substitute.fingerprint(),
                "twin": None if self.twin is None else self.twin.fingerprint(),
                "target": self.target,
                "fit": self.fit.fingerprint() if self.fit is not None and isinstance(self.attack, UAP) else None,
            }
        )

    def _version(self) -> int:
        purifier = self.guard.purifier
        if self.threat_model == "adaptive" and purifier is not None and not purifier.differentiable:
            return _GUESSED
        return _VERSIONS.get(self.threat_model or "", CELL_VERSION)

    def title(self) -> str:
        """Name the cell in one line."""
        who = "bare" if self.bare else self.guard.name
        if self.attack is None:
            return f"{who}, clean"
        radius = "" if self.attack.eps is None else f" eps={self.attack.eps:g}"
        return f"{self.attack.title}{radius} on {who}, {self.threat_model}"

    def compute(
        self, clean: Verdict, say: Callable[[str], None], keep: Callable[[Mapping[str, Tensor]], None] | None = None
    ) -> dict[str, Any]:
        """Attack, judge and count.

        Args:
            clean: the guard's verdict on the clean samples.
            say: told what is being done.
            keep: given what is to be stored of each sample, some samples at a time: ``label`` and ``accepted``, and of
                attacked ones ``x_adv`` and ``reached``.

        Returns:
            The record.
        """
        started = time.perf_counter()
        keep = keep or (lambda rows: None)
        record = self.blank()
        if self.attack is None:
            record |= count(self.data, clean, None)
            record["cost"] = None if self.bare else extra_cost(self.guard, self.data.x)
            keep({"label": clean.answers, "accepted": clean.accepted})
        else:
            record |= self._attacked(self.attack, clean, say, keep)
        record["seconds"] = round(time.perf_counter() - started, 3)
        return record

    def _attacked(
        self,
        attack: Attack,
        clean: Verdict,
        say: Callable[[str], None],
        keep: Callable[[Mapping[str, Tensor]], None],
    ) -> dict[str, Any]:
        """Attack some samples at a time, and count them all; only figures of each are held, no attacked inputs."""
        attacker, y, aim = Attacker(self, attack, say), self.data.y, self._aim()
        truth = y if attack.targeted else None
        # Who is of the target class already is left alone, and counts for no success rate.
        at_goal = torch.zeros_like(clean.accepted)
        if attack.targeted or isinstance(attack, Trigger):
            at_goal = aim == y
        verdicts: list[Verdict] = []
        columns: dict[str, list[Tensor]] = {}
        for rows in attacker.parts():
            x = take(self.data.x, rows).contiguous()
            made = attacker(x, aim[rows], None if truth is None else truth[rows], rows)
            x_adv = made.x_adv
            if bool(at_goal[rows].any()):
                x_adv[at_goal[rows]] = x[at_goal[rows]]
            verdicts.append(self.guard(x_adv))
            answers, accepted = verdicts[-1].answers, verdicts[-1].accepted
            keep({"x_adv": x_adv, "label": answers, "accepted": accepted, "reached": accepted & (answers != y[rows])})
            found = {
                "moved": _distance(attack, x, x_adv),
                "queries": made.queries,
                "passes": made.passes,
                "variants": made.variants,
            }
            if isinstance(attack, Control) and self.data.kind == "signal":
                found["noise"] = signal_to_noise(x, x_adv)
            for name, column in found.items():
                if column is not None:
                    columns.setdefault(name, []).append(column)
            if len(rows) < len(y):
                give_back()
        verdict, each = Verdict.joined(verdicts), {name: torch.cat(parts) for name, parts in columns.items()}
        moved = each["moved"]
        record: dict[str, Any] = {
            name: float(each[name].double().mean()) for name in ("queries", "passes") if name in each
        }
        if "variants" in each:
            shares = torch.bincount(each["variants"] + 1, minlength=len(made.names) + 1)[1:] / len(y)
            record["variants"] = dict(zip(made.names, shares.tolist(), strict=True))
        record |= count(self.data, clean, verdict, ~at_goal) | self._detection(clean, verdict, moved)
        reached = (verdict.answers != y) & verdict.accepted & (clean.answers == y)
        # Of attacks that look for the smallest change, it is that of those who fell that tells.
        telling = moved[reached] if attack.closest and bool(reached.any()) else moved
        record["distance_median"] = float(telling.quantile(0.5))
        if "noise" in each:
            ratio = each["noise"][each["noise"].isfinite() & (moved > 0)]
            record["snr_median"] = float(ratio.quantile(0.5)) if len(ratio) else None
        return record | {"examples": _examples(reached, y)}

    def _aim(self) -> Tensor:
        """Return true labels, or the targets of a targeted attack."""
        assert self.attack is not None  # noqa: S101 - the caller has looked
        if not self.attack.targeted and not isinstance(self.attack, Trigger):
            return self.data.y
        if self.target is not None:
            return torch.full_like(self.data.y, self.target)
        logits = self.guard.classifier.predict(self.data.x)
        return logits.scatter(1, self.data.y[:, None], -torch.inf).argmax(1)

    def blank(self) -> dict[str, Any]:
        """Return the record with nothing measured yet."""
        attack = self.attack
        record: dict[str, Any] = {
            "data": self.data.provenance.name,
            "split": self.data.provenance.split or None,
            "model": self.guard.classifier.name,
            "guard": "none" if self.bare else self.guard.name,
            "attack": None if attack is None else attack.name,
            "attack_options": None if attack is None else _options(attack),
            "eps": None if attack is None else attack.eps,
            "norm": None if attack is None else attack.norm,
            "finds": None if attack is None else "nearest" if attack.closest and attack.eps is None else "inside",
            "threat_model": self.threat_model,
            "nist": None if attack is None else taxonomy(attack.knowledge, self.threat_model).nist,
            "atlas": None if attack is None else taxonomy(attack.knowledge, self.threat_model).atlas,
            "target": self._target_name(),
            "n": len(self.data),
        }
        for rate in (*_RATES, "harm"):
            record |= Rate(None, None, None, 0).named(rate)
        nothing = (
            "successes", "distance_median", "snr_median", "queries", "passes", "cost", "seconds", "error",
            "confusion", "per_class", "health", "roc", "variants",
        )  # fmt: skip
        return record | dict.fromkeys(nothing) | {"examples": []}

    def _target_name(self) -> str | None:
        if self.attack is None or not (self.attack.targeted or isinstance(self.attack, Trigger)):
            return None
        return "runner-up" if self.target is None else self.data.classes[self.target]

    def _detection(self, clean: Verdict, attacked: Verdict, changed: Tensor) -> dict[str, Any]:
        """Measure the detectors: on all attacked inputs, on those that fooled the classifier, on noise."""
        if clean.suspicion is None or attacked.suspicion is None:
            return {}
        y, groups = self.data.y, self.data.groups
        fooled = (clean.labels == y) & (attacked.labels != y)
        everything = torch.ones_like(fooled)
        found: dict[str, Any] = {"successes": int(fooled.sum())}
        curves: dict[str, Any] = {}
        for name, which, key in (
            ("detection_auc", fooled, "fooled"),
            ("detection_auc_all", everything, "all"),
        ):
            sides = (None, None) if groups is None else (groups, groups[which])
            rate = auc(clean.suspicion, attacked.suspicion[which], *sides)
            found |= rate.named(name)
            curves[key] = None if rate.value is None else roc(clean.suspicion, attacked.suspicion[which])
        tpr = float((~attacked.accepted[fooled]).float().mean()) if bool(fooled.any()) else None
        curves["operating_point"] = {"fpr": float((~clean.accepted).float().mean()), "tpr": tpr}
        if isinstance(self.attack, Control):
            return found | {"roc": curves}
        rejected = ~self._accepts_noise(changed)
        return found | {"roc": curves} | proportion(rejected, groups=groups).named("rejected_noise")

    def _accepts_noise(self, changed: Tensor) -> Tensor:
        """Tell which clean samples the guard accepts under random noise as long as the attack may be, or as it was."""
        samples = torch.arange(len(changed), device=changed.device)
        parts = samples.split(rows_at_once(self.data.x, len(changed)))
        return torch.cat([self.guard(self._noise(rows, changed[rows])).accepted for rows in parts])

    def _noise(self, samples: Tensor, changed: Tensor) -> Tensor:
        """Return some of the clean samples under such noise."""
        assert self.attack is not None  # noqa: S101 - the caller has looked
        x, attack = self.data.x[samples], self.attack
        mask = None if self.data.mask is None else self.data.mask.to(x.device)
        units = torch.tensor(self.data.steps, device=x.device) if self.data.steps else None
        region = ball(attack.norm, x, attack.radius, self.data.bounds, mask, units)
        length = changed.to(x.dtype) if attack.eps is None else torch.full_like(changed, attack.eps, dtype=x.dtype)
        direction = region.steepest(normal(self.attack.seed, samples, tuple(x.shape[1:]), stream=10**6))
        return region.land(region.project(x + length.reshape(-1, *[1] * (x.ndim - 1)) * direction))


def count(data: Dataset, clean: Verdict, attacked: Verdict | None, eligible: Tensor | None = None) -> dict[str, Any]:
    """Count as everywhere in Salus: good = clean, accepted and right; fallen = attacked, accepted and wrong.

    Only ``eligible`` samples (bool ``[N]``, all by default) count for the attack's success rate.
    """
    y, groups = data.y, data.groups
    positive = [data.classes.index(name) for name in data.positive]
    good = clean.answers == y
    found = proportion(good, groups=groups).named("clean_accuracy")
    found |= proportion(~clean.accepted, groups=groups).named("rejected_clean")
    answers = clean.answers
    if attacked is not None:
        answers = attacked.answers
        fallen = attacked.accepted & (attacked.labels != y)
        found |= proportion(good & ~fallen, groups=groups).named("robust_accuracy")
        found |= proportion(fallen, good if eligible is None else good & eligible, groups=groups).named(
            "attack_success_rate"
        )
        found |= proportion(fallen, groups=groups).named("fallen_all")
        found |= proportion(good & (answers == y), groups=groups).named("robust_accuracy_accepted")
        found |= proportion(~attacked.accepted, groups=groups).named("rejected_adversarial")
    return {
        **found,
        "confusion": confusion(y, answers, data.classes),
        "per_class": per_class(y, answers, data.classes, groups),
        "health": health(y, answers, positive, groups),
    }


def _distance(attack: Attack, x: Tensor, x_adv: Tensor) -> Tensor:
    """Return how far each sample was moved, float64 ``[N]``."""
    size = rows_at_once(x, len(x))
    pairs = zip(x.split(size), x_adv.split(size), strict=True)
    return torch.cat([ball(attack.norm, one, attack.radius, attack.bounds).distance(other) for one, other in pairs])


def _options(attack: Attack) -> dict[str, Any]:
    """Return what the record does not say elsewhere: steps, and whatever was set otherwise than by default."""
    said = ("eps", "norm", "bounds", "mask", "units", "seed")
    told: dict[str, Any] = {}
    for field in fields(attack):
        value = getattr(attack, field.name)
        if field.name not in said and (field.name == "steps" or value != field.default):
            told |= asdict(value) if is_dataclass(value) and not isinstance(value, type) else {field.name: value}
    return told


def _examples(reached: Tensor, y: Tensor, most: int = 6) -> list[int]:
    """Pick positions of reached samples, classes in turn."""
    queues = [row.tolist() for k in sorted(set(y.tolist())) if len(row := ((y == k) & reached).nonzero()[:, 0])]
    picked: list[int] = []
    while any(queues) and len(picked) < most:
        picked.extend(queue.pop(0) for queue in queues if queue)
    return picked[:most]
