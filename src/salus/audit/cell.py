"""One cell of an audit: samples attacked in one way, judged by one guard, and counted."""

from __future__ import annotations

import time
from collections.abc import Callable
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
from salus.audit.cost import extra_cost
from salus.audit.store import digest
from salus.batches import rows_at_once
from salus.classifier import Classifier
from salus.data import Dataset
from salus.errors import OptionError
from salus.guard import Guard, Verdict
from salus.metrics import Rate, auc, confusion, health, per_class, proportion, roc
from salus.threats import adaptive, adaptive_universal, decision_only, gray_box, oblivious, transfer

#: Changes whenever a cell's content would: stored cells of older versions are then computed again.
CELL_VERSION = 5

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
                "version": CELL_VERSION,
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

    def title(self) -> str:
        """Name the cell in one line."""
        who = "bare" if self.bare else self.guard.name
        if self.attack is None:
            return f"{who}, clean"
        radius = "" if self.attack.eps is None else f" eps={self.attack.eps:g}"
        return f"{self.attack.title}{radius} on {who}, {self.threat_model}"

    def compute(self, clean: Verdict, say: Callable[[str], None]) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Attack, judge and count.

        Args:
            clean: the guard's verdict on the clean samples.
            say: told what is being done.

        Returns:
            The record, and the arrays ``x_adv``, ``label``, ``accepted``, ``reached``.
        """
        started = time.perf_counter()
        record = self.blank()
        if self.attack is None:
            record |= count(self.data, clean, None)
            record["cost"] = None if self.bare else extra_cost(self.guard, self.data.x)
            arrays = {"label": clean.answers, "accepted": clean.accepted}
        else:
            x_adv, extra = self._attack(say)
            # Who is of the target class already is left alone, and counts for no success rate.
            at_goal = torch.zeros_like(clean.accepted)
            if self.attack.targeted or isinstance(self.attack, Trigger):
                at_goal = self._aim() == self.data.y
                x_adv[at_goal] = self.data.x[at_goal]
            verdict = self.guard(x_adv)
            record |= extra | count(self.data, clean, verdict, ~at_goal)
            changed = self._distance(x_adv)
            record |= self._detection(clean, verdict, changed)
            fallen = (verdict.answers != self.data.y) & verdict.accepted
            reached = fallen & (clean.answers == self.data.y)
            # Of attacks that look for the smallest change, it is that of those who fell that tells.
            telling = changed[reached] if self.attack.closest and bool(reached.any()) else changed
            record["distance_median"] = float(telling.quantile(0.5))
            if isinstance(self.attack, Control) and self.data.kind == "signal":
                ratio = signal_to_noise(self.data.x, x_adv)
                ratio = ratio[ratio.isfinite() & (changed > 0)]
                record["snr_median"] = float(ratio.quantile(0.5)) if len(ratio) else None
            record["examples"] = _examples(reached, self.data.y)
            arrays = {
                "x_adv": x_adv, "label": verdict.answers, "accepted": verdict.accepted, "reached": fallen,
            }  # fmt: skip
        record["seconds"] = round(time.perf_counter() - started, 3)
        return record, arrays

    def _attack(self, say: Callable[[str], None]) -> tuple[Tensor, dict[str, Any]]:
        assert self.attack is not None  # noqa: S101 - the caller has looked
        x, y = self.data.x, self._aim()
        truth = self.data.y if self.attack.targeted else None
        done = 0

        def progress(amount: int) -> None:
            nonlocal done
            done += amount
            say(f"{self.title()}: {done} of {len(x)} samples")

        if isinstance(self.attack, UAP):
            return self._universal(self.attack, progress)
        if self.threat_model in ("adaptive", "gray-box"):
            engine, known = (adaptive, self.guard) if self.twin is None else (gray_box, self.twin)
            result = engine(
                self.attack, known, x, y, truth=truth,
                progress=lambda name, left: say(f"{self.title()}: {name}, {left} still standing"),
            )  # fmt: skip
            shares = torch.bincount(result.variants + 1, minlength=len(result.names) + 1)[1:] / len(x)
            extra = {"variants": dict(zip(result.names, shares.tolist(), strict=True))}
            return result.x_adv, extra | _cost(result.queries, result.passes)
        if self.threat_model == "transfer":
            assert self.substitute is not None  # noqa: S101 - planned with one
            found = transfer(self.attack, self.substitute, x, y, progress=progress)
        elif self.threat_model == "decision-only":
            found = decision_only(self.attack, self.guard, x, y, progress=progress)
        elif self.threat_model == "oblivious":
            found = oblivious(self.attack, self.guard, x, y, progress=progress)
        else:
            found = self.attack.run(self.guard.classifier, x, y, progress=progress)
        return found.x_adv, _cost(found.queries, found.passes)

    def _universal(self, attack: UAP, progress: Callable[[int], None]) -> tuple[Tensor, dict[str, Any]]:
        """Fit one perturbation to samples of its own and put it on those of the cell."""
        assert self.fit is not None  # noqa: S101 - planned with them
        if attack.targeted and self.target is None:
            raise OptionError("A targeted UAP needs one class to aim for: name it by --target.")
        aim = self.fit.y if self.target is None or not attack.targeted else torch.full_like(self.fit.y, self.target)
        if self.threat_model in ("adaptive", "gray-box"):
            known = self.guard if self.twin is None else self.twin
            x_adv, names = adaptive_universal(attack, known, self.fit.x, aim, self.data.x, self._aim())
            return x_adv, {"variants": names}
        victim = self.substitute if self.threat_model == "transfer" else self.guard.classifier
        assert victim is not None  # noqa: S101 - planned with one
        return attack.fit(victim, self.fit.x, aim)(self.data.x), {}

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
        for rate in _RATES:
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

    def _distance(self, x_adv: Tensor) -> Tensor:
        """Return how far each sample was moved, float64 ``[N]``."""
        assert self.attack is not None  # noqa: S101 - the caller has looked
        attack, bounds, size = self.attack, self.data.bounds, rows_at_once(x_adv, len(x_adv))
        pairs = zip(self.data.x.split(size), x_adv.split(size), strict=True)
        return torch.cat([ball(attack.norm, x, attack.radius, bounds).distance(moved) for x, moved in pairs])

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


def _cost(queries: Tensor, passes: Tensor) -> dict[str, float]:
    return {"queries": float(queries.double().mean()), "passes": float(passes.double().mean())}


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
