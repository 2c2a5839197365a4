"""Signing in and out, and the files that every page loads."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from salus.serve.dashboard.attempts import Attempts
from salus.serve.dashboard.desk import HOME, SAFE, Desk, read_form, static_files
from salus.serve.dashboard.refusals import Refused
from salus.serve.dashboard.session import Session

Form = Annotated[dict[str, str], Depends(read_form)]

#: Seconds that browsers may keep a file whose address has a mark of its content.
_YEAR = 365 * 86400


def add_pages(pages: APIRouter, desk: Desk) -> None:
    """Add the login, the logout and the files."""
    attempts = Attempts()

    @pages.get("/login")
    def login(request: Request, code: str = "", next: str = "") -> Response:
        if not code:
            return _form(desk, request, next)
        address = _address(request)
        attempts.check(address)
        session = desk.sessions.by_code(code)
        if session is None:
            attempts.failed(address)
            return _form(
                desk,
                request,
                next,
                "This code is not of the service that runs now; take the address that it printed when it was started.",
            )
        attempts.succeeded(address)
        return _enter(desk, session, "")

    @pages.post("/login")
    def sign_in(request: Request, form: Form) -> Response:
        desk.sessions.check_login(request, form)
        address = _address(request)
        attempts.check(address)
        session = desk.sessions.by_token(form.get("token", "").strip()[:500])
        if session is None:
            attempts.failed(address)
            return _form(
                desk,
                request,
                form.get("next", ""),
                "This token is unknown, was revoked, has expired, or may not see the dashboard; make one with: salus "
                "token add NAME --scope dashboard.",
            )
        attempts.succeeded(address)
        return _enter(desk, session, form.get("next", ""))

    @pages.post("/logout")
    def sign_out(request: Request, form: Form) -> Response:
        session = desk.enter(request)
        desk.sessions.check_form(request, session, form)
        response = RedirectResponse(f"{HOME}/login", 303, SAFE)
        desk.sessions.end_cookie(response)
        return response

    @pages.get("/static/{name:path}")
    def file(name: str, v: str = "") -> Response:
        if name not in static_files():
            raise Refused(404, "There is no such file", "Load the page again.")
        content, kind = static_files()[name]
        kept = f"public, max-age={_YEAR}, immutable" if v else "no-cache"
        return Response(content, media_type=kind, headers={**SAFE, "Cache-Control": kept})


def _form(desk: Desk, request: Request, then: str, fault: str = "") -> Response:
    return desk.page(
        request,
        "login.html.j2",
        status=401 if fault else 200,
        login_token=desk.sessions.login_token(),
        then=_own(then),
        fault=fault,
    )


def _enter(desk: Desk, session: Session, then: str) -> Response:
    response = RedirectResponse(_own(then) or f"{HOME}/", 303, SAFE)
    desk.sessions.set_cookie(response, session)
    return response


def _own(address: str) -> str:
    """Keep an address only if it is a page of the dashboard's."""
    plain = all(letter.isascii() and (letter.isalnum() or letter in "/._-") for letter in address)
    return address if plain and address.startswith(f"{HOME}/") and "//" not in address else ""


def _address(request: Request) -> str:
    return request.client.host if request.client is not None else ""
