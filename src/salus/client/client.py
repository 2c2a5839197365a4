"""Clients of a served guard: one that waits, and one for asyncio."""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, TypeVar
from urllib.parse import quote

from pydantic import BaseModel, ValidationError

from salus.client.address import Address, trusting
from salus.client.bodies import Body, body_of
from salus.client.messages import IDEMPOTENCY_KEY, GuardCard, Message, Problem, VerdictsAnswer
from salus.client.retries import ONCE, PASSING, Retries, RetryState, retry_after
from salus.errors import EndpointError, OptionError

try:
    import httpx
except ImportError as missing:
    raise OptionError("Asking a service needs httpx, which is not installed: pip install 'salus[client]'.") from missing

M = TypeVar("M", bound=BaseModel)
H = TypeVar("H", httpx.Client, httpx.AsyncClient)

#: Bytes of the longest answer that is read.
MOST_BYTES = 2**28

#: Bytes that are read at a time; between them the clock is looked at.
_PIECE = 2**16

#: Seconds of the shortest wait for a byte; 0 would mean none at all.
_SHORTEST = 0.001


class ProblemError(EndpointError):
    """A service refused.

    Attributes:
        status: of HTTP.
        problem: what it said (RFC 9457); None where it said nothing of the kind.
    """

    def __init__(self, message: str, status: int, problem: Problem | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.problem = problem


class _Cards(Message):
    guards: list[GuardCard]


@dataclass(frozen=True)
class Reply:
    """What a service answered.

    Attributes:
        status: of HTTP.
        headers: names in small letters.
        content: the body.
    """

    status: int
    headers: Mapping[str, str]
    content: bytes


@dataclass(frozen=True)
class Call:
    """One request, the same in every attempt.

    Attributes:
        method: of HTTP.
        path: below the service's URL.
        body: what it carries.
        headers: beside the usual ones.
    """

    method: str
    path: str
    body: Body | None = None
    headers: tuple[tuple[str, str], ...] = ()

    def sent(self) -> dict[str, Any]:
        """Return it as httpx takes it."""
        headers = dict(self.headers)
        if self.body is not None:
            headers["Content-Type"] = self.body.media_type
        return {"method": self.method, "url": self.path, "headers": headers} | (
            {} if self.body is None else {"content": self.body.content}
        )


def posting(path: str, body: Body, key: str | None = None, **headers: str) -> Call:
    """Make a call that posts; retries cannot make the service do it twice, because all carry the same key."""
    pairs = ((IDEMPOTENCY_KEY, key or uuid.uuid4().hex), *headers.items())
    return Call("POST", path, body, pairs)


class _Caller(Generic[H]):
    """What both clients share: where, as whom, how long, and what answers mean."""

    #: Waits so many seconds; of asyncio's client it is awaited.
    _sleeps: Callable[[float], Any]

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        verify: Path | str | None = None,
        timeout: float = 30.0,
        retries: Retries | None = None,
        allow_plain_http: bool = False,
        transport: Any = None,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
        sleep: Callable[[float], Any] | None = None,
    ) -> None:
        self._sleep = self._sleeps if sleep is None else sleep
        self.address = Address.parse(url)
        token = self.address.check_token(token, allow_plain_http=allow_plain_http)
        self.retries = Retries() if retries is None else retries
        self._timeout, self._clock, self._chance = timeout, clock, chance
        self._only: str | None = None  # the server's only guard, once it is known
        self._options: dict[str, Any] = {
            "base_url": self.address.url,
            "headers": {"Accept": "application/json"} | ({} if token is None else {"Authorization": f"Bearer {token}"}),
            "verify": trusting(verify),
            "transport": transport,
            "trust_env": not self.address.loopback,  # what is for this machine, a token with it, goes to no proxy
        }
        self._http: H | None = None  # opened when it is first needed

    def _opened(self) -> H:
        raise NotImplementedError

    def _state(self, retries: Retries | None) -> RetryState:
        return RetryState(retries or self.retries, self._clock, self._chance)

    def _pause(self, state: RetryState, outcome: Reply | httpx.RequestError) -> float | None:
        """Return how long to wait before the next attempt; None where the outcome is the answer.

        Raises:
            EndpointError: there was no answer, and there is no next attempt.
        """
        if isinstance(outcome, Reply):
            if outcome.status not in PASSING:
                return None
            return state.wait(retry_after(outcome.headers.get("retry-after")))
        pause = state.wait()
        if pause is None:
            reason = " ".join(str(outcome).split()).rstrip(".") or type(outcome).__name__
            times = "once" if state.attempts == 1 else f"{state.attempts} times"
            raise EndpointError(
                f"{self.address.url} could not be reached, tried {times} ({reason}); is the service running there?"
            ) from outcome
        return pause

    def _too_late(self, retries: Retries | None) -> EndpointError:
        seconds = (retries or self.retries).deadline
        return EndpointError(
            f"{self.address.url} gave no whole answer within {seconds:g} seconds; ask about fewer inputs at a time, or "
            "give it longer (retries=Retries(deadline=...))."
        )

    def _grown(self, content: bytearray, piece: bytes) -> None:
        content += piece
        if len(content) > MOST_BYTES:
            raise EndpointError(f"{self.address.url} answered with over {MOST_BYTES} bytes, which no answer has.")

    def good(self, reply: Reply) -> Reply:
        """Return an answer that is none of refusal.

        Raises:
            ProblemError: the service refuses.
        """
        if 200 <= reply.status < 300:
            return reply
        problem = None
        if reply.headers.get("content-type", "").partition(";")[0].strip() == "application/problem+json":
            try:
                problem = Problem.model_validate_json(reply.content)
            except ValidationError:
                problem = None
        if problem is None:
            cause = "a proxy, or no Salus service, may answer there"
            raise ProblemError(f"{self.address.url} answered with status {reply.status}; {cause}.", reply.status)
        detail = problem.detail.strip() or problem.title
        end = "" if detail.endswith((".", "!", "?")) else "."
        raise ProblemError(f"{self.address.url} refuses ({reply.status}): {detail}{end}", reply.status, problem)

    def read(self, kind: type[M], reply: Reply) -> M:
        """Read what an answer says.

        Raises:
            EndpointError: it is no such message.
        """
        try:
            return kind.model_validate_json(reply.content)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "its beginning"
            raise EndpointError(
                f"{self.address.url} does not answer as this version of Salus does ({where}: {first['msg']}); is it a "
                "Salus service, and of this version?"
            ) from error

    def _one_of(self, cards: list[GuardCard]) -> str:
        if len(cards) != 1:
            names = ", ".join(card.name for card in cards)
            serves = f"serves several guards, {names}; name one by guard" if cards else "serves no guard"
            raise OptionError(f"{self.address.url} {serves}.")
        self._only = cards[0].name
        return self._only


def _verdicts(guard: str) -> str:
    return f"{_card(guard)}/verdicts"


def _card(guard: str) -> str:
    return f"/v1/guards/{quote(guard, safe='')}"


class Client(_Caller[httpx.Client]):
    """Asks a service about inputs, and waits for its verdicts.

    Requests that fail in passing are sent again, with one idempotency key, so that nothing is judged or logged twice.

    Args:
        url: of the service, ``https://host:8000``.
        token: who asks; by default what ``SALUS_TOKEN`` says.
        verify: a PEM file of authorities to trust instead of the usual ones.
        timeout: most seconds without a byte.
        retries: how often and how long a call is tried.
        allow_plain_http: send the token over plain http to another machine, too.
        transport: how httpx reaches the service, such as ``httpx.ASGITransport``.
        clock: tells the seconds.
        chance: draws from [0, 1).
        sleep: waits so many seconds.

    Raises:
        OptionError: the URL, the token or the file of authorities cannot be used.

    Example:
        >>> with Client("http://127.0.0.1:8000") as client:  # doctest: +SKIP
        ...     client.judge("patients.csv").verdicts[0].outcome
        'accepted'
    """

    _sleeps = staticmethod(time.sleep)

    def _opened(self) -> httpx.Client:
        if self._http is None:
            self._http = httpx.Client(**self._options)
        return self._http

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; another call opens them again."""
        if self._http is not None:
            self._http.close()
            self._http = None

    def guards(self) -> list[GuardCard]:
        """List the guards that the service has."""
        return self.read(_Cards, self.exchange(Call("GET", "/v1/guards"))).guards

    def guard(self, name: str) -> GuardCard:
        """Say what a guard is."""
        return self.read(GuardCard, self.exchange(Call("GET", _card(name))))

    def live(self) -> bool:
        """Tell whether the service runs."""
        return self._well("/health/live")

    def ready(self) -> bool:
        """Tell whether the service can judge now."""
        return self._well("/health/ready")

    def judge(self, thing: Any, *, guard: str | None = None, content_type: str | None = None) -> VerdictsAnswer:
        """Ask about one thing, in one request.

        Args:
            thing: a file or folder, bytes, rows, or an array of prepared inputs; see ``salus.client.bodies.body_of``.
            guard: who judges; by default the only guard that the service has.
            content_type: what the thing is, where its name does not tell.

        Raises:
            DataError: the thing cannot be read, or nobody knows what it is.
            EndpointError: the service cannot be reached, or refuses.
            OptionError: the service has several guards, and none is named.
        """
        body = body_of(thing, content_type)
        name = guard or self._only or self._one_of(self.guards())
        return self.read(VerdictsAnswer, self.exchange(posting(_verdicts(name), body)))

    def judge_many(
        self, things: Iterable[Any], *, guard: str | None = None, content_type: str | None = None
    ) -> Iterator[VerdictsAnswer]:
        """Ask about several things, each in a request of its own, as their verdicts are wanted; see :meth:`judge`."""
        for thing in things:
            yield self.judge(thing, guard=guard, content_type=content_type)

    def exchange(self, call: Call, retries: Retries | None = None) -> Reply:
        """Send a request until it is answered, and return a good answer.

        Raises:
            EndpointError: the service cannot be reached within the deadline, or refuses.
        """
        return self.good(self._answered(call, retries))

    def _well(self, path: str) -> bool:
        try:
            return self._answered(Call("GET", path), ONCE).status == httpx.codes.OK
        except EndpointError:
            return False

    def _answered(self, call: Call, retries: Retries | None) -> Reply:
        state = self._state(retries)
        while True:
            state.begin()
            outcome: Reply | httpx.RequestError
            try:
                outcome = self._once(call, state, retries)
            except httpx.RequestError as error:
                outcome = error
            pause = self._pause(state, outcome)
            if pause is None and isinstance(outcome, Reply):
                return outcome
            self._sleep(pause or 0.0)

    def _once(self, call: Call, state: RetryState, retries: Retries | None) -> Reply:
        content = bytearray()
        timeout = max(min(self._timeout, state.left), _SHORTEST)
        with self._opened().stream(**call.sent(), timeout=timeout) as response:
            for piece in response.iter_bytes(_PIECE):
                self._grown(content, piece)
                if not state.left:
                    raise self._too_late(retries)
        return Reply(response.status_code, dict(response.headers), bytes(content))


class AsyncClient(_Caller[httpx.AsyncClient]):
    """Asks a service about inputs in asyncio; as :class:`Client`, but ``sleep`` is awaited."""

    _sleeps = staticmethod(asyncio.sleep)

    def _opened(self) -> httpx.AsyncClient:
        if self._http is None:
            self._http = httpx.AsyncClient(**self._options)
        return self._http

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections; another call opens them again."""
        if self._http is not None:
            await self._http.aclose()
            self._http = None

    async def guards(self) -> list[GuardCard]:
        """List the guards that the service has."""
        return self.read(_Cards, await self.exchange(Call("GET", "/v1/guards"))).guards

    async def guard(self, name: str) -> GuardCard:
        """Say what a guard is."""
        return self.read(GuardCard, await self.exchange(Call("GET", _card(name))))

    async def live(self) -> bool:
        """Tell whether the service runs."""
        return await self._well("/health/live")

    async def ready(self) -> bool:
        """Tell whether the service can judge now."""
        return await self._well("/health/ready")

    async def judge(self, thing: Any, *, guard: str | None = None, content_type: str | None = None) -> VerdictsAnswer:
        """Ask about one thing, in one request; see :meth:`Client.judge`."""
        body = body_of(thing, content_type)
        name = guard or self._only or self._one_of(await self.guards())
        return self.read(VerdictsAnswer, await self.exchange(posting(_verdicts(name), body)))

    async def judge_many(
        self, things: Iterable[Any], *, guard: str | None = None, content_type: str | None = None
    ) -> AsyncIterator[VerdictsAnswer]:
        """Ask about several things, each in a request of its own, as their verdicts are wanted."""
        for thing in things:
            yield await self.judge(thing, guard=guard, content_type=content_type)

    async def exchange(self, call: Call, retries: Retries | None = None) -> Reply:
        """Send a request until it is answered, and return a good answer; see :meth:`Client.exchange`."""
        return self.good(await self._answered(call, retries))

    async def _well(self, path: str) -> bool:
        try:
            return (await self._answered(Call("GET", path), ONCE)).status == httpx.codes.OK
        except EndpointError:
            return False

    async def _answered(self, call: Call, retries: Retries | None) -> Reply:
        state = self._state(retries)
        while True:
            state.begin()
            outcome: Reply | httpx.RequestError
            try:
                outcome = await self._once(call, state, retries)
            except httpx.RequestError as error:
                outcome = error
            pause = self._pause(state, outcome)
            if pause is None and isinstance(outcome, Reply):
                return outcome
            await self._sleep(pause or 0.0)

    async def _once(self, call: Call, state: RetryState, retries: Retries | None) -> Reply:
        content = bytearray()
        timeout = max(min(self._timeout, state.left), _SHORTEST)
        async with self._opened().stream(**call.sent(), timeout=timeout) as response:
            async for piece in response.aiter_bytes(_PIECE):
                self._grown(content, piece)
                if not state.left:
                    raise self._too_late(retries)
        return Reply(response.status_code, dict(response.headers), bytes(content))
