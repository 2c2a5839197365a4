"""Attacked images, cell by cell: each attack in each arm, a few images at a time, stored; a stop loses only these."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from safetensors.torch import load as load_safetensors
from torch import Tensor

from salus import atomic
from salus.attacks import Attack
from salus.classifier import Classifier
from salus.data import Dataset
from salus.storage import digest
from salus_studies.multimagnet import attacked as attacks
from salus_studies.multimagnet.attacked import RETUNED, AttackedImages
from salus_studies.multimagnet.bench import MagNetBench

#: Images of a step.
TOGETHER = 100


@dataclass(frozen=True)
class Arm:
    """An attack in one arm.

    Attributes:
        attack: a key of ``ATTACKS``.
        name: a key of ``ARMS``.
        how: the attack's settings, in ART's words.
        against: the network whose gradients and answers it sees.
    """

    attack: str
    name: str
    how: Mapping[str, Any]
    against: Classifier

    def key(self) -> list[Any]:
        """Return what decides the images, as plain values."""
        return [self.attack, dict(self.how), self.against.fingerprint()]

    def engine(self, seed: int) -> Attack:
        """Make the attack."""
        return attacks.engine(self.attack, self.how, seed)


class AttackedCells:
    """The attacked images of one set of data.

    Args:
        bench: where steps are stored, and what they are of.
        classifier: which judges them.
    """

    def __init__(self, bench: MagNetBench, classifier: Classifier) -> None:
        self.bench, self.classifier = bench, classifier

    @property
    def validation(self) -> Dataset:
        """The images of V_leg that are attacked."""
        legitimate = self.bench.dealt.legitimate
        return legitimate.subset(torch.arange(min(self.bench.setting.attacked, len(legitimate))))

    @property
    def parts(self) -> dict[str, Dataset]:
        """The images that are attacked: of V_leg, and the legitimate half of D."""
        return {"validation": self.validation, "test": self.bench.dealt.drawn}

    def made(self, arm: Arm) -> dict[str, AttackedImages] | None:
        """Attack both parts, or read what came of it; None where the time does not allow it."""
        made: dict[str, AttackedImages] = {}
        seconds = 0.0
        for part, data in self.parts.items():
            pieces = []
            for start in range(0, len(data), TOGETHER):
                rows = torch.arange(start, min(start + TOGETHER, len(data)))
                piece = self._piece(arm, part, start, data.subset(rows))
                if piece is None:
                    return None
                pieces.append(piece[0])
                seconds += piece[1]
            made[part] = attacks.assess(torch.cat(pieces).to(self.bench.device), data, self.classifier)
        self.record(arm, made, seconds=round(seconds, 1), parameters=dict(arm.how))
        return made

    def _piece(self, arm: Arm, part: str, start: int, data: Dataset) -> tuple[Tensor, float] | None:
        """Attack a few images; returns them and how long it took."""
        title = f"attacked-{arm.attack}-{arm.name}-{part}-{start}"
        path = self.bench.folder / "attacked" / f"{self.bench.name}-{title}.safetensors"

        def attack() -> dict[str, Any]:
            one = attacks.run(arm.engine(self.bench.seed), arm.against, self.classifier, data)
            atomic.write_tensors(path, {"x": one.x.cpu()})
            return {"n": len(data), "attack": arm.attack, "arm": arm.name, "part": part}

        if not path.exists():
            self.bench.steps.forget(f"{self.bench.name}-{title}")
        key = [*arm.key(), self.bench.prints, [part, start, len(data)]]
        record = self.bench.do(title, f"attacking {arm.attack}, {arm.name}", key, attack)
        if record["status"] != "done":
            return None
        return load_safetensors(path.read_bytes())["x"], float(record["seconds"])

    def retuned(self, arm: Arm, made: Mapping[str, AttackedImages], eps: float) -> tuple[Any, dict[str, Any]] | None:
        """Weaken or strengthen an attack as :meth:`fitted` says.

        Returns:
            The attacked images of both parts, and for CW which of them are still changed, bool ``[N]`` a part; None
            where the time does not allow it.
        """
        if arm.attack in ("fgsm", "bim"):
            weakened = self.made(Arm(arm.attack, RETUNED, attacks.with_eps(arm.how, eps), arm.against))
            return None if weakened is None else (weakened, {})
        data, held, changed = self.parts, {}, {}
        for part, one in made.items():
            if arm.attack == "deepfool":
                held[part] = attacks.shorten(one, eps, data[part], self.classifier)
            else:
                right = attacks.is_right(self.classifier, data[part].x, data[part].y)
                held[part], kept = attacks.hold_to(one, eps, data[part].x, right)
                changed[part] = kept.cpu()
        name = "share of the way" if arm.attack == "deepfool" else "longest change"
        self.record(Arm(arm.attack, RETUNED, {}, arm.against), held, parameters={name: eps})
        return held, changed

    def fitted(self, arm: Arm, made: Mapping[str, AttackedImages]) -> float | None:
        """Find, on validation images, the eps, the length or the share of the way that Table 6 asks for."""
        data, dataset = self.validation, self.bench.name

        def search() -> dict[str, Any]:
            if arm.attack == "cw":
                right = attacks.is_right(self.classifier, data.x, data.y)
                return {"eps": attacks.fit_length(dataset, "cw", made["validation"], right), "tried": len(data)}
            if arm.attack == "deepfool":
                share = attacks.fit_share(dataset, "deepfool", made["validation"], self.classifier, data)
                return {"eps": share, "tried": len(data)}
            few = data.subset(torch.arange(min(self.bench.scale.tried, len(data))))
            eps = attacks.fit_eps(dataset, arm.attack, arm.how, self.classifier, few, self.bench.seed)
            return {"eps": eps, "tried": len(few)}

        key = [*arm.key(), self.bench.prints, len(data), self.bench.scale.tried]
        record = self.bench.do(f"fitted-{arm.attack}", f"fitting {arm.attack}", key, search)
        return float(record["eps"]) if record["status"] == "done" else None

    def record(self, arm: Arm, made: Mapping[str, AttackedImages], **more: Any) -> None:
        """Tell of an attack in one arm."""
        own = {"attack": arm.attack, "arm": arm.name, "status": "done", "reason": None}
        self.bench.record("attacks", {**own, **attacks.describe(made, self.parts), **more})


def changes(made: Mapping[str, AttackedImages]) -> list[str]:
    """Hash what tells attacked images apart whose attack is not all that decides them."""
    return [digest(one.changed.tolist()) for one in made.values()]
