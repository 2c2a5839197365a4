"""Files that a process apart reads first: libraries in C++ crash on damaged ones, and take their process along."""

from __future__ import annotations

import hashlib
import subprocess
import sys

from salus.errors import ModelError

#: Seconds that a file may take to be read.
_LONGEST = 20.0

#: SHA-256 of what was read apart already.
_SAFE: set[bytes] = set()


def read_apart(code: str, content: bytes, place: str, what: str) -> None:
    """Let another process read a file, and refuse one that it does not survive.

    Args:
        code: Python that reads the file from its standard input; Salus's own, never a file's.
        content: the file.
        place: how to name it.
        what: what it should be.

    Raises:
        ModelError: the process crashed, failed, or took too long.
    """
    digest = hashlib.sha256(code.encode() + content).digest()
    if digest in _SAFE:
        return
    command = [sys.executable, "-I", "-c", code]
    try:
        done = subprocess.run(command, input=content, capture_output=True, timeout=_LONGEST)  # noqa: S603  # our own code
    except subprocess.TimeoutExpired as error:
        raise ModelError(
            f"{place} takes over {_LONGEST:g} s to be read as {what}; it is damaged, or hostile."
        ) from error
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        reason = "it crashes its reader" if done.returncode < 0 or not lines else lines[-1][:200].rstrip(".")
        raise ModelError(f"{place} cannot be read as {what}: {reason}; take a fresh copy or export it again.")
    _SAFE.add(digest)
