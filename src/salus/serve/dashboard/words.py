"""Times, numbers and names in the words of the pages."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from typing import Any

from markupsafe import Markup

from salus.metrics import wording
from salus.metrics.wording import NOTHING, present


def utc(seconds: float | None) -> Markup:
    """Write a time in UTC, for people and for machines."""
    if seconds is None:
        return Markup("–")
    try:
        moment = datetime.fromtimestamp(seconds, timezone.utc)
    except (ValueError, OverflowError, OSError):  # of a clock that was far off
        return Markup("unknown")
    return Markup('<time datetime="{}">{}</time>').format(
        moment.strftime("%Y-%m-%dT%H:%M:%SZ"), moment.strftime("%Y-%m-%d %H:%M:%S")
    )


def clock(seconds: float) -> str:
    """Write the hour and minute of a time in UTC."""
    return time.strftime("%H:%M", time.gmtime(seconds))


def count(value: float | None) -> str:
    """Write how many."""
    return f"{value:,.0f}" if present(value) else NOTHING


def value(number: float | None) -> str:
    """Write a measured number to read, not to compute with."""
    return f"{number:.4g}" if present(number) else NOTHING


def chance(p: float | None) -> str:
    """Write a p-value."""
    if not present(p):
        return NOTHING
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def short(digest: str) -> str:
    """Write the beginning of a long digest."""
    return digest[:12]


def per(number: float, word: str) -> str:
    """Write a number with its word, ``1 entry``, ``2 entries``."""
    several = f"{word[:-1]}ies" if word.endswith("y") else f"{word}s"
    return f"{number:,.0f} {word if number == 1 else several}"


def detail(content: Any) -> str:
    """Write the detail of an event in a line; of a digest its beginning."""
    if isinstance(content, Mapping):
        return "; ".join(f"{name}: {detail(each)}" for name, each in content.items())
    if isinstance(content, (list, tuple)):
        return ", ".join(map(detail, content))
    words = "none" if content is None else str(content)
    return short(words) if len(words) == 64 and set(words) <= set("0123456789abcdef") else words


def printable(text: str) -> str:
    """Put a space for each character that a page cannot show, but for the ends of lines."""
    return "".join(letter if letter.isprintable() or letter == "\n" else " " for letter in text)


FILTERS: dict[str, Callable[..., Any]] = {
    "utc": utc,
    "clock": clock,
    "count": count,
    "value": value,
    "chance": chance,
    "short": short,
    "detail": detail,
    "per": per,
    "percent": wording.percentage,
    "interval": wording.interval,
}
