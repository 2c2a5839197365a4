"""Knowing one's own pictures, so that no default name overwrites a file of somebody else's."""

from __future__ import annotations

import os
from itertools import chain, count
from pathlib import Path

#: What every picture that Salus draws under a default name says of itself.
SIGNATURE = {"Software": "Salus"}

#: As PNG has it: a chunk of 14 bytes of text before the pixels.
_CHUNK = b"\x00\x00\x00\x0etEXtSoftware\x00Salus"
_PNG = b"\x89PNG\r\n\x1a\n"


def is_ours(path: Path) -> bool:
    """Tell whether a file is a picture that Salus drew."""
    try:
        with path.open("rb") as file:
            head = file.read(4096)
    except OSError:
        return False
    return head.startswith(_PNG) and _CHUNK in head


def free_place(path: Path) -> Path:
    """Return the path, or where a file that is not ours lies there, the next free name: ``scan-salus.png``."""
    endings = chain(("", "-salus"), (f"-salus-{number}" for number in count(2)))
    places = (path.with_name(f"{path.stem}{ending}{path.suffix}") for ending in endings)
    return next(place for place in places if is_ours(place) or not os.path.lexists(place))
