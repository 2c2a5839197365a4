"""Who looks at the dashboard: signed cookies, tokens against forged requests."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from salus.serve.dashboard.refusals import LoginNeeded, Refused

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from salus.serve.service import Service

#: Name and place of the cookie, and the seconds that it is good for.
COOKIE, PATH, LASTS = "salus_session", "/dashboard", 12 * 3600

#: Names a session that began with the login code of the process.
LOCAL = "local"

#: Scopes that a token needs one of.
_SCOPES = frozenset({"dashboard", "admin"})

#: The field of a form that carries the token against forged requests.
FORM_FIELD = "forgery_token"


@dataclass(frozen=True)
class Session:
    """A visit to the dashboard.

    Attributes:
        token: whose it is, by the token's id; ``local`` of who came with the login code.
        name: of the token.
        scopes: what the token may do.
        id: of this visit.
        code: what tells the login code that it began with; "" of a token.
        expires: when it ends, in seconds since 1970.
    """

    token: str
    name: str
    scopes: frozenset[str]
    id: str
    code: str
    expires: float

    @property
    def admin(self) -> bool:
        """Whether it may change things."""
        return "admin" in self.scopes


class Sessions:
    """Begins sessions, and knows them again by their cookies.

    Args:
        service: has the key that signs, the tokens and the login code.
        clock: tells the time, in seconds since 1970.
    """

    def __init__(self, service: Service, clock: Callable[[], float] = time.time) -> None:
        self._service = service
        self._clock = clock
        self._key = service.keys.derive("sessions")
        self._code = self._mark(service.login_code) if service.login_code else ""

    def by_code(self, code: str) -> Session | None:
        """Begin a session with the login code of this process; None where it is another."""
        if not self._code or not hmac.compare_digest(self._mark(code), self._code):
            return None
        return self._begin(LOCAL, "this machine", _SCOPES, self._code)

    def by_token(self, secret: str) -> Session | None:
        """Begin a session with a token; None where it is unknown, revoked, has expired, or may not look.

        Raises:
            StoreError: the database is away.
        """
        principal = self._service.tokens.check(secret)
        if principal is None or not principal.scopes & _SCOPES:
            return None
        return self._begin(principal.token, principal.name, principal.scopes)

    def _begin(self, token: str, name: str, scopes: frozenset[str], code: str = "") -> Session:
        return Session(token, name, scopes, secrets.token_hex(8), code, self._clock() + LASTS)

    def set_cookie(self, response: Response, session: Session) -> None:
        """Hand a session to the browser, which shows it to this site's own pages alone."""
        content = {"t": session.token, "i": session.id, "c": session.code, "e": session.expires}
        body = base64.urlsafe_b64encode(json.dumps(content, separators=(",", ":")).encode()).decode().rstrip("=")
        response.set_cookie(
            COOKIE,
            f"{body}.{self._mark(f'cookie {body}')}",
            max_age=LASTS,
            path=PATH,
            secure=self._service.settings.secure,
            httponly=True,
            samesite="strict",
        )

    def end_cookie(self, response: Response) -> None:
        """Have the browser forget the session."""
        response.delete_cookie(
            COOKIE, path=PATH, secure=self._service.settings.secure, httponly=True, samesite="strict"
        )

    def of(self, request: Request) -> Session:
        """Give the session of a request; its token must still be good.

        Raises:
            LoginNeeded: there is none, or it has ended.
            StoreError: the database is away, so that nobody knows whether the token is still good.
        """
        content = self._content(request.cookies.get(COOKIE, ""))
        if content is None:
            raise LoginNeeded()
        token, code, expires = str(content["t"]), str(content["c"]), float(content["e"])
        if not self._clock() < expires <= self._clock() + LASTS:  # a clock that went back does not lengthen it
            raise LoginNeeded()
        if code:
            if not hmac.compare_digest(code, self._code):  # the process was started again
                raise LoginNeeded()
            return Session(token, "this machine", _SCOPES, str(content["i"]), code, expires)
        principal = self._service.tokens.current(token)
        if principal is None or not principal.scopes & _SCOPES:
            raise LoginNeeded()
        return Session(token, principal.name, principal.scopes, str(content["i"]), "", expires)

    def forgery_token(self, session: Session) -> str:
        """Give what each form of a session carries, and no other site can know."""
        return self._mark(f"form {session.id}")

    def check_form(self, request: Request, session: Session, form: Mapping[str, str]) -> None:
        """Refuse a form that another site sent.

        Raises:
            Refused: it did.
        """
        self.check_origin(request)
        if not hmac.compare_digest(form.get(FORM_FIELD, "").encode(), self.forgery_token(session).encode()):
            raise Refused(403, "This form is not yours", "It was made for another visit; load the page again.")

    def login_token(self) -> str:
        """Give what the form of the login carries; good for an hour."""
        hour = int(self._clock() // 3600)
        return self._mark(f"login {hour}")

    def check_login(self, request: Request, form: Mapping[str, str]) -> None:
        """Refuse a login that another site sent.

        Raises:
            Refused: it did, or the form is too old.
        """
        self.check_origin(request)
        hour = int(self._clock() // 3600)
        given = form.get(FORM_FIELD, "").encode()
        if not any(hmac.compare_digest(given, self._mark(f"login {each}").encode()) for each in (hour, hour - 1)):
            raise Refused(403, "This form is too old", "Load the page again and sign in.")

    @staticmethod
    def check_origin(request: Request) -> None:
        """Refuse what does not come from a page of this very site.

        Raises:
            Refused: it does not, or nobody says where from.
        """
        origin = urlsplit(request.headers.get("origin", ""))
        if origin.scheme not in ("http", "https") or origin.netloc != request.headers.get("host", ""):
            raise Refused(403, "Not from here", "Forms of other sites are not taken; use the dashboard's own pages.")

    def _content(self, cookie: str) -> dict[str, Any] | None:
        body, _, mark = cookie.rpartition(".")
        if not hmac.compare_digest(mark.encode(), self._mark(f"cookie {body}").encode()):
            return None
        content: dict[str, Any] = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        return content

    def _mark(self, words: str) -> str:
        return hmac.new(self._key, words.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()
