"""Clients of a served guard: what they send, when they send it again, and what they say when it fails."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

import salus
from salus import AsyncClient, Client
from salus.client.client import MOST_BYTES, ProblemError
from salus.client.retries import Retries
from salus.errors import EndpointError, OptionError

if TYPE_CHECKING:
    from client.conftest import Clock, Service
    from conftest import Toy


def client_of(service: Service, clock: Clock, **options: Any) -> Client:
    more = {"transport": service.transport(), "clock": clock, "sleep": clock.sleep, "chance": lambda: 0.5}
    return Client("http://127.0.0.1:8000", **{**more, **options})


def posts(service: Service) -> list[tuple[str, dict[str, str], bytes]]:
    return [each for each in service.seen if each[0].endswith("/verdicts")]


def test_a_client_says_what_a_guard_says(only: Service, clock: Clock, toy: Toy) -> None:
    with client_of(only, clock) as client:
        answer = client.judge(toy.test.x[:20])
        assert client.live() and client.ready()
        (card,) = client.guards()
        assert client.guard("toy") == card and card.classes == ["a", "b", "c"]
    verdict = only.guards["toy"](toy.test.x[:20])
    for said, label, accepted in zip(answer.verdicts, verdict.labels, verdict.accepted, strict=True):
        assert (said.outcome == "accepted") == bool(accepted)
        assert said.label == ("abc"[int(label)] if accepted else None)
    assert answer.guard == "toy" and answer.bundle == "b" * 64


def test_the_only_guard_is_asked_and_several_must_be_named(service: Service, clock: Clock, toy: Toy) -> None:
    with client_of(service, clock) as client:
        with pytest.raises(OptionError, match="several guards, toy, bare"):
            client.judge(toy.test.x[:2])
        assert client.judge(toy.test.x[:2], guard="bare").guard == "bare"
        service.guards.clear()
        with pytest.raises(OptionError, match="no guard"):
            client.judge(toy.test.x[:2])


def test_many_things_are_asked_about_one_by_one_as_they_are_wanted(only: Service, clock: Clock, toy: Toy) -> None:
    with client_of(only, clock) as client:
        answers = client.judge_many(toy.test.x[:6].split(2))
        next(answers)
        assert only.posts == [2]
        assert [len(answer.verdicts) for answer in answers] == [2, 2]
    keys = {headers["idempotency-key"] for _, headers, _ in posts(only)}
    assert len(keys) == 3, "each request has a key of its own"


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_passing_failures_are_sent_again_under_the_same_key(only: Service, clock: Clock, toy: Toy, status: int) -> None:
    with client_of(only, clock) as client:
        client.guards()
        only.fail(status)
        only.hang_up()
        answer = client.judge(toy.test.x[:2], guard="toy")
    assert len(answer.verdicts) == 2 and only.posts == [2], "judged once"
    assert len({headers["idempotency-key"] for _, headers, _ in posts(only)}) == 1 and len(posts(only)) == 3
    assert clock.slept == [pytest.approx(0.125), pytest.approx(0.25)]


def test_an_answer_that_got_lost_is_not_judged_again(
    only: Service, clock: Clock, toy: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer, real = 0, only.answer

    def lose_the_first(*request: Any) -> Any:
        nonlocal answer
        response = real(*request)
        answer += request[1].endswith("/verdicts")
        return None if answer == 1 else response

    monkeypatch.setattr(only, "answer", lose_the_first)
    with client_of(only, clock) as client:
        assert len(client.judge(toy.test.x[:3], guard="toy").verdicts) == 3
    assert len(posts(only)) == 2 and only.posts == [3] and set(only.judged.values()) == {1}


def test_retry_after_is_kept_to_and_never_undercut(only: Service, clock: Clock) -> None:
    only.fail(429, **{"Retry-After": "7"})
    with client_of(only, clock) as client:
        client.guards()
        assert clock.slept == [7.0]
        only.fail(429, "Too many inputs.", **{"Retry-After": "3600"})
        with pytest.raises(ProblemError, match="Too many inputs") as error:
            client.guards()
    assert error.value.status == 429 and error.value.problem is not None and clock.slept == [7.0]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 413, 415, 422, 500])
def test_refusals_are_said_at_once_in_the_services_words(only: Service, clock: Clock, status: int) -> None:
    only.fail(status, "This token may not judge; ask for another")
    with client_of(only, clock) as client, pytest.raises(ProblemError) as error:
        client.guards()
    assert str(error.value) == (f"http://127.0.0.1:8000 refuses ({status}): This token may not judge; ask for another.")
    assert len(only.seen) == 1 and not clock.slept and isinstance(error.value, EndpointError)


@pytest.mark.parametrize(
    ("status", "content", "kind"),
    [(200, b"<html>", "text/html"), (200, b'{"guards": 3}', "application/json"), (302, b"", "text/html"),
     (404, b"{}", "application/problem+json"), (500, b"oops", "text/plain")],
)  # fmt: skip
def test_what_is_no_service_of_ours_is_said_in_a_sentence(
    only: Service, clock: Clock, status: int, content: bytes, kind: str
) -> None:
    only.faults.append((status, {"Content-Type": kind, "Location": "http://example.org"}, content))
    with client_of(only, clock) as client, pytest.raises(EndpointError, match="Salus"):
        client.guards()
    assert len(only.seen) == 1, "nothing is followed elsewhere"


def test_the_deadline_ends_a_call_that_would_go_on(only: Service, clock: Clock) -> None:
    for _ in range(20):
        only.hang_up()
    retries = Retries(attempts=100, first=8.0, longest=8.0, deadline=20.0)
    with (
        client_of(only, clock, retries=retries) as client,
        pytest.raises(EndpointError, match="could not be reached, tried 5 times"),
    ):
        client.guards()
    assert clock.now <= 20.0


def test_an_answer_that_drips_is_given_up_at_the_deadline(only: Service, clock: Clock) -> None:
    class Drip(httpx.SyncByteStream):
        def __iter__(self) -> Any:
            for _ in range(1000):
                clock.now += 1.0
                yield b" " * 2**16

    transport = httpx.MockTransport(lambda _: httpx.Response(200, stream=Drip()))
    with client_of(only, clock, transport=transport) as client, pytest.raises(EndpointError, match="within 60 seconds"):
        client.guards()


def test_an_endless_answer_is_given_up(only: Service, clock: Clock) -> None:
    class Endless(httpx.SyncByteStream):
        def __iter__(self) -> Any:
            piece = bytes(2**24)
            while True:
                yield piece

    transport = httpx.MockTransport(lambda _: httpx.Response(200, stream=Endless()))
    with client_of(only, clock, transport=transport) as client, pytest.raises(EndpointError, match=str(MOST_BYTES)):
        client.guards()


def test_health_is_asked_once_and_never_raises(only: Service, clock: Clock) -> None:
    with client_of(only, clock) as client:
        only.fail(503)
        assert not client.ready()
        only.hang_up()
        assert not client.live()
    assert len(only.seen) == 2 and not clock.slept


def test_a_token_goes_to_this_machine_or_by_https_alone(
    only: Service, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    for url in ("http://ward.example.org", "http://10.0.0.7:8000"):
        with pytest.raises(OptionError, match="plain http"):
            Client(url, token="t")
        Client(url).close()
        Client(url, token="t", allow_plain_http=True).close()
    monkeypatch.setenv("SALUS_TOKEN", "from-outside")
    with pytest.raises(OptionError, match="plain http"):
        Client("http://ward.example.org")
    for url in ("https://ward.example.org", "http://localhost:1", "http://[::1]:1", "http://127.8.0.1:1"):
        Client(url).close()
    with client_of(only, clock) as client:
        client.guards()
    with client_of(only, clock, token="given") as client:
        client.guards()
    sent = [headers["authorization"] for _, headers, _ in only.seen]
    assert sent == ["Bearer from-outside", "Bearer given"]
    with pytest.raises(OptionError, match="one word"):
        Client("http://localhost", token="two\nlines")


def test_what_is_for_this_machine_goes_to_no_proxy(served: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with Client(served, token="secret") as client:
        assert client.live()


@pytest.mark.parametrize(
    "url", ["ftp://a", "a:8000", "http://", "http://u:p@a", "http://a?b=c", "http://a:xyz", "http://a\nb"]
)
def test_urls_that_are_none_of_a_service_are_refused(url: str) -> None:
    with pytest.raises(OptionError):
        Client(url)


def test_certificates_are_checked_by_a_file_that_must_exist(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="PEM"):
        Client("https://localhost", verify=tmp_path / "nosuch.pem")


def test_a_connection_that_the_service_closed_is_opened_again(served: str, service: Service, toy: Toy) -> None:
    with Client(served, sleep=lambda _: None) as client:
        assert len(client.judge(toy.test.x[:2], guard="toy").verdicts) == 2
        service.hang_up()  # in the middle: the request was read, and nothing comes back
        assert len(client.judge(toy.test.x[2:4], guard="toy").verdicts) == 2
        client.close()
        assert client.live(), "opened again"
    assert set(service.judged.values()) == {1}


def test_a_service_that_is_not_there_is_said_in_a_sentence() -> None:
    with (
        Client("http://127.0.0.1:9", sleep=lambda _: None, retries=Retries(attempts=2)) as client,
        pytest.raises(EndpointError, match=r"tried 2 times .* is the service running there"),
    ):
        client.guards()


def test_the_client_of_asyncio_does_the_same(only: Service, clock: Clock, toy: Toy) -> None:
    async def sleep(seconds: float) -> None:
        clock.sleep(seconds)

    async def ask() -> None:
        transport = only.transport()
        async with AsyncClient(
            "http://127.0.0.1:8000", transport=transport, clock=clock, sleep=sleep, chance=lambda: 0.5
        ) as client:
            assert await client.live() and await client.ready()
            only.fail(503, **{"Retry-After": "2"})
            only.hang_up()
            answers = await asyncio.gather(*(client.judge(toy.test.x[k : k + 1], guard="toy") for k in range(4)))
            assert [len(answer.verdicts) for answer in answers] == [1] * 4
            assert [len(answer.verdicts) async for answer in client.judge_many([toy.test.x[4:6]])] == [2]
            assert (await client.guard("toy")).name == "toy"
            with pytest.raises(ProblemError, match="no /v1/guards/nosuch"):
                await client.guard("nosuch")

    asyncio.run(ask())
    assert set(only.judged.values()) == {1} and len(only.judged) == 6
    assert len(clock.slept) == 2 and 2.0 in clock.slept


def test_names_are_written_into_urls_as_names(only: Service, clock: Clock) -> None:
    with client_of(only, clock) as client, pytest.raises(ProblemError):
        client.guard("../v1/guards?x=1")
    assert only.seen[0][0].startswith("/v1/guards/")


def test_salus_offers_the_clients_without_importing_httpx() -> None:
    code = "import sys, salus; assert 'httpx' not in sys.modules; salus.Client; assert 'httpx' in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert {"Client", "AsyncClient"} <= set(salus.__all__)


def test_a_request_is_json_where_rows_are_asked_about(only: Service, clock: Clock, toy: Toy) -> None:
    with client_of(only, clock) as client:
        client.judge(toy.test.x[:2].tolist(), guard="toy")
    assert json.loads(posts(only)[0][2])["prepared"] is False
