"""Why restarts and iterations matter less to our Defense-GAN than in Table 2: descents that go otherwise.

Each arm changes one thing in descents of a hundred steps, and is judged by the lines of Tables 2 and 4 that have a
hundred steps. What is not tried: whether the score is a mean over pixels, as released, or a sum, as here. One is the
other times the number of pixels, so that no AUC changes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from salus.attacks.draws import normal
from salus.generative.generator import SampleGenerator
from salus.generative.projection import LATE, ROWS, descend
from salus_studies.i_defender import scored
from salus_studies.i_defender.bench import first
from salus_studies.i_defender.defense_gan import Rival, trained_generator
from salus_studies.i_defender.published import BLACK_BOX, STRONGEST

#: The steps of the lines that are compared.
STEPS = 100

#: The arm that changes nothing.
OURS = "ours"

#: The rate that the released code has.
RATE = 10.0


@dataclass(frozen=True, kw_only=True)
class Arm:
    """Descents that go otherwise.

    Attributes:
        key: in results.
        title: in words.
        rate: before the last fifth.
        late: what the rate is multiplied by in the last fifth.
        near: whether starts are drawn from N(0, 1 / latent), as released, and not from N(0, 1).
        young: whether the generator is one that was trained for less time.
    """

    key: str
    title: str
    rate: float = RATE
    late: float = LATE
    near: bool = True
    young: bool = False


ARMS = (
    Arm(key=OURS, title="as in the tables above: rate 10, a tenth of it in the last fifth"),
    Arm(key="released", title="rate 10 throughout, as the released code runs", late=1.0),
    Arm(key="rate-1", title="rate 1 throughout", rate=1.0, late=1.0),
    Arm(key="rate-0.1", title="rate 0.1 throughout", rate=0.1, late=1.0),
    Arm(key="rate-30", title="rate 30 throughout", rate=30.0, late=1.0),
    Arm(key="starts", title="starts drawn from N(0, 1), as latents are in training", near=False),
    Arm(key="young", title="a generator trained for less time", young=True),
)


def lines(data: str) -> list[int]:
    """List the restarts of the lines that are compared, the most first."""
    return sorted({row.restarts for row in BLACK_BOX[data].descents if row.iterations == STEPS}, reverse=True)


def judge_arms(rival: Rival, generator: SampleGenerator | None) -> None:
    """Run every arm on one data set's images, attacked at the largest eps."""
    bench, data, box = rival.bench, rival.data, rival.black_box
    images = first(rival.images, bench.scale.trend_images)
    young: SampleGenerator | None = None
    if generator is not None:
        few = replace(bench.scale.generator, epochs=bench.scale.young_epochs)
        young = trained_generator(bench, box.material.splits, few, "young-generator")
    for arm in ARMS:
        blank = {"data": data, "arm": arm.key, **asdict(arm)}
        make = young if arm.young else generator
        if make is None:
            bench.leave_out("trend", "its generator is not trained", blank)
            continue
        steps = bench.scale.iterations(STEPS)
        key = [blank, make.settings()["facts"], images.fingerprint(), box.e.fingerprint(), steps, bench.seed]

        def work(arm: Arm = arm, make: SampleGenerator = make, steps: int = steps) -> dict[str, Any]:
            x_adv = box.attacked(f"fgsm-{STRONGEST:g}", images.x, images.y)
            before, after = (box.f.predict(x).argmax(1).cpu() for x in (images.x, x_adv))
            fooling = scored.fooled(before, after, images.y)
            most = lines(data)[0]
            ends = [_distances(make, x, arm, most, steps, bench.seed) for x in (images.x, x_adv)]  # [N, R] each
            rows = []
            for restarts in lines(data):
                clean, attacked = (end[:, :restarts].amin(1) for end in ends)
                means = {
                    f"distance_{name}": float(one.double().mean())
                    for name, one in (("clean", clean), ("attacked", attacked))
                }
                rows.append({"restarts": restarts, **scored.areas(clean, attacked, fooling), **means})
            return {"n": len(images), "steps": steps, "rows": rows}

        bench.record("trend", f"trend-{data}-{arm.key}", "trend", key, work, blank)


def _distances(make: SampleGenerator, x: Tensor, arm: Arm, restarts: int, steps: int, seed: int) -> Tensor:
    """Let restarts descend towards images ``[N, ...]`` as an arm says; the distances that they come to ``[N, R]``."""
    starts = normal(seed, torch.arange(restarts, device=x.device), (make.latent,), stream=0)
    if arm.near:
        starts = starts / math.sqrt(make.latent)
    size = max(1, ROWS.get(x.device.type, ROWS["cpu"]) // restarts)
    module: Callable[[Tensor], Tensor] = make.module
    parts = [
        descend(module, part, starts, iterations=steps, learning_rate=arm.rate, late=arm.late)[1]
        for part in x.split(size)
    ]
    return torch.cat(parts).nan_to_num(nan=torch.inf).clamp_max(torch.finfo(torch.float32).max).cpu()
