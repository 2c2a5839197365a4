"""What all experiments on one set of data share: the images, the steps, the records, and what is trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

from torch import Tensor

from salus.classifier import Classifier
from salus.data import Dataset
from salus.generative import Repository
from salus.storage import TrainingFolder
from salus_studies.frame.steps import Steps
from salus_studies.multimagnet import trainings
from salus_studies.multimagnet.attacked import WHITE_BOX
from salus_studies.multimagnet.judging import CONFIGURATIONS
from salus_studies.multimagnet.scales import Dealt, MagNetScale


class MagNetBench:
    """Steps that leave records of one set of data.

    Attributes:
        records: by kind, in the order planned, done or not.
        arrays: images to be drawn.
        reason: why the last step that was not run was not.

    Args:
        name: a key of ``DATASETS``.
        dealt: its images.
        scale: how much is done.
        steps: where steps are stored.
        seed: of every draw.
        device: where to train and attack.
    """

    def __init__(self, name: str, dealt: Dealt, scale: MagNetScale, steps: Steps, *, seed: int, device: str) -> None:
        self.name, self.scale, self.setting, self.seed, self.device = name, scale, scale.settings[name], seed, device
        self.steps, self.folder = steps, steps.folder
        self.dealt = replace(dealt, **{part: _to(getattr(dealt, part), device) for part in ("legitimate", "drawn")})
        self.prints = [dealt.train.fingerprint(), dealt.legitimate.fingerprint(), dealt.drawn.fingerprint()]
        self.reason = "not reached"
        self.arrays: dict[str, Tensor] = {}
        self.records: dict[str, list[dict[str, Any]]] = {
            "classifiers": [],
            "surrogates": [],
            "repositories": [],
            "attacks": [],
            "rows": [],
            "chosen": [],
            "adaptive": [],
        }

    def classifier(self) -> Classifier | None:
        """Train, or read, the classifier; None where the time does not allow it."""
        setting = self.setting
        how = [asdict(setting.training), setting.network, dict(setting.network_options), setting.recipe.describe()]
        return self._trained("classifier", trainings.train_classifier, how)

    def surrogate(self) -> Classifier | None:
        """Train, or read, what attacks start from that are not handed the classifier."""
        return self._trained(
            "surrogate", trainings.train_surrogate, [trainings.SURROGATE, asdict(self.setting.surrogate)]
        )

    def _trained(
        self, role: str, train: Callable[..., tuple[Classifier, dict[str, Any]]], how: list[Any]
    ) -> Classifier | None:
        """Train a network of this set of data, or read it; None where the time does not allow it."""
        place = TrainingFolder(self.folder / f"{role}s" / self.name, role)
        classifier, record = self.steps.train(
            f"{self.name}-{role}",
            f"{self.name} {role}",
            [self.prints, *how, self.seed],
            place,
            lambda checkpoint: train(self.dealt, self.setting, checkpoint, seed=self.seed, device=self.device),
            blank={},
        )
        self.record(f"{role}s", record)
        if classifier is None:
            self.reason = record["reason"]
            return None
        return classifier.to(self.device)

    def repository(self) -> Repository | None:
        """Train, or read, the autoencoders; None where the time does not allow it."""
        folder = self.folder / "autoencoders" / self.name

        def read() -> Repository:
            return trainings.train_members(self.dealt, self.setting, folder, seed=self.seed, device=self.device)

        if not (folder / "repository.json").exists():
            self.steps.forget(f"{self.name}-autoencoders")
        key = [self.prints, self.setting.repository.decisive(), self.setting.held_out, self.seed]
        record = self.do(
            "autoencoders", "autoencoders", key, lambda: trainings.members_facts(read(), self.dealt, self.device)
        )
        self.record("repositories", record)
        return read() if record["status"] == "done" else None

    def do(
        self,
        name: str,
        kind: str,
        key: Any,
        work: Callable[[], dict[str, Any]],
        *,
        blank: dict[str, Any] | None = None,
        always: bool = False,
    ) -> dict[str, Any]:
        """Do a step of this set of data, and remember why one is not run."""
        content = self.steps.do(f"{self.name}-{name}", f"{self.name} {kind}", key, work, blank=blank, always=always)
        if content["status"] != "done":
            self.reason = content["reason"]
        return content

    def record(self, kind: str, content: dict[str, Any]) -> None:
        """Keep a record of this set of data."""
        self.records[kind].append({"dataset": self.name, **content})

    def absent(self, attack: str, reason: str, arm: str = WHITE_BOX) -> None:
        """Say why there is nothing of an attack."""
        for each in CONFIGURATIONS:
            row = {"attack": attack, "arm": arm, "configuration": each}
            self.record("rows", {**row, "status": "not run", "reason": reason})


def _to(data: Dataset, device: str) -> Dataset:
    return replace(data, x=data.x.to(device), y=data.y.to(device))
