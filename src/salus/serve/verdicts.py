"""Salus's own interface: raw inputs by media type, verdicts in JSON."""

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from salus.client.messages import GuardCard, Problem, VerdictsAnswer
from salus.errors import SalusError
from salus.exchange import MEDIA_TYPE as FHIR
from salus.serve.access import principal_of
from salus.serve.bodies import form_files, read_within
from salus.serve.guards import LoadedGuard
from salus.serve.judging import Answered, Asked, Repeats, judge, repeatable_of, wants_fhir, write_answer, write_fhir
from salus.serve.log.entry import EventEntry
from salus.serve.log.writer import Submission
from salus.serve.media import FORM, JSON, SUFFIXES, ZIP
from salus.serve.problems import MEDIA_TYPE, ProblemDetailsError
from salus.serve.reading import read_body
from salus.serve.service import Service

_VERDICTS = "/guards/{name}/verdicts"
_PATH = re.compile(r"/v1/guards/[^/]+/verdicts")

#: Bodies up to this size are read where they arrive; larger ones, and all files, in a thread.
_SMALL = 2**15

_PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}}
    for status in (400, 401, 403, 404, 408, 409, 413, 415, 421, 422, 429, 503)
}


def router(service: Service, ask: Ask) -> APIRouter:
    """Make the routes of Salus's own interface."""
    routes = APIRouter(prefix="/v1", tags=["verdicts"])

    @routes.get("/guards", summary="List the guards", responses=_PROBLEMS)
    async def guards(request: Request) -> dict[str, list[GuardCard]]:
        await principal_of(request, service, "judge")
        return {"guards": [served.card for served in service.guards.values()]}

    @routes.get("/guards/{name}", summary="Say what a guard is", responses=_PROBLEMS)
    async def guard(name: str, request: Request) -> GuardCard:
        await principal_of(request, service, "judge")
        return served_of(service, name).card

    @routes.post(
        _VERDICTS,
        summary="Let a guard judge raw inputs",
        description="One input or many, by Content-Type. With an Idempotency-Key a repeated request gets the first "
        "one's answer and is logged once. With Accept: application/fhir+json the answer is a bundle of FHIR R4 "
        "observations. Scores stand in the answer only for tokens with the scope `scores`.",
        response_model=VerdictsAnswer,
        responses={200: {"content": {JSON: {"example": None}, FHIR: {"schema": {"type": "object"}}}}, **_PROBLEMS},
        openapi_extra={"requestBody": {"required": True, "content": {JSON: {}}}},
    )
    async def verdicts(name: str, request: Request) -> Response:
        return await ask(request)

    @routes.post(
        "/guards/{name}/reload",
        summary="Load a guard's bundle again, here and, within a few seconds, in the service's other workers",
        responses=_PROBLEMS,
    )
    async def reload(name: str, request: Request) -> GuardCard:
        await principal_of(request, service, "admin")
        served_of(service, name)
        try:
            await asyncio.to_thread(service.crew.pass_on, name)
            return (await reload_guard(service, name)).card
        except SalusError as error:
            raise ProblemDetailsError(
                "not-judged", f"{error} The guard that was loaded before goes on judging."
            ) from error

    return routes


class Ask:
    """Answers requests for verdicts."""

    def __init__(self, service: Service) -> None:
        self._service, self._repeats = service, Repeats()

    @staticmethod
    def takes(scope: Scope) -> bool:
        """Tell whether this is a request for verdicts."""
        return scope["method"] == "POST" and _PATH.fullmatch(scope["path"]) is not None

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as the route does that describes it, which the framework takes longer to find than a beat to judge."""
        name = scope["path"].split("/")[3]
        scope["path_params"], scope["route"] = {"name": name}, _ROUTE
        response = await self(Request(scope, receive))
        await response(scope, receive, send)

    async def __call__(self, request: Request) -> Response:
        """Read, judge, log, answer.

        Raises:
            ProblemDetailsError: one of these cannot be done.
        """
        service, settings = self._service, self._service.settings
        principal = await principal_of(request, service, "judge")
        served = served_of(service, request.path_params["name"])
        content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        began = time.perf_counter()
        with service.room.reserved() as take:
            body = await read_within(request, most=settings.max_bytes, seconds=settings.timeout, take=take)
            repeatable, fhir = repeatable_of(request, principal, body), wants_fhir(request)
            files = await form_files(request, body) if content_type == FORM else []

            async def answer() -> Answered:
                asked = Asked(request.state.request_id, principal, served, repeatable)
                prepared = await in_thread_if(
                    content_type != JSON or len(body) > _SMALL,
                    lambda: read_body(
                        content_type,
                        body,
                        served.guard.classifier,
                        most=settings.max_inputs,
                        max_bytes=settings.max_bytes,
                        files=files,
                    ),
                )
                service.metrics.phase("read", time.perf_counter() - began)
                return await judge(service, asked, prepared, write_fhir if fhir else write_answer)

            answered = await self._repeats.once(service, repeatable, answer)
        headers = {"Idempotency-Replayed": "true"} if answered.repeated else {}
        headers["Vary"] = "Accept"
        return Response(answered.body, headers=headers, media_type=FHIR if fhir else JSON)


@dataclass(frozen=True)
class _Named:
    """What metrics read of a route."""

    path: str


_ROUTE = _Named(f"/v1{_VERDICTS}")


async def reload_guard(service: Service, name: str) -> LoadedGuard:
    """Load a bundle again, and log what came of it.

    Raises:
        SalusError: it cannot be used; the old guard goes on judging.
    """
    before = service.guards[name].fingerprint
    try:
        served = await asyncio.to_thread(service.guards.reload, name)
    except SalusError as error:
        service.metrics.reloads.labels(name, "refused").inc()
        service.writer.append(Submission([EventEntry("bundle refused", {"guard": name, "reason": str(error)})]))
        raise
    if served.fingerprint != before:
        service.metrics.reloads.labels(name, "loaded").inc()
        service.writer.append(
            Submission([EventEntry("bundle loaded", {"guard": name, "bundle": served.fingerprint, "before": before})])
        )
    return served


async def in_thread_if(large: bool, read: Any) -> Any:
    """Read here, or in a thread where it would hold up other requests; what is wrong with the inputs is a problem.

    Raises:
        ProblemDetailsError: they cannot be read.
    """
    try:
        return await asyncio.to_thread(read) if large else read()
    except SalusError as error:
        raise ProblemDetailsError("not-judged", str(error)) from error


def served_of(service: Service, name: str) -> LoadedGuard:
    """Find a guard.

    Raises:
        ProblemDetailsError: there is none of this name.
    """
    if name not in service.guards:
        known = ", ".join(service.guards)
        raise ProblemDetailsError("not-found", f"There is no guard {name[:100]!r}; known: {known}.")
    return service.guards[name]


def bodies_of(service: Service) -> dict[str, Any]:
    """Say for the description of the interface which bodies the guards read."""
    known = dict.fromkeys(kind for served in service.guards.values() for kind in served.card.content_types)
    file = {"schema": {"type": "string", "format": "binary"}}
    return {kind: file for kind in known if kind in SUFFIXES or kind in (ZIP, FORM)}
