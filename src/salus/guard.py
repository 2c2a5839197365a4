"""A classifier with its defences, as one object: what is measured is what is deployed."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from torch import Tensor, nn

from salus.atomic import write_json, write_tensors
from salus.attacks.objective import frozen
from salus.batches import in_batches
from salus.classifier import Classifier, States
from salus.conduct.modules import buffers_kept, modules_of
from salus.data.base import Dataset
from salus.detectors import DETECTORS, Detector, MultiMagNet, calibrate_together
from salus.errors import BundleError, ModelError, OptionError
from salus.preprocessing import Prepared, Preprocessor
from salus.preprocessing.base import joined
from salus.progress import progress
from salus.purifiers import PURIFIERS, MultiMagNetReformer, Purifier
from salus.registry import Registry
from salus.verdict import Judgement, Verdict, View

T = TypeVar("T")

_FORMAT = "salus-guard-2"


class Guard:
    """A classifier, its detectors and its purifier.

    Detectors see the raw input, then the purifier cleans it, then the classifier answers. A verdict never
    depends on the other inputs of its batch, nor on the caller's autocast: a guard judges as it was calibrated.

    Args:
        classifier: the classifier.
        detectors: detectors fitted to it and calibrated, or to be by :meth:`fit`.
        purifier: cleans what the classifier sees.
        name: how reports call the guard.
    """

    def __init__(
        self,
        classifier: Classifier,
        detectors: Sequence[Detector] = (),
        purifier: Purifier | None = None,
        *,
        name: str = "guard",
    ) -> None:
        self.classifier = classifier
        self.detectors = tuple(detectors)
        self.purifier = purifier
        self.name = name
        self._parts: list[nn.Module] | None = None  # of a classifier that is frozen for good
        counts: Counter[str] = Counter()
        for detector in self.detectors:
            if detector.classifier_ not in (None, classifier):
                raise ModelError(f"{detector.name} was fitted to another classifier than this guard's.")
            detector.twins = counts[detector.name]
            counts[detector.name] += 1
        self._share_autoencoders()

    @property
    def bounds(self) -> tuple[float, float]:
        """The value bounds of the inputs."""
        return self.classifier.bounds

    @property
    def preprocessor(self) -> Preprocessor | None:
        """How raw inputs become x; None where nobody said."""
        return self.classifier.preprocessor

    @property
    def bare(self) -> bool:
        """Whether the classifier stands alone."""
        return not self.detectors and self.purifier is None

    @property
    def rejects(self) -> bool:
        """Whether it may reject inputs."""
        return bool(self.detectors)

    @property
    def local(self) -> bool:
        """Whether it judges in this process, so that it can be looked into and its time be taken."""
        return True

    @property
    def parts(self) -> tuple[Detector | Purifier, ...]:
        """Its defences, the detectors first."""
        return (*self.detectors, *(() if self.purifier is None else (self.purifier,)))

    @property
    def random(self) -> bool:
        """Whether a verdict is drawn; what counts are then :meth:`chances`."""
        return any(part.random for part in self.parts)

    @property
    def ensemble(self) -> MultiMagNet | None:
        """The detector whose drawn ensemble the reformer is a member of (MultiMagNet, Section 4.2.5); None without one.

        They are one deployment then, with one draw for each input: what is reconstructed well is also what is accepted.
        """
        if not isinstance(self.purifier, MultiMagNetReformer) or self.purifier.repository_ is None:
            return None
        voting = (detector for detector in self.detectors if isinstance(detector, MultiMagNet))
        return next((each for each in voting if each.repository_ is self.purifier.repository_), None)

    def _lends(self, reformer: MultiMagNetReformer) -> bool:
        """Give MultiMagNet's reformer its detector's autoencoders where it names none; tell whether it did."""
        voting = [detector for detector in self.detectors if isinstance(detector, MultiMagNet)]
        if not voting or reformer.chosen:
            return False
        reformer.repository_ = voting[0].repository_
        return True

    def _share_autoencoders(self) -> None:
        """Let MultiMagNet's detector and its reformer have one repository in hand where theirs are equal."""
        if not isinstance(self.purifier, MultiMagNetReformer) or (own := self.purifier.repository_) is None:
            return
        for detector in self.detectors:
            theirs = detector.repository_ if isinstance(detector, MultiMagNet) else None
            if theirs is not None and own.fingerprint() == theirs.fingerprint():
                self.purifier.repository_ = theirs
                return

    @property
    def layers(self) -> tuple[str, ...]:
        """All layers that the detectors read, each once."""
        return tuple(dict.fromkeys(layer for detector in self.detectors for layer in detector.layers))

    def on(self, classifier: Classifier) -> Guard:
        """Put a loaded guard's defences on the classifier in hand, so that both are one object."""
        for detector in self.detectors:
            detector.classifier_ = classifier
        return Guard(classifier, self.detectors, self.purifier, name=self.name)

    def fit(
        self,
        train: Dataset,
        calibration: Dataset,
        false_alarm_rate: float | None = None,
        *,
        seed: int = 0,
        folder: Path | None = None,
    ) -> Guard:
        """Fit the defences to training data and calibrate the detectors, together, at one false-alarm rate.

        Args:
            train: what the defences learn from.
            calibration: clean samples that neither they nor the classifier have learnt from.
            false_alarm_rate: the share of clean inputs that the detectors together may reject; when not given 0.01, or
                the smallest that the calibration samples carry, which the guard then states as its own.
            seed: deals the calibration samples.
            folder: where networks that the defences train are kept meanwhile: a stopped fit goes on, and what several
                defences need, in this guard or another, is trained once.
        """
        parts = self.parts
        progressing = progress(f"Fitting the guard {self.name}, parts", len(parts))
        with _calibrated_precision(calibration.x), progressing as advance:
            for part in parts:
                if folder is not None:
                    part.trainings = folder
                if not (isinstance(part, MultiMagNetReformer) and self._lends(part)):
                    part.fit(self.classifier, train.x, train.y)
                advance()
            self._share_autoencoders()
            calibrate_together(self.detectors, calibration.x, false_alarm_rate, seed=seed)
        return self

    @torch.no_grad()
    def __call__(self, x: Tensor, *, batch_size: int = 512) -> Verdict:
        """Judge inputs ``[N, ...]``."""
        with self._still(), _calibrated_precision(x):
            return Verdict.joined([self._judge(part) for part in in_batches(x, batch_size)])

    def hold(self) -> Guard:
        """Freeze the classifier for good, in a process that does nothing but judge with it.

        Judging few inputs at a time, most of the time would go into freezing it anew for each of them.
        """
        self._parts = modules_of(self.classifier)
        for part in self._parts:
            part.training = False
            for parameter in part.parameters(recurse=False):
                parameter.requires_grad_(False)
        return self

    @contextmanager
    def _still(self) -> Iterator[None]:
        """Hold the classifier still inside the block."""
        if self._parts is None:
            with frozen(self.classifier):
                yield
        else:
            with buffers_kept(self._parts):
                yield

    def judge(self, raw: Any, *, label: str | None = None) -> Judgement:
        """Judge raw inputs, prepared as the training data were.

        Args:
            raw: a file or folder (CSV, an image, a WFDB record, an ``.npz`` file of arrays that are prepared), or what
                the preprocessor's ``transform`` takes: columns of a table, images, recordings, a tensor in raw units.
            label: the column of a table that holds the label, where its name does not tell.

        Raises:
            BundleError: the guard does not know how its inputs are made.
            DataError: they are no inputs of this guard, or not one can be prepared.
        """
        if isinstance(raw, (str, Path)):
            return self._judgement(joined(list(self.classifier.read(Path(raw), label)), self.classifier.shape))
        return self._judgement(self.classifier.prepare(raw))

    def judge_batches(self, thing: Path, *, label: str | None = None) -> Iterator[Judgement]:
        """Judge a file or folder of any size, a batch at a time; see :meth:`judge`."""
        for prepared in self.classifier.read(thing, label):
            yield self._judgement(prepared)

    def _judgement(self, prepared: Prepared) -> Judgement:
        x = prepared.x.to(self.classifier.device)
        return Judgement(
            self(x) if len(x) else None,
            prepared.names,
            prepared.labels,
            prepared.refused,
            prepared.notes,
            prepared.clipped,
        )

    def _states(self, x: Tensor) -> States:
        """Let the classifier look at inputs ``[N, ...]``: all that a guard says of them starts here."""
        return self.classifier.states(x, self.layers)

    def _judge(self, x: Tensor) -> Verdict:
        states = self._states(x)
        ensemble = self.ensemble
        drawn = None if ensemble is None else ensemble.drawn(states.x)  # [N, n], of detector and reformer together
        scores = {
            key: detector.suspicion(states)
            if detector is not ensemble or drawn is None
            else ensemble.judged_by(states, drawn)
            for key, detector in self._named().items()
        }
        # Not above is not enough: an input whose score is NaN must not get in.
        rejected = {key: ~(scores[key] <= detector.threshold_) for key, detector in self._named().items()}
        logits = (
            states.logits if self.purifier is None else self.classifier(self._purified(self.purifier, states.x, drawn))
        )
        accepted = torch.ones(len(states.x), dtype=torch.bool, device=states.x.device)
        for flags in rejected.values():
            accepted = accepted & ~flags
        thresholds = {key: detector.threshold_ for key, detector in self._named().items()}
        return Verdict(logits.argmax(1), logits.softmax(1), accepted, rejected, scores, thresholds)

    @staticmethod
    def _purified(purifier: Purifier, x: Tensor, drawn: Tensor | None) -> Tensor:
        """Clean x, by a member of the ensemble that was drawn to judge it where there is one."""
        if drawn is not None and isinstance(purifier, MultiMagNetReformer):
            return purifier.reform(x, drawn)
        return purifier.purify(x)

    def view(self, x: Tensor) -> View:
        """Show everything to an attacker, differentiable: purifiers through their surrogates (BPDA)."""
        with _calibrated_precision(x):
            states = self._states(x)
            return self._view(states, self._draws(states))

    def _view(self, states: States, draws: Tensor) -> View:
        logits = draws[0] if len(draws) == 1 else draws.log_softmax(2).logsumexp(0) - math.log(len(draws))
        if not self.detectors:
            return View(draws, logits, states.logits, states.hidden, None, None, {}, {})
        evidence = {key: detector.for_attackers(states) for key, detector in self._named().items()}
        accepting = {key: acceptance for key, (acceptance, _) in evidence.items()}
        class_acceptance = torch.stack(list(accepting.values())).amin(0)  # [N, K]
        # Detectors judge the class that the classifier gives the raw input, as in a verdict.
        raw = states.logits.argmax(1, keepdim=True)
        return View(
            draws,
            logits,
            states.logits,
            states.hidden,
            class_acceptance.gather(1, raw)[:, 0],
            class_acceptance,
            accepting,
            {key: scores for key, (_, scores) in evidence.items()},
        )

    @torch.no_grad()
    def chances(self, x: Tensor, *, batch_size: int = 512) -> Tensor:
        """Return how likely each class is to be the guard's final answer, over its own draws, float64 ``[N, K]``.

        What is missing to 1 is the probability of a rejection. Where nothing is drawn this is the verdict, in zeros
        and ones; where something is, it is what an attacker can know, who cannot foresee the draw.
        """
        with frozen(self.classifier), _calibrated_precision(x):
            every = (self._states(part) for part in in_batches(x, batch_size))
            return torch.cat([self._chances(states, self._draws(states)) for states in every])

    @torch.no_grad()
    def outlook(self, x: Tensor) -> tuple[View, Tensor]:
        """Return what :meth:`view` shows, without gradients, and what :meth:`chances` tells, from one look at x."""
        with frozen(self.classifier), _calibrated_precision(x):
            states = self._states(x)
            draws = self._draws(states)
            return self._view(states, draws), self._chances(states, draws)

    def _chances(self, states: States, draws: Tensor) -> Tensor:
        ensemble = self.ensemble
        accepted = torch.ones(len(states.x), 1, dtype=torch.float64, device=states.x.device)
        for detector in self.detectors:  # each draws for itself, but who reforms is of one that judged
            if detector is ensemble:
                accepted = accepted * ensemble.acceptance_with(states)  # [N, M]
            else:
                accepted = accepted * detector.acceptance_probability(states)[:, None]
        labels = torch.nn.functional.one_hot(draws.argmax(2), draws.shape[2])  # [M, N, K]
        return (labels * accepted.T[:, :, None]).mean(0)

    def _draws(self, states: States) -> Tensor:
        """Classify every outcome of the purifier, ``[M, N, K]``."""
        if self.purifier is None:
            return states.logits[None]
        return torch.stack([self.classifier(outcome) for outcome in self.purifier.outcomes(states.x)])

    @property
    def false_alarm_rate(self) -> float:
        """The share of clean inputs that the detectors' calibration allows to be rejected, all taken together."""
        together = [detector.false_alarm_rate_ for detector in self.detectors if not detector.own_rule]
        alone = sum(detector.false_alarm_rate_ for detector in self.detectors if detector.own_rule)
        return min(1.0, max(together, default=0.0) + alone)

    def _named(self) -> dict[str, Detector]:
        names: dict[str, Detector] = {}
        for detector in self.detectors:
            twin = sum(name.split("#")[0] == detector.name for name in names)
            names[detector.name if not twin else f"{detector.name}#{twin + 1}"] = detector
        return names

    def describe(self) -> dict[str, Any]:
        """Say what the guard is made of, as plain values for JSON."""
        return {
            "name": self.name,
            "false_alarm_rate": self.false_alarm_rate,
            "detectors": [
                {
                    "name": key,
                    "text": detector.describe(),
                    "false_alarm_rate": detector.false_alarm_rate_,
                    "threshold": detector.threshold_,
                }
                for key, detector in self._named().items()
            ],
            "purifier": self._purifier_text(),
            "random": self.random,
            "mitigations": list(dict.fromkeys(key for part in self.parts for key in part.mitigations)),
            "fingerprint": self.fingerprint(),
        }

    def _purifier_text(self) -> str | None:
        if self.purifier is None:
            return None
        shared = " (a member of the ensemble that judged the input)" if self.ensemble is not None else ""
        return f"{self.purifier.name} {self.purifier.settings()}{shared}"

    def fingerprint(self) -> str:
        """Return a SHA-256 of the classifier and of everything the defences learnt."""
        digest = hashlib.sha256(self.classifier.fingerprint().encode())
        for detector in self.detectors:
            digest.update(json.dumps([detector.name, detector.settings()], sort_keys=True).encode())
            for key, tensor in sorted(detector.tensors().items()):
                digest.update(key.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
        if self.purifier is not None:
            digest.update(json.dumps([self.purifier.name, self.purifier.settings()], sort_keys=True).encode())
            for key, tensor in sorted(self.purifier.tensors().items()):
                digest.update(key.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def save(self, folder: Path | str) -> None:
        """Write a bundle: ``guard.json``, the model, and one safetensors file for each detector.

        Raises:
            StoreError: the folder cannot be written.
        """
        folder = Path(folder)
        self.classifier.save(folder)
        content: dict[str, Any] = {"format": _FORMAT, "name": self.name, "detectors": [], "purifier": None}
        hashes = {}
        for i, detector in enumerate(self.detectors):
            file = f"detector-{i}.safetensors"
            write_tensors(folder / file, detector.tensors())
            content["detectors"].append(
                {**_name_of(detector, DETECTORS), "settings": detector.settings(), "file": file}
            )
            hashes[file] = _sha256(folder / file)
        if self.purifier is not None:
            file = "purifier.safetensors"
            write_tensors(folder / file, self.purifier.tensors())
            content["purifier"] = {
                **_name_of(self.purifier, PURIFIERS),
                "settings": self.purifier.settings(),
                "file": file,
            }
            hashes[file] = _sha256(folder / file)
        hashes["model.json"] = _sha256(folder / "model.json")
        content["sha256"] = hashes
        content["checksum"] = _checksum(content)
        write_json(folder / "guard.json", content)

    @classmethod
    def load(cls, folder: Path | str, *, factory: str | None = None) -> Guard:
        """Read a bundle back.

        Args:
            folder: where :meth:`save` wrote it.
            factory: ``package.module:factory`` of a classifier of the user's own; bundles never name code to
                run.

        Raises:
            BundleError: something is missing, truncated or was changed.
        """
        folder = Path(folder)
        content = _read(folder / "guard.json")
        try:
            hashes = {str(file): str(value) for file, value in content["sha256"].items()}
            parts = [*content["detectors"], *([content["purifier"]] if content["purifier"] is not None else [])]
            files, name = [str(part["file"]) for part in parts], str(content["name"])
        except (KeyError, TypeError, AttributeError) as error:
            raise BundleError(f"{folder / 'guard.json'} does not list its files, or has no name.") from error
        for file in {*hashes, *files}:
            # Names come from a file that may be hostile: only plain names in this folder.
            if Path(file).name != file or file not in hashes or not (folder / file).is_file():
                raise BundleError(f"The guard in {folder} lacks its file {file!r}; copy the whole folder again.")
            if _sha256(folder / file) != hashes[file]:
                raise BundleError(f"{folder / file} was changed or cut short since the guard was saved.")
        classifier = Classifier.load(folder, factory=factory)
        try:
            detectors = [
                _class_of(part, DETECTORS, folder).restore(
                    classifier,
                    part["settings"],
                    load_safetensors((folder / Path(part["file"]).name).read_bytes()),
                )
                for part in content["detectors"]
            ]
            purifier = None
            if content["purifier"] is not None:
                part = content["purifier"]
                learnt = load_safetensors((folder / Path(part["file"]).name).read_bytes())
                purifier = _class_of(part, PURIFIERS, folder).restore(classifier, part["settings"], learnt)
        except (KeyError, TypeError, ValueError, AttributeError, OSError, SafetensorError) as error:
            raise BundleError(f"The guard in {folder} was made by another version of Salus ({error}).") from error
        return cls(classifier, detectors, purifier, name=name)


def _calibrated_precision(x: Tensor) -> torch.autocast:
    """Switch off the caller's autocast inside the block; a model's own stays."""
    return torch.autocast(x.device.type, enabled=False)


def _name_of(defence: Detector | Purifier, registry: Registry[Any]) -> dict[str, str]:
    """Name a defence, and the package that brings it where that is not Salus."""
    name = defence.name
    if name in registry.own or registry.get(name) is not type(defence):
        return {"name": name}
    return {"name": name, "package": registry.origin(name)}


def _class_of(part: Mapping[str, Any], registry: Registry[T], folder: Path) -> T:
    """Find the class of a defence that a bundle names.

    Raises:
        BundleError: no package that is installed brings it.
    """
    name = str(part["name"])
    try:
        return registry.find(name)
    except OptionError as error:
        package = part.get("package")
        remedy = "install the package that brings it" if package is None else f"install {package}, which brings it"
        raise BundleError(
            f"The guard in {folder} has a defence {name!r} that Salus does not know; {remedy}."
        ) from error


def _read(path: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BundleError(f"{path.parent} holds no guard: {path.name} is missing.") from error
    except (OSError, ValueError, RecursionError) as error:
        raise BundleError(f"{path} is damaged or no guard: it is not readable JSON.") from error
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise BundleError(f"{path} is not a guard of this version of Salus ({_FORMAT}).")
    if content.get("checksum") != _checksum(content):
        raise BundleError(f"{path} was changed since the guard was saved: its checksum does not agree.")
    return content


def _checksum(content: Mapping[str, Any]) -> str:
    bare = {key: value for key, value in content.items() if key != "checksum"}
    return hashlib.sha256(json.dumps(bare, sort_keys=True).encode()).hexdigest()


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
