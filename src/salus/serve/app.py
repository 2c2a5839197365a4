"""The application: every interface of a service, its start and its end."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import torch
from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp

from salus import __version__
from salus.client.messages import VerdictsRequest
from salus.errors import SalusError
from salus.preprocessing import TablePreprocessor
from salus.serve import inference, verdicts
from salus.serve.access import LOCAL, principal_of
from salus.serve.batching import judged_at_once
from salus.serve.dashboard import pages
from salus.serve.gate import Gate, problem_of
from salus.serve.guards import LoadedGuard
from salus.serve.judging import Asked, write_answer
from salus.serve.log.entry import EventEntry
from salus.serve.log.writer import Submission
from salus.serve.media import JSON
from salus.serve.monitoring import Watch
from salus.serve.problems import ProblemDetailsError
from salus.serve.reading import read_body
from salus.serve.service import Service

_LOG = logging.getLogger("salus.serve")

#: Seconds after which a worker has heard what another was told.
_HEAR = 1.0


def create_app(service: Service) -> ASGIApp:
    """Put a service behind HTTP; it runs from the application's start to its end."""
    ask = verdicts.Ask(service)
    return Gate(_framework(service, ask), ask, service.settings, service.metrics)


def _framework(service: Service, ask: verdicts.Ask) -> FastAPI:
    app = FastAPI(
        title="Salus",
        version=__version__,
        description="A classifier behind a guard: it answers, or refuses inputs that look attacked.",
        docs_url=None,  # it would load scripts from elsewhere
        redoc_url=None,
        openapi_url=None,  # below, for those who may ask
        lifespan=lambda _: _running(service),
    )

    @app.exception_handler(ProblemDetailsError)
    async def problem(request: Request, error: ProblemDetailsError) -> Response:
        return error.response(request.state.request_id)

    @app.exception_handler(Exception)
    async def fault(request: Request, error: Exception) -> Response:
        detail = "The service failed on this request; its own log says more."
        return ProblemDetailsError("fault", detail).response(request.state.request_id)

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> Response:
        response = problem_of(error).response(request.state.request_id)
        if "Allow" in (error.headers or {}):
            response.headers["Allow"] = (error.headers or {})["Allow"]
        return response

    @app.get("/", include_in_schema=False)
    async def root() -> Response:
        return RedirectResponse("/dashboard/", 303)

    @app.get("/openapi.json", include_in_schema=False)
    async def description(request: Request) -> Response:
        await principal_of(request, service, "judge")
        return JSONResponse(app.openapi())

    @app.get("/health/live", tags=["health"], summary="Tell whether it runs")
    async def live() -> dict[str, str]:
        return {"status": "live"}

    @app.get("/health/ready", tags=["health"], summary="Tell whether it can answer")
    async def ready() -> Response:
        """Ready while the log takes entries; a bundle that cannot be reloaded leaves the old one judging."""
        available = service.writer.state.available
        content = {"status": "ready" if available else "the log takes no entries"}
        return JSONResponse(content, 200 if available else 503)

    @app.get("/metrics", tags=["health"], summary="Figures for Prometheus")
    async def metrics(request: Request) -> Response:
        await principal_of(request, service, "metrics")
        service.take_stock()
        text = await asyncio.to_thread(service.crew.figures, service.metrics)
        return Response(text, media_type="text/plain; version=0.0.4")

    app.include_router(verdicts.router(service, ask))
    app.include_router(inference.router(service))
    pages.mount(app, service)
    _describe(app, service)
    return app


@asynccontextmanager
async def _running(service: Service) -> AsyncIterator[None]:
    """Start what works beside the requests; at the end answer what was accepted, then close the log."""
    settings = service.settings
    service.recorder.start()
    service.batcher.start()
    bundles = {served.name: served.fingerprint for served in service.guards.values()}
    service.writer.append(Submission([EventEntry("service started", {"worker": service.worker, "guards": bundles})]))
    watch = Watch(service.database, settings, lambda: service.guards)
    watch.start()
    looks = settings.reload_seconds or not service.crew.alone
    looking = asyncio.get_running_loop().create_task(_look(service)) if looks else None
    try:
        yield
    finally:
        if looking is not None:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)
        await service.batcher.close()
        service.writer.append(Submission([EventEntry("service stopped", {"worker": service.worker})]))
        await asyncio.to_thread(watch.close)
        await asyncio.to_thread(service.close)


async def _look(service: Service) -> None:
    """Take bundles that changed, once they lie still, and those that another worker was told to take."""
    seconds, alone = service.settings.reload_seconds, service.crew.alone
    due = time.monotonic() + seconds
    while True:
        await asyncio.sleep(seconds if alone else min(seconds or _HEAR, _HEAR))
        names = [] if alone else list(await asyncio.to_thread(service.heard))
        if seconds and (alone or time.monotonic() >= due):
            due = time.monotonic() + seconds
            names += await asyncio.to_thread(service.guards.changed)
        for name in dict.fromkeys(names):
            try:
                served = await verdicts.reload_guard(service, name)
                _LOG.warning("guard %s: judges with the bundle %s", name, served.fingerprint[:12])
            except Exception as error:  # looking must go on, whatever a bundle holds
                _LOG.error("guard %s: %s The guard that was loaded before goes on judging.", name, error)


def _describe(app: FastAPI, service: Service) -> None:
    """Put examples that a guard really answers into the description of the interface."""
    document = app.openapi()
    served = next(iter(service.guards.values()))
    example = example_of(served)
    operation = document["paths"]["/v1/guards/{name}/verdicts"]["post"]
    content: dict[str, Any] = {
        JSON: {"schema": {"$ref": "#/components/schemas/VerdictsRequest"}, "example": example},
        **verdicts.bodies_of(service),
    }
    operation["requestBody"] = {"required": True, "content": content}
    schemas = document["components"]["schemas"]
    schemas["VerdictsRequest"] = VerdictsRequest.model_json_schema(ref_template="#/components/schemas/{model}")
    operation["responses"]["200"]["content"][JSON]["example"] = answer_example(served, example)
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, *served.guard.classifier.shape], "data": "..."}
    document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    document["security"] = [{}, {"token": []}] if service.settings.open else [{"token": []}]
    infer = document["paths"]["/v2/models/{name}/infer"]["post"]
    infer["requestBody"] = {
        "required": True,
        "content": {
            JSON: {"schema": {"type": "object"}, "example": {"inputs": [tensor]}},
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    }
    app.openapi_schema = document


def example_of(served: LoadedGuard) -> dict[str, Any]:
    """Make a request that the guard can answer, in raw units where it has some; one it accepts, where one is near."""
    classifier = served.guard.classifier
    low, high = classifier.bounds
    size = math.prod(classifier.shape)
    if size > 400:  # nobody reads an example of thousands of numbers
        return {"inputs": [f"an array of shape {list(classifier.shape)}"], "prepared": True}
    levels = (torch.arange(1, 10) / 10)[:, None].expand(9, size)  # a table's row with all its values low, or high
    if len(classifier.shape) > 1:
        levels = levels[:1] + 0.4 * (1 + torch.linspace(0, 12.6, size).sin())  # a wave
    x = (low + (high - low) * levels).reshape(-1, *classifier.shape)
    accepted = served.guard(x.to(classifier.device)).accepted.tolist()
    x = x[accepted.index(True) :][:1] if True in accepted else x[:1]
    preprocessor = classifier.preprocessor
    if isinstance(preprocessor, TablePreprocessor) and not preprocessor.one_hot:
        values = preprocessor.inverse(x)[0].tolist()
        return {"inputs": [dict(zip(preprocessor.features, (float(f"{v:.4g}") for v in values), strict=True))]}
    return {"inputs": x.double().mul(1000).round().div(1000).tolist(), "prepared": True}


def answer_example(served: LoadedGuard, example: dict[str, Any]) -> dict[str, Any]:
    """Let the guard judge the example."""
    asked = Asked("0f3c5a1e9b7d4c2fa6e8d1b3c5a79e0d", LOCAL, served, None)
    try:
        body = json.dumps(example).encode()
        prepared = read_body(JSON, body, served.guard.classifier, most=1, max_bytes=2**20)
    except (SalusError, ProblemDetailsError):  # an example in words
        return {}
    judged = judged_at_once(served, prepared.x) if len(prepared.x) else None
    answer: dict[str, Any] = json.loads(write_answer(asked, prepared, judged))
    return answer
