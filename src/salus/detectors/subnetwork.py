"""A small network on the classifier's hidden states that tells attacked inputs (Metzen et al., ICLR 2017)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from salus.classifier import Classifier, States
from salus.data.base import Dataset, Provenance
from salus.detectors.hidden import Layers, Seed
from salus.detectors.supervised import MaxAttacked, SupervisedDetector, TaughtBy
from salus.models.mlp import MLP
from salus.options import checked
from salus.training import TrainingOptions, seeded_module, train

_HELD_OUT = 5  # every fifth pair


class Subnetwork(SupervisedDetector):
    """Rejects an input that a network on the classifier's hidden states takes for an attacked one.

    Metzen et al. branch a convolutional network off one layer and train it on clean samples and copies made by one
    attack, the classifier left as it is. Here the states are vectors and the network has linear layers with ReLU
    between; of several layers the states are put side by side. The score is the difference of its two logits, attacked
    minus clean, whatever the class. One in five pairs is held out to choose the epoch whose weights are kept.

    Args:
        layers: named layers of the classifier: ``logits``, ``penultimate`` (input of the last layer) or
            a module's name (averaged over positions; ``NAME/flat`` keeps them).
        attack: what attacked samples are made by, see :class:`SupervisedDetector`; BIM, as in I-defender's Table 6.
        widths: of the network's hidden layers.
        epochs: passes over the pairs at most.
        max_samples: samples of each class that are attacked, drawn at random.
        seed: of the draws, the attack, the initial weights and the order of training.
    """

    name: ClassVar[str] = "subnetwork"
    title: ClassVar[str] = "Subnetwork"

    @checked
    def __init__(
        self,
        *,
        layers: Layers = ("penultimate",),
        attack: TaughtBy = "bim:eps=0.01",
        widths: Annotated[
            tuple[Annotated[int, Field(ge=1)], ...],
            Field(min_length=1, description="widths of the network's hidden layers"),
        ] = (64, 64),
        epochs: Annotated[int, Field(ge=1, description="passes over the pairs at most")] = 30,
        max_samples: MaxAttacked = 1000,
        seed: Seed = 0,
    ) -> None:
        super().__init__(layers, attack, max_samples, seed)
        self.widths = widths
        self.epochs = epochs

    def fit(self, classifier: Classifier, x: Tensor, y: Tensor) -> Subnetwork:
        """Attack training samples x ``[N, ...]`` with labels y ``[N]``, and train the network on the pairs.

        Raises:
            CalibrationError: the attack fooled the classifier too seldom.
            ModelError: the classifier has no such layer.
            OptionError: the attack does not suit the samples.
        """
        self.classifier_ = classifier
        clean, attacked = (self._joined(self.hidden(part)) for part in self.pairs(classifier, x, y))  # [P, D] each
        self.learnt_ = {"mean": clean.mean(0), "deviation": clean.std(0, correction=0).clamp_min(1e-6)}
        held_out = torch.arange(len(clean)) % _HELD_OUT == 0
        network = seeded_module(lambda: MLP(clean.shape[1], 2, hidden=self.widths), self.seed)
        history = train(
            network,
            self._told_apart(clean[~held_out], attacked[~held_out]),
            self._told_apart(clean[held_out], attacked[held_out]),
            TrainingOptions(epochs=self.epochs, seed=self.seed),
            device=x.device,
        )
        self.learnt_ |= {f"network|{name}": value.cpu() for name, value in network.state_dict().items()}
        best = history.epochs[history.best - 1]
        self.notes_.append(f"{best.accuracy:.1%} of held-out samples told right after {best.epoch} epochs")
        return self

    def class_scores(self, states: States) -> Tensor:
        """Return the attacked logit minus the clean one under each class, ``[N, K]``; differentiable."""
        hidden = self._standard(self._joined(states.hidden))
        for i in range(len(self.widths)):
            hidden = self._linear(f"trunk.{2 * i}", hidden).relu()
        clean, attacked = self._linear("head", hidden).unbind(1)  # [N] each
        return (attacked - clean)[:, None].expand(-1, states.logits.shape[1])

    def _linear(self, name: str, hidden: Tensor) -> Tensor:
        weight, bias = (self.learnt(f"network|{name}.{part}", hidden) for part in ("weight", "bias"))
        return nn.functional.linear(hidden, weight, bias)

    def _joined(self, hidden: Mapping[str, Tensor]) -> Tensor:
        return torch.cat([hidden[layer] for layer in self.layers], dim=1)

    def _standard(self, hidden: Tensor) -> Tensor:
        return (hidden - self.learnt("mean", hidden)) / self.learnt("deviation", hidden)

    def _told_apart(self, clean: Tensor, attacked: Tensor) -> Dataset:
        return Dataset(
            self._standard(torch.cat([clean, attacked])),
            torch.arange(2).repeat_interleave(len(clean)),
            ("clean", "attacked"),
            Provenance("hidden states", "made by the subnetwork's attack"),
            bounds=(-torch.inf, torch.inf),
        )

    def describe(self) -> str:
        """Say what was fitted, for reports."""
        return f"Subnetwork on {', '.join(self.layers)}; {'; '.join(self.notes_)}; {self.rule}"
