"""Tables 2 to 5, Defense-GAN's part: its generator, its descents, and how long both detectors take."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from statistics import median
from typing import Any

import torch
from safetensors.torch import load as load_safetensors
from torch import Tensor

from salus import atomic
from salus.data import Splits
from salus.detectors import DefenseGAN, IDefender
from salus.generative.generator import SampleGenerator
from salus.generative.wgan import WGANOptions, train_generator
from salus.progress import console
from salus_studies.i_defender import scored
from salus_studies.i_defender.bench import NOT_TRAINED, Bench, first
from salus_studies.i_defender.black_box import TABLE_1, FromEToF, Setting
from salus_studies.i_defender.published import BLACK_BOX, STRONGEST

#: Images that fill a batch of descents, and repeats of I-defender's timing.
_TIMED_IMAGES, _REPEATS = 51, 5


def runs(data: str, setting: Setting = TABLE_1) -> list[tuple[int, int, float]]:
    """List restarts R, iterations L and eps of every line of a data set's two tables, each once.

    Beside Table 1's networks the longest descents are left out: those longer than the second table's.
    """
    paper = BLACK_BOX[data]
    lines = [(row.restarts, row.iterations, STRONGEST) for row in paper.descents]
    lines += [(*paper.setting, row.eps) for row in paper.strengths]
    return [line for line in dict.fromkeys(lines) if setting is TABLE_1 or line[1] <= paper.setting[1]]


class Rival:
    """Defense-GAN on the images that I-defender is judged on.

    Args:
        bench: where the steps are stored.
        black_box: I-defender's part.
    """

    def __init__(self, bench: Bench, black_box: FromEToF) -> None:
        self.bench, self.black_box = bench, black_box
        self.data = black_box.material.splits.name
        self.images = first(black_box.test, bench.scale.projected)

    def generator(self) -> SampleGenerator | None:
        """Train the generator, or load it; None where the time does not allow it."""
        return trained_generator(self.bench, self.black_box.material.splits, self.bench.scale.generator, "generator")

    def judge(self, generator: SampleGenerator | None) -> None:
        """Descend towards every image, and list every line of the two tables."""
        setting = self.black_box.setting
        lines = runs(self.data, setting)
        most = {length: max(r for r, other, _ in runs(self.data) if other == length) for _, length, _ in lines}
        distances: dict[tuple[int, float | None], dict[str, Tensor] | str] = {}
        for restarts, length, eps in lines:
            place = {"restarts": restarts, "iterations": length, "eps": eps}
            blank = {"data": self.data, "setting": setting.key, **place}
            if generator is None:
                self.bench.leave_out("defense_gan", "its generator is not trained", blank)
                continue
            for which in (None, eps):
                if (length, which) not in distances:
                    distances[length, which] = self._descend(generator, most[length], length, which)
            clean, attacked = distances[length, None], distances[length, eps]
            if isinstance(clean, str) or isinstance(attacked, str):
                reason = clean if isinstance(clean, str) else str(attacked)
                self.bench.sections["defense_gan"].append({**blank, "status": "not run", "reason": reason})
                continue
            nearest, other = (one["distances"][:, :restarts].amin(1) for one in (clean, attacked))
            areas = scored.areas(nearest, other, attacked["fooled"].bool())
            record = {
                **blank,
                "steps": self.bench.scale.iterations(length),
                "n": len(nearest),
                **areas,
                "status": "done",
                "reason": None,
                "distance_clean": float(nearest.double().mean()),
                "distance_attacked": float(other.double().mean()),
            }
            self.bench.sections["defense_gan"].append(record)

    def _descend(
        self, generator: SampleGenerator, restarts: int, length: int, eps: float | None
    ) -> dict[str, Tensor] | str:
        """Give the distances ``[N, R]`` that descents came to, and who was fooled; or why there are none."""
        box = self.black_box
        own = "" if box.setting is TABLE_1 or eps is None else f"-{box.setting.key}"
        name = f"descents-{self.data}-{length}-{'clean' if eps is None else f'{eps:g}'}{own}"
        place = self.bench.folder / "distances" / f"{name}.safetensors"
        steps = self.bench.scale.iterations(length)
        blank = {"data": self.data, "restarts": restarts, "iterations": length, "steps": steps, "eps": eps}

        def descend() -> dict[str, Any]:
            x, y = self.images.x, self.images.y
            shown = x if eps is None else box.attacked(f"fgsm-{eps:g}", x, y)
            distances = self.detector(generator, restarts, steps).project(shown).distances
            before, after = (box.f.predict(one).argmax(1).cpu() for one in (x, shown))
            kept = {"distances": distances.cpu(), "fooled": scored.fooled(before, after, y).to(torch.uint8)}
            atomic.write_tensors(place, kept)
            return {"n": len(x)}

        if not place.exists():
            self.bench.steps.forget(name)
        facts = [
            generator.settings()["facts"],
            self.images.fingerprint(),
            restarts,
            steps,
            None if eps is None else [box.e.fingerprint(), box.f.fingerprint()],
            self.bench.scale.generator.precision,
            self.bench.seed,
        ]
        done = self.bench.record("descents", name, f"descents of {steps}", facts, descend, {**blank})
        return load_safetensors(place.read_bytes()) if done["status"] == "done" else str(done["reason"])

    def detector(self, generator: SampleGenerator, restarts: int, steps: int) -> DefenseGAN:
        """Build Defense-GAN's detector as its authors ran it."""
        return DefenseGAN(
            generator=generator,
            restarts=restarts,
            iterations=steps,
            seed=self.bench.seed,
            precision=self.bench.scale.generator.precision,
        )

    def speed(self) -> None:
        """Time both detectors on this machine, in one run."""
        box, chosen = self.black_box, self.black_box.chosen
        restarts, length = BLACK_BOX[self.data].setting
        steps = self.bench.scale.iterations(length)
        blank = {"data": self.data, "restarts": restarts, "iterations": length, "steps": steps}
        folder = self.bench.folder / "models" / f"{self.data}-generator"
        if chosen is None or not (folder / "generator.safetensors").exists():
            self.bench.leave_out("speed", "there is no generator, or no I-defender, to time", blank)
            return

        def measure() -> dict[str, Any]:
            detector = chosen.fit(box.f, box.material, self.bench.scale.fitting, self.bench.seed)
            generator = SampleGenerator.load(folder).to(self.bench.device)
            x = first(box.test, 512).x
            alone, guarded = (
                median(_seconds(work) for _ in range(_REPEATS)) / len(x)
                for work in (lambda: box.f.predict(x), lambda: _score(detector, x))
            )
            few = self.images.x[:_TIMED_IMAGES]
            projecting = self.detector(generator, restarts, steps)
            descents = _seconds(lambda: projecting.project(few)) / len(few)
            return {
                "classifier": alone,
                "i_defender": guarded,
                "defense_gan": descents,
                "ratio": descents / guarded,
                "images": len(x),
                "projected": len(few),
                "threads": torch.get_num_threads(),
            }

        key = [box.f.fingerprint(), chosen.key, steps, self.bench.device, torch.get_num_threads()]
        self.bench.record("speed", f"speed-{self.data}", "speed", key, measure, blank)


@torch.no_grad()
def _score(detector: IDefender, x: Tensor) -> None:
    for part in x.split(512):
        detector.detect(part)


def _seconds(work: Callable[[], object]) -> float:
    """Time one run, after whatever the device was still doing."""
    _settle()
    began = time.perf_counter()
    work()
    _settle()
    return time.perf_counter() - began


def _settle() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def trained_generator(bench: Bench, splits: Splits, options: WGANOptions, role: str) -> SampleGenerator | None:
    """Train a generator, or load it; None where the time does not allow it.

    Args:
        bench: where it is stored.
        splits: whose training images it is to make more of.
        options: how it is trained.
        role: names it in results.
    """
    name, folder = f"{role}-{splits.name}", bench.folder / "models" / f"{splits.name}-{role}"
    train = splits.train

    def make() -> dict[str, Any]:
        _, history = train_generator(
            train.x,
            options,
            bounds=train.bounds,
            facts={"data": splits.name},
            folder=folder,
            device=bench.device,
            log=lambda line: None if line.startswith("epoch") else console.print(line),
        )
        last = history.epochs[-1]
        return {"epochs": last.epoch, "width": options.width, "distance": last.distance, "train_images": len(train)}

    if not (folder / "generator.safetensors").exists():
        bench.steps.forget(name)
        if bench.trained_only:
            bench.leave_out("generators", NOT_TRAINED, {"data": splits.name, "role": role, "network": "WGAN-GP"})
            return None
    blank = {"data": splits.name, "role": role, "network": "WGAN-GP"}
    key = [asdict(options), train.fingerprint()]
    done = bench.record("generators", name, "training a generator", key, make, blank)
    return SampleGenerator.load(folder).to(bench.device) if done["status"] == "done" else None
