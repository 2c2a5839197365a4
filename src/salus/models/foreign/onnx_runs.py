"""An ONNX program where it runs: in onnxruntime, and in torch where every operator converts."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from salus.errors import ModelError
from salus.models.reading import Front, Inputs, Reading
from salus.models.torchvision_ops import load_torchvision

#: How far the program in torch may be from what onnxruntime computes, as a share of the largest answer from 1 up.
AGREEMENT = 1e-4

#: Inputs that both answer.
_TRIED = 6


def session_of(content: bytes, optimised: str | None = None) -> Any:
    """Start a program in onnxruntime, without operators from files; write it simplified where a path is given."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads = 1
    if optimised is not None:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = optimised
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def probes_of(reading: Reading, inputs: Inputs) -> Tensor:
    """Draw some inputs as a program reads them."""
    x = inputs.some(_TRIED)
    last = reading.layout == "channels-last"
    probes: Tensor = Front(None, reading.mean, reading.std, channels_last=last)(x)
    return probes


def in_torch(
    content: bytes, answers: Callable[[Tensor], Any], reading: Reading, inputs: Inputs, outputs: list[str]
) -> tuple[nn.Module | None, str]:
    """Turn a program into torch and compare the two on inputs drawn at random.

    Returns:
        The module, or None; and how far they were apart, or why it cannot be.
    """
    try:
        import onnx

        load_torchvision()
        import onnx2pytorch
    except (ModelError, ImportError) as error:
        return None, f"onnx2pytorch is not installed: pip install 'salus[onnx]' ({error})"
    try:
        with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
            warnings.simplefilter("ignore")
            simplified = str(Path(folder, "simplified.onnx"))  # constants folded, identities gone
            session_of(content, simplified)
            program = onnx.load(simplified)
            for node in program.graph.node:
                if node.op_type == "BatchNormalization":
                    kept = [each for each in node.attribute if each.name != "training_mode"]
                    del node.attribute[:]
                    node.attribute.extend(kept)
            inner = onnx2pytorch.ConvertModel(program, experimental=True).eval()
        converted = InTorch(inner, outputs if len(outputs) > 1 else None)
        x = probes_of(reading, inputs)
        apart = 0.0
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for rows in (slice(None), slice(0, 1)):
                own, other = answers(x[rows]), converted(x[rows])
                pairs = [(own, other)] if isinstance(own, Tensor) else [(own[name], other[name]) for name in own]
                for a, b in pairs:
                    scale = max(float(a.abs().max()), 1.0)
                    apart = max(apart, float((a - b).abs().max()) / scale)
    except Exception as error:  # a converter fails in many ways
        reason = " ".join(str(error).split())[:150].rstrip(".") or type(error).__name__
        return None, reason
    if not apart <= AGREEMENT:
        return None, f"the two differ by {apart:.1e} on random inputs"
    return converted, f"within {apart:.0e} on random inputs"


class InTorch(nn.Module):
    """A program as torch computes it.

    Args:
        program: what the converter made.
        outputs: names of several outputs; None of one.
    """

    def __init__(self, program: nn.Module, outputs: list[str] | None) -> None:
        super().__init__()
        self.program, self.outputs = program, outputs

    def forward(self, x: Tensor) -> Any:
        """Answer x ``[N, ...]``."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            answer = self.program(x)
        if self.outputs is None:
            return answer[0] if isinstance(answer, (tuple, list)) else answer
        return dict(zip(self.outputs, answer, strict=True))
