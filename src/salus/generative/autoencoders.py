"""A repository of trained autoencoders, which MagNet, MultiMagNet and reformers draw from; saved and loaded."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError
from torch import Tensor, nn

from salus import atomic
from salus.batches import filled_up
from salus.errors import BundleError, ModelError, OptionError, nearest
from salus.models.autoencoders import AutoencoderSpec, build_autoencoder
from salus.models.signal import together

_FORMAT = "salus-repository-1"
#: The file that says what a repository holds.
CARD = "repository.json"


@dataclass(frozen=True, eq=False)
class Member:
    """A trained autoencoder.

    Attributes:
        spec: its form and how it was trained.
        module: maps values in [0, 1] to values in [0, 1]; in eval mode, without gradients to its weights.
        error: mean squared reconstruction error on held-out samples, values scaled to [0, 1].
        key: hash of all that decided its training; empty when nobody asked.
        epochs: it was trained for; 0 when nobody said.
    """

    spec: AutoencoderSpec
    module: nn.Module
    error: float
    key: str = ""
    epochs: int = 0

    def __post_init__(self) -> None:
        self.module.eval().requires_grad_(False)


class Repository:
    """Trained autoencoders for samples of one shape, in one pair of bounds.

    Args:
        members: the autoencoders.
        shape: of one sample.
        bounds: lowest and highest value of x.
    """

    def __init__(
        self, members: Sequence[Member], *, shape: Sequence[int], bounds: tuple[float, float] = (0.0, 1.0)
    ) -> None:
        self.members = tuple(members)
        self.shape = tuple(int(size) for size in shape)
        self.bounds = (float(bounds[0]), float(bounds[1]))

    @property
    def names(self) -> tuple[str, ...]:
        """The members' names."""
        return tuple(member.spec.name for member in self.members)

    @property
    def errors(self) -> tuple[float, ...]:
        """Each member's mean squared reconstruction error on held-out samples, values scaled to [0, 1]."""
        return tuple(member.error for member in self.members)

    def __len__(self) -> int:
        return len(self.members)

    def reconstruct(self, member: int, x: Tensor) -> Tensor:
        """Reconstruct x ``[N, ...]`` by one member: the same shape, inside the bounds, differentiable in x.

        Members follow the device of x.
        """
        low, high = self.bounds
        module = self.members[member].module
        if next(module.parameters()).device != x.device:
            module.to(x.device)
        unit = filled_up(x) if self.bounds == (0.0, 1.0) else (filled_up(x) - low) / (high - low)
        output: Tensor = module(unit)[: len(x)]
        return output if self.bounds == (0.0, 1.0) else (output * (high - low) + low).clamp(low, high)

    def reconstruct_drawn(self, x: Tensor, drawn: Tensor) -> Tensor:
        """Reconstruct each of x ``[N, ...]`` by the members drawn for it ``[N, n]``; returns ``[n, N, ...]``.

        Each member sees the inputs that it was drawn for, together, and no others.
        """
        members = drawn.T.flatten()  # [n N]
        order = members.argsort(stable=True)
        parts = x[order % max(len(x), 1)].split(members.bincount(minlength=len(self)).tolist())
        outputs = torch.cat([x[:0], *(self.reconstruct(i, part) for i, part in enumerate(parts) if len(part))])
        return outputs[order.argsort()].reshape(*drawn.T.shape, *x.shape[1:])

    def index(self, member: int | str) -> int:
        """Find a member by its number, from 0, or its name.

        Raises:
            OptionError: there is no such member.
        """
        if isinstance(member, str):
            if member not in self.names:
                raise OptionError(f"The repository has no autoencoder {member!r}; {nearest(member, self.names)}")
            return self.names.index(member)
        if not 0 <= member < len(self):
            raise OptionError(f"The repository holds autoencoders 0 to {len(self) - 1}; there is no number {member}.")
        return member

    def only(self, member: int | str) -> Repository:
        """Take one member as a repository of its own; the autoencoder is shared, not copied."""
        return Repository([self.members[self.index(member)]], shape=self.shape, bounds=self.bounds)

    def to(self, device: torch.device | str) -> Repository:
        """Move all members."""
        for member in self.members:
            member.module.to(device)
        return self

    def check_suits(self, shape: Sequence[int], bounds: tuple[float, float]) -> None:
        """Refuse samples of another shape or other bounds.

        Raises:
            ModelError: they differ.
        """
        if tuple(shape) != self.shape or tuple(bounds) != self.bounds:
            raise ModelError(
                f"The repository's autoencoders take samples of shape {list(self.shape)} in {self.bounds}, not of "
                f"shape {list(shape)} in {tuple(bounds)}; train others by `salus autoencoders`."
            )

    def fingerprint(self) -> str:
        """SHA-256 of the members and their weights: equal when two repositories compute the same."""
        digest = hashlib.sha256(json.dumps([self.shape, self.bounds, self.names]).encode())
        for name, tensor in sorted(self.tensors().items()):
            digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def settings(self) -> dict[str, Any]:
        """Return what rebuilds the repository beside its tensors, as plain values for JSON."""
        return {
            "shape": list(self.shape),
            "bounds": list(self.bounds),
            "members": [
                {"spec": asdict(member.spec), "error": member.error, "key": member.key, "epochs": member.epochs}
                for member in self.members
            ],
        }

    def tensors(self) -> dict[str, Tensor]:
        """Return all weights, as ``member|weight``."""
        return {
            f"{member.spec.name}|{name}": value
            for member in self.members
            for name, value in member.module.state_dict().items()
        }

    @classmethod
    def restore(cls, settings: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Repository:
        """Rebuild a repository from its settings and tensors.

        Raises:
            BundleError: they do not fit together.
        """
        try:
            shape, bounds = [int(size) for size in settings["shape"]], [float(bound) for bound in settings["bounds"]]
            members = []
            for entry in settings["members"]:
                spec = TypeAdapter(AutoencoderSpec).validate_python(entry["spec"])
                module = _rebuild(shape, spec, {name.partition("|"): tensor for name, tensor in tensors.items()})
                epochs = int(entry.get("epochs", 0))
                members.append(Member(spec, module, float(entry["error"]), str(entry["key"]), epochs))
        except (KeyError, TypeError, ValueError, RuntimeError, ModelError, ValidationError) as error:
            reason = str(error).partition("\n")[0].rstrip(".:")
            raise BundleError(
                f"The autoencoders were made by another version of Salus, or damaged: {reason}."
            ) from error
        return cls(members, shape=shape, bounds=(bounds[0], bounds[1]))

    def save(self, folder: Path | str, *, wanted: int | None = None) -> None:
        """Write ``repository.json`` and a safetensors file for each member.

        Args:
            folder: where to.
            wanted: members that it will have, when some are still to be trained; until then it is not loaded.

        Raises:
            StoreError: the folder cannot be written.
        """
        folder = Path(folder)
        content = {"format": _FORMAT, "wanted": wanted or len(self), **self.settings()}
        tensors, hashes = self.tensors(), {}
        for name in self.names:
            weights = {key: t.cpu().contiguous() for key, t in tensors.items() if key.partition("|")[0] == name}
            data = safetensors.torch.save(weights)
            hashes[name] = hashlib.sha256(data).hexdigest()
            file = folder / f"{name}.safetensors"
            if not (file.is_file() and hashlib.sha256(file.read_bytes()).hexdigest() == hashes[name]):
                atomic.write_bytes(file, data)
        content["sha256"] = hashes
        atomic.write_json(folder / CARD, {**content, "checksum": _checksum(content)})

    @classmethod
    def load(cls, folder: Path | str, *, unfinished: bool = False) -> Repository:
        """Read a repository back.

        Args:
            folder: where :meth:`save` wrote it.
            unfinished: take it although members are still to be trained.

        Raises:
            BundleError: something is missing, truncated, was changed, or is not finished.
        """
        folder = Path(folder)
        content = _read(folder)
        if len(content["members"]) < content["wanted"] and not unfinished:
            raise BundleError(
                f"The repository in {folder} is not finished: {len(content['members'])} of {content['wanted']} "
                "autoencoders are trained. Run the command that trains it again; it goes on where it was."
            )
        tensors: dict[str, Tensor] = {}
        for name, sha256 in content["sha256"].items():
            file = folder / f"{name}.safetensors"
            try:
                # Names come from a file that may be hostile: only plain names in this folder.
                data = file.read_bytes() if file.parent == folder else b""
                if hashlib.sha256(data).hexdigest() != sha256:
                    raise BundleError(f"{file} is not what was saved: truncated or changed; train or copy it again.")
                tensors |= safetensors.torch.load(data)
            except (OSError, SafetensorError, ValueError) as error:
                raise BundleError(f"The repository in {folder} lacks {file.name}, or it is unreadable.") from error
        return cls.restore(content, tensors)


def _rebuild(shape: Sequence[int], spec: AutoencoderSpec, tensors: Mapping[tuple[str, str, str], Tensor]) -> nn.Module:
    """Build a module around weights, however large a damaged file says that it is."""
    with torch.device("meta"):
        module = build_autoencoder(shape, spec)
    own = {name: tensor for (member, _, name), tensor in tensors.items() if member == spec.name}
    weights = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in own.items()}
    module.load_state_dict(weights, assign=True)
    together(module)
    return module


def _read(folder: Path) -> dict[str, Any]:
    path = folder / CARD
    try:
        content = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise BundleError(
            f"{folder} holds no repository of autoencoders ({CARD}: {error.strerror}); make one by "
            f"`salus autoencoders --out {folder}`."
        ) from error
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{path} is damaged: it is not JSON.") from error
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise BundleError(f"{path} is not a repository of this version of Salus ({_FORMAT}).")
    checksum = content.pop("checksum", None)
    if checksum != _checksum(content):
        raise BundleError(f"{path} was changed since the repository was saved: its checksum does not agree.")
    return content


def _checksum(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
