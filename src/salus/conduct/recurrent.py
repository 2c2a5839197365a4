"""Recurrent networks that are differentiated in eval mode, which cuDNN refuses."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

#: How torch names its recurrent layers in scripts, and their operators in exported programs.
_LAYERS = {"RNN", "LSTM", "GRU"}
_OPERATORS = ("aten.lstm.", "aten.gru.", "aten.rnn_tanh.", "aten.rnn_relu.")


@contextmanager
def without_cudnn(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Let recurrent layers run without cuDNN inside the block: it has no backward pass in eval mode.

    All other layers keep it.
    """
    with ExitStack() as hooks:
        for part in modules:
            if is_recurrent(part):
                enabled: list[bool] = []  # a stack: a layer may run inside itself
                before, after = _switch_off(enabled), _switch_back(enabled)
                hooks.callback(part.register_forward_pre_hook(before).remove)
                hooks.callback(part.register_forward_hook(after, always_call=True).remove)
        yield


def is_recurrent(part: nn.Module) -> bool:
    """Tell whether a module runs recurrent layers itself: as one, as a script, or as an exported program."""
    if isinstance(part, nn.RNNBase):
        return True
    if isinstance(part, torch.jit.ScriptModule):
        return any(getattr(inner, "original_name", "") in _LAYERS for inner in part.modules())
    graph = getattr(part, "graph", None)
    return isinstance(graph, torch.fx.Graph) and any(str(node.target).startswith(_OPERATORS) for node in graph.nodes)


def _switch_off(enabled: list[bool]) -> Any:
    def before(part: nn.Module, inputs: Any) -> None:
        enabled.append(torch.backends.cudnn.enabled)
        torch.backends.cudnn.enabled = False

    return before


def _switch_back(enabled: list[bool]) -> Any:
    def after(part: nn.Module, inputs: Any, output: Any) -> None:
        torch.backends.cudnn.enabled = enabled.pop()

    return after
