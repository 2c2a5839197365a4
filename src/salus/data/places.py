"""Where data lie on this machine: what is looked through for them, and in which order."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path


def cache_folder() -> Path:
    """The user's cache, or the folder that the variable SALUS_CACHE names."""
    folder = os.environ.get("SALUS_CACHE")
    if folder:
        return Path(folder)
    from platformdirs import user_cache_dir

    return Path(user_cache_dir("salus"))


def places(data_dir: Path | None = None) -> list[Path]:
    """Folders that may hold downloaded sets, first things first: data_dir, SALUS_DATA, the user cache."""
    folder = os.environ.get("SALUS_DATA")
    first = [data_dir] if data_dir is not None else []
    return [*first, *([Path(folder)] if folder else []), cache_folder() / "data"]


def find_set(name: str, landmarks: Iterable[str], data_dir: Path | None = None) -> Path | None:
    """The first folder called ``name`` that holds one of the ``landmarks``; None when there is none."""
    landmarks = tuple(landmarks)
    for place in places(data_dir):
        if any((place / name / landmark).exists() for landmark in landmarks):
            return place / name
    return None
