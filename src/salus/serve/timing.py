"""Waiting for something, but not for ever."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


async def within(awaited: Awaitable[T], seconds: float) -> T:
    """Wait for something; ``asyncio.wait_for`` would make a task of it first, for each request several.

    Raises:
        TimeoutError: it took longer.
    """
    task = asyncio.current_task()
    late = False

    def give_up() -> None:
        nonlocal late
        late = True
        if task is not None:
            task.cancel()

    timer = asyncio.get_running_loop().call_later(seconds, give_up)
    try:
        return await awaited
    except asyncio.CancelledError:
        if not late:
            raise
        if sys.version_info >= (3, 11) and task is not None:
            task.uncancel()
        raise TimeoutError from None
    finally:
        timer.cancel()
