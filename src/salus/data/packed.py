"""Images that stay bytes, in memory or in a file, and become floats where they are used, batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

_ATEN = torch.ops.aten


class Packed(Tensor):
    """A float32 tensor ``[N, C, H, W]`` of values from 0 to 1 that holds a quarter of their bytes, or none.

    To its users it is the tensor of ``levels[rows] / white``: indexing, arithmetic and networks see plain floats, made
    when they are asked for and kept by nobody. Only ``split``, ``detach`` and :meth:`take` hand on the bytes as they
    are, so that whoever works batch by batch never has more floats than a batch; on another device they are bytes too.

    Args:
        levels: values from 0 to ``white``, uint8 or uint16 ``[M, C, H, W]``, in main memory, mapped from a file, or
            on a device.
        rows: which of the M images, in which order, int64 ``[N]``.
        white: the level that becomes 1.
    """

    levels: Tensor
    rows: Tensor
    white: int

    @staticmethod
    def __new__(cls: type[Packed], levels: Tensor, rows: Tensor, white: int = 255) -> Packed:
        """Make a tensor without floats of its own."""
        shape = (len(rows), *levels.shape[1:])
        with torch.inference_mode(False):  # so that it is the same tensor, in whichever mode it is made
            wrapper: Packed = Tensor._make_wrapper_subclass(cls, shape, dtype=torch.float32, device=levels.device)
        return wrapper

    def __init__(self, levels: Tensor, rows: Tensor, white: int = 255) -> None:
        self.levels, self.rows, self.white = levels, rows, white

    def take(self, rows: Tensor) -> Packed:
        """Choose images by their positions, int64 ``[n]`` (or bool ``[N]``), without reading any."""
        return Packed(self.levels, self.rows[rows.to(self.rows.device)], self.white)

    def bytes(self) -> Tensor:
        """Return the levels, uint8 or uint16 ``[N, C, H, W]``."""
        return self.levels[self.rows]

    def unpack(self) -> Tensor:
        """Make the floats, each level divided by that of white."""
        return _floats(self, self.rows)

    def numpy(self, *, force: bool = False) -> Any:
        """Make the floats as an array."""
        return self.unpack().numpy(force=force)

    def tolist(self) -> Any:
        """Make the floats as lists."""
        return self.unpack().tolist()

    def contiguous(self, memory_format: torch.memory_format = torch.contiguous_format) -> Tensor:
        """Make the floats, as those who read a tensor's memory ask for."""
        return self.unpack().contiguous(memory_format=memory_format)

    def __setitem__(self, rows: Any, values: Any) -> None:
        """Refuse: there are no floats to write to."""
        raise _read_only()

    def __repr__(self) -> str:  # type: ignore[override]
        return f"Packed({list(self.shape)})"

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Hand on bytes where the operation only chooses images in order; make floats for every other."""
        options = dict(kwargs or {})
        first = args[0] if args else None
        if isinstance(first, cls):
            if func._schema.is_mutable:  # type: ignore[attr-defined]
                raise _read_only()
            if func in (_ATEN.detach.default, _ATEN.alias.default):
                return cls(first.levels, first.rows, first.white)
            if func is _ATEN._to_copy.default and options.get("dtype") in (None, torch.float32) and "device" in options:
                levels = first.bytes().to(options["device"])
                return cls(levels, torch.arange(len(levels), device=levels.device), first.white)
            if func is _ATEN.split.Tensor and _dimension(args[2:], options) == 0:
                return [cls(first.levels, part, first.white) for part in first.rows.split(args[1])]
            if func in (_ATEN.select.int, _ATEN.slice.Tensor) and _dimension(args[1:], options) == 0:
                return _floats(first, func(first.rows, *args[1:], **options))
            if func is _ATEN.index.Tensor and len(args[1]) == 1 and args[1][0].device == first.rows.device:
                return _floats(first, first.rows[args[1][0]])
        return func(*tree_map_only(cls, cls.unpack, args), **tree_map_only(cls, cls.unpack, options))


def take(x: Tensor, rows: Tensor) -> Tensor:
    """Choose samples by their positions, int64 ``[n]`` (or bool ``[N]``); bytes stay bytes."""
    return x.take(rows) if isinstance(x, Packed) else x[rows]


def _read_only() -> RuntimeError:
    return RuntimeError("These images are read from bytes and cannot be written to; clone them first.")


def _floats(packed: Packed, rows: Tensor) -> Tensor:
    with torch.inference_mode(False):
        return packed.levels[rows].float().div_(packed.white)


def _dimension(after: Sequence[Any], options: Mapping[str, Any]) -> int:
    """Read along which dimension an operation goes that takes it as its next argument."""
    dimension: int = after[0] if after else options.get("dim", 0)
    return dimension
