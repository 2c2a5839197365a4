"""Who may look at the dashboard, and what forged requests come to."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from starlette.requests import Request
from starlette.responses import Response

from salus.serve.dashboard.attempts import Attempts
from salus.serve.dashboard.refusals import LoginNeeded, Refused
from salus.serve.dashboard.session import LASTS, Sessions

if TYPE_CHECKING:
    from serve.dashboard.conftest import Running


def test_nobody_sees_a_page_without_signing_in(running: Running) -> None:
    running.ask("heartbeats", running.clean("heartbeats", 1))
    client = running.client()
    for page in (
        "/", "/verdicts", "/verdicts/1", "/verdicts/1/input.png", "/guards/heartbeats", "/log", "/log/check", "/tokens",
        "/part/now", "/part/charts", "/part/verdicts",
    ):  # fmt: skip
        answer = client.get(f"/dashboard{page}")
        assert answer.status_code == 303
        assert answer.headers["location"] == f"/dashboard/login?next=/dashboard{page}"
        assert answer.content == b""


def test_nobody_changes_anything_without_signing_in(running: Running) -> None:
    for address in ("/logout", "/log/verify", "/tokens", "/tokens/x/revoke"):
        answer = running.send(running.client(), f"/dashboard{address}", forgery_token="x")
        assert answer.status_code == 303
        assert answer.headers["location"] == "/dashboard/login"


def test_a_part_that_is_asked_for_without_a_session_sends_the_whole_page_to_the_login(running: Running) -> None:
    answer = running.client().get("/dashboard/part/now", headers={"hx-request": "true"})
    assert (answer.status_code, answer.headers["hx-redirect"]) == (401, "/dashboard/login")


def test_the_code_that_the_start_printed_signs_in_and_another_does_not(running: Running) -> None:
    client = running.client()
    assert client.get("/dashboard/login?code=another").status_code == 401
    assert client.get("/dashboard/").status_code == 303
    answer = client.get("/dashboard/login?code=the-code")
    assert (answer.status_code, answer.headers["location"]) == (303, "/dashboard/")
    assert client.get("/dashboard/").status_code == 200
    assert client.get("/dashboard/tokens").status_code == 200


def test_a_code_of_the_process_before_is_no_session_any_more(start: Callable[..., Running]) -> None:
    first = start()
    client = first.signed_in()
    first.service.login_code = "of the next process"
    sessions = Sessions(first.service)
    cookie = client.cookies["salus_session"]
    request = Request({"type": "http", "headers": [(b"cookie", f"salus_session={cookie}".encode())]})
    with pytest.raises(LoginNeeded):
        sessions.of(request)


def test_without_a_code_none_signs_in(start: Callable[..., Running]) -> None:
    service = start().service
    service.login_code = ""
    assert Sessions(service).by_code("") is None


def test_a_token_signs_in_only_with_the_scope(running: Running) -> None:
    for scopes, status in ((("dashboard",), 303), (("admin",), 303), (("judge", "scores"), 401)):
        client = running.client()
        secret = running.service.tokens.add("nurse", scopes)
        answer = running.send(client, "/dashboard/login", page="/dashboard/login", token=secret)
        assert answer.status_code == status
        assert secret not in answer.text


def test_signing_in_leads_back_to_the_page_that_was_wanted_and_nowhere_else(running: Running) -> None:
    secret = running.service.tokens.add("nurse", ["dashboard"])
    client = running.client()
    assert client.get("/dashboard/log").headers["location"] == "/dashboard/login?next=/dashboard/log"
    for wanted, location in (
        ("/dashboard/log", "/dashboard/log"),
        ("https://example.org/dashboard/", "/dashboard/"),
        ("//example.org", "/dashboard/"),
        ("/dashboard//example.org", "/dashboard/"),
        ("/dashboard/\\example.org", "/dashboard/"),
        ("/v1/guards", "/dashboard/"),
    ):
        answer = running.send(client, "/dashboard/login", page="/dashboard/login", token=secret, next=wanted)
        assert answer.headers["location"] == location


def test_the_cookie_is_for_this_site_alone_and_no_script(start: Callable[..., Running]) -> None:
    plain = start().client().get("/dashboard/login?code=the-code").headers["set-cookie"]
    for part in ("HttpOnly", "SameSite=strict", "Path=/dashboard", "Max-Age=43200"):
        assert part in plain
    assert "Secure" not in plain
    assert "Secure" in start(behind_proxy=True).client().get("/dashboard/login?code=the-code").headers["set-cookie"]


def test_a_cookie_that_was_changed_is_none(running: Running) -> None:
    client = running.signed_in()
    cookie = client.cookies["salus_session"]
    body, mark = cookie.split(".")
    other_mark = mark[:-1] + ("1" if mark.endswith("0") else "0")
    for forged in (f"{body}x.{mark}", f"{body}.{other_mark}", f".{mark}", "", "a.b", body):
        other = running.client(cookies={"salus_session": forged})
        assert other.get("/dashboard/").status_code == 303


def test_a_session_ends_after_twelve_hours_whatever_the_clock_does(running: Running) -> None:
    now = [time.time()]
    sessions = Sessions(running.service, clock=lambda: now[0])
    session = sessions.by_code("the-code")
    assert session is not None
    response = Response()
    sessions.set_cookie(response, session)
    cookie = response.headers["set-cookie"].split(";")[0]
    request = Request({"type": "http", "headers": [(b"cookie", cookie.encode())]})
    assert sessions.of(request) == session
    for jump in (LASTS + 1, -2 * LASTS):
        now[0] = time.time() + jump
        with pytest.raises(LoginNeeded):
            sessions.of(request)


def test_a_revoked_token_ends_its_session(running: Running) -> None:
    client = running.with_token("dashboard")
    assert client.get("/dashboard/").status_code == 200
    (token,) = running.service.tokens.list()
    running.service.tokens.revoke(token.id)
    assert client.get("/dashboard/").status_code == 303


def test_signing_out_ends_the_session_in_the_browser(running: Running) -> None:
    client = running.signed_in()
    answer = running.send(client, "/dashboard/logout", page="/dashboard/")
    assert answer.headers["location"] == "/dashboard/login"
    assert 'salus_session=""' in answer.headers["set-cookie"]
    assert client.get("/dashboard/").status_code == 303


def test_forms_of_other_sites_are_refused(running: Running) -> None:
    client, secret = running.signed_in(), running.service.tokens.add("nurse", ["dashboard"])
    for origin in ("https://example.org", "null", "", "http://localhost:8000.example.org", "http://localhost"):
        assert running.send(client, "/dashboard/logout", page="/dashboard/", origin=origin).status_code == 403
        answer = running.send(
            running.client(), "/dashboard/login", page="/dashboard/login", origin=origin, token=secret
        )
        assert answer.status_code == 403
        assert "set-cookie" not in answer.headers


def test_a_form_needs_the_token_of_its_own_session(running: Running) -> None:
    client, other = running.signed_in(), running.signed_in()
    theirs = other.get("/dashboard/").text.split('name="forgery_token" value="', 1)[1].split('"', 1)[0]
    for token in ("", "x", theirs):
        assert running.send(client, "/dashboard/logout", forgery_token=token).status_code == 403
    assert running.send(client, "/dashboard/logout", page="/dashboard/").status_code == 303


def test_what_is_no_form_is_refused(running: Running) -> None:
    client, form = running.signed_in(), "application/x-www-form-urlencoded"
    for body, kind, status in (
        (b"forgery_token=" + b"x" * 20000, form, 413),
        (b"a=1" + b"&a=1" * 60, form, 400),
        (b"\xff", form, 400),
        (b"{}", "application/json", 415),
        (b"", "", 415),
    ):
        headers = {"origin": "http://localhost:8000", **({"content-type": kind} if kind else {})}
        assert client.post("/dashboard/tokens", content=body, headers=headers).status_code == status


def test_guessing_is_slowed_down(running: Running) -> None:
    client = running.client()
    statuses = [client.get(f"/dashboard/login?code={guess}").status_code for guess in range(8)]
    assert statuses == [401] * 5 + [429] * 3
    answer = client.get("/dashboard/login?code=the-code")
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) >= 1


def test_waits_double_end_and_are_kept_for_few_addresses() -> None:
    now = [0.0]
    attempts = Attempts(lambda: now[0])
    for _ in range(6):
        attempts.check("a")
        attempts.failed("a")
        now[0] += 1
    now[0] -= 0.5
    with pytest.raises(Refused):
        attempts.check("a")
    attempts.check("b")
    now[0] += 30
    attempts.check("a")
    attempts.succeeded("a")
    for number in range(5000):
        attempts.failed(str(number))
    assert len(attempts._failures) == 1024


def test_a_link_from_elsewhere_finds_its_session_once_the_page_asks_for_itself(running: Running) -> None:
    answer = running.client().get("/dashboard/log", headers={"sec-fetch-site": "cross-site"})
    assert answer.status_code == 200
    assert 'http-equiv="refresh"' in answer.text
    assert "Check" not in answer.text
