"""A service whose callers are watched: what follows from an alarm, what is said of it, and what outlasts a restart."""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from fastapi.testclient import TestClient
from sqlalchemy import select

from salus.client.client import Client, ProblemError
from salus.data import load
from salus.detectors.queries import Nearest, Stream, save_monitor
from salus.errors import BundleError, OptionError
from salus.guard import Guard
from salus.serve import schema
from salus.serve.app import create_app
from salus.serve.guards import sources_of
from salus.serve.log.entry import EventEntry
from salus.serve.log.writer import Submission
from salus.serve.service import Service
from salus.serve.settings import Settings
from salus.serve.starting import greeting
from salus.serve.watching.watchers import policy_of
from salus_studies.queries.over_http import serving, visit

Serve = Callable[..., TestClient]
ASK = "/v1/guards/patients/verdicts"


@pytest.fixture(scope="module")
def watched_bundle(table_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with a monitor that takes rows of the training data for life."""
    folder = tmp_path_factory.mktemp("watched") / "bundle"
    shutil.copytree(table_bundle, folder)
    x = load("breast-cancer").train.x
    streams = [Stream(f"clinic {k}", x[k::4], torch.zeros(len(x[k::4])).long()) for k in range(4)]
    save_monitor(Nearest().fit(streams), folder / "monitor")
    return folder


@pytest.fixture
def serve(watched_bundle: Path, tmp_path: Path) -> Iterator[Serve]:
    """Start services that end with the test."""
    running: list[TestClient] = []

    def start(bundle: Path = watched_bundle, **options: Any) -> TestClient:
        settings = Settings(data_folder=tmp_path / "data", key_file=tmp_path / "keys" / "key.pem", **options)
        service = Service.open(settings, sources_of([f"patients={bundle}"]), "login-code")
        client = TestClient(create_app(service), base_url="http://localhost")
        client.service = service  # type: ignore[attr-defined]
        client.__enter__()
        running.append(client)
        return client

    yield start
    for client in running:
        client.__exit__(None, None, None)


def stop(client: TestClient) -> None:
    client.__exit__(None, None, None)


def life(count: int = 6) -> list[list[float]]:
    rows: list[list[float]] = load("breast-cancer").test.x[:count].tolist()
    return rows


def search(count: int = 3) -> list[list[float]]:
    x = load("breast-cancer").test.x[20:21]
    noise = 1e-3 * torch.rand(count, x.shape[1], generator=torch.Generator().manual_seed(0))
    rows: list[list[float]] = (x + noise).clamp(0, 1).tolist()
    return rows


def ask(client: TestClient, rows: list[list[float]], **headers: str) -> Any:
    return client.post(ASK, json={"inputs": rows, "prepared": True}, headers=headers)


def events(client: TestClient) -> list[dict[str, Any]]:
    service: Service = client.service  # type: ignore[attr-defined]
    service.writer.append(Submission([EventEntry("test looks", {})])).result(20)  # what came before is written by then
    with service.database.reading() as connection:
        rows = connection.execute(select(schema.entries.c.body).order_by(schema.entries.c.seq)).all()
    return [body for (text,) in rows if (body := json.loads(text))["kind"] == "event"]


def test_life_is_answered_as_ever_and_repeats_cost_nothing(serve: Serve, table_bundle: Path) -> None:
    watched = ask(serve(monitor="refuse"), life()).json()["verdicts"]
    alone = ask(serve(table_bundle, monitor="refuse"), life()).json()["verdicts"]
    assert [verdict["probabilities"] for verdict in watched] == [verdict["probabilities"] for verdict in alone]


def test_a_search_is_refused_with_one_sentence_and_so_is_all_that_follows(serve: Serve) -> None:
    client = serve(monitor="refuse")
    assert ask(client, life()).status_code == 200
    assert ask(client, life()).status_code == 200
    refused = ask(client, search())
    assert refused.status_code == 403
    assert refused.json()["type"] == "/problems/suspected"
    assert "whoever runs the service can lift" in refused.json()["detail"]
    assert ask(client, life(1)).status_code == 403
    assert client.post("/v2/models/patients/infer", json={"inputs": [tensor(life(1))]}).status_code == 403
    raised = [event for event in events(client) if event["what"] == "caller under suspicion"]
    assert [event["detail"]["token"] for event in raised] == ["local"]


def test_a_suspicion_outlasts_a_restart_and_names_the_token_alone(serve: Serve, tmp_path: Path) -> None:
    client = serve(monitor="refuse")
    service: Service = client.service  # type: ignore[attr-defined]
    secret = service.tokens.add("clinic", ["judge"], None)
    assert ask(client, search(), authorization=f"Bearer {secret}").status_code == 403
    assert ask(client, life(1)).status_code == 200
    stop(client)
    again = serve(monitor="refuse")
    assert ask(again, life(1), authorization=f"Bearer {secret}").status_code == 403
    assert ask(again, life(1)).status_code == 200
    stop(again)
    loose = serve(monitor="review")
    assert ask(loose, life(1), authorization=f"Bearer {secret}").status_code == 200


@pytest.mark.parametrize("policy", ["labels", "slow:delay=0.01"])
def test_labels_stay_and_probabilities_go(serve: Serve, policy: str) -> None:
    client = serve(monitor=policy)
    before = ask(client, life(1)).json()["verdicts"][0]
    assert before["probabilities"] is not None
    verdicts = ask(client, search()).json()["verdicts"]
    assert all(verdict["probabilities"] is None and verdict["detectors"] is None for verdict in verdicts)
    assert ask(client, life(1)).json()["verdicts"][0]["label"] == before["label"]
    answer = client.post("/v2/models/patients/infer", json={"inputs": [tensor(life(1))]}).json()
    outputs = {output["name"]: output["data"] for output in answer["outputs"]}
    assert set(outputs["probabilities"]) == {0}
    assert outputs["answer"][0] >= 0


@pytest.mark.parametrize("policy", ["refuse", "review"])
def test_an_outsider_with_art_is_noticed_over_http_and_refused_in_a_sentence(
    watched_bundle: Path, tmp_path: Path, policy: str
) -> None:
    pytest.importorskip("art")
    data, guard = load("breast-cancer").test, Guard.load(watched_bundle)
    answers = guard(data.x).answers
    own = int((answers == data.y).nonzero()[0])
    other = int(((answers >= 0) & (answers != data.y[own])).nonzero()[0])
    x, y, start = data.x[own : own + 1], int(data.y[own]), data.x[other : other + 1]
    with serving(watched_bundle, policy, tmp_path / "data") as (url, service), Client(url) as client:
        (verdict,) = client.judge(x, guard="ecg").verdicts
        assert verdict.label == data.classes[y]
        came = visit(client, "ecg", x, y, start, queries=120, radii=(-1.0, math.inf))
        assert service.watchers.suspects()[0].alarmed is not None
        if policy == "review":
            assert came.refusal is None
            assert 60 < came.asked <= 120
            assert came.won is not None
        else:
            assert came.asked < 120
            assert came.refusal is not None
            assert "whoever runs the service can lift" in came.refusal
            with pytest.raises(ProblemError, match="can lift"):
                client.judge(data.x[40:41], guard="ecg")


def test_review_and_off_answer_all_the_same(serve: Serve) -> None:
    for policy in ("review", "off"):
        client = serve(monitor=policy)
        told = ask(client, search()).json()["verdicts"]
        assert any(verdict["probabilities"] is not None for verdict in told)
        raised = [event for event in events(client) if event["what"] == "caller under suspicion"]
        assert len(raised) == 1  # the database is the same: off adds none
        stop(client)


def test_the_dashboard_shows_who_is_suspected_with_its_trail_and_lifts_it(serve: Serve) -> None:
    client = serve(monitor="refuse")
    ask(client, life())
    ask(client, search())
    assert client.get("/dashboard/login?code=login-code").status_code == 200
    listed = client.get("/dashboard/callers").text
    assert "suspected" in listed
    assert "this machine" in listed
    page = client.get("/dashboard/callers/patients/local").text
    assert "polyline" in page
    assert page.count("<tr>") > 3
    hidden = re.findall(r'name="([^"]+)" value="([^"]+)"', page)
    lifted = client.post(
        "/dashboard/callers/patients/local/lift",
        data=dict(hidden),
        headers={"origin": "http://localhost", "sec-fetch-site": "same-origin"},
    )
    assert lifted.status_code == 200
    assert "as life is" in client.get("/dashboard/callers").text
    assert ask(client, life(1)).status_code == 200
    assert client.get("/dashboard/callers/patients/nobody").status_code == 404
    assert events(client)[-2]["what"] == "suspicion lifted"


def test_a_damaged_monitor_and_an_unknown_policy_are_refused_at_the_start(
    serve: Serve, watched_bundle: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(watched_bundle, folder)
    (folder / "monitor" / "monitor.safetensors").write_bytes(b"no tensors")
    with pytest.raises(BundleError, match="monitor"):
        serve(folder)
    with pytest.raises(OptionError, match="--monitor off"):
        policy_of("shout")


def tensor(rows: list[list[float]]) -> dict[str, Any]:
    return {
        "name": "x",
        "datatype": "FP32",
        "shape": [len(rows), len(rows[0])],
        "data": [value for row in rows for value in row],
        "parameters": {"prepared": True},
    }


def test_who_starts_the_service_reads_that_queries_are_kept(serve: Serve, table_bundle: Path) -> None:
    def said(client: TestClient) -> list[str]:
        service: Service = client.service  # type: ignore[attr-defined]
        return [line for line in greeting(service, "one worker") if line.startswith("Callers of")]

    (line,) = said(serve(monitor="review", monitor_days=7))
    assert "Callers of patients are watched by Nearest query, fitted to 4 callers" in line
    assert "on an alarm: review. What they send is kept for 7 days" in line
    assert said(serve(monitor="off")) == said(serve(table_bundle, monitor="review")) == []
