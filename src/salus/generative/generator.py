"""A trained generator of samples, which Defense-GAN looks for an input's nearest likeness in; saved and loaded."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from salus import atomic
from salus.errors import BundleError, ModelError
from salus.models.weights import misfit
from salus.models.wgan import WGANGenerator
from salus.training.checkpoint import weights

_FORMAT = "salus-generator-1"
_CARD, _WEIGHTS = "generator.json", "generator.safetensors"


class SampleGenerator(nn.Module):
    """Maps latents to samples inside the bounds; in eval mode, without gradients to its weights.

    Attributes:
        module: the network; its samples have values in (0, 1).
        shape: of one sample.
        bounds: lowest and highest value of x.
        latent: size of a latent; they are drawn from N(0, 1).
        width: of the network.
        facts: what is known of how it was trained, as plain values for JSON.
        folder: where it lies; None where it has not been saved or loaded alone.

    Args:
        module: the trained network.
        width: of the network.
        bounds: of the samples that it was trained on.
        facts: about its training.
    """

    def __init__(
        self,
        module: WGANGenerator,
        *,
        width: int,
        bounds: tuple[float, float] = (0.0, 1.0),
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.module = module
        self.shape, self.latent, self.width = module.shape, module.latent, width
        self.bounds = (float(bounds[0]), float(bounds[1]))
        self.facts = dict(facts or {})
        self.folder: Path | None = None
        self.eval().requires_grad_(False)

    def forward(self, z: Tensor) -> Tensor:
        """Make samples ``[M, ...]`` from latents ``z [M, latent]``, differentiable in z."""
        low, high = self.bounds
        output: Tensor = low + (high - low) * self.module(z)
        return output

    def check_suits(self, shape: Sequence[int], bounds: tuple[float, float]) -> None:
        """Refuse samples of another shape or other bounds.

        Raises:
            ModelError: they differ.
        """
        if tuple(shape) != self.shape or tuple(bounds) != self.bounds:
            raise ModelError(
                f"The generator makes samples of shape {list(self.shape)} in {self.bounds}, not of shape {list(shape)} "
                f"in {tuple(bounds)}; train another by `salus generator`."
            )

    def settings(self) -> dict[str, Any]:
        """Return what rebuilds the generator beside its weights, as plain values for JSON."""
        return {
            "shape": list(self.shape),
            "bounds": list(self.bounds),
            "latent": self.latent,
            "width": self.width,
            "facts": self.facts,
        }

    def tensors(self) -> dict[str, Tensor]:
        """Return the weights by name."""
        return weights(self.module)

    @classmethod
    def restore(cls, settings: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> SampleGenerator:
        """Rebuild a generator from its settings and weights.

        Raises:
            BundleError: they do not fit together.
        """
        try:
            shape = [int(size) for size in settings["shape"]]
            low, high = (float(bound) for bound in settings["bounds"])
            width, facts = int(settings["width"]), dict(settings["facts"])
            with torch.random.fork_rng(devices=[]):  # the weights come from elsewhere
                module = WGANGenerator(shape, int(settings["latent"]), width)
        except (LookupError, TypeError, ValueError, RuntimeError) as error:
            raise BundleError(f"The generator was made by another version of Salus ({error}).") from error
        if reason := misfit(module, tensors):
            raise BundleError(f"The generator's weights do not fit it: {reason}")
        module.load_state_dict(dict(tensors))
        return cls(module, width=width, bounds=(low, high), facts=facts)

    def save(self, folder: Path | str) -> None:
        """Write ``generator.safetensors`` and ``generator.json``.

        Raises:
            StoreError: the folder cannot be written.
        """
        folder = Path(folder)
        content = safetensors.torch.save({name: value.cpu().contiguous() for name, value in self.tensors().items()})
        atomic.write_bytes(folder / _WEIGHTS, content)
        card = {"format": _FORMAT, **self.settings(), "sha256": hashlib.sha256(content).hexdigest()}
        atomic.write_json(folder / _CARD, card)
        self.folder = folder

    @classmethod
    def load(cls, folder: Path | str) -> SampleGenerator:
        """Read a generator back.

        Args:
            folder: where :meth:`save` wrote it.

        Raises:
            BundleError: something is missing, truncated or was changed.
        """
        folder = Path(folder)
        try:
            card = json.loads((folder / _CARD).read_text("utf-8"))
            content = (folder / _WEIGHTS).read_bytes()
        except OSError as error:
            raise BundleError(
                f"There is no generator in {str(folder)!r}: {_CARD} or {_WEIGHTS} cannot be read; train one by "
                "`salus generator`."
            ) from error
        except (ValueError, RecursionError) as error:
            raise BundleError(
                f"{folder / _CARD} is not JSON: it is damaged; take a fresh copy of the folder."
            ) from error
        if not isinstance(card, dict) or card.get("format") != _FORMAT:
            raise BundleError(f"{folder / _CARD} describes no generator of this version of Salus ({_FORMAT}).")
        if hashlib.sha256(content).hexdigest() != card.get("sha256"):
            raise BundleError(f"{folder / _WEIGHTS} is not the file that was saved: it is truncated or was changed.")
        try:
            generator = cls.restore(card, safetensors.torch.load(content))
        except SafetensorError as error:
            raise BundleError(f"{folder / _WEIGHTS} holds no safetensors: {error}.") from error
        generator.folder = folder
        return generator
