"""Tokens: made, listed and revoked by whoever may change things."""

from __future__ import annotations

import time

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from salus.client.messages import SCOPES
from salus.errors import OptionError
from salus.serve.dashboard.desk import HOME, SAFE, Desk
from salus.serve.dashboard.entering import Form
from salus.serve.dashboard.refusals import Refused

#: Days that a token may be good for: the words in the form, and the days; None: until it is revoked.
LIVES: dict[str, float | None] = {"1 day": 1, "7 days": 7, "30 days": 30, "90 days": 90, "1 year": 365, "never": None}

#: What each scope lets a token do.
MEANINGS = {
    "judge": "ask for verdicts",
    "scores": "see the detectors' scores with them",
    "metrics": "read the figures for Prometheus",
    "dashboard": "see these pages",
    "admin": "see these pages, make and revoke tokens, load bundles again",
}


def add_pages(pages: APIRouter, desk: Desk) -> None:
    """Add the page of tokens, and what it changes."""
    service = desk.service

    def draw(request: Request, *, status: int = 200, secret: str = "", fault: str = "", name: str = "") -> Response:
        now = time.time()
        return desk.page(
            request,
            "tokens.html.j2",
            status=status,
            tokens=sorted(service.tokens.list(), key=lambda token: (not token.valid(now), -token.created)),
            now=now,
            scopes=[(scope, MEANINGS[scope]) for scope in SCOPES],
            lives=LIVES,
            secret=secret,
            fault=fault,
            name=name,
        )

    @pages.get("/tokens")
    def tokens(request: Request) -> Response:
        desk.enter(request, admin=True)
        return draw(request)

    @pages.post("/tokens")
    def add(request: Request, form: Form) -> Response:
        session = desk.enter(request, admin=True)
        desk.sessions.check_form(request, session, form)
        name, life = form.get("name", ""), form.get("life", "")
        if life not in LIVES:
            raise Refused(400, "The form cannot be read", "Choose how long the token is good for.")
        days = LIVES[life]
        try:
            secret = service.tokens.add(
                name, form.get("scope", "").split(), None if days is None else time.time() + days * 86400
            )
        except OptionError as error:
            return draw(request, status=400, fault=str(error), name=name)
        return draw(request, secret=secret, name=name)  # not by a redirect: it is shown once

    @pages.post("/tokens/{token}/revoke")
    def revoke(request: Request, token: str, form: Form) -> Response:
        session = desk.enter(request, admin=True)
        desk.sessions.check_form(request, session, form)
        try:
            service.tokens.revoke(token)
        except OptionError as error:
            raise Refused(404, "There is no such token", str(error)) from error
        return RedirectResponse(f"{HOME}/tokens", 303, SAFE)
