"""Arrays of a file that nobody reads: named, so that nothing is left out in silence."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from salus.data.options import LoadOptions
from salus.progress import console


def tell_unread(arrays: Iterable[str], read: set[str], options: LoadOptions) -> list[str]:
    """Name the arrays that are not among those read, in a note and on the terminal."""
    unread = [key for key in arrays if key not in read and key != options.group_by]
    if not unread:
        return []
    note = f"array{'s' * (len(unread) > 1)} that nobody reads: {', '.join(unread)}"
    console.print(f"WARNING: {Path(options.name).name}: {note}", markup=False)
    return [note]
