"""What the layers of a module showed during one forward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from salus.errors import ModelError, nearest
from salus.models.probabilities import LogOfProbabilities
from salus.models.reading import Wrapped


def named_layers(module: nn.Module) -> dict[str, nn.Module]:
    """List the parts of a module by name; a module without parts is its own single layer."""
    inner = module
    while isinstance(inner, (LogOfProbabilities, Wrapped)):
        inner = inner.module
    shown: dict[str, nn.Module] | None = getattr(inner, "shown", None)
    parts = {name: part for name, part in inner.named_modules() if name} if shown is None else dict(shown)
    return parts or {"model": inner}


def layer_names(module: nn.Module) -> tuple[str, ...]:
    """Name what :func:`watched` can watch: ``logits``, ``penultimate``, and every part by its name."""
    parts = named_layers(module)
    penultimate = ["penultimate"] if heads(parts) else []
    return tuple(dict.fromkeys(("logits", *penultimate, *parts)))


def heads(parts: Mapping[str, nn.Module]) -> list[nn.Module]:
    """List layers of which the last that runs may give the logits: linear ones or, without any, convolutions.

    Also inside an exported program, whose parts remember their type by name.
    """
    linear = [part for part in parts.values() if _is(part, nn.Linear)]
    return linear or [part for part in parts.values() if _is(part, nn.Conv1d, nn.Conv2d, nn.Conv3d)]


def _is(part: nn.Module, *kinds: type[nn.Module]) -> bool:
    if isinstance(part, kinds):
        return True
    type_name = getattr(type(part), "type_name", None)
    word = str(type_name(part) or "") if callable(type_name) else ""
    return word.endswith(tuple(f".{kind.__module__.rpartition('.')[2]}.{kind.__name__}" for kind in kinds))


@torch.no_grad()
def last_layer(module: nn.Module, x: Tensor) -> str:
    """Name the last product or convolution that runs on x ``[N, ...]``: of a classifier, what gives the logits.

    Raises:
        ModelError: there is none.
    """
    ran: list[str] = []
    with ExitStack() as hooks:
        for name, part in module.named_modules():
            if any(weight.ndim > 1 for weight in part.parameters(recurse=False)):
                hooks.callback(part.register_forward_hook(lambda *_, name=name: ran.append(name)).remove)
        module(x)
    if not ran:
        raise ModelError("The model has no layer with weights of its own that could be its last.")
    return ran[-1]


@torch.no_grad()
def output_shape(module: nn.Module, layer: str, x: Tensor) -> tuple[int, ...] | None:
    """Tell the shape ``[N, C, ...]`` of what a part of a module gives for x, before it is averaged or flattened.

    Args:
        module: the network.
        layer: a part's name, with or without ``/flat``.
        x: inputs ``[N, ...]``.

    Returns:
        The shape; None where there is no such part, or it gives no tensor.
    """
    part = named_layers(module).get(layer.partition("/")[0])
    shapes: list[tuple[int, ...]] = []
    if part is None:
        return None

    def keep(_: nn.Module, __: Any, output: Any) -> None:
        value = output[0] if isinstance(output, (tuple, list)) and output else output
        if isinstance(value, Tensor):
            shapes.append(tuple(value.shape))

    with ExitStack() as hooks:
        hooks.callback(part.register_forward_hook(keep).remove)
        module(x.clone())
    return shapes[-1] if shapes else None


@contextmanager
def watched(module: nn.Module, layers: Sequence[str], name: str) -> Iterator[Mapping[str, Tensor]]:
    """Watch layers while the block runs the module once; afterwards no hook is left.

    Args:
        module: the network.
        layers: see :meth:`salus.classifier.Classifier.states`.
        name: how to call the classifier in an error message.

    Yields:
        Layer name to its states ``[N, D]``, filled by the forward pass.

    Raises:
        ModelError: there is no such layer.
    """
    parts = named_layers(module)
    states: dict[str, Tensor] = {}
    with ExitStack() as hooks:
        for layer in layers:
            word, slash, suffix = layer.partition("/")
            last = heads(parts) if word == "penultimate" else []
            if not (word == "logits" or last or word in parts) or (slash and suffix != "flat"):
                raise ModelError(f"Classifier {name!r} has no layer {layer!r}; {nearest(word, layer_names(module))}")
            if word == "logits":
                hooks.callback(module.register_forward_hook(_keep_output(states, layer, flat=True)).remove)
            elif word == "penultimate":
                for part in last:
                    hooks.callback(part.register_forward_pre_hook(_keep_input(states, layer)).remove)
            else:
                keeper = _keep_output(states, layer, flat=suffix == "flat")
                hooks.callback(parts[word].register_forward_hook(keeper).remove)
        yield states


def _keep_input(states: dict[str, Tensor], layer: str) -> Callable[..., None]:
    """Keep the input of the layer that runs last, because each overwrites the one before."""

    def keep(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        if inputs and isinstance(inputs[0], Tensor):
            positions = inputs[0].ndim > 2 and not _is(module, nn.Linear)  # a convolution's, to be averaged over
            value = _single(inputs[0])
            states[layer] = value.flatten(2).mean(2) if positions else value.flatten(1)

    return keep


def _keep_output(states: dict[str, Tensor], layer: str, *, flat: bool) -> Callable[..., None]:
    def keep(module: nn.Module, inputs: Any, output: Any) -> None:
        value = output[0] if isinstance(output, (tuple, list)) and output else output
        if not isinstance(value, Tensor) or value.ndim == 0:
            return
        value = _single(value)
        if value.ndim > 2:
            value = value.flatten(1) if flat else value.flatten(2).mean(2)  # [N, C, ...] to [N, D]
        rows = value if value.ndim == 2 else value[:, None]
        states[layer] = rows.clone()  # the next layer may work in place

    return keep


def _single(value: Tensor) -> Tensor:
    """Bring half precision to float32: sums and distances of states need the digits."""
    return value.float() if value.is_floating_point() and value.dtype.itemsize < 4 else value
