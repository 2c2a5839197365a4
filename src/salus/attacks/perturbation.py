"""One change for every sample: what a universal attack finds; saved, loaded, drawn, and applied to any x."""

from __future__ import annotations

import hashlib
import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from salus import atomic
from salus.attacks.ball import NormName, ball
from salus.errors import BundleError, DataError, OptionError

FORMAT = "salus-perturbation"
VERSION = 1


@dataclass(frozen=True, kw_only=True, eq=False)
class Perturbation:
    """A change that fools a model on most samples it is added to.

    Attributes:
        delta: the change ``[...]``, shaped like one sample.
        eps: radius of the ball that it keeps to, in the units of x.
        norm: ``"linf"`` or ``"l2"``.
        bounds: lowest and highest value of x; what is changed is clipped to them.
        mask: bool, shaped like delta: which values may change; None for all.
        units: for tables with integer features, the size of one unit of each, 0 where continuous.
        fooling_rate: share of the samples it was fitted to whose predicted class it changes (Moosavi-Dezfooli et
            al., 2017, Eq. 1); where no plain prediction is there to change, for a target or a guard, the share
            for which the attacker's goal is reached.
        error_rate: share of them for which the attacker's goal is reached: for a bare model ``1 - accuracy``,
            which the skin-lesion thesis calls its fooling rate.
        samples: how many samples it was fitted to.
        attack: what made it.
    """

    delta: Tensor
    eps: float
    norm: NormName
    bounds: tuple[float, float] = (0.0, 1.0)
    mask: Tensor | None = None
    units: tuple[float, ...] | None = None
    fooling_rate: float
    error_rate: float
    samples: int
    attack: str = ""
    ranges: tuple[tuple[float, float, int], ...] | None = None

    def __call__(self, x: Tensor) -> Tensor:
        """Add it to samples ``[N, ...]``, clip to the bounds, and stay inside the ball.

        Raises:
            DataError: the samples have another shape.
        """
        if x.shape[1:] != self.delta.shape:
            raise DataError(
                f"The perturbation is for samples of shape {list(self.delta.shape)}, not {list(x.shape[1:])}."
            )
        mask = None if self.mask is None else self.mask.to(x.device)
        units = None if self.units is None else torch.tensor(self.units, dtype=torch.float64, device=x.device)
        ranges = None if self.ranges is None else torch.tensor(self.ranges, dtype=torch.float64, device=x.device)
        region = ball(self.norm, x, self.eps, self.bounds, mask, units, ranges)
        return region.land(region.project(x + self.delta.to(x)))

    def save(self, path: Path | str) -> None:
        """Write one safetensors file with everything else as JSON in its header, whole or not at all.

        Raises:
            StoreError: the place is not writable, or full.
        """
        tensors = {"delta": self.delta} if self.mask is None else {"delta": self.delta, "mask": self.mask}
        tensors = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
        facts = {name: getattr(self, name) for name in _FACTS}
        card = {"format": FORMAT, "version": VERSION, "sha256": _digest(tensors), **facts}
        atomic.write_bytes(Path(path), safetensors.torch.save(tensors, {"salus": json.dumps(card, allow_nan=False)}))

    @classmethod
    def load(cls, path: Path | str) -> Perturbation:
        """Read what :meth:`save` wrote, and check all of it.

        Raises:
            BundleError: the file is missing, damaged, changed, or something else.
        """
        path = Path(path)
        try:
            with safe_open(path, "pt") as file:
                header = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
            card = json.loads(header.get("salus", "null"))
        except OSError as error:
            reason = error.strerror or "there is no such file"
            raise BundleError(f"Perturbation {path} cannot be read: {reason}.") from error
        except (SafetensorError, ValueError, RecursionError) as error:
            raise BundleError(f"{path} is no saved perturbation, or it is damaged: take a fresh copy.") from error
        if not isinstance(card, dict) or card.get("format") != FORMAT:
            raise BundleError(f"{path} does not hold a Salus perturbation (it has no format {FORMAT!r}).")
        if card.get("version") != VERSION:
            raise BundleError(f"{path} has version {card.get('version')!r}; this Salus reads version {VERSION}.")
        if card.get("sha256") != _digest(tensors):
            raise BundleError(f"{path} was changed after it was saved: its SHA-256 does not fit; take a fresh copy.")
        if reason := _misfit(card, tensors):
            raise BundleError(f"{path} holds no usable perturbation: {reason}.")
        facts = {name: card[name] for name in _FACTS} | {
            "bounds": tuple(card["bounds"]),
            "units": None if card["units"] is None else tuple(card["units"]),
            "ranges": None if card.get("ranges") is None else tuple(map(tuple, card["ranges"])),
        }
        return cls(delta=tensors["delta"], mask=tensors.get("mask"), **facts)

    def draw(self, path: Path | str, *, names: Sequence[str] = ()) -> None:
        """Draw it: a signal as lines, an image as heat maps, a table as bars.

        Args:
            path: the picture to write; its suffix decides the format (``.png``, ``.svg``, ``.pdf``).
            names: of the features of a table, or of the channels.

        Raises:
            OptionError: the suffix is no known format, or there are more or fewer names than features.
            StoreError: the picture cannot be written.
        """
        from matplotlib.figure import Figure

        path = Path(path)
        values = self.delta.detach().cpu().double()
        if names and len(names) != len(values):
            raise OptionError(f"There are {len(names)} names for {len(values)} features or channels.")
        figure = Figure(figsize=(6.4, 3.2), layout="constrained")
        formats = figure.canvas.get_supported_filetypes()
        if path.suffix[1:] not in formats:
            raise OptionError(f"Cannot draw {path}: its suffix must be one of {', '.join(sorted(formats))}.")
        title = f"{self.norm} {self.eps:g}, fools {self.fooling_rate:.1%} of {self.samples}"
        if values.ndim == 3:
            _heat_maps(figure, values, names, title)
        else:
            ax = figure.add_subplot(title=title, ylabel="change, in units of x")
            ax.axhline(0, color="0.6", linewidth=0.8)
            if values.ndim == 2:
                for channel, line in enumerate(values.tolist()):
                    ax.plot(line, linewidth=1.2, label=names[channel] if names else f"channel {channel}")
                ax.set_xlabel("sample in time")
                if len(values) > 1:
                    ax.legend()
            else:
                ax.bar(range(len(values)), values.tolist())
                ax.set_xlabel("" if names else "feature")
                if names:
                    ax.set_xticks(range(len(values)), labels=list(names), rotation=90)
        picture = io.BytesIO()
        figure.savefig(picture, format=path.suffix[1:], dpi=150)
        atomic.write_bytes(path, picture.getvalue())


#: The fields that are plain values.
_FACTS = ("eps", "norm", "bounds", "units", "fooling_rate", "error_rate", "samples", "attack")


def _heat_maps(figure: Any, values: Tensor, names: Sequence[str], title: str) -> None:
    size = float(values.abs().max()) or 1.0
    axes = figure.subplots(1, len(values), squeeze=False)[0]
    for channel, (ax, picture) in enumerate(zip(axes, values.tolist(), strict=True)):
        heat_map = ax.imshow(picture, cmap="RdBu_r", vmin=-size, vmax=size)
        ax.set(xticks=[], yticks=[], xlabel=names[channel] if names else f"channel {channel}")
    figure.suptitle(title, fontsize="medium")
    figure.colorbar(heat_map, ax=list(axes), label="change, in units of x")


def _digest(tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name, value in sorted(tensors.items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _misfit(card: dict[str, Any], tensors: dict[str, Tensor]) -> str:
    """Say what is wrong with what a file says; empty when nothing is."""
    delta, mask = tensors.get("delta"), tensors.get("mask")
    if delta is None or not delta.is_floating_point() or delta.ndim not in (1, 2, 3):
        return "delta must hold numbers in one to three dimensions"
    if not bool(delta.isfinite().all()):
        return "delta holds NaN or infinity"
    if mask is not None and (mask.dtype != torch.bool or mask.shape != delta.shape or bool(delta[~mask].any())):
        return "delta changes what its mask forbids"
    if card.get("norm") not in ("linf", "l2"):
        return f"norm {card.get('norm')!r} is unknown"
    if not all(_number(card.get(name), low=0.0) for name in ("eps", "fooling_rate", "error_rate", "samples")):
        return "eps, the rates and the number of samples must be numbers from 0 up"
    bounds, units = card.get("bounds"), card.get("units")
    if not (isinstance(bounds, list) and len(bounds) == 2 and all(map(_number, bounds)) and bounds[0] < bounds[1]):
        return f"bounds {bounds!r} must be two numbers, the lower first"
    if units is not None and not (isinstance(units, list) and len(units) == len(delta) and all(map(_number, units))):
        return "there must be one unit for each feature"
    ranges = card.get("ranges")
    if ranges is not None and not (
        isinstance(ranges, list)
        and len(ranges) == len(delta)
        and all(isinstance(each, list) and len(each) == 3 and all(map(_number, each)) for each in ranges)
    ):
        return "there must be one range for each feature"
    length = float(delta.double().abs().max() if card["norm"] == "linf" else delta.double().norm())
    if length > card["eps"]:
        return f"delta is {length:g} long, more than eps={card['eps']:g}"
    return "" if isinstance(card.get("attack"), str) else "attack must be words"


def _number(value: object, low: float = -math.inf) -> bool:
    return type(value) in (int, float) and math.isfinite(value) and value >= low  # type: ignore[arg-type,operator]
