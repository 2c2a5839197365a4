"""The classifier seen from outside: logits, value bounds, class names, named hidden layers; saved and loaded."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from salus import atomic
from salus.errors import BundleError, ModelError, nearest

FORMAT = "salus-classifier"
VERSION = 1

#: What the parts of a saved classifier must be; anything else is a file of another format.
CARD = {"name": str, "classes": list, "bounds": list, "shape": list, "notes": list, "sha256": str}


@dataclass(frozen=True, eq=False)
class States:
    """What one forward pass showed.

    Attributes:
        x: the input ``[N, ...]``.
        logits: the output ``[N, K]``.
        hidden: layer name to states ``[N, D]``.
    """

    x: Tensor
    logits: Tensor
    hidden: Mapping[str, Tensor]


class LogOfProbabilities(nn.Module):
    """Turns a module that ends in softmax into one that gives logits: the log of what it returns."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        """Return log-probabilities ``[N, K]``, clamped where a probability rounded to 0."""
        p: Tensor = self.module(x)
        return p.clamp_min(torch.finfo(p.dtype).tiny).log()


class Classifier(nn.Module):
    """A trained model as Salus sees it; in eval mode from the start.

    Args:
        module: maps a batch to logits ``[N, K]``.
        classes: class names, in the order of the logits.
        bounds: lowest and highest value of the input.
        shape: shape of one sample.
        name: how reports call it.
        architecture: what it takes to build the module again: ``{"name": "ecg-cnn", "options": {...}}`` for
            Salus's own networks, ``{"factory": "package.module:function"}`` for a user's, ``{"program":
            "model.pt2"}`` for an exported program; with ``"outputs": "probabilities"`` when the module ends in
            softmax. None when nobody knows.
        notes: what a reader of a report should know about this model.
        program: the exported program itself, as bytes.
    """

    def __init__(
        self,
        module: nn.Module,
        classes: Sequence[str],
        *,
        shape: Sequence[int],
        bounds: tuple[float, float] = (0.0, 1.0),
        name: str = "classifier",
        architecture: Mapping[str, Any] | None = None,
        notes: Sequence[str] = (),
        program: bytes | None = None,
    ) -> None:
        super().__init__()
        self.module = module
        self.classes = tuple(classes)
        self.shape = tuple(int(size) for size in shape)
        self.bounds = (float(bounds[0]), float(bounds[1]))
        self.name = name
        self.architecture = None if architecture is None else dict(architecture)
        self.notes = tuple(notes)
        self.program = program
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """Compute the logits ``[N, K]``."""
        logits: Tensor = self.module(x)
        return logits

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        tensors = (*self.parameters(), *self.buffers())
        return tensors[0].device if tensors else torch.device("cpu")

    @property
    def layer_names(self) -> tuple[str, ...]:
        """What :meth:`states` can show: ``logits``, ``penultimate`` and every module by its name."""
        layers = self._layers()
        linear = any(_is_linear(part) for part in layers.values())
        return ("logits", *(["penultimate"] if linear else []), *layers)

    def _layers(self) -> dict[str, nn.Module]:
        inner = self.module.module if isinstance(self.module, LogOfProbabilities) else self.module
        named = {name: part for name, part in inner.named_modules() if name}
        return named or {"linear": inner} if isinstance(inner, nn.Linear) else named

    def states(self, x: Tensor, layers: Sequence[str]) -> States:
        """Compute logits and hidden states in one forward pass, differentiable in x.

        Args:
            x: inputs ``[N, ...]``.
            layers: names out of :attr:`layer_names`. ``penultimate`` is the input of the last linear layer that
                ran. A layer's output ``[N, C, ...]`` is averaged over its positions; ``name/flat`` flattens it
                instead. Of a module that runs several times the last output counts.

        Raises:
            ModelError: there is no such layer, it did not run, or it gives no states.
        """
        known = self._layers()
        seen: dict[str, Tensor] = {}
        with ExitStack() as hooks:
            for layer in layers:
                name, _, suffix = layer.partition("/")
                if name not in self.layer_names or suffix not in ("", "flat"):
                    hint = nearest(name, self.layer_names)
                    raise ModelError(f"Classifier {self.name!r} has no layer {layer!r}; {hint}")
                if name == "penultimate":
                    for part in filter(_is_linear, known.values()):
                        hooks.callback(part.register_forward_pre_hook(_input_keeper(seen, layer)).remove)
                elif name != "logits":
                    keeper = _output_keeper(seen, layer, flat=suffix == "flat")
                    hooks.callback(known[name].register_forward_hook(keeper).remove)
            logits = self(x)
        seen.update({layer: logits for layer in layers if layer.partition("/")[0] == "logits"})
        for layer in layers:
            if layer not in seen:
                raise ModelError(
                    f"Layer {layer!r} of classifier {self.name!r} did not run, or returned no tensor, in a "
                    "forward pass; choose another layer."
                )
            if seen[layer].shape[0] != len(x):
                raise ModelError(
                    f"Layer {layer!r} of classifier {self.name!r} returned {seen[layer].shape[0]} rows for "
                    f"{len(x)} samples; choose a layer whose first dimension is the sample."
                )
        return States(x, logits, {layer: seen[layer] for layer in layers})

    def predict(self, x: Tensor, batch_size: int = 512) -> Tensor:
        """Compute logits ``[N, K]`` batch by batch, in eval mode and without gradients, on x's device."""
        with evaluating(self), torch.no_grad():
            parts = [self(batch.to(self.device)).to(x.device) for batch in x.split(batch_size)]
        return torch.cat(parts) if len(x) else x.new_zeros(0, len(self.classes))

    def fingerprint(self) -> str:
        """SHA-256 of the architecture and the weights: equal when two classifiers compute the same."""
        digest = hashlib.sha256(json.dumps(self.architecture, sort_keys=True).encode())
        digest.update(repr(self.module).encode())
        for name, tensor in sorted(self.module.state_dict().items()):
            value = tensor.detach().cpu().contiguous()
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            digest.update(value.flatten().view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    def save(self, folder: Path) -> None:
        """Write ``model.safetensors`` and ``model.json`` (and ``model.pt2``) into a folder.

        Raises:
            StoreError: the folder cannot be written.
        """
        folder = Path(folder)
        weights = {name: tensor.detach().clone() for name, tensor in self.module.state_dict().items()}
        atomic.write_tensors(folder / "model.safetensors", weights)
        card: dict[str, Any] = {
            "format": FORMAT,
            "version": VERSION,
            "name": self.name,
            "architecture": self.architecture,
            "classes": list(self.classes),
            "bounds": list(self.bounds),
            "shape": list(self.shape),
            "notes": list(self.notes),
            "sha256": _sha256((folder / "model.safetensors").read_bytes()),
        }
        if self.program is not None:
            atomic.write_bytes(folder / "model.pt2", self.program)
            card["program_sha256"] = _sha256(self.program)
        atomic.write_json(folder / "model.json", card)

    @classmethod
    def load(cls, folder: Path, *, factory: str | None = None) -> Classifier:
        """Read a saved classifier, checking all of it; no code named in a file is ever imported.

        Args:
            folder: where :meth:`save` wrote.
            factory: ``package.module:function`` that builds the module, for a model of the user's own code.

        Raises:
            BundleError: something is missing, damaged, changed, or of another format.
            ModelError: the factory cannot be called.
        """
        folder = Path(folder)
        card = _read_card(folder / "model.json")
        content = _read_part(folder / "model.safetensors", card["sha256"])
        try:
            weights = safetensors.torch.load(content)
        except (SafetensorError, ValueError, KeyError) as error:
            raise BundleError(f"{folder / 'model.safetensors'} holds no safetensors: {error}.") from error
        module, program = _build(folder, card, factory)
        try:
            module.load_state_dict(weights, strict=True)
        except RuntimeError as error:
            reason = misfit(module, weights) or str(error).splitlines()[-1].strip()
            raise BundleError(f"The weights in {folder} do not fit the model: {reason}") from error
        return cls(
            module,
            card["classes"],
            shape=card["shape"],
            bounds=(card["bounds"][0], card["bounds"][1]),
            name=card["name"],
            architecture=card["architecture"],
            notes=card["notes"],
            program=program,
        )


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Hold a module in eval mode and put every part back as it was."""
    modes = [(part, part.training) for part in module.modules()]
    try:
        for part, _ in modes:
            part.training = False
        yield
    finally:
        for part, mode in modes:
            part.training = mode


def misfit(module: nn.Module, weights: Mapping[str, Tensor]) -> str:
    """Say in one sentence why weights do not fit a module; empty when they do."""
    own = module.state_dict()
    for word, names in (("lack", own.keys() - weights.keys()), ("hold", weights.keys() - own.keys())):
        if names:
            what = "which the model needs" if word == "lack" else "which the model does not have"
            return f"they {word} {sorted(names)[0]!r}, {what} ({len(names)} such in all)."
    for name, tensor in own.items():
        if tensor.shape != weights[name].shape:
            return f"{name!r} has shape {list(weights[name].shape)}; the model needs {list(tensor.shape)}."
    return ""


def as_logits(classifier: Classifier) -> Classifier:
    """Wrap a classifier that ends in softmax, so that its forward pass returns log-probabilities."""
    note = "The model ends in softmax; the logarithm of its output is used as logits."
    return Classifier(
        LogOfProbabilities(classifier.module),
        classifier.classes,
        shape=classifier.shape,
        bounds=classifier.bounds,
        name=classifier.name,
        architecture={**(classifier.architecture or {}), "outputs": "probabilities"},
        notes=(*classifier.notes, note),
        program=classifier.program,
    )


def _is_linear(part: nn.Module) -> bool:
    """Tell a linear layer, also one inside an exported program, which remembers its type by name."""
    type_name = getattr(part, "type_name", None)
    return isinstance(part, nn.Linear) or (
        callable(type_name) and str(type_name() or "").endswith("linear.Linear")
    )


def _input_keeper(seen: dict[str, Tensor], layer: str) -> Callable[..., None]:
    def keep(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        if inputs and isinstance(inputs[0], Tensor):
            seen[layer] = inputs[0].flatten(1)

    return keep


def _output_keeper(seen: dict[str, Tensor], layer: str, *, flat: bool) -> Callable[..., None]:
    def keep(module: nn.Module, inputs: Any, output: Any) -> None:
        if isinstance(output, (tuple, list)) and output:
            output = output[0]
        if not isinstance(output, Tensor) or output.ndim == 0:
            return
        rows = output[:, None] if output.ndim == 1 else output
        rows = rows.flatten(1) if flat or rows.ndim == 2 else rows.flatten(2).mean(2)  # [N, D]
        seen[layer] = rows.clone()  # the next layer may work in place

    return keep


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _read_part(path: Path, sha256: str) -> bytes:
    """Read one file of a saved classifier and check that it is the one that was saved."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror}. Save the model again.") from error
    if _sha256(content) != sha256:
        raise BundleError(
            f"{path} is not the file that was saved: its SHA-256 differs from the one in model.json. "
            "It is truncated or was changed; take a fresh copy of the folder, or save the model again."
        )
    return content


def _read_card(path: Path) -> dict[str, Any]:
    """Read ``model.json`` and check its form."""
    try:
        card = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise BundleError(f"There is no saved model in {path.parent}: {path.name} {error.strerror}.") from error
    except ValueError as error:
        raise BundleError(f"{path} is not JSON: it is damaged. Take a fresh copy of the folder.") from error
    if not isinstance(card, dict) or card.get("format") != FORMAT:
        raise BundleError(f"{path} does not describe a Salus classifier (format {FORMAT!r}).")
    if card.get("version") != VERSION:
        raise BundleError(f"{path} has version {card.get('version')!r}; this Salus reads version {VERSION}.")
    for key, kind in CARD.items():
        if not isinstance(card.get(key), kind):
            raise BundleError(f"{path}: {key!r} must be a {kind.__name__}, not {card.get(key)!r}.")
    numbers = all(type(value) in (int, float) for value in card["bounds"])
    if not (numbers and len(card["bounds"]) == 2 and card["bounds"][0] < card["bounds"][1]):
        raise BundleError(f"{path}: 'bounds' must be two numbers, the lower first, not {card['bounds']!r}.")
    if not all(type(size) is int and size > 0 for size in card["shape"]):
        raise BundleError(f"{path}: 'shape' must hold positive whole numbers, not {card['shape']!r}.")
    for key in ("classes", "notes"):
        if not all(isinstance(word, str) for word in card[key]):
            raise BundleError(f"{path}: {key!r} must hold words, not {card[key]!r}.")
    if len(card["classes"]) < 2:
        raise BundleError(f"{path}: 'classes' must name two classes or more, not {card['classes']!r}.")
    if not isinstance(card.get("architecture"), (dict, type(None))):
        raise BundleError(f"{path}: 'architecture' must be an object or null.")
    return card


def _build(folder: Path, card: Mapping[str, Any], factory: str | None) -> tuple[nn.Module, bytes | None]:
    """Build the module that a saved classifier describes, and hand back its program if it is one."""
    from salus.models.exported import read_program
    from salus.models.factories import call_factory
    from salus.models.registry import build_model

    architecture = card["architecture"] or {}
    program = None
    if "name" in architecture:
        options = architecture.get("options", {})
        try:
            module = build_model(architecture["name"], card["shape"], len(card["classes"]), options)
        except Exception as error:  # whatever an edited file asks for
            raise BundleError(f"The model that {folder / 'model.json'} describes: {error}") from error
    elif "program" in architecture:
        content = _read_part(folder / "model.pt2", str(card.get("program_sha256")))
        module, program = read_program(content, str(folder / "model.pt2"))
    elif factory is not None:
        module = call_factory(factory)
    else:
        known = f", as {architecture['factory']!r} was" if "factory" in architecture else ""
        raise BundleError(
            f"The model in {folder} was built by a user's own code, which is never imported because a file "
            f"names it{known}; say which function builds it: factory='package.module:function'."
        )
    return (LogOfProbabilities(module) if architecture.get("outputs") == "probabilities" else module), program
