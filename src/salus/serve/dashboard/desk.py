"""What every page shares: who looks, templates, headers of safety, and what is shown instead of a fault."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Coroutine, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote

from fastapi.routing import APIRoute
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from salus.errors import StoreError
from salus.serve.dashboard import words
from salus.serve.dashboard.refusals import LoginNeeded, Refused
from salus.serve.dashboard.session import FORM_FIELD, Session, Sessions
from salus.serve.monitoring.alarms import open_alarms

if TYPE_CHECKING:
    from salus.serve.service import Service

#: The address of all pages.
HOME = "/dashboard"

#: Bytes of a form.
_MOST_FORM = 16384

#: Scripts, styles, pictures and forms of this site alone; nothing inside a page's text is a script.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
SAFE = {
    "Content-Security-Policy": _POLICY,
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",  # without any, browsers would not say where a form comes from
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Desk:
    """What pages are made of.

    Args:
        service: what they show.

    Attributes:
        sessions: know who looks.
    """

    def __init__(self, service: Service) -> None:
        self.service = service
        self.sessions = Sessions(service)

    def page(self, request: Request, template: str, *, status: int = 200, **content: Any) -> Response:
        """Draw a page for whoever is signed in.

        Args:
            request: that asked for it.
            template: its file.
            status: of HTTP.
            **content: what the template shows.
        """
        session: Session | None = getattr(request.state, "session", None)
        html = (
            environment()
            .get_template(template)
            .render(
                home=HOME,
                session=session,
                forgery_field=FORM_FIELD,
                forgery_token="" if session is None else self.sessions.forgery_token(session),
                path=request.url.path,
                alarm_count=self._alarms(session),
                **content,
            )
        )
        return HTMLResponse(html, status, SAFE)

    def _alarms(self, session: Session | None) -> int | None:
        """Count the open alarms, for the head of each page; None where nobody is signed in, or nobody knows."""
        if session is None:
            return None
        try:
            with self.service.database.reading() as connection:
                return len(open_alarms(connection))
        except StoreError:
            return None

    def enter(self, request: Request, *, admin: bool = False) -> Session:
        """Let in whoever is signed in.

        Args:
            request: of the page.
            admin: whether the page changes things.

        Raises:
            LoginNeeded: nobody is.
            Refused: the token may look, and not change.
            StoreError: the database is away, so that nobody knows.
        """
        session = self.sessions.of(request)
        request.state.session = session
        if admin and not session.admin:
            raise Refused(
                403,
                "This needs the scope admin",
                f"The token {session.name!r} may look and not change things; sign in with one that has the scope "
                "admin: salus token add NAME --scope admin.",
            )
        return session

    def route_class(self) -> type[APIRoute]:
        """Make the class of routes whose refusals become pages."""
        desk = self

        class PageRoute(APIRoute):
            def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
                answer = super().get_route_handler()

                async def handler(request: Request) -> Response:
                    try:
                        return await answer(request)
                    except (LoginNeeded, Refused, StoreError) as reason:
                        return desk.refusal(request, reason)

                return handler

        return PageRoute

    def refusal(self, request: Request, reason: LoginNeeded | Refused | StoreError) -> Response:
        """Say why a page is not shown."""
        if isinstance(reason, LoginNeeded):
            # Who follows a link from elsewhere comes without the cookie, and has it once the page asks for itself.
            if request.method == "GET" and request.headers.get("sec-fetch-site") == "cross-site":
                return self.page(request, "again.html.j2")
            return _to_login(request)
        if isinstance(reason, StoreError):
            reason = Refused(503, "The database is away", str(reason), wait=10)
        part = "hx-request" in request.headers
        response = self.page(
            request,
            "part_fault.html.j2" if part else "fault.html.j2",
            status=200 if part else reason.status,  # only what succeeds is put into a page
            title=reason.title,
            sentence=reason.sentence,
        )
        if reason.wait:
            response.headers["Retry-After"] = str(reason.wait)
        return response


async def read_form(request: Request) -> dict[str, str]:
    """Read the fields of a form; of several with one name the words stand one after another.

    Raises:
        Refused: it is none, or too large.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().casefold()
    if kind != "application/x-www-form-urlencoded":
        raise Refused(415, "This is no form", "Use the forms of the dashboard's own pages.")
    body = b""
    try:
        async for piece in request.stream():
            body += piece
            if len(body) > _MOST_FORM:
                raise Refused(413, "The form is too large", f"It may have {_MOST_FORM} bytes; shorten what it holds.")
    except ClientDisconnect:
        raise Refused(400, "The form did not arrive", "Send it again.") from None
    fields: dict[str, str] = {}
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=50)
    except ValueError:
        raise Refused(400, "The form cannot be read", "Load the page again and fill it in anew.") from None
    for name, value in pairs:
        fields[name] = f"{fields[name]} {value}" if name in fields else value
    return fields


def _to_login(request: Request) -> Response:
    """Send the browser to the login, and back again where it only wanted to look."""
    back = f"?next={quote(request.url.path)}" if request.method == "GET" else ""
    if "hx-request" in request.headers:
        return Response(status_code=401, headers={**SAFE, "HX-Redirect": f"{HOME}/login"})
    return RedirectResponse(f"{HOME}/login{back}", 303, SAFE)


def static_files() -> Mapping[str, tuple[bytes, str]]:
    """Give every file that pages load, by its address below ``static/``, with its media type."""
    return _static()


@cache
def _static() -> dict[str, tuple[bytes, str]]:
    types = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml"}
    folder = Path(__file__).parent / "static"
    return {
        path.relative_to(folder).as_posix(): (path.read_bytes(), types[path.suffix])
        for path in sorted(folder.rglob("*"))
        if path.suffix in types
    }


def static_address(name: str) -> str:
    """Give the address of a file that pages load, with a mark of its content, so that browsers may keep it."""
    content, _ = _static()[name]
    return f"{HOME}/static/{name}?v={hashlib.sha256(content).hexdigest()[:12]}"


@cache
def environment() -> Environment:
    """Give what draws templates: everything is escaped, and nothing undefined passes in silence."""
    drawing = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,  # names come from users
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: words.printable(value) if type(value) is str and not value.isprintable() else value,
    )
    drawing.filters.update(words.FILTERS)
    drawing.globals["static"] = static_address
    return drawing
