"""What machine this is: which device to compute on, and the versions that results may depend on."""

from __future__ import annotations

import platform
from importlib.metadata import version

import torch

from salus.errors import OptionError


def find_device(name: str) -> torch.device:
    """Find a device and try it.

    Raises:
        OptionError: it cannot be used here.
    """
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise OptionError(f"Device {name!r} cannot be used here; 'cpu' always can.") from error
    return device


def versions() -> dict[str, str]:
    """Name the versions that results may depend on."""
    packages = ("torch", "numpy", "scikit-learn", "wfdb")
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}
