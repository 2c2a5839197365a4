"""What the pages say, and what they do not."""

from __future__ import annotations

import hashlib
import json
import re
import struct
import zlib
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from salus.errors import StoreError
from salus.serve.dashboard.desk import static_address, static_files
from salus.serve.dashboard.drawing import draw, png, score_bar, values_of
from salus.serve.dashboard.verifying import Checks

if TYPE_CHECKING:
    from salus.guard import Guard
    from serve.dashboard.conftest import Running

SCRIPT = "<script>alert"


def _pages(running: Running) -> list[str]:
    """Every address of the dashboard that can be looked at."""
    first = running.service.writer.state.seq
    return [
        "/", "/?guard=patients&span=24h", "/verdicts", "/log", "/log/check", "/tokens", "/guards/heartbeats",
        "/guards/lesions", "/guards/patients", "/part/now", "/part/charts?guard=patients", "/part/verdicts",
        *(f"/verdicts/{seq}" for seq in range(first - 14, first + 1)),
    ]  # fmt: skip


def test_every_page_carries_headers_of_safety_and_no_script_or_style_of_its_own(busy: Running) -> None:
    client = busy.signed_in()
    for page in [*_pages(busy), "/verdicts/999999", "/guards/nobody"]:
        answer = client.get(f"/dashboard{page}")
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["referrer-policy"] == "same-origin"
        assert not re.search(r"<script(?! src=)|<style|\sstyle=|\son\w+=|javascript:", answer.text), page
        assert SCRIPT not in answer.text


def test_names_that_look_like_scripts_are_shown_as_words(busy: Running) -> None:
    client = busy.signed_in()
    busy.service.tokens.add("<img src=x>", ["judge"])
    assert "&lt;img src=x&gt;" in client.get("/dashboard/tokens").text
    assert "&lt;script&gt;alert" in client.get("/dashboard/guards/patients").text
    last = client.get(f"/dashboard/verdicts/{busy.service.writer.state.seq}").text
    assert "patients 2 &lt;script&gt;alert" in last
    answer = client.get("/dashboard/verdicts", params={"asked": '"><script>alert(1)</script>'})
    assert "&lt;script&gt;" in answer.text


def test_a_guard_whose_name_is_a_script_is_shown_as_words(running: Running) -> None:
    from dataclasses import replace

    name = "<script>alert(1)</script>"
    guards = running.service.guards
    guards[name] = replace(guards["heartbeats"], name=name, fault=f"{name} is missing.")
    text = running.signed_in().get("/dashboard/").text
    assert SCRIPT not in text
    assert "&lt;script&gt;alert(1)" in text


def test_the_overview_shows_rates_alarms_drift_and_the_latest_verdicts(busy: Running) -> None:
    text = busy.signed_in().get("/dashboard/").text
    assert "Alarm since" in text
    assert "Guard &#39;heartbeats&#39; rejected" in text
    assert "allowed by the calibration" in text
    assert "roughness" in text
    assert "The last 15 verdicts" in text
    specs = [json.loads(unescape(spec)) for spec in re.findall(r'data-plot="([^"]*)"', text)]
    assert [spec["percent"] for spec in specs] == [True, False, True]
    assert all(len(line["values"]) == len(spec["moments"]) for spec in specs for line in spec["series"])
    assert text.count("<caption") == text.count("<table")


def test_an_alarm_that_is_over_is_still_told_of(busy: Running) -> None:
    busy.service.guards.pop("heartbeats")
    busy.look()
    assert "over" in busy.signed_in().get("/dashboard/part/now").text


def test_before_anything_was_judged_the_pages_say_so(running: Running) -> None:
    client = running.signed_in()
    text = client.get("/dashboard/").text
    for words in ("No alarms", "no inputs", "judged nothing in this time", "Not known yet", "Nothing was judged yet"):
        assert words in text
    assert "Nothing was judged yet" in client.get("/dashboard/verdicts").text
    assert "not signed yet" in client.get("/dashboard/log").text
    assert "There are none" in client.get("/dashboard/tokens").text


def test_choices_that_there_are_not_are_refused_in_words(running: Running) -> None:
    client = running.signed_in()
    for address in (
        "/?guard=nobody",
        "/?span=1y",
        "/guards/nobody",
        "/verdicts/x",
        "/verdicts/-1",
        f"/verdicts/{10**30}",
    ):
        answer = client.get(f"/dashboard{address}")
        assert answer.status_code == 404
        assert "There is no such" in answer.text
    for address in ("/verdicts/5/input.png", "/static/../session.py", "/static/nothing.js"):
        assert client.get(f"/dashboard{address}").status_code == 404


def test_verdicts_are_looked_through_by_guard_outcome_and_request(busy: Running) -> None:
    client = busy.signed_in()

    def seqs(**query: str) -> list[int]:
        return [
            int(seq) for seq in re.findall(r'id="verdict-(\d+)"', client.get("/dashboard/verdicts", params=query).text)
        ]

    everything = seqs()
    assert everything == sorted(everything, reverse=True)
    assert len(everything) == 15
    assert len(seqs(guard="lesions")) == 5
    assert len(seqs(asked="request-patients")) == 5
    rejected = seqs(outcome="rejected")
    assert 0 < len(rejected) < 15
    assert seqs(guard="lesions", outcome="rejected", before="1") == []
    for _ in range(11):
        busy.ask("heartbeats", busy.clean("heartbeats", 5))
    text = client.get("/dashboard/verdicts?guard=heartbeats").text
    older = re.search(r'href="([^"]*before=[^"]*)"', text)
    assert older is not None
    assert len(re.findall(r'id="verdict-', client.get(unescape(older[1])).text)) == 10


def test_a_verdict_shows_scores_its_place_in_the_log_and_its_waveform(busy: Running) -> None:
    client = busy.signed_in()
    first = busy.service.writer.state.seq - 14
    text = client.get(f"/dashboard/verdicts/{first}").text
    assert "i-defender" in text
    assert "the hash fits" in text
    assert "A signature covers it" in text
    assert "<polyline" in text
    assert "channel 1: 60 values from" in text


def test_a_rejected_verdict_says_by_whom_and_that_nobody_was_told_the_class(busy: Running) -> None:
    client = busy.signed_in()
    rejected = re.search(r'id="verdict-(\d+)"', client.get("/dashboard/verdicts?outcome=rejected").text)
    assert rejected is not None
    text = client.get(f"/dashboard/verdicts/{rejected[1]}").text
    assert "refused to answer: i-defender" in text
    assert "nobody was told" in text


def test_an_image_is_shown_as_a_picture(busy: Running) -> None:
    client = busy.signed_in()
    seq = busy.service.writer.state.seq - 9
    assert f'src="/dashboard/verdicts/{seq}/input.png"' in client.get(f"/dashboard/verdicts/{seq}").text
    answer = client.get(f"/dashboard/verdicts/{seq}/input.png")
    assert answer.headers["content-type"] == "image/png"
    x = busy.clean("lesions", 1)[0]
    assert np.abs(_pixels(answer.content).transpose(2, 0, 1) / 255 - x.numpy()).max() <= 0.5 / 255 + 1e-6


def test_a_row_of_a_table_is_shown_by_the_names_of_its_features(busy: Running) -> None:
    text = busy.signed_in().get(f"/dashboard/verdicts/{busy.service.writer.state.seq}").text
    for name in ("age [years]", "sex=f", "glucose [mg/dl]"):
        assert name in text


def test_inputs_that_are_not_kept_are_said_to_be_gone(start: Callable[..., Running]) -> None:
    keeps_none, keeps = start(), start(keep_inputs=True)
    for running, words in (
        (keeps_none, "Inputs are not kept by this service"),
        (keeps, "The input is not kept: it was judged"),
    ):
        seq = running.ask("heartbeats", running.clean("heartbeats", 1))
        assert words in running.signed_in().get(f"/dashboard/verdicts/{seq}").text


def test_a_verdict_of_a_guard_that_is_gone_or_was_exchanged_is_still_shown(busy: Running) -> None:
    from dataclasses import replace

    client = busy.signed_in()
    seq = busy.service.writer.state.seq
    guards = busy.service.guards
    guards["patients"] = replace(guards["patients"], fingerprint="9" * 64)
    text = client.get(f"/dashboard/verdicts/{seq}").text
    assert "exchanged since" in text
    del guards["patients"]
    text = client.get(f"/dashboard/verdicts/{seq}").text
    assert "no longer served" in text
    assert "cannot be drawn" in text


def test_a_changed_entry_is_seen_on_its_page_and_by_the_check(busy: Running) -> None:
    from sqlalchemy import text as sql

    client = busy.signed_in()
    seq = busy.service.writer.state.seq - 7
    with busy.service.database.writing() as connection:
        connection.execute(
            sql("UPDATE entries SET body = replace(body, 'local', 'lokal') WHERE seq = :seq"), {"seq": seq}
        )
    assert "the hash does not fit" in client.get(f"/dashboard/verdicts/{seq}").text
    assert _checked(busy, client).startswith("Not intact.")


def test_the_whole_log_is_checked_when_asked(busy: Running) -> None:
    client = busy.signed_in()
    assert "Nobody has checked it" in client.get("/dashboard/log").text
    busy.event("bundle loaded", guard="heartbeats", bundle="a" * 64)
    assert _checked(busy, client).startswith("Intact.")
    text = client.get("/dashboard/log").text
    assert "bundle loaded" in text
    assert "bundle: aaaaaaaaaaaa; guard: heartbeats" in text


def _checked(running: Running, client: Any) -> str:
    answer = running.send(client, "/dashboard/log/verify", page="/dashboard/log")
    assert answer.status_code == 303
    for _ in range(2000):
        text: str = client.get("/dashboard/log/check").text
        if "data-finished" in text:
            return re.sub(r"<[^>]*>|\s+", " ", text).strip()
    raise AssertionError("the check did not end")


def test_one_check_runs_at_a_time_and_its_faults_are_words() -> None:
    import threading

    go = threading.Event()

    def verify() -> tuple[bool, str]:
        go.wait(20)
        raise StoreError("The database is away.")

    checks = Checks(verify)
    assert checks.last is None
    assert checks.start()
    assert not checks.start()
    go.set()
    while (last := checks.last) is None or last.ended is None:
        pass
    assert (last.ok, last.text) == (None, "The database is away.")
    assert checks.start()


def test_a_log_that_is_too_long_is_left_to_the_command_line(busy: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("salus.serve.dashboard.log_page.MOST_CHECKED", 3)
    answer = busy.send(busy.signed_in(), "/dashboard/log/verify", page="/dashboard/log")
    assert answer.status_code == 413
    assert "salus log verify" in answer.text


def test_tokens_are_made_shown_once_and_revoked(running: Running) -> None:
    client = running.signed_in()
    text = running.send(
        client, "/dashboard/tokens", page="/dashboard/tokens", name="ward", scope="judge", life="1 day"
    ).text
    secret = re.search(r'id="secret">([^<]*)<', text)
    assert secret is not None
    principal = running.service.tokens.check(secret[1])
    assert principal is not None
    assert (principal.name, principal.scopes) == ("ward", {"judge"})
    assert secret[1] not in client.get("/dashboard/tokens").text
    answer = running.send(client, f"/dashboard/tokens/{principal.token}/revoke", page="/dashboard/tokens")
    assert answer.status_code == 303
    assert running.service.tokens.check(secret[1]) is None
    assert "revoked" in client.get("/dashboard/tokens").text


def test_a_token_that_makes_no_sense_is_refused_in_words(running: Running) -> None:
    client = running.signed_in()
    for fields, status, words in (
        ({"name": "ward", "life": "1 day"}, 400, "may do nothing"),
        ({"name": " ", "scope": "judge", "life": "1 day"}, 400, "name has"),
        ({"name": "ward", "scope": "judge everything", "life": "1 day"}, 400, "unknown"),
        ({"name": "ward", "scope": "judge", "life": "a while"}, 400, "how long"),
    ):
        answer = running.send(client, "/dashboard/tokens", page="/dashboard/tokens", **fields)
        assert answer.status_code == status
        assert words in answer.text
    assert running.service.tokens.list() == ()


def test_who_may_only_look_changes_nothing(running: Running) -> None:
    client = running.with_token("dashboard")
    page = client.get("/dashboard/log").text
    assert "/dashboard/tokens" not in page
    assert client.get("/dashboard/tokens").status_code == 403
    token = page.split('name="forgery_token" value="', 1)[1].split('"', 1)[0]
    fields = {"forgery_token": token, "name": "mine", "scope": "admin", "life": "never"}
    assert running.send(client, "/dashboard/tokens", **fields).status_code == 403
    assert len(running.service.tokens.list()) == 1


def test_while_the_database_is_away_every_page_says_so(busy: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    client = busy.signed_in()

    def away() -> Any:
        raise StoreError("The database data/service.sqlite cannot be used (disk I/O error): check its file.")

    monkeypatch.setattr(busy.service.database, "reading", away)
    for page in ("/", "/verdicts", "/verdicts/3", "/log", "/tokens"):
        answer = client.get(f"/dashboard{page}")
        assert answer.status_code == 503
        assert "cannot be used (disk I/O error)" in answer.text
    part = client.get("/dashboard/part/now", headers={"hx-request": "true"})
    assert part.status_code == 200  # or it would not be put into the page
    assert "cannot be used" in part.text
    assert "<html" not in part.text
    guard = client.get("/dashboard/guards/heartbeats")
    assert guard.status_code == 200  # what is in memory is still shown
    assert "cannot be used" in guard.text


def test_a_fault_of_the_last_reload_and_of_the_log_stands_on_top(
    busy: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace
    from types import SimpleNamespace

    guards = busy.service.guards
    guards["lesions"] = replace(guards["lesions"], fault="model.safetensors was changed or cut short.")
    client = busy.signed_in()
    assert "cut short" in client.get("/dashboard/").text
    assert "cut short" in client.get("/dashboard/guards/lesions").text
    state = replace(busy.service.writer.state, available=False, fault="The disk is full.")
    monkeypatch.setattr(busy.service, "writer", SimpleNamespace(state=state))
    assert "no verdict leaves the service" in client.get("/dashboard/").text
    assert "The disk is full." in client.get("/dashboard/log").text


def test_without_an_audit_the_guards_page_says_how_to_make_one(running: Running) -> None:
    text = running.signed_in().get("/dashboard/guards/heartbeats").text
    assert "No audit lies beside this bundle" in text
    assert "salus audit" in text


@pytest.mark.parametrize("place", ["audit", "."])
def test_an_audit_beside_the_bundle_is_shown_with_those_who_know_the_guard_first(running: Running, place: str) -> None:
    served = running.service.guards["heartbeats"]
    _write_audit(served.folder / place, served.guard.fingerprint())
    text = running.signed_in().get("/dashboard/guards/heartbeats").text
    assert "no real protection" in text
    assert "Only 60 samples" in text
    assert "of another guard" not in text
    assert text.index(">adaptive<") < text.index(">oblivious<")


def test_the_audit_that_fitted_a_guard_is_found_from_its_folder(running: Running) -> None:
    from dataclasses import replace

    served = running.service.guards["heartbeats"]
    running.service.guards["heartbeats"] = replace(served, folder=served.folder / "guards" / "i-defender-1")
    _write_audit(served.folder, "f" * 64)
    text = running.signed_in().get("/dashboard/guards/heartbeats").text
    assert "This audit is of another guard" in text


def test_an_audit_without_an_attacker_who_knows_is_called_an_upper_bound(running: Running) -> None:
    served = running.service.guards["heartbeats"]
    _write_audit(served.folder / "audit", served.guard.fingerprint(), threats=("oblivious",))
    assert "an upper bound" in running.signed_in().get("/dashboard/guards/heartbeats").text


@pytest.mark.parametrize("content", ["{", "[]", '{"form": 1, "meta": {}, "cells": []}', '{"form": 99}'])
def test_a_damaged_audit_is_a_sentence_on_the_page(running: Running, content: str) -> None:
    folder = running.service.guards["heartbeats"].folder
    folder.mkdir(parents=True)
    (folder / "results.json").write_text(content)
    answer = running.signed_in().get("/dashboard/guards/heartbeats")
    assert answer.status_code == 200
    assert "run the audit again" in answer.text


def _write_audit(folder: Path, fingerprint: str, threats: tuple[str, ...] = ("oblivious", "adaptive")) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    cell: dict[str, Any] = {
        "id": "1", "guard": "g", "attack": "pgd", "attack_options": {"steps": 20}, "eps": 0.05, "norm": "linf",
        "error": None, "n": 60, "robust_accuracy": 0.6, "robust_accuracy_low": 0.5, "robust_accuracy_high": 0.7,
    }  # fmt: skip
    cells = [{**cell, "threat_model": threat} for threat in threats]
    cells.append({**cell, "attack": None, "eps": None, "norm": None, "threat_model": None, "clean_accuracy": 0.9})
    meta = {
        "data": {"classes": ["a", "b"], "kind": "signal"},
        "guards": {"g": {"fingerprint": fingerprint}},
        "created": "2026-01-02T03:04:05+00:00",
        "verdict": ["The guard gives no real protection against them."],
        "warnings": ["Only 60 samples were attacked."],
    }
    (folder / "results.json").write_text(json.dumps({"form": 1, "meta": meta, "cells": cells}))


def test_files_of_others_are_those_that_their_makers_published() -> None:
    import salus.serve.dashboard as room

    folder = Path(str(room.__file__)).parent / "static"
    vendored = json.loads((folder / "vendored.json").read_text())
    for name, entry in vendored.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == entry["sha256"]
        assert (folder / name).with_name("LICENSE").stat().st_size > 100
    foreign = {path.relative_to(folder).as_posix() for path in folder.glob("*/*") if path.suffix in (".js", ".css")}
    assert foreign == set(vendored)


def test_files_are_kept_by_browsers_for_as_long_as_they_stay_the_same(running: Running) -> None:
    client = running.client()
    for name in static_files():
        answer = client.get(static_address(name))
        assert answer.status_code == 200
        assert "immutable" in answer.headers["cache-control"]
        assert client.get(f"/dashboard/static/{name}").headers["cache-control"] == "no-cache"


def _pixels(content: bytes) -> Any:
    """Read a PNG as simple as ours."""
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    place, data = 8, b""
    while place < len(content):
        (length,) = struct.unpack(">I", content[place : place + 4])
        kind, body = content[place + 4 : place + 8], content[place + 8 : place + 8 + length]
        assert struct.unpack(">I", content[place + 8 + length : place + 12 + length])[0] == zlib.crc32(kind + body)
        if kind == b"IHDR":
            width, height, depth, colours = struct.unpack(">IIBB", body[:10])
            assert depth == 8
        data += body if kind == b"IDAT" else b""
        place += 12 + length
    channels = {0: 1, 2: 3}[colours]
    lines = np.frombuffer(zlib.decompress(data), np.uint8).reshape(height, 1 + width * channels)
    assert (lines[:, 0] == 0).all()
    return lines[:, 1:].reshape(height, width, channels)


def test_pictures_run_from_black_at_the_lower_bound_to_white_at_the_upper() -> None:
    x = np.array([[[-1.0, 0.0], [1.0, np.nan]]], np.float32)
    assert _pixels(png(x, (-1.0, 1.0)))[..., 0].tolist() == [[0, 128], [255, 0]]


def test_a_long_signal_keeps_its_spikes(guards: dict[str, Guard]) -> None:
    x = np.zeros((2, 100_000), np.float32)
    x[0, 77_777] = 1.0
    drawn = draw(x, guards["heartbeats"])
    points = [point.split(",") for point in drawn.waveforms[0].points.split()]
    assert len(points) <= 1200
    assert min(float(down) for _, down in points) == pytest.approx(6.0)
    assert len({down for _, down in (point.split(",") for point in drawn.waveforms[1].points.split())}) == 1


def test_what_has_another_shape_is_not_drawn(guards: dict[str, Guard]) -> None:
    assert values_of(b"\0" * 4 * 61, guards["heartbeats"]) is None
    assert values_of(b"\0" * 4 * 60, guards["heartbeats"]) is not None
    many = draw(np.zeros((20, 30), np.float32), guards["heartbeats"])
    assert (len(many.waveforms), many.left_out) == (12, "The first 12 of 20 channels.")


def test_bars_stay_inside_their_rail() -> None:
    for score in (None, float("nan"), -3.0, 0.0, 1.0, 1e9):
        bar = score_bar("d", score, 4.6, rejects=score == 1e9)
        widths = [float(width) for width in re.findall(r'(?:width|x1)="([\d.]+)"', bar.picture)]
        assert all(0 <= width <= 204 for width in widths)


def test_what_a_worker_could_not_count_is_said(running: Running) -> None:
    running.service.recorder.fault = "The counts of verdicts wait for the database."
    running.service.recorder.lost = 7
    client = running.signed_in()
    assert "counts of verdicts wait" in client.get("/dashboard/").text
    assert "The counts of 7 inputs were given up" in client.get("/dashboard/log").text


def test_an_input_that_could_not_be_judged_has_a_page_too(running: Running) -> None:
    from salus.serve.log.entry import VerdictEntry
    from salus.serve.log.submission import Submission

    entry = VerdictEntry("heartbeats", "0" * 64, "r", "local", 0, "", "not judged", None, None, {}, {}, ())
    seq = running.service.writer.append(Submission([entry])).result(20).first_seq
    text = running.signed_in().get(f"/dashboard/verdicts/{seq}").text
    assert "could not be prepared" in text
    assert "No detector saw it" in text
