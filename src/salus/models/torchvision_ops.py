"""The one place that imports torchvision, and repairs it where its build does not match torch's."""

from __future__ import annotations

import importlib
import sys
import warnings
from types import ModuleType

import torch

from salus.errors import ModelError

#: Operators that torchvision registers meta functions for, whether or not its compiled part was loaded.
SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)

_libraries: list[torch.library.Library] = []  # a library's definitions live as long as the object does


def load_torchvision() -> ModuleType:
    """Import torchvision.

    A torchvision built for CUDA beside a torch for the CPU cannot load its compiled operators, and its import
    then fails on ``torchvision::nms``. Classifiers do not use them, so they are declared, without code.

    Raises:
        ModelError: torchvision is not installed, or cannot be imported.
    """
    try:
        return _import()
    except ModuleNotFoundError as error:
        raise ModelError("This needs torchvision, which is not installed: pip install 'salus[images]'.") from error
    except (RuntimeError, ImportError) as error:
        if "torchvision::" not in str(error):
            raise ModelError(f"torchvision cannot be imported: {error}.") from error
        declare_operators()
    try:
        return _import()
    except (RuntimeError, ImportError) as error:
        raise ModelError(
            f"torchvision cannot be imported beside torch {torch.__version__}: {error}. "
            "Install the two in matching builds."
        ) from error


def declare_operators() -> None:
    """Declare torchvision's operators, as far as its import needs them and they are missing."""
    library = torch.library.Library("torchvision", "FRAGMENT")
    for schema in SCHEMAS:
        name = schema.partition("(")[0]
        if not hasattr(torch.ops.torchvision, name):
            library.define(schema)
    _libraries.append(library)


def _import() -> ModuleType:
    """Import torchvision; after a failure no half of it stays behind."""
    before = set(sys.modules)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=UserWarning, module=r"torchvision(\.|$)")
            return importlib.import_module("torchvision")
    except BaseException:
        for name in set(sys.modules) - before:
            if name.partition(".")[0] == "torchvision":
                del sys.modules[name]
        raise
