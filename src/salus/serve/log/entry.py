"""Entries of the log: what they hold, and the one way in which they are written."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True)
class VerdictEntry:
    """What a guard said of one input; the name of a patient has no place here.

    Attributes:
        guard: its name.
        bundle: SHA-256 of its bundle.
        request: names the request.
        token: whose it was; the token's id, or "local".
        row: which of the request's inputs.
        input: ``Keys.input_digest`` of the prepared input; empty where it was not judged.
        outcome: ``accepted``, ``rejected``, or ``not judged``.
        label: the class that the classifier gives, of a rejected input too; None where it was not judged.
        probabilities: class name -> probability; None where it was not judged.
        scores: detector name -> its score.
        thresholds: detector name -> above which score it rejects.
        rejected_by: names of the detectors that rejected it.
    """

    guard: str
    bundle: str
    request: str
    token: str
    row: int
    input: str
    outcome: str
    label: str | None
    probabilities: Mapping[str, float] | None
    scores: Mapping[str, float | None]
    thresholds: Mapping[str, float]
    rejected_by: tuple[str, ...]

    kind: ClassVar[str] = "verdict"

    def body(self, seq: int, time: float) -> str:
        """Write the entry as it stands in the log, as canonical JSON."""
        return canonical({"seq": seq, "time": time, "kind": self.kind, **self.__dict__})

    def columns(self) -> dict[str, str | None]:
        """Give what the table holds beside the body, to be looked for."""
        return {"request": self.request, "guard": self.guard, "outcome": self.outcome}


@dataclass(frozen=True)
class EventEntry:
    """What happened to the service: it was started, a bundle loaded, the log pruned, a token made.

    Attributes:
        what: in a few words, the same for all of a kind.
        detail: more of it, as JSON has it.
    """

    what: str
    detail: Mapping[str, Any]

    kind: ClassVar[str] = "event"

    def body(self, seq: int, time: float) -> str:
        """Write the entry as it stands in the log, as canonical JSON."""
        return canonical({"seq": seq, "time": time, "kind": self.kind, **self.__dict__})

    def columns(self) -> dict[str, str | None]:
        """Give what the table holds beside the body: nothing."""
        return {"request": None, "guard": None, "outcome": None}


Entry = VerdictEntry | EventEntry


def canonical(content: Mapping[str, Any]) -> str:
    """Write JSON in the only way that the log has: sorted keys, no spaces, ASCII; what is no number is null."""
    try:
        return _ENCODER.encode(content)
    except ValueError:  # NaN or infinity, which JSON lacks
        return _ENCODER.encode(_finite(content))


#: Kept, as ``json.dumps`` makes a new one for each call with settings.
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)


def _finite(content: Any) -> Any:
    if isinstance(content, float):
        return content if math.isfinite(content) else None
    if isinstance(content, Mapping):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_finite(value) for value in content]
    return content
