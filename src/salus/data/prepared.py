"""A cache of prepared arrays: safetensors beside a JSON page, in the user's cache folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from torch import Tensor

from salus.atomic import write_json, write_tensors
from salus.data.places import cache_folder
from salus.errors import StoreError
from salus.progress import console

Prepared = tuple[dict[str, Tensor], dict[str, Any]]


def prepared(name: str, key: Mapping[str, Any], build: Callable[[], Prepared]) -> Prepared:
    """Return what was prepared under this key before, or build it and keep it.

    A broken cache is rebuilt and a cache that cannot be written is done without; both are said.

    Args:
        name: of the data.
        key: everything that decides the result: the source's checksum, the options, the format.
        build: makes the tensors and a page of plain values.
    """
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:20]
    page = cache_folder() / "prepared" / f"{name}-{digest}.json"
    if (result := _recall(name, page)) is not None:
        return result
    tensors, facts = build()
    arrays = page.with_suffix(".safetensors")
    try:
        write_tensors(arrays, tensors)
        checksum = hashlib.sha256(arrays.read_bytes()).hexdigest()
        write_json(page, {"key": dict(key), "sha256": checksum, "facts": facts})
    except (StoreError, OSError) as error:
        console.print(f"The prepared {name} is not kept for the next time: {error}", markup=False)
    return tensors, facts


def _recall(name: str, page: Path) -> Prepared | None:
    """Read what was kept; None when there is nothing, or nothing whole."""
    try:
        content = json.loads(page.read_bytes())
        arrays = page.with_suffix(".safetensors").read_bytes()
        if hashlib.sha256(arrays).hexdigest() != content["sha256"]:
            raise ValueError("its checksum is wrong")
        return load_tensors(arrays), content["facts"]
    except (FileNotFoundError, NotADirectoryError):
        if not page.is_file():
            return None
        reason: object = "its arrays are missing"
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        reason = error
    console.print(f"The prepared {name} in {page.parent} is broken ({reason}) and is made anew.", markup=False)
    return None
