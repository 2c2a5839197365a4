"""A guard behind Salus's own interface, asked about prepared inputs."""

from __future__ import annotations

from urllib.parse import quote

import numpy as np

from salus.client.bodies import prepared_body
from salus.client.client import Client, posting
from salus.client.interface import Answers, EndpointCard, Floats, log_of
from salus.client.messages import VerdictMessage, VerdictsAnswer
from salus.errors import EndpointError


class ServedGuard:
    """Speaks Salus's interface, ``/v1/guards/NAME``.

    Args:
        client: of the service.
        name: of the guard.
    """

    def __init__(self, client: Client, name: str) -> None:
        self.client, self.name = client, name
        self.outputs: str | None = "verdicts"

    def card(self) -> EndpointCard:
        """Ask what the guard is."""
        card = self.client.guard(self.name)
        return EndpointCard(
            name=card.name,
            interface="Salus's interface (v1)",
            classes=tuple(card.classes),
            shape=tuple(card.shape),
            bounds=card.bounds,
            fingerprint=card.bundle,
            rejects=bool(card.detectors),
            bare=not card.detectors and card.purifier is None,
            detectors=tuple(card.detectors),
            purifier=card.purifier,
            false_alarm_rate=card.false_alarm_rate,
        )

    def ask(self, x: Floats, card: EndpointCard, key: str) -> Answers:
        """Ask about inputs, which go over the wire as an ``.npz`` file of x."""
        call = posting(f"/v1/guards/{quote(self.name, safe='')}/verdicts", prepared_body(x), key)
        answer = self.client.read(VerdictsAnswer, self.client.exchange(call))
        if answer.bundle != card.fingerprint:
            raise changed(card, answer.bundle)
        if len(answer.verdicts) != len(x):
            raise EndpointError(f"{card.name!r} gave {len(answer.verdicts)} verdicts on {len(x)} inputs.")
        labels = np.full(len(x), -1, np.int64)
        scores = np.full((len(x), len(card.classes)), np.nan, np.float32)
        for row, verdict in enumerate(answer.verdicts):
            if verdict.outcome == "accepted":
                labels[row], scores[row] = _accepted(verdict, card)
            elif verdict.outcome == "not judged":
                raise EndpointError(
                    f"{card.name!r} did not judge an input ({verdict.name}: {verdict.reason}); are these data prepared "
                    "as its training data were?"
                )
            elif not card.rejects:
                raise EndpointError(f"{card.name!r} rejected an input, though it says that it has no detectors.")
        return Answers(labels, scores)

    def close(self) -> None:
        """Close the connections."""
        self.client.close()


def changed(card: EndpointCard, now: str) -> EndpointError:
    """Say that the model was exchanged under the audit's hands."""
    return EndpointError(
        f"The model {card.name!r} was exchanged while it was asked: its fingerprint is now {now or 'none'!r}, at first "
        f"it was {card.fingerprint!r}; begin again, in a new folder."
    )


def _accepted(verdict: VerdictMessage, card: EndpointCard) -> tuple[int, Floats]:
    """Read the label and the log-probabilities ``[K]`` of an accepted input."""
    given = verdict.probabilities or {}
    if verdict.label not in card.classes or set(given) != set(card.classes):
        raise EndpointError(
            f"{card.name!r} answered with the class {verdict.label!r} and probabilities of {', '.join(given) or 'none'}"
            f", but its classes are {', '.join(card.classes)}."
        )
    return card.classes.index(verdict.label), log_of(np.array([given[name] for name in card.classes], np.float32))
