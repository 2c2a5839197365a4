"""What a served guard is asked and what it answers, the same on both sides of the wire."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

#: What a verdict comes to; an input that could not be prepared is not judged.
Outcome = Literal["accepted", "rejected", "not judged"]

#: What a token may do: ask for verdicts, see the scores of detectors, read metrics, look at the dashboard and the log,
#: and change things (tokens, bundles).
Scope = Literal["judge", "scores", "metrics", "dashboard", "admin"]
SCOPES: tuple[Scope, ...] = ("judge", "scores", "metrics", "dashboard", "admin")

#: The header that makes a repeated request give the first one's answer, and the one that carries a request's name.
IDEMPOTENCY_KEY, REQUEST_ID = "Idempotency-Key", "X-Request-Id"


class Message(BaseModel):
    """A message; fields that a later version adds are passed over."""

    model_config = ConfigDict(frozen=True)


class VerdictsRequest(Message):
    """Raw inputs as JSON.

    Attributes:
        inputs: what the guard's preprocessor takes: rows of a table as objects, column name -> value; levels of images
            ``[N, C, H, W]``; windows of recordings ``[N, 1, 280]`` in mV; numbers in raw units ``[N, ...]``.
        prepared: whether they are x already, as the classifier takes it.
    """

    model_config = ConfigDict(extra="forbid")

    inputs: list[Any] = Field(min_length=1)
    prepared: bool = False


class DetectorScore(Message):
    """What one detector says of one input.

    Attributes:
        score: its suspicion, higher is more suspicious.
        threshold: above it, it rejects.
        rejects: whether it does.
    """

    score: float | None
    threshold: float
    rejects: bool


class VerdictMessage(Message):
    """What the guard says of one input.

    Attributes:
        name: what its source calls it.
        outcome: ``accepted``, ``rejected``, or ``not judged``.
        label: the class; None unless accepted.
        probabilities: class name -> probability; None unless accepted.
        detectors: detector name -> its score; None without the scope ``scores``.
        reason: why it was not judged; None otherwise.
    """

    name: str
    outcome: Outcome
    label: str | None = None
    probabilities: dict[str, float] | None = None
    detectors: dict[str, DetectorScore] | None = None
    reason: str | None = None


class VerdictsAnswer(Message):
    """The verdicts on one request, in the order of its inputs, those that were not judged last.

    Attributes:
        request_id: names the request in the log.
        guard: who judged.
        bundle: SHA-256 of the guard's bundle.
        verdicts: one for each input.
        notes: what was assumed of the inputs.
        clipped: values outside the range of training that were clipped.
    """

    request_id: str
    guard: str
    bundle: str
    verdicts: list[VerdictMessage]
    notes: list[str] = []
    clipped: int = 0


class Problem(Message):
    """What went wrong (RFC 9457).

    Attributes:
        type: the kind, a URI reference.
        title: the kind in words.
        status: of HTTP.
        detail: this case in one sentence, with its remedy.
        request_id: names the request.
    """

    type: str
    title: str
    status: int
    detail: str
    request_id: str | None = None


class GuardCard(Message):
    """What a guard is.

    Attributes:
        name: how it is called.
        bundle: SHA-256 of its bundle.
        classes: names of the classes.
        shape: of one prepared input.
        bounds: lowest and highest value of it.
        takes: what raw inputs it takes, in words.
        content_types: media types that it reads.
        detectors: their names.
        purifier: its name and settings; None without one.
        false_alarm_rate: the share of clean inputs that its calibration allows to be rejected.
    """

    name: str
    bundle: str
    classes: list[str]
    shape: list[int]
    bounds: tuple[float, float]
    takes: str
    content_types: list[str]
    detectors: list[str]
    purifier: str | None
    false_alarm_rate: float
