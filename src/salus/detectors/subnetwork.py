"""A small network on the classifier's hidden states that tells attacked inputs (Metzen et al., ICLR 2017)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from salus.classifier import States
from salus.conduct.modules import evaluating
from salus.data.base import Dataset, Provenance
from salus.detectors.hidden import Layers, Seed
from salus.detectors.supervised import MaxAttacked, SupervisedDetector, TaughtBy
from salus.errors import ModelError, OptionError
from salus.models.detector_branch import DetectorBranch, run_folded
from salus.models.layers import output_shape
from salus.models.mlp import MLP
from salus.options import checked
from salus.training import History, TrainingOptions, seeded_module, train

_HELD_OUT = 5  # every fifth pair

#: Pairs a step. Convolutions need many steps: of 350 pairs 32 at a time led to an AUC of 0.993, 128 to 0.971.
_BATCH = {"linear": 128, "convolutional": 32}


class Subnetwork(SupervisedDetector):
    """Rejects an input that a network on the classifier's hidden states takes for an attacked one.

    Metzen et al. branch a convolutional network off one layer and train it on clean samples and copies made by one
    attack, the classifier left as it is: ``branch=convolutional`` on the maps of ``NAME/flat``. A ``linear`` branch
    has linear layers with ReLU between, on states of any kind; of several layers the states are put side by side. On
    states averaged over positions it cannot see what a convolution sees. The score is the difference of the two
    logits, attacked minus clean, whatever the class. One in five pairs is held out to choose the epoch whose weights
    are kept.

    Args:
        layers: named layers of the classifier: ``logits``, ``penultimate`` (input of the last layer) or
            a module's name (averaged over positions; ``NAME/flat`` keeps them).
        attack: what attacked samples are made by, see :class:`SupervisedDetector`; BIM, as in I-defender's Table 6.
        branch: ``linear`` or ``convolutional``, see :class:`salus.models.detector_branch.DetectorBranch`.
        widths: of the network's hidden layers; Metzen et al. have 96+192+192 maps.
        epochs: passes over the pairs at most.
        max_samples: samples of each class that are attacked, drawn at random.
        seed: of the draws, the attack, the initial weights and the order of training.

    Attributes:
        told_: the share of the held-out samples that were told right, once it is fitted.
    """

    name: ClassVar[str] = "subnetwork"
    title: ClassVar[str] = "Subnetwork"

    @checked
    def __init__(
        self,
        *,
        layers: Layers = ("penultimate",),
        attack: TaughtBy = "bim:eps=0.01",
        branch: Annotated[
            Literal["linear", "convolutional"], Field(description="what kind of network it is")
        ] = "linear",
        widths: Annotated[
            tuple[Annotated[int, Field(ge=1)], ...],
            Field(min_length=1, description="widths of the network's hidden layers"),
        ] = (64, 64),
        epochs: Annotated[int, Field(ge=1, description="passes over the pairs at most")] = 30,
        max_samples: MaxAttacked = 1000,
        seed: Seed = 0,
    ) -> None:
        super().__init__(layers, attack, max_samples, seed)
        self.branch = branch
        self.widths = widths
        self.epochs = epochs
        self.told_ = float("nan")
        if self.convolutional and (len(layers) != 1 or not layers[0].endswith("/flat")):
            raise OptionError(
                f"Subnetwork: a convolutional branch reads the maps of one layer, named NAME/flat, "
                f"not {', '.join(layers)}; name one, or take branch=linear."
            )

    @property
    def convolutional(self) -> bool:
        """Whether it is Metzen's convolutional branch."""
        return self.branch == "convolutional"

    def learn(self, clean: Tensor, attacked: Tensor) -> None:
        """Train the network on clean samples and their attacked copies, ``[P, ...]`` each.

        Raises:
            ModelError: a convolutional branch is to read a layer without positions.
        """
        device, few = clean.device, clean[:1]
        before, after = (self._joined(self.hidden(part)) for part in (clean, attacked))  # [P, D] each
        if self.convolutional:
            maps = self._maps(few)
            self.learnt_ = {"shape": torch.tensor(maps)}
            branch = cast(DetectorBranch, seeded_module(lambda: DetectorBranch(maps, self.widths), self.seed))
            history = self._train(branch, before, after, device)
            for number, (weight, bias) in enumerate(branch.cpu().folded()):
                self.learnt_ |= {f"branch|{number}.weight": weight, f"branch|{number}.bias": bias}
        else:
            self.learnt_ = {"mean": before.mean(0), "deviation": before.std(0, correction=0).clamp_min(1e-6)}
            network = seeded_module(lambda: MLP(before.shape[1], 2, hidden=self.widths), self.seed)
            history = self._train(network, self._standard(before), self._standard(after), device)
            self.learnt_ |= {f"network|{name}": value.cpu() for name, value in network.state_dict().items()}
        best = history.epochs[history.best - 1]
        self.told_ = float(best.accuracy)
        self.notes_.append(f"{best.accuracy:.1%} of held-out samples told right after {best.epoch} epochs")

    def class_scores(self, states: States) -> Tensor:
        """Return the attacked logit minus the clean one under each class, ``[N, K]``; differentiable."""
        hidden = self._joined(states.hidden)
        if self.convolutional:
            parts = range(len(self.widths) + 2)
            folded = [
                (self.learnt(f"branch|{i}.weight", hidden), self.learnt(f"branch|{i}.bias", hidden)) for i in parts
            ]
            logits = run_folded(folded, hidden, self.learnt_["shape"].tolist())
        else:
            hidden = self._standard(hidden)
            for i in range(len(self.widths)):
                hidden = self._linear(f"trunk.{2 * i}", hidden).relu()
            logits = self._linear("head", hidden)
        clean, attacked = logits.unbind(1)  # [N] each
        return (attacked - clean)[:, None].expand(-1, states.logits.shape[1])

    def settings(self) -> dict[str, Any]:
        """Return what rebuilds the detector beside its tensors."""
        settings = super().settings()
        if not self.convolutional:  # as before there was the option: a saved guard's fingerprint is made of it
            del settings["branch"]
        return settings

    def _train(self, network: nn.Module, clean: Tensor, attacked: Tensor, device: torch.device) -> History:
        """Train a network on states ``[P, D]``, every fifth pair held out."""
        held_out = torch.arange(len(clean)) % _HELD_OUT == 0
        return train(
            network,
            _told_apart(clean[~held_out], attacked[~held_out]),
            _told_apart(clean[held_out], attacked[held_out]),
            TrainingOptions(epochs=self.epochs, batch_size=_BATCH[self.branch], seed=self.seed),
            device=device,
        )

    def _maps(self, x: Tensor) -> tuple[int, ...]:
        """Tell the shape of the layer's maps, ``[C, L]`` or ``[C, H, W]``.

        Raises:
            ModelError: it has none.
        """
        (layer,) = self.layers
        with evaluating(self.classifier):
            shape = output_shape(self.classifier.module, layer, x)
        if shape is None or len(shape) not in (3, 4):
            raise ModelError(
                f"Subnetwork: layer {layer!r} of classifier {self.classifier.name!r} has no positions for a "
                "convolutional branch; name a convolution, or take branch=linear."
            )
        return shape[1:]

    def _linear(self, name: str, hidden: Tensor) -> Tensor:
        weight, bias = (self.learnt(f"network|{name}.{part}", hidden) for part in ("weight", "bias"))
        return nn.functional.linear(hidden, weight, bias)

    def _joined(self, hidden: Mapping[str, Tensor]) -> Tensor:
        return torch.cat([hidden[layer] for layer in self.layers], dim=1)

    def _standard(self, hidden: Tensor) -> Tensor:
        return (hidden - self.learnt("mean", hidden)) / self.learnt("deviation", hidden)

    def describe(self) -> str:
        """Say what was fitted, for reports."""
        return f"Subnetwork on {', '.join(self.layers)}; {'; '.join(self.notes_)}; {self.rule}"


def _told_apart(clean: Tensor, attacked: Tensor) -> Dataset:
    """Make samples of two classes of states ``[P, D]``."""
    return Dataset(
        torch.cat([clean, attacked]),
        torch.arange(2).repeat_interleave(len(clean)),
        ("clean", "attacked"),
        Provenance("hidden states", "made by the subnetwork's attack"),
        bounds=(-torch.inf, torch.inf),
    )
