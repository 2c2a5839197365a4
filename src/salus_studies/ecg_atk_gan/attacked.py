"""The papers' attack data, as the authors' released script makes them.

It attacks a network of the discriminator's shape whose weights are as they were drawn: it was never trained. ART
then attacks whatever that network answers, not the true labels. Of the two decision-based attacks the script asks no
iteration (``max_iter=0``): what is left of them is their starting point.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from salus.attacks import BIM, FGSM, Attack, CarliniWagnerLinf
from salus.attacks.draws import uniform
from salus.conduct.modules import evaluating
from salus.models.ecg_cnn import ECGCNN
from salus.training import seeded_module

#: The columns of Table 1, in its order.
COLUMNS = ("none", "fgsm", "bim", "pgd", "cw", "dbb", "hsj")

#: Columns that the seed of the untrained network decides: of each beat, whether it is attacked at all.
LOTTERY = ("dbb", "hsj")

EPS = 0.01
CW_EPS = 0.1

#: The released script leaves ART's 100 iterations and step of 0.1, ten times eps: each goes from corner to corner.
ITERATIONS, STEP_SIZE = 100, 0.1

#: How many random points ART's HopSkipJump tries before it gives up, and how finely it then halves the way back.
TRIES, _THETA = 100, 1e-3

_BATCH = 512


@dataclass(frozen=True, kw_only=True)
class Released:
    """Makes the attacked copies of one column.

    Attributes:
        column: ``fgsm``, ``bim``, ``pgd``, ``cw``, ``dbb`` or ``hsj``. BIM and PGD come out the same: the script
            leaves ART's ``num_random_init=0``.
        iterations: of BIM and PGD.
        tries: random points that HSJ's start is sought among.
        seed: of the network's weights and the random points.
    """

    column: str
    iterations: int = ITERATIONS
    tries: int = TRIES
    seed: int = 0

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        """Make attacked copies of beats ``[N, C, L]`` in [0, 1]; their labels ``[N]`` are not looked at."""
        network = self.network(tuple(x.shape[1:]), 4)
        answers = _answers(network)
        parts = []
        for start in range(0, len(x), _BATCH):
            beats = x[start : start + _BATCH]
            said = answers(beats)
            if self.column == "dbb":
                parts.append(self._random_point(answers, beats, said, start, tries=1)[0])
            elif self.column == "hsj":
                point, success = self._random_point(answers, beats, said, start, tries=self.tries)
                parts.append(_towards(answers, beats, point, said, success))
            else:
                parts.append(self._attack()(network, beats, said))
        return torch.cat(parts)

    def network(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        """Build the network that was never trained: Keras's initial weights, in eval mode."""

        def build() -> nn.Module:
            module = ECGCNN(classes, shape[0], shape[1], widths=(32, 64, 128, 256), dropout=0.0)
            for part in module.modules():
                if isinstance(part, (nn.Conv2d, nn.Linear)):
                    nn.init.xavier_uniform_(part.weight)
                    if part.bias is not None:
                        nn.init.zeros_(part.bias)
            return module

        return seeded_module(build, self.seed).eval().requires_grad_(False)

    def _attack(self) -> Attack:
        if self.column == "fgsm":
            return FGSM(eps=EPS, seed=self.seed)
        if self.column == "cw":
            return CarliniWagnerLinf(eps=CW_EPS, steps=10, seed=self.seed)
        return BIM(eps=EPS, steps=self.iterations, step_size=STEP_SIZE, early_stop=False, seed=self.seed)

    def _random_point(
        self, answers: Callable[[Tensor], Tensor], x: Tensor, said: Tensor, start: int, tries: int
    ) -> tuple[Tensor, Tensor]:
        """Try uniform noise until the network answers otherwise than to the beat; else keep the beat."""
        point, success = x.clone(), torch.zeros(len(x), dtype=torch.bool)
        samples = torch.arange(start, start + len(x))
        for trial in range(tries):
            rows = (~success).nonzero()[:, 0]
            if not len(rows):
                break
            noise = uniform(self.seed, samples[rows], tuple(x.shape[1:]), trial).to(x.dtype)
            other = answers(noise) != said[rows]
            point[rows[other]], success[rows[other]] = noise[other], True
        return point, success


def _towards(answers: Callable[[Tensor], Tensor], x: Tensor, point: Tensor, said: Tensor, success: Tensor) -> Tensor:
    """Halve the straight way back to the beat as long as the network answers otherwise (ART, ``_binary_search``)."""
    rows = success.nonzero()[:, 0]
    low, high = torch.zeros(len(rows)), torch.ones(len(rows))
    while len(rows) and float((high - low).max()) > _THETA:
        middle = (low + high) / 2
        share = middle[:, None, None]
        other = answers((1 - share) * x[rows] + share * point[rows]) != said[rows]
        high, low = torch.where(other, middle, high), torch.where(other, low, middle)
    copies = x.clone()
    share = high[:, None, None]
    copies[rows] = ((1 - share) * x[rows] + share * point[rows]).clamp(0, 1)
    return copies


def _answers(network: nn.Module) -> Callable[[Tensor], Tensor]:
    def answer(x: Tensor) -> Tensor:
        with evaluating(network), torch.no_grad():
            labels: Tensor = network(x).argmax(1)
        return labels

    return answer


def describe_change(network: nn.Module, x: Tensor, x_adv: Tensor) -> dict[str, float]:
    """Say what an attack did to beats ``[N, C, L]``: how many it left alone, how far it moved the others.

    ``label_kept`` is the share whose answer, by the network that was attacked, is still the same.
    """
    apart = (x_adv - x).flatten(1)
    largest = apart.abs().amax(1)
    answers = _answers(network)
    kept = [answers(one) == answers(other) for one, other in zip(x.split(_BATCH), x_adv.split(_BATCH), strict=True)]
    return {
        "unchanged": float((largest == 0).double().mean()),
        "linf_mean": float(largest.double().mean()),
        "linf_max": float(largest.max()),
        "l2_mean": float(apart.double().norm(dim=1).mean()),
        "label_kept": float(torch.cat(kept).double().mean()),
    }
