"""Figures of the generated pages carry the hash of what they show, so that those out of date are found."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image


def stamp(what: Any) -> str:
    """Hash what a figure is drawn from."""
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()


def described(what: Any) -> dict[str, str | None]:
    """Return the metadata of a PNG that is drawn from this."""
    return {"Description": stamp(what), "Software": None}


def check(page: Path, text: str, figures: Mapping[Path, Any], script: str) -> int:
    """Name what is stale; returns 1 where something is.

    Args:
        page: the page as it lies there.
        text: what it should hold.
        figures: what each of its figures should be drawn from.
        script: what writes them.
    """
    stale = [] if page.exists() and page.read_text(encoding="utf-8") == text else [page]
    stale += [path for path, what in figures.items() if _carried(path) != stamp(what)]
    for path in stale:
        print(f"{path} is stale; run python docs/{script}")
    return int(bool(stale))


def _carried(path: Path) -> str:
    if not path.exists():
        return ""
    with Image.open(path) as picture:
        return str(picture.info.get("Description", ""))
