"""Callers: how suspicious each is, and the trail of what one asked."""

from __future__ import annotations

import numpy as np
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from salus.serve.dashboard.desk import HOME, SAFE, Desk
from salus.serve.dashboard.drawing import waveform
from salus.serve.dashboard.entering import Form
from salus.serve.dashboard.refusals import Refused
from salus.serve.log.entry import EventEntry
from salus.serve.log.submission import Submission

#: Callers of the list, and queries of a trail that stand in its table.
_LISTED, _ROWS = 50, 20


def add_pages(pages: APIRouter, desk: Desk) -> None:
    """Add the list of callers, the page of each, and what lifts a suspicion."""
    service = desk.service

    def names() -> dict[str, str]:
        return {"local": "this machine", **{token.id: token.name for token in service.tokens.list()}}

    @pages.get("/callers")
    def callers(request: Request) -> Response:
        desk.enter(request)
        watchers = service.watchers
        return desk.page(
            request,
            "callers.html.j2",
            suspects=watchers.suspects(most=_LISTED),
            names=names(),
            watched=watchers.watched,
            policy=watchers.policy,
            watch_fault=watchers.fault,
            most=_LISTED,
        )

    @pages.get("/callers/{guard}/{caller}")
    def caller(request: Request, guard: str, caller: str) -> Response:
        desk.enter(request)
        suspect = service.watchers.suspect(guard, caller)
        if suspect is None:
            raise Refused(
                404, "There is no such caller", f"Nobody called {caller!r} asked {guard!r}; choose one on the list."
            )
        served = service.guards.get(guard)
        classes = () if served is None else served.guard.classifier.classes
        heights = np.array([height for _, height, _ in suspect.trail] or [0.0], np.float32)
        return desk.page(
            request,
            "caller.html.j2",
            suspect=suspect,
            name=names().get(caller, caller),
            trail=waveform(heights, "suspicion"),
            latest=[
                (when, height, classes[answer] if 0 <= answer < len(classes) else "rejected")
                for when, height, answer in reversed(suspect.trail[-_ROWS:])
            ],
            policy=service.watchers.policy,
        )

    @pages.post("/callers/{guard}/{caller}/lift")
    def lift(request: Request, guard: str, caller: str, form: Form) -> Response:
        session = desk.enter(request, admin=True)
        desk.sessions.check_form(request, session, form)
        if not service.watchers.lift(guard, caller):
            raise Refused(404, "There is no such caller", f"Nobody called {caller!r} is watched at {guard!r}.")
        event = {"guard": guard, "token": caller, "by": session.name}
        service.writer.append(Submission([EventEntry("suspicion lifted", event)]))
        return RedirectResponse(f"{HOME}/callers", 303, SAFE)
