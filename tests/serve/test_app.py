"""The interface of a served guard, from the outside."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient
from sqlalchemy import select

from salus.client.messages import GuardCard, VerdictsAnswer
from salus.data import load
from salus.errors import BundleError, OptionError
from salus.guard import Guard
from salus.serve import schema
from salus.serve.app import create_app
from salus.serve.guards import sources_of
from salus.serve.log.verifying import verify
from salus.serve.service import Service
from salus.serve.settings import Settings

Serve = Callable[..., TestClient]


@pytest.fixture
def serve(table_bundle: Path, tmp_path: Path) -> Iterator[Serve]:
    """Start services that end with the test; ``client.service`` is what runs."""
    running: list[TestClient] = []

    def start(bundle: Path = table_bundle, **options: Any) -> TestClient:
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


def _service(client: TestClient) -> Service:
    service: Service = client.service  # type: ignore[attr-defined]
    return service


def _x(count: int) -> list[list[float]]:
    """Patients, every other one blurred with noise."""
    generator = torch.Generator().manual_seed(0)
    x = load("breast-cancer").test.x[:count].clone()
    x[1::2] = torch.rand(x[1::2].shape, generator=generator)
    rows: list[list[float]] = x.tolist()
    return rows


def _ask(client: TestClient, count: int = 3, headers: dict[str, str] | None = None) -> Any:
    body = {"inputs": _x(count), "prepared": True}
    return client.post("/v1/guards/patients/verdicts", json=body, headers=headers)


def _entries(client: TestClient) -> list[dict[str, Any]]:
    with _service(client).database.reading() as connection:
        rows = connection.execute(select(schema.entries.c.body).order_by(schema.entries.c.seq)).all()
    return [body for (text,) in rows if (body := json.loads(text))["kind"] == "verdict"]


def test_answers_are_the_guards_own_and_each_has_its_entry(serve: Serve, table_bundle: Path) -> None:
    client = serve()
    answer = VerdictsAnswer.model_validate(_ask(client, 40).json())
    verdict = Guard.load(table_bundle)(torch.tensor(_x(40)))
    classes = verdict.labels.tolist()
    names = Guard.load(table_bundle).classifier.classes
    assert 0 < int(verdict.accepted.sum()) < 40
    for row, one in enumerate(answer.verdicts):
        accepted = bool(verdict.accepted[row])
        assert one.outcome == ("accepted" if accepted else "rejected")
        assert one.label == (names[classes[row]] if accepted else None)
        assert (one.probabilities is not None) == accepted
        assert one.detectors is not None
        assert one.detectors["i-defender"].rejects != accepted
    entries = _entries(client)
    assert [entry["row"] for entry in entries] == list(range(40))
    assert {entry["request"] for entry in entries} == {answer.request_id}
    assert {entry["bundle"] for entry in entries} == {answer.bundle}
    assert [entry["outcome"] for entry in entries] == [one.outcome for one in answer.verdicts]


def test_raw_rows_are_prepared_by_the_bundle_and_names_stay_out_of_the_log(serve: Serve, table_bundle: Path) -> None:
    client = serve()
    card = GuardCard.model_validate(client.get("/v1/guards/patients").json())
    preprocessor = Guard.load(table_bundle).preprocessor
    assert preprocessor is not None
    raw = preprocessor.inverse(torch.tensor(_x(2)))
    features = preprocessor.features  # type: ignore[attr-defined]
    csv = ",".join(features) + "\n" + "".join(",".join(map(repr, row)) + "\n" for row in raw.tolist())
    answer = client.post("/v1/guards/patients/verdicts", content=csv, headers={"content-type": "text/csv"}).json()
    same = _ask(client, 2).json()
    assert "text/csv" in card.content_types
    assert [one["outcome"] for one in answer["verdicts"]] == [one["outcome"] for one in same["verdicts"]]
    assert [one["name"] for one in answer["verdicts"]] == ["row 1", "row 2"]
    assert "row 1" not in json.dumps(_entries(client))


def test_without_a_token_only_this_machine_asks_and_scopes_are_kept(serve: Serve) -> None:
    client = serve(behind_proxy=True, allow_host=("guard.example.org",))
    tokens = _service(client).tokens
    judge, scores = tokens.add("ward", ["judge"]), tokens.add("lab", ["judge", "scores"])
    assert _ask(client).status_code == client.get("/openapi.json").status_code == 401
    assert _ask(client, headers={"Authorization": "Bearer salus_x_y"}).status_code == 401
    plain = _ask(client, headers={"Authorization": f"Bearer {judge}"}).json()
    seen = _ask(client, headers={"Authorization": f"Bearer {scores}"}).json()
    assert all(one["detectors"] is None for one in plain["verdicts"])
    assert all(one["detectors"] is not None for one in seen["verdicts"])
    assert client.get("/metrics", headers={"Authorization": f"Bearer {judge}"}).status_code == 403
    assert client.post("/v1/guards/patients/reload", headers={"Authorization": f"Bearer {judge}"}).status_code == 403
    assert "Strict-Transport-Security" in client.get("/health/live").headers


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"sec-fetch-site": "cross-site"},
        {"x-forwarded-for": "10.0.0.1"},
        {"host": "evil.example:8000"},
    ],
)
def test_pages_elsewhere_proxies_and_rebound_names_do_not_get_in(serve: Serve, headers: dict[str, str]) -> None:
    answer = _ask(serve(), headers=headers)
    assert answer.status_code in (401, 403, 421)
    assert answer.headers["content-type"] == "application/problem+json"


def test_every_answer_carries_headers_of_safety_and_no_trace(serve: Serve) -> None:
    client = serve()
    for answer in (_ask(client), client.get("/nothing"), client.put("/health/live"), client.get("/health/ready")):
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        assert answer.headers["X-Request-Id"]
        assert "Traceback" not in answer.text


def test_problems_say_what_is_wrong_and_how_to_mend_it(serve: Serve) -> None:
    client = serve(max_inputs=5, max_bytes=20_000)
    cases = [
        (client.post("/v1/guards/nobody/verdicts", json={"inputs": [[1]]}), 404),
        (client.post("/v1/guards/patients/verdicts", content=b"x", headers={"content-type": "text/plain"}), 415),
        (client.post("/v1/guards/patients/verdicts", json={"inputs": "x"}), 422),
        (client.post("/v1/guards/patients/verdicts", json={"inputs": [[1, 2]]}), 422),
        (_ask(client, 6), 413),
        (client.post("/v1/guards/patients/verdicts", content=b"0" * 30_000), 413),
        (client.post("/v2/models/patients/infer", content=b"{}"), 422),
        (client.get("/v2/models/patients/versions/7"), 404),
    ]
    for answer, status in cases:
        problem = answer.json()
        assert answer.status_code == problem["status"] == status, problem
        assert problem["detail"].endswith(".")
        assert problem["request_id"] == answer.headers["X-Request-Id"]
    assert not _entries(client)


def test_a_repeated_key_gives_the_same_answer_and_one_set_of_entries(serve: Serve) -> None:
    client = serve()
    first = _ask(client, 2, {"Idempotency-Key": "k1"})
    again = _ask(client, 2, {"Idempotency-Key": "k1"})
    other = _ask(client, 3, {"Idempotency-Key": "k1"})
    assert first.content == again.content
    assert again.headers["Idempotency-Replayed"] == "true"
    assert other.status_code == 409
    assert len(_entries(client)) == 2


def test_an_answer_in_fhir_says_what_the_other_says(serve: Serve) -> None:
    client = serve()
    asked = {"inputs": _x(6), "prepared": True}
    fhir = {"accept": "application/fhir+json", "Idempotency-Key": "one"}
    plain = client.post("/v1/guards/patients/verdicts", json=asked).json()["verdicts"]
    answer = client.post("/v1/guards/patients/verdicts", json=asked, headers=fhir)
    assert answer.headers["content-type"] == "application/fhir+json"
    bundle = answer.json()
    observations = [entry["resource"] for entry in bundle["entry"]]
    assert [each["derivedFrom"][0]["display"] for each in observations] == [each["name"] for each in plain]
    for observation, verdict in zip(observations, plain, strict=True):
        assert ("valueCodeableConcept" in observation) is (verdict["outcome"] == "accepted")
        assert observation.get("valueCodeableConcept", {}).get("text") == verdict["label"]
        suspicions = [each for each in observation.get("component", []) if "suspicion" in each["code"]["text"]]
        assert bool(suspicions) is (verdict["detectors"] is not None)
    again = client.post("/v1/guards/patients/verdicts", json=asked, headers=fhir)
    assert (again.content, again.headers["content-type"]) == (answer.content, "application/fhir+json")
    other = client.post("/v1/guards/patients/verdicts", json=asked, headers={"Idempotency-Key": "one"})
    assert other.status_code == 409


def test_the_same_key_at_once_from_many_callers_is_judged_once(serve: Serve) -> None:
    client = serve()
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: _ask(client, 2, {"Idempotency-Key": "k2"}).content, range(16)))
    assert len(set(answers)) == 1
    assert len(_entries(client)) == 2


def test_a_token_that_asks_too_fast_is_told_when_to_come_again(serve: Serve) -> None:
    client = serve(rate=1.0, max_inputs=4)
    assert _ask(client, 4).status_code == 200
    answer = _ask(client, 2)
    assert answer.status_code == 429
    assert int(answer.headers["Retry-After"]) >= 1


def test_a_changed_bundle_is_taken_and_a_broken_one_leaves_the_old_one_judging(
    serve: Serve, table_bundle: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "bundle"
    shutil.copytree(table_bundle, folder)
    client = serve(folder, reload_seconds=0)
    shelf = _service(client).guards
    before = _ask(client).json()["bundle"]
    guard = Guard.load(folder)
    guard.detectors[0].threshold_ = 0.0
    guard.save(folder)
    assert shelf.changed() == []
    assert shelf.changed() == ["patients"]
    shelf.reload("patients")
    after = _ask(client).json()
    assert after["bundle"] != before
    assert all(one["outcome"] == "rejected" for one in after["verdicts"])
    (folder / "detector-0.safetensors").write_bytes(b"broken")
    with pytest.raises(BundleError):
        shelf.reload("patients")
    assert shelf["patients"].fault
    assert _ask(client).json()["bundle"] == after["bundle"]


def test_the_description_of_the_interface_shows_what_really_is_answered(serve: Serve) -> None:
    client = serve()
    document = client.get("/openapi.json").json()
    operation = document["paths"]["/v1/guards/{name}/verdicts"]["post"]
    example = operation["requestBody"]["content"]["application/json"]["example"]
    told = operation["responses"]["200"]["content"]["application/json"]["example"]
    answer = client.post("/v1/guards/patients/verdicts", json=example).json()
    assert told["verdicts"][0]["outcome"] == "accepted"
    assert answer["verdicts"][0]["label"] == told["verdicts"][0]["label"]


def test_metrics_count_what_was_judged_and_name_no_patient(serve: Serve) -> None:
    client = serve()
    _ask(client, 40)
    text = client.get("/metrics").text
    accepted = float(text.split('salus_verdicts_total{guard="patients",outcome="accepted"} ')[1].split("\n")[0])
    rejected = float(text.split('salus_verdicts_total{guard="patients",outcome="rejected"} ')[1].split("\n")[0])
    assert accepted + rejected == 40
    assert "salus_phase_seconds" in text
    assert "input 1" not in text


def test_inputs_are_kept_only_when_asked_and_the_chain_holds(serve: Serve) -> None:
    client = serve(keep_inputs=True)
    _ask(client, 2)
    with _service(client).database.reading() as connection:
        kept = connection.execute(select(schema.inputs.c.x).order_by(schema.inputs.c.seq)).all()
    assert np.frombuffer(kept[1][0], "<f4").tolist() == pytest.approx(_x(2)[1])
    keys = _service(client).keys
    assert verify(_service(client).database, keys.public, checkpoints=keys.checkpoints, keys=keys).ok


@pytest.mark.parametrize(
    ("words", "reason"),
    [(["a=x", "a=y"], "called 'a'"), (["a b=x"], "cannot be called"), (["=x"], "cannot be called")],
)
def test_names_of_guards_are_checked(words: list[str], reason: str) -> None:
    with pytest.raises(OptionError, match=reason):
        sources_of(words)


def test_an_address_that_others_reach_needs_tls_or_a_proxy() -> None:
    with pytest.raises(OptionError, match="behind-proxy"):
        Settings(host="0.0.0.0")
    assert not Settings(host="0.0.0.0", behind_proxy=True).open


def test_a_certificate_that_is_none_ends_in_one_sentence(tmp_path: Path, table_bundle: Path) -> None:
    from salus.serve.run import serve as run

    (tmp_path / "cert.pem").write_text("no certificate")
    settings = Settings(tls_certificate=tmp_path / "cert.pem", tls_key=tmp_path / "cert.pem", port=0)
    with pytest.raises(OptionError, match="TLS cannot be spoken"):
        run(settings, sources_of([str(table_bundle)]), print)


def test_many_callers_at_once_are_all_answered(serve: Serve) -> None:
    client = serve()
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda _: _ask(client, 3).status_code, range(40)))
    assert answers == [200] * 40
    assert len(_entries(client)) == 120
