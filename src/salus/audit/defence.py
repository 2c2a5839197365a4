"""A defence as a plan names it: its parts, the guard that is fitted with them, and how that is kept."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from salus.atomic import write_json
from salus.classifier import Classifier
from salus.data import Splits
from salus.detectors import DETECTORS, Detector
from salus.detectors.base import DEFAULT_FALSE_ALARM_RATE, default_rate
from salus.errors import BundleError, OptionError, nearest
from salus.guard import Guard
from salus.metrics.wording import percentage
from salus.options import split_spec
from salus.progress import console
from salus.purifiers import PURIFIERS, Purifier, build_purifier
from salus.storage import digest, slug


@dataclass(frozen=True)
class Defence:
    """Detectors and a purifier of one guard.

    Attributes:
        spec: as it was written, ``i-defender:layers=logits+reformer``.
        parts: name and options of each.
        false_alarm_rate: the share of clean inputs that its detectors may reject together; None where nobody asked.
    """

    spec: str
    parts: tuple[tuple[str, Mapping[str, Any]], ...]
    false_alarm_rate: float | None

    @classmethod
    def parse(cls, spec: str, false_alarm_rate: float | None) -> Defence:
        """Read ``NAME:key=value,...``, several joined by plus.

        Raises:
            OptionError: a name is unknown, or there are two purifiers.
        """
        parts = tuple(split_spec(part, "defence") for part in _split(spec))
        for name, _ in parts:
            if name not in PURIFIERS:
                DETECTORS.find(name, others=[*PURIFIERS, "none"])
        if sum(name in PURIFIERS for name, _ in parts) > 1:
            raise OptionError(f"Defence {spec!r} has two purifiers; a guard has one.")
        return cls(spec, parts, false_alarm_rate)

    def build(self, bounds: tuple[float, float], seed: int) -> tuple[list[Detector], Purifier | None]:
        """Make its parts, not yet fitted.

        Raises:
            OptionError: an option is unknown, or makes no sense.
        """
        detectors = [DETECTORS.build(name, options, seed=seed) for name, options in self.parts if name in DETECTORS]
        purifiers = [
            build_purifier(name, options, bounds=bounds, seed=seed) for name, options in self.parts if name in PURIFIERS
        ]
        return detectors, purifiers[0] if purifiers else None

    def check(self, splits: Splits, model: Classifier, seed: int, *, trained_here: bool) -> None:
        """Refuse a misspelt option, or a rate that the samples cannot carry, before anything is trained.

        Where nobody asked for a rate and the default is too small for them, which one they carry is said.

        Args:
            splits: the data that it is to be fitted to.
            model: the classifier, trained or not.
            seed: of its draws.
            trained_here: the classifier is one of Salus's networks, which ordinary training trains.
        """
        known = model.layer_names
        for detector in self.build(splits.test.bounds, seed)[0]:
            splits.need_training(f"the defence {self.spec!r}")
            detector.check_classifier(model)
            if detector.hardening is not None and trained_here:
                raise OptionError(
                    f"Defence {self.spec!r} reads a head that ordinary training does not train: harden first "
                    f"(salus harden {detector.hardening}), then name that folder by --model."
                )
            for layer in detector.layers:
                if layer.removesuffix("/flat") not in known:
                    raise OptionError(
                        f"Defence {self.spec!r}: the model has no layer {layer!r}; {nearest(layer, known)}"
                    )
            detector.check_rate(len(splits.calibration), self.rate(splits))
        if (remark := self.remark(splits)) is not None:
            console.print(remark)

    def rate(self, splits: Splits) -> float:
        """Return the false-alarm rate that its detectors are calibrated to on these data."""
        if self.false_alarm_rate is not None:
            return self.false_alarm_rate
        return default_rate(self.build(splits.test.bounds, 0)[0], len(splits.calibration))

    def remark(self, splits: Splits) -> str | None:
        """Say that nobody asked for the rate, and that it is not the default; None where that is not so."""
        rate = self.rate(splits)
        if self.false_alarm_rate is not None or rate <= DEFAULT_FALSE_ALARM_RATE:
            return None
        return (
            f"The guard {self.spec!r} may reject {percentage(rate, 2)} of clean inputs: no false-alarm rate was asked "
            f"for, and {len(splits.calibration)} calibration samples carry none below {rate:g}, so not the default of "
            f"{DEFAULT_FALSE_ALARM_RATE:g} either; ask for another (--false-alarm-rate), or give more samples."
        )

    def fit(self, classifier: Classifier, splits: Splits, seed: int, trainings: Path | None = None) -> Guard:
        """Build the guard and fit it to the data; networks that its parts train are kept in ``trainings``.

        Raises:
            CalibrationError: the samples cannot carry the false-alarm rate.
        """
        detectors, purifier = self.build(classifier.bounds, seed)
        guard = Guard(classifier, detectors, purifier, name=self.spec)
        return guard.fit(splits.train, splits.calibration, self.rate(splits), seed=seed, folder=trainings)

    def guard(
        self, classifier: Classifier, splits: Splits, seed: int, folder: Path, *, factory: str | None = None
    ) -> Guard:
        """Fit and store the guard, or load it where it was fitted before.

        Args:
            classifier: what it guards.
            splits: the data that it is fitted to.
            seed: of its draws.
            folder: of the audit.
            factory: the code that builds a classifier of one's own.
        """
        fitted_on: dict[str, Any] = {
            "spec": self.spec,
            "classifier": classifier.fingerprint(),
            "false_alarm_rate": self.rate(splits),
            "seed": seed,
            "samples": [splits.train.fingerprint(), splits.calibration.fingerprint()],
        }
        if files := self.files():
            fitted_on["files"] = files
        place = folder / "guards" / f"{slug(self.spec)}-{digest(fitted_on)[:8]}"
        if (place / "guard.json").exists():
            try:
                return Guard.load(place, factory=factory).on(classifier)
            except BundleError as error:
                console.print(f"The stored guard {self.spec!r} cannot be used ({error}); it is fitted again.")
        guard = self.fit(classifier, splits, seed, folder / "trainings")
        guard.save(place)
        write_json(place / "fitted-on.json", fitted_on)
        return guard

    def files(self) -> dict[str, str]:
        """Hash what the files and folders hold that its options name: a repository, a generator, a calibration."""
        hashes = {}
        for _, options in self.parts:
            for value in options.values():
                if isinstance(value, str) and (place := Path(value)).exists():
                    files = sorted(file for file in place.rglob("*") if file.is_file()) if place.is_dir() else [place]
                    hashes[value] = digest([[str(f), hashlib.sha256(f.read_bytes()).hexdigest()] for f in files])
        return hashes


def _split(spec: str) -> list[str]:
    """Split ``a:x=1+b`` where a known defence follows the plus; a plus inside an option stays (layers)."""
    names = "|".join(map(re.escape, [*DETECTORS, *PURIFIERS]))
    return re.split(rf"\+(?=(?:{names})(?:[:+]|$))", spec)
