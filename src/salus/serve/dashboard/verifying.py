"""The whole log checked in the background, for whoever asks on its page."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from salus.errors import SalusError


@dataclass(frozen=True)
class Check:
    """A check of the log.

    Attributes:
        began: when, in seconds since 1970.
        ended: when; None while it goes on.
        ok: whether all is as it was signed; None while it goes on, or where it could not be done.
        text: the result in words.
    """

    began: float
    ended: float | None = None
    ok: bool | None = None
    text: str = ""


class Checks:
    """Runs one check at a time, in a thread of its own.

    Args:
        verify: checks the whole log; returns whether it is as it was signed, and the result in words.
    """

    def __init__(self, verify: Callable[[], tuple[bool, str]]) -> None:
        self._verify = verify
        self._lock = threading.Lock()
        self._last: Check | None = None

    @property
    def last(self) -> Check | None:
        """The check that goes on, or the last one; None where there was none."""
        with self._lock:
            return self._last

    def start(self) -> bool:
        """Begin a check; False where one goes on."""
        with self._lock:
            if self._last is not None and self._last.ended is None:
                return False
            self._last = check = Check(time.time())
        threading.Thread(target=self._run, args=(check,), name="salus-verify", daemon=True).start()
        return True

    def _run(self, check: Check) -> None:
        ok: bool | None
        try:
            ok, text = self._verify()
        except SalusError as error:
            ok, text = None, str(error)
        except Exception as error:  # whatever it is, the page must not wait for ever
            ok, text = None, f"The log could not be checked: {error!r}"
        with self._lock:
            self._last = replace(check, ended=time.time(), ok=ok, text=text)
