"""Where a replica keeps copies of bundles: a folder that is gone when it is, be it killed."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from filelock import FileLock, Timeout

_PREFIX, _LOCK = "salus-bundles-", "in-use.lock"


class Place:
    """A temporary folder of this process; those of processes that were killed are removed on the way.

    Attributes:
        folder: where copies may go.
    """

    def __init__(self) -> None:
        for left in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
            _remove_unused(left)
        self._root = Path(tempfile.mkdtemp(prefix=_PREFIX))
        self._lock = FileLock(self._root / _LOCK)  # which ends with the process
        self._lock.acquire()
        self.folder = self._root / "copies"

    def clear(self) -> None:
        """Remove it."""
        self._lock.release()
        shutil.rmtree(self._root, ignore_errors=True)


def _remove_unused(root: Path) -> None:
    lock = root / _LOCK
    try:
        if root.is_symlink() or root.stat().st_uid != os.getuid() or not lock.exists():
            return
        with FileLock(lock, timeout=0):
            shutil.rmtree(root, ignore_errors=True)
    except (OSError, Timeout):  # somebody else's, in use, or just removed
        return
