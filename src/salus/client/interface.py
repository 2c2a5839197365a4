"""What a model behind HTTP is asked and says, whichever protocol it speaks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class EndpointCard:
    """What an endpoint says of its model.

    Attributes:
        name: how the service calls it.
        interface: the protocol, in words.
        classes: their names, in the order of the probabilities; () where it does not say.
        shape: of one prepared input, -1 for an axis of any length; () where it does not say.
        bounds: lowest and highest value of it; None where it does not say.
        fingerprint: of its bundle, or what version it has; "" where it says neither.
        rejects: it may reject inputs, and then withholds their probabilities.
        bare: it is a classifier that stands alone.
        detectors: names of a guard's detectors.
        purifier: of a guard; None without one.
        false_alarm_rate: the share of clean inputs that a guard may reject; None where it does not say.
    """

    name: str
    interface: str
    classes: tuple[str, ...] = ()
    shape: tuple[int, ...] = ()
    bounds: tuple[float, float] | None = None
    fingerprint: str = ""
    rejects: bool = False
    bare: bool = True
    detectors: tuple[str, ...] = ()
    purifier: str | None = None
    false_alarm_rate: float | None = None


@dataclass(frozen=True)
class Answers:
    """What an endpoint says of N inputs.

    Attributes:
        labels: int64 ``[N]``, -1 where it rejects.
        scores: log-probabilities, float32 ``[N, K]``; NaN where they are withheld.
    """

    labels: Labels
    scores: Floats

    @classmethod
    def empty(cls, classes: int) -> Answers:
        """Return the answers to nothing."""
        return cls(np.empty(0, np.int64), np.empty((0, classes), np.float32))


class Interface(Protocol):
    """A protocol by which an endpoint is asked.

    Attributes:
        outputs: what the model gives, ``verdicts``, ``probabilities`` or ``logits``; None before that is known.
    """

    outputs: str | None

    def card(self) -> EndpointCard:
        """Ask what the model is.

        Raises:
            EndpointError: the service cannot be reached, or has no such model.
            ModelError: it is none that Salus can ask.
        """

    def ask(self, x: Floats, card: EndpointCard, key: str) -> Answers:
        """Ask about prepared inputs ``[N, ...]``, in one request.

        Args:
            x: the inputs.
            card: what the endpoint was at first.
            key: names the request, however often it is sent.

        Raises:
            EndpointError: the service cannot be reached, refuses, answers otherwise than its protocol says, or has
                another model now.
        """

    def close(self) -> None:
        """Close the connections."""


def log_of(probabilities: Floats) -> Floats:
    """Return log-probabilities, clamped where a probability rounded to 0."""
    logs: Floats = np.log(np.maximum(probabilities, np.finfo(np.float32).tiny)).astype(np.float32)
    return logs
