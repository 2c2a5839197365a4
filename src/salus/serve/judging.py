"""From prepared inputs to an answer whose entry is in the log."""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from functools import partial
from importlib.metadata import version
from typing import Any

from starlette.requests import Request

from salus.client.messages import IDEMPOTENCY_KEY
from salus.errors import StoreError
from salus.exchange import MEDIA_TYPE, Finding, Origin, fhir_bundle
from salus.preprocessing import Prepared
from salus.serve.batching import Judged
from salus.serve.guards import LoadedGuard
from salus.serve.keys import Keys
from salus.serve.log.entry import EventEntry, VerdictEntry
from salus.serve.log.writer import KeptInput, LogUnavailable, Repeatable, RepeatConflict, Submission
from salus.serve.problems import ProblemDetailsError
from salus.serve.service import Service
from salus.serve.timing import within
from salus.serve.tokens import Principal


@dataclass(frozen=True, eq=False)
class Asked:
    """A request for verdicts.

    Attributes:
        request_id: names it.
        principal: who asks.
        served: who is asked.
        repeatable: its idempotency key and digest; None without one.
    """

    request_id: str
    principal: Principal
    served: LoadedGuard
    repeatable: Repeatable | None


@dataclass(frozen=True, eq=False)
class Answered:
    """What came of it.

    Attributes:
        body: of the answer.
        repeated: whether it was given before.
    """

    body: bytes
    repeated: bool = False


#: Writes an answer from what was prepared and judged; None where nothing could be prepared.
Write = Callable[[Asked, Prepared, Judged | None], bytes]


class Repeats:
    """Requests with an idempotency key that are being answered: who asks again meanwhile waits for the same answer."""

    def __init__(self) -> None:
        self._running: dict[tuple[str, str], tuple[str, asyncio.Task[Answered]]] = {}

    async def once(
        self, service: Service, repeatable: Repeatable | None, answer: Callable[[], Coroutine[Any, Any, Answered]]
    ) -> Answered:
        """Answer, or give the answer that the key has.

        Raises:
            ProblemDetailsError: the key belongs to another request.
        """
        if repeatable is None:
            return await answer()
        place = (repeatable.token, repeatable.key)
        if place not in self._running:
            try:
                stored = await asyncio.to_thread(service.writer.answered, *place)
            except LogUnavailable as error:
                raise ProblemDetailsError(
                    "unavailable", "Earlier answers cannot be looked up now; try again later.", 5
                ) from error
            if stored is not None:
                if stored[0] != repeatable.digest:
                    raise conflict()
                return Answered(stored[1], repeated=True)
        if place in self._running:
            digest, task = self._running[place]
            if digest != repeatable.digest:
                raise conflict()
            return Answered((await asyncio.shield(task)).body, repeated=True)
        task = asyncio.get_running_loop().create_task(answer())
        self._running[place] = (repeatable.digest, task)
        task.add_done_callback(lambda _: self._running.pop(place, None))
        return await asyncio.shield(task)


def conflict() -> ProblemDetailsError:
    """Say that a key is taken."""
    return ProblemDetailsError(
        "conflict", f"This {IDEMPOTENCY_KEY} came with another request before; take a new key for a new request."
    )


def repeatable_of(request: Request, principal: Principal, *content: bytes) -> Repeatable | None:
    """Read a request's idempotency key.

    Raises:
        ProblemDetailsError: it is too long or not printable.
    """
    key = request.headers.get(IDEMPOTENCY_KEY)
    if key is None:
        return None
    if not 0 < len(key) <= 255 or not key.isprintable():
        raise ProblemDetailsError("bad-request", f"An {IDEMPOTENCY_KEY} has 1 to 255 printable characters; shorten it.")
    digest = hashlib.sha256()
    form = MEDIA_TYPE.encode() if wants_fhir(request) else b""  # which answer is wanted belongs to a request, too
    kind = request.headers.get("content-type", "").encode() + form
    for part in (request.url.path.encode(), kind, *content):
        digest.update(hashlib.sha256(part).digest())
    return Repeatable(principal.token, key, digest.hexdigest())


async def judge(service: Service, asked: Asked, prepared: Prepared, write: Write) -> Answered:
    """Judge prepared inputs, log the verdicts, and give the answer once its entries are durable.

    Raises:
        ProblemDetailsError: the queue is full, the guard failed, or the log takes nothing.
    """
    served, name = asked.served, asked.served.name
    service.rates.charge(asked.principal.token, len(prepared.x) + len(prepared.refused))
    judged = verdict = None
    try:
        if await service.watchers.refuses(served, asked.principal.token):
            raise _suspected()
    except StoreError as error:
        raise _unwatched() from error
    if len(prepared.x):
        try:
            judged, verdict = await within(service.batcher.judge(served, prepared.x), service.settings.timeout)
        except TimeoutError as error:
            raise ProblemDetailsError(
                "unavailable", "The verdict took too long; try again a little later.", 5
            ) from error
        judged = await _watched(service, asked, prepared, judged)
        service.metrics.phase("wait", judged.waited)
        service.metrics.phase("judge", judged.seconds)
    body = write(asked, prepared, judged)
    began = time.perf_counter()
    entries = log_entries(asked, prepared, judged, service.keys)
    kept: tuple[KeptInput, ...] = ()
    if service.settings.keep_inputs:
        rows = prepared.x.contiguous().numpy()
        kept = tuple(KeptInput(row, prepared.names[row], rows[row].tobytes()) for row in range(len(rows)))
    future = service.writer.append(Submission(entries, body, asked.repeatable, kept))
    if service.settings.log == "durable" or asked.repeatable is not None:
        try:
            # The writer's own future: giving up waiting for it takes nothing back.
            receipt = await within(asyncio.wrap_future(future), service.settings.timeout)
        except RepeatConflict as error:
            raise conflict() from error
        except (LogUnavailable, TimeoutError) as error:
            raise ProblemDetailsError(
                "unavailable", "The log takes no entries, and no answer leaves without one; try again later.", 5
            ) from error
        if receipt.repeated:
            return Answered(receipt.answer, repeated=True)
    service.metrics.phase("log", time.perf_counter() - began)
    service.recorder.add(
        name, served.fingerprint, verdict, None if verdict is None else prepared.x, len(prepared.refused)
    )
    service.metrics.judged(name, judged, len(prepared.refused))
    return Answered(body)


async def _watched(service: Service, asked: Asked, prepared: Prepared, judged: Judged) -> Judged:
    """Show what was judged to the monitor of callers, and do what follows where it suspects this one.

    Raises:
        ProblemDetailsError: the policy refuses the caller.
    """
    policy, token = service.watchers.policy, asked.principal.token
    answers = [label if judged.accepted[row] else -1 for row, label in enumerate(judged.labels)]
    try:
        suspected, now = await service.watchers.look(asked.served, token, prepared.x, answers)
    except StoreError as error:
        raise _unwatched() from error
    if now:
        event = {"guard": asked.served.name, "token": token, "policy": "off" if policy is None else policy.name}
        service.writer.append(Submission([EventEntry("caller under suspicion", event)]))
    if policy is None or not suspected:
        return judged
    if policy.refuses:
        raise _suspected()
    if policy.delay:
        await asyncio.sleep(policy.delay)
    return judged if policy.probabilities else replace(judged, withheld=True)


def _unwatched() -> ProblemDetailsError:
    return ProblemDetailsError("unavailable", "What callers asked before cannot be looked up now; try again later.", 5)


def _suspected() -> ProblemDetailsError:
    return ProblemDetailsError(
        "suspected",
        "What this token asked looks like a search for inputs that fool the guard, and nothing more is judged for it; "
        "whoever runs the service can lift the suspicion on the dashboard, under Callers.",
    )


def log_entries(asked: Asked, prepared: Prepared, judged: Judged | None, keys: Keys) -> list[VerdictEntry]:
    """Write an entry for each input; of what it was only a digest is kept, that nobody makes without the key."""
    served = asked.served
    classes = served.guard.classifier.classes
    entry = partial(
        VerdictEntry,
        guard=served.name,
        bundle=served.fingerprint,
        request=asked.request_id,
        token=asked.principal.token,
    )
    entries = []
    if judged is not None:
        rows = prepared.x.contiguous().numpy()
        for row, label in enumerate(judged.labels):
            entries.append(
                entry(
                    row=row,
                    input=keys.input_digest(rows[row].tobytes()),
                    outcome="accepted" if judged.accepted[row] else "rejected",
                    label=classes[label],
                    probabilities=dict(zip(classes, judged.probabilities[row], strict=True)),
                    scores={name: values[row] for name, values in judged.scores.items()},
                    thresholds=judged.thresholds,
                    rejected_by=tuple(name for name, flags in judged.rejects.items() if flags[row]),
                )
            )
    nothing: dict[str, Any] = {"label": None, "probabilities": None, "scores": {}, "thresholds": {}, "rejected_by": ()}
    for row in range(len(prepared.x), len(prepared.x) + len(prepared.refused)):
        entries.append(entry(row=row, input="", outcome="not judged", **nothing))
    return entries


def wants_fhir(request: Request) -> bool:
    """Tell whether the answer is wanted as FHIR."""
    accepted = request.headers.get("accept", "").split(",")
    return MEDIA_TYPE in [each.partition(";")[0].strip().lower() for each in accepted]


def write_fhir(asked: Asked, prepared: Prepared, judged: Judged | None) -> bytes:
    """Write the answer as a bundle of FHIR R4 observations, identified by the request and their rows."""
    findings = [
        Finding(
            verdict["name"],
            verdict["outcome"],
            verdict["label"],
            verdict["probabilities"] or {},
            {key: _number(score["score"]) for key, score in (verdict["detectors"] or {}).items()},
            {key: score["threshold"] for key, score in (verdict["detectors"] or {}).items()},
            tuple(key for key, score in (verdict["detectors"] or {}).items() if score["rejects"]),
            verdict["reason"] or "",
        )
        for verdict in [*([] if judged is None else _verdicts(asked, prepared, judged)), *_refusals(prepared)]
    ]
    origin = Origin(asked.served.name, asked.served.fingerprint, f"Salus {version('salus')}")
    bundle = fhir_bundle(findings, origin, issued=datetime.now(timezone.utc), request=asked.request_id)
    return json.dumps(bundle, separators=(",", ":"), allow_nan=False).encode()


def _number(score: float | None) -> float:
    return math.nan if score is None else score


def write_answer(asked: Asked, prepared: Prepared, judged: Judged | None) -> bytes:
    """Write the answer of Salus's own interface, ``VerdictsAnswer``."""
    verdicts = [*([] if judged is None else _verdicts(asked, prepared, judged)), *_refusals(prepared)]
    answer = {
        "request_id": asked.request_id,
        "guard": asked.served.name,
        "bundle": asked.served.fingerprint,
        "verdicts": verdicts,
        "notes": list(prepared.notes),
        "clipped": prepared.clipped,
    }
    return json.dumps(answer, separators=(",", ":"), allow_nan=False).encode()


def _refusals(prepared: Prepared) -> list[dict[str, Any]]:
    return [
        {
            "name": refusal.name,
            "outcome": "not judged",
            "label": None,
            "probabilities": None,
            "detectors": None,
            "reason": refusal.reason,
        }
        for refusal in prepared.refused
    ]


def _verdicts(asked: Asked, prepared: Prepared, judged: Judged) -> list[dict[str, Any]]:
    classes = asked.served.guard.classifier.classes
    seen = "scores" in asked.principal.scopes
    verdicts: list[dict[str, Any]] = []
    for row, name in enumerate(prepared.names):
        accepted = judged.accepted[row]
        detectors = {
            key: {"score": values[row], "threshold": judged.thresholds[key], "rejects": judged.rejects[key][row]}
            for key, values in judged.scores.items()
        }
        verdicts.append(
            {
                "name": name,
                "outcome": "accepted" if accepted else "rejected",
                "label": classes[judged.labels[row]] if accepted else None,
                "probabilities": dict(zip(classes, judged.probabilities[row], strict=True))
                if accepted and not judged.withheld
                else None,
                "detectors": detectors if seen and not judged.withheld else None,
                "reason": None,
            }
        )
    return verdicts
