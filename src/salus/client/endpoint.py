"""A model reached over HTTP, asked within a budget and at a rate, never twice about the same input."""

from __future__ import annotations

import hashlib
import re
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import torch
from torch import Tensor

from salus.client.address import Address, read_token
from salus.client.interface import Answers, EndpointCard, Floats, Interface
from salus.client.kept import KeptAnswers
from salus.client.options import EndpointOptions
from salus.client.pace import Pace
from salus.client.retries import Retries
from salus.errors import EndpointError, ModelError, OptionError, SalusError

#: Inputs of one request, and bytes of them, at most.
_MOST, _BYTES = 256, 2**22

#: A service that asks to be left alone may take its time.
_PATIENCE = Retries(attempts=10, deadline=300.0)

_FORMS = (
    re.compile(r"(?P<base>.*)/(?P<version>v1)/guards/(?P<name>[^/]+)"),
    re.compile(r"(?P<base>.*)/(?P<version>v2)/models/(?P<name>[^/]+)(/versions/(?P<number>[^/]+))?"),
)


class BudgetError(SalusError):
    """The inputs that an endpoint may be asked about are spent."""


class Endpoint:
    """A model behind HTTP, as a function of prepared inputs.

    Called on x ``[N, ...]`` it gives log-probabilities ``[N, K]``, or, of a guard that may reject, labels int64
    ``[N]``, -1 where it rejects.

    Args:
        url: where it is, for reports.
        interface: by which it is asked.
        classes: names of the classes, where the endpoint does not say.
        queries: most inputs that it is asked about in all; None for any number.
        pace: how fast it is asked.

    Attributes:
        card: what it says of itself.

    Raises:
        EndpointError: it cannot be reached.
        ModelError: it is none that can be asked.
        OptionError: nobody says what its classes are.
    """

    def __init__(
        self,
        url: str,
        interface: Interface,
        *,
        classes: tuple[str, ...] = (),
        queries: int | None = None,
        pace: Pace | None = None,
    ) -> None:
        self.url, self._interface = url, interface
        self._budget, self._pace = queries, Pace(None) if pace is None else pace
        self.card: EndpointCard = interface.card()
        if classes and self.card.classes and classes != self.card.classes:
            raise OptionError(
                f"{url} says that its classes are {', '.join(self.card.classes)}, in this order; leave --classes out."
            )
        self.classes = self.card.classes or classes
        if len(self.classes) < 2:
            raise OptionError(
                f"{url} does not say what its classes are; name all of them, in the order of its outputs, by --classes "
                "A,B,C."
            )
        self._folder: Path | None = None
        self._kept: KeptAnswers | None = None
        self._nonce = uuid.uuid4().hex
        self._most = min(_MOST, self._pace.most or _MOST)
        self.asked = 0

    def __call__(self, x: Tensor) -> Tensor:
        """Ask about x ``[N, ...]``."""
        answers = self.ask(x)
        given = answers.labels if self.card.rejects else answers.scores
        return torch.from_numpy(given).to(x.device)

    def keep(self, folder: Path) -> None:
        """Keep answers in a folder, from the first question on, and use those that are there."""
        self._folder = folder

    def close(self) -> None:
        """Close the connections and the file of answers."""
        self._interface.close()
        if self._kept is not None:
            self._kept.close()
            self._kept = None

    def fingerprint(self) -> str:
        """Return what tells its model from others: of its bundle and its classes, wherever it is served."""
        facts = [self.card.name, self.card.fingerprint, *self.classes]
        return hashlib.sha256("\n".join(facts).encode()).hexdigest()

    def facts(self) -> dict[str, Any]:
        """Say what was asked where, as plain values for reports."""
        return {
            "url": self.url,
            "name": self.card.name,
            "interface": self.card.interface,
            "bundle": self.card.fingerprint or None,
            "outputs": self._interface.outputs,
            "rejects": self.card.rejects,
            "asked": len(self._answers),
            "asked_by_this_run": self.asked,
            "budget": self._budget,
        }

    def ask(self, x: Tensor) -> Answers:
        """Return the answers to x ``[N, ...]``, asking about those that it was not asked about before.

        Raises:
            BudgetError: it may not be asked about so many.
            EndpointError: it cannot be reached, refuses, answers otherwise than it should, or is another model now.
        """
        rows = np.ascontiguousarray(x.detach().cpu().numpy(), "<f4")
        digests = [hashlib.sha256(row.tobytes()).digest() for row in rows]
        places = {digest: place for place, digest in reversed(list(enumerate(digests)))}  # the first of equal ones
        known = self._answers.read(places)
        missing = sorted(place for digest, place in places.items() if digest not in known)
        while missing:
            some = missing[: self._size(rows)]
            answers = self._asked(rows[some])
            if answers is None:
                continue  # in smaller parts
            self._answers.write([digests[place] for place in some], answers, self._first_known())
            for position, place in enumerate(some):
                one = slice(position, position + 1)
                known[digests[place]] = Answers(answers.labels[one], answers.scores[one])
            missing = missing[len(some) :]
        if not digests:
            return Answers.empty(len(self.classes))
        each = [known[digest] for digest in digests]
        return Answers(np.concatenate([one.labels for one in each]), np.concatenate([one.scores for one in each]))

    def _size(self, rows: Floats) -> int:
        return max(1, min(self._most, _BYTES // max(int(rows[0].nbytes), 1)))

    def _asked(self, x: Floats) -> Answers | None:
        """Ask about inputs in one request; None where they were too many for one, of which fewer go from now on."""
        from salus.client.client import ProblemError

        spent = len(self._answers)
        if self._budget is not None and spent + len(x) > self._budget:
            raise BudgetError(
                f"{self.url} was asked about {spent} inputs, and may be asked about {self._budget} in all; give a "
                "larger --endpoint-queries: the same command goes on from here."
            )
        self._pace.take(len(x))
        # The same key after a kill, so that the service answers from its own memory what it has answered before.
        key = hashlib.sha256(self._nonce.encode() + x.tobytes()).hexdigest()
        try:
            answers = self._interface.ask(x, self.card, key)
        except ProblemError as error:
            if error.status != 413 or len(x) == 1:
                raise
            self._most = len(x) // 2
            return None
        self.asked += len(x)
        return answers

    @property
    def _answers(self) -> KeptAnswers:
        """The answers so far; opened when the first is wanted, when the folder is known to be free."""
        if self._kept is None:
            path = None if self._folder is None else self._folder / "answers.sqlite"
            self._kept = KeptAnswers(path, len(self.classes))
            if (before := self._kept.fact("fingerprint", self.fingerprint())) != self.fingerprint():
                raise EndpointError(
                    f"{path} holds the answers of another model (fingerprint {str(before)[:12]}) than {self.url} is "
                    "now; name a new folder."
                )
            self._nonce = self._kept.fact("nonce", self._nonce) or self._nonce
            self._interface.outputs = self._kept.fact("outputs") or self._interface.outputs
        return self._kept

    def _first_known(self) -> dict[str, str]:
        """Name what is known since the first answer, and must be the same in the next run."""
        return {} if self._interface.outputs is None else {"outputs": self._interface.outputs}


def is_endpoint(text: str) -> bool:
    """Tell whether what stands behind ``--model`` is a URL."""
    return text.startswith(("http://", "https://"))


def connect(url: str, options: EndpointOptions | None = None, *, classes: tuple[str, ...] = ()) -> Endpoint:
    """Reach a model: ``http://HOST:PORT/v1/guards/NAME``, or ``http://HOST:PORT/v2/models/NAME``.

    Args:
        url: of the model.
        options: how it may be asked.
        classes: names of its classes, in the order of its outputs, where it does not say.

    Raises:
        EndpointError: it cannot be reached.
        ModelError: it is none that can be asked.
        OptionError: the URL is of another form, of a host that nobody has allowed, or an option makes no sense.
    """
    options = EndpointOptions() if options is None else options
    address = Address.parse(url)
    permit(address, options)
    form = next((match for pattern in _FORMS if (match := pattern.fullmatch(address.path))), None)
    if form is None:
        raise OptionError(
            f"{address.url} names no model; write {address.scheme}://HOST:PORT/v1/guards/NAME for a guard of Salus's, "
            f"or {address.scheme}://HOST:PORT/v2/models/NAME for the Open Inference Protocol."
        )
    from salus.client.client import Client
    from salus.client.inference import InferenceModel
    from salus.client.served_guard import ServedGuard

    base = Address(address.scheme, address.host, address.port, form["base"]).url
    token = None if options.token_file is None else read_token(options.token_file)
    client = Client(base, token=token, verify=options.ca_file, retries=_PATIENCE)
    name = unquote(form["name"])
    interface: Interface = ServedGuard(client, name)
    if form["version"] == "v2":
        number = form["number"]
        interface = InferenceModel(client, name, None if number is None else unquote(number), classes)
    try:
        return Endpoint(
            address.url, interface, classes=classes, queries=options.endpoint_queries, pace=Pace(options.rate)
        )
    finally:
        interface.close()  # until the first question


def permit(address: Address, options: EndpointOptions) -> None:
    """Refuse to ask a host that is not this machine, unless it is allowed by name.

    Raises:
        OptionError: it is not.
    """
    if not address.loopback and address.host.lower() not in {host.lower() for host in options.allow_host}:
        raise OptionError(
            f"{address.host} is not this machine, and attacking a system that is not yours needs its owner's written "
            f"permission; where you have it, name the host: --allow-host {address.host}."
        )


def fit_to(endpoint: Endpoint, shape: tuple[int, ...], bounds: tuple[float, float], what: str) -> None:
    """Check that an endpoint takes such inputs, as far as it says.

    Raises:
        ModelError: they have another shape, or lie within other bounds.
    """
    card = endpoint.card
    fits = len(card.shape) == len(shape) and all(a in (-1, b) for a, b in zip(card.shape, shape, strict=False))
    if card.shape and not fits:
        raise ModelError(
            f"{endpoint.url} takes inputs of shape {list(card.shape)}, but those of {what} have {list(shape)}."
        )
    if card.bounds is not None and not np.allclose(card.bounds, bounds, rtol=1e-6):
        raise ModelError(
            f"{endpoint.url} takes values in {card.bounds}, but those of {what} lie in {bounds}; load the data as they "
            "were when it was trained (--bounds, --scale)."
        )
