"""In which precision a training computes."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field

#: ``auto`` is bfloat16 where the device has instructions for it, and float32 elsewhere.
Precision = Literal["float32", "bfloat16", "auto"]
PrecisionOption = Annotated[
    Precision,
    Field(description="bfloat16 trains in mixed precision; auto does so where the device has instructions for it"),
]


def settle(precision: Precision, device: torch.device | str) -> Literal["float32", "bfloat16"]:
    """Say what a precision comes to on a device.

    A processor without matrix instructions for bfloat16 (AMX) emulates it, slower than it computes in float32; a
    graphics card has them from compute capability 8 on.
    """
    if precision != "auto":
        return precision
    kind = torch.device(device).type
    if kind == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        fast = kind == "cpu" and bool(torch.cpu.get_capabilities().get("amx_bf16"))
    return "bfloat16" if fast else "float32"


def mixed(precision: Precision, device: torch.device | str) -> torch.autocast:
    """Compute in mixed precision inside the block, where that is asked for."""
    return torch.autocast(torch.device(device).type, torch.bfloat16, enabled=settle(precision, device) == "bfloat16")
