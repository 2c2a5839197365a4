"""A model behind HTTP as a function: what it answers, within which budget, how fast, and never twice."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import Tensor

from salus.attacks import HopSkipJump, Square
from salus.client.client import Client
from salus.client.endpoint import BudgetError, Endpoint, connect, fit_to
from salus.client.inference import InferenceModel
from salus.client.interface import Interface
from salus.client.options import EndpointOptions
from salus.client.pace import Pace
from salus.client.retries import Retries
from salus.client.served_guard import ServedGuard
from salus.errors import EndpointError, ModelError, OptionError, StoreError

if TYPE_CHECKING:
    from client.conftest import Clock, Service
    from conftest import Toy

URL = "http://127.0.0.1:8000"


def endpoint_of(service: Service, name: str = "toy", *, version: int = 1, **options: Any) -> Endpoint:
    client = Client(
        URL, transport=service.transport(), sleep=lambda _: None, retries=Retries(attempts=2), chance=lambda: 0.0
    )
    classes = options.pop("classes", ())
    interface: Interface = ServedGuard(client, name) if version == 1 else InferenceModel(client, name, None, classes)
    return Endpoint(f"{URL}/{name}", interface, classes=classes, **options)


@pytest.mark.parametrize("version", [1, 2])
def test_a_guard_that_may_reject_is_a_function_to_labels(service: Service, toy: Toy, version: int) -> None:
    endpoint = endpoint_of(service, version=version)
    x = toy.test.x[:40].clone()
    x[::4] = torch.rand(10, 8, generator=torch.Generator().manual_seed(1))
    verdict = service.guards["toy"](x)
    assert 0 < int((~verdict.accepted).sum()) < 40
    assert torch.equal(endpoint(x), verdict.answers)
    assert endpoint.card.rejects and not endpoint.card.bare and endpoint.classes == ("a", "b", "c")
    scores = torch.from_numpy(endpoint.ask(x).scores)
    assert torch.equal(scores.isnan().all(1), ~verdict.accepted), "of rejected inputs they are withheld"
    torch.testing.assert_close(scores[verdict.accepted].exp(), verdict.probabilities[verdict.accepted])
    endpoint.close()


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("kind", ["logits", "probabilities"])
def test_a_classifier_is_a_function_to_log_probabilities(
    service: Service, toy: Toy, version: int, binary: bool, kind: str
) -> None:
    service.binary, service.kind = binary, kind
    endpoint = endpoint_of(service, "bare", version=version, classes=("a", "b", "c"))
    given = endpoint(toy.test.x[:9])
    torch.testing.assert_close(given, toy.classifier.predict(toy.test.x[:9]).log_softmax(1), atol=1e-4, rtol=1e-4)
    assert endpoint.facts()["outputs"] == ("verdicts" if version == 1 else kind)
    if version == 2:
        assert ("inference-header-content-length" in service.seen[-1][1]) == binary
    endpoint.close()


def test_nothing_is_asked_twice_in_one_batch_or_in_two(service: Service, toy: Toy) -> None:
    endpoint, x = endpoint_of(service), toy.test.x
    whole = endpoint(x[[0, 1, 0, 2, 1]])
    assert torch.equal(endpoint(x[:4])[[0, 1, 0, 2, 1]], whole)
    assert service.posts == [3, 1] and set(service.judged.values()) == {1} and endpoint.asked == 4
    assert endpoint(x[:0]).shape == (0,)
    endpoint.close()


def test_answers_are_kept_for_the_next_run(service: Service, toy: Toy, tmp_path: Path) -> None:
    first = endpoint_of(service)
    first.keep(tmp_path)
    before = first(toy.test.x[:5])
    first.close()
    second = endpoint_of(service)
    second.keep(tmp_path)
    assert torch.equal(second(toy.test.x[:7])[:5], before)
    assert service.posts == [5, 2] and second.asked == 2 and second.facts()["asked"] == 7
    second.close()


def test_what_was_asked_when_the_power_went_is_answered_from_the_services_memory(
    service: Service, toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = endpoint_of(service)
    first.keep(tmp_path)
    first(toy.test.x[:3])
    real = service.answer

    def lost(*request: Any) -> Any:
        real(*request)
        return None

    monkeypatch.setattr(service, "answer", lost)
    with pytest.raises(EndpointError, match="could not be reached"):
        first(toy.test.x[:6])
    first.close()
    monkeypatch.setattr(service, "answer", real)
    second = endpoint_of(service)
    second.keep(tmp_path)
    second(toy.test.x[:6])
    second.close()
    assert set(service.judged.values()) == {1} and len(service.judged) == 6


def test_the_budget_is_kept_over_all_runs(service: Service, toy: Toy, tmp_path: Path) -> None:
    for budget, good, bad in ((5, 5, 6), (7, 7, 8)):
        endpoint = endpoint_of(service, queries=budget)
        endpoint.keep(tmp_path)
        endpoint(toy.test.x[:good])
        with pytest.raises(BudgetError, match=f"asked about {budget} inputs.*--endpoint-queries"):
            endpoint(toy.test.x[:bad])
        endpoint.close()
    assert len(service.judged) == 7


def test_requests_are_as_small_as_the_rate_and_as_far_apart(service: Service, toy: Toy, clock: Clock) -> None:
    endpoint = endpoint_of(service, pace=Pace(8.0, clock, clock.sleep))
    endpoint(toy.test.x[:30])
    assert service.posts == [8, 8, 8, 6] and clock.slept == [pytest.approx(1.0)] * 3
    endpoint.close()


def test_requests_that_are_too_large_are_sent_in_parts(service: Service, toy: Toy) -> None:
    service.most = 20
    endpoint = endpoint_of(service)
    assert torch.equal(endpoint(toy.test.x[:100]), service.guards["toy"](toy.test.x[:100]).answers)
    assert sum(service.posts) == 100 and max(service.posts) <= 20
    endpoint.close()


@pytest.mark.parametrize("version", [1, 2])
def test_a_model_that_is_exchanged_meanwhile_is_an_error(service: Service, toy: Toy, version: int) -> None:
    endpoint = endpoint_of(service, version=version)
    endpoint(toy.test.x[:3])
    service.bundle = "c" * 64
    with pytest.raises(EndpointError, match="exchanged while it was asked"):
        endpoint(toy.test.x[3:6])
    endpoint.close()


def test_kept_answers_of_another_model_are_refused(service: Service, toy: Toy, tmp_path: Path) -> None:
    first = endpoint_of(service)
    first.keep(tmp_path)
    first(toy.test.x[:3])
    first.close()
    service.bundle = "c" * 64
    second = endpoint_of(service)
    second.keep(tmp_path)
    with pytest.raises(EndpointError, match=r"another model.*new folder"):
        second(toy.test.x[:3])
    second.close()


def test_a_damaged_file_of_answers_is_said_in_a_sentence(service: Service, toy: Toy, tmp_path: Path) -> None:
    (tmp_path / "answers.sqlite").write_bytes(b"no database, and longer than a header is" * 50)
    endpoint = endpoint_of(service)
    endpoint.keep(tmp_path)
    with pytest.raises(StoreError, match="answers kept in"):
        endpoint(toy.test.x[:3])
    endpoint.close()


def test_kept_answers_are_a_plain_database(service: Service, toy: Toy, tmp_path: Path) -> None:
    endpoint = endpoint_of(service)
    endpoint.keep(tmp_path)
    answers = endpoint(toy.test.x[:3])
    endpoint.close()
    database = sqlite3.connect(tmp_path / "answers.sqlite")
    labels = sorted(row[0] for row in database.execute("SELECT label FROM answers"))
    database.close()
    assert labels == sorted(answers.tolist())


def test_an_attack_by_answers_takes_an_endpoint_as_it_is(service: Service, toy: Toy) -> None:
    endpoint, x, y = endpoint_of(service), toy.test.x[:6], toy.test.y[:6]
    guard = service.guards["toy"]
    attack = HopSkipJump(queries=120, initial_evaluations=10)
    there, here = attack.run(endpoint, x, y), attack.run(lambda point: guard(point).answers, x, y)
    assert torch.equal(there.x_adv, here.x_adv) and torch.equal(there.queries, here.queries)
    answers = guard(there.x_adv).answers
    assert bool((answers[there.success] >= 0).all()), "a rejection is never a success"
    with pytest.raises(ModelError, match="needs logits"):
        Square(eps=0.1, queries=10).run(endpoint, x, y)
    assert set(service.judged.values()) == {1}
    endpoint.close()


def test_an_attack_by_scores_takes_a_classifier_that_never_rejects(service: Service, toy: Toy) -> None:
    endpoint, x, y = endpoint_of(service, "bare"), toy.test.x[:6], toy.test.y[:6]
    attack = Square(eps=0.2, queries=60)

    def here(point: Tensor) -> Tensor:
        return service.guards["bare"](point).probabilities.clamp_min(1e-38).log()

    assert torch.equal(attack.run(endpoint, x, y).x_adv, attack.run(here, x, y).x_adv)
    endpoint.close()


def test_a_guard_that_rejects_though_it_has_no_detectors_is_an_error(service: Service, toy: Toy) -> None:
    service.guards["bare"] = service.guards["toy"]
    real = service._card
    service._card = lambda name: {**real(name), "detectors": []}  # type: ignore[method-assign]
    endpoint = endpoint_of(service, "bare")
    with pytest.raises(EndpointError, match="has no detectors"):
        endpoint(torch.rand(20, 8, generator=torch.Generator().manual_seed(1)))
    endpoint.close()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"inputs": [{"name": "a", "datatype": "FP32", "shape": [-1]}, {"name": "b", "datatype": "FP32", "shape": []}]},
         "2 inputs"),
        ({"inputs": [{"name": "a", "datatype": "UINT8", "shape": [-1, 8]}]}, "UINT8"),
        ({"inputs": None}, "does not say"),
        ({"inputs": [{"name": "a"}]}, "does not say"),
    ],
)  # fmt: skip
def test_models_that_cannot_be_asked_are_refused(service: Service, change: dict[str, Any], words: str) -> None:
    service.kind = "logits"
    real = service._metadata
    service._metadata = lambda name: {**real(name), **change}  # type: ignore[method-assign]
    with pytest.raises(ModelError, match=words):
        endpoint_of(service, "bare", version=2, classes=("a", "b", "c"))


@pytest.mark.parametrize(
    "content",
    [
        {}, [], {"outputs": 3}, {"outputs": [{"name": "o", "datatype": "FP32", "shape": [2, 3], "data": [1]}]},
        {"outputs": [{"name": "o", "datatype": "FP99", "shape": [1], "data": [1]}]},
        {"outputs": [{"name": "o", "datatype": "FP32", "shape": [2, 2], "data": [1, 2, 3, 4]}]},
        {"outputs": [{"name": "o", "datatype": "FP32", "shape": [2, 3], "data": [1, 2, 3, 4, 5, float("nan")]}]},
        {"outputs": [{"name": "o", "datatype": "FP32", "shape": [2, 3], "parameters": {"binary_data_size": 5}}]},
    ],
)  # fmt: skip
def test_answers_that_are_none_are_errors_in_a_sentence(service: Service, toy: Toy, content: object) -> None:
    service.kind = "logits"
    endpoint = endpoint_of(service, "bare", version=2, classes=("a", "b", "c"))
    service.faults.append((200, {}, json.dumps(content).encode()))
    with pytest.raises(EndpointError):
        endpoint(toy.test.x[:2])
    endpoint.close()


def test_the_kind_of_outputs_is_settled_by_the_first_answer_and_kept(
    service: Service, toy: Toy, tmp_path: Path
) -> None:
    service.kind = "probabilities"
    for rows in (slice(0, 3), slice(3, 6)):
        endpoint = endpoint_of(service, "bare", version=2, classes=("a", "b", "c"))
        endpoint.keep(tmp_path)
        if rows.start:
            service.kind = "logits"
            with pytest.raises(EndpointError, match="probabilities at first"):
                endpoint(toy.test.x[rows])
        else:
            endpoint(toy.test.x[rows])
        endpoint.close()


def test_classes_must_be_known(service: Service) -> None:
    service.kind = "logits"
    with pytest.raises(OptionError, match="--classes"):
        endpoint_of(service, "bare", version=2)
    with pytest.raises(OptionError, match="leave --classes out"):
        endpoint_of(service, "toy", classes=("b", "a", "c"))


def test_labels_under_other_names_are_an_error(service: Service, toy: Toy) -> None:
    real = service._metadata
    service._metadata = lambda name: {**real(name), "parameters": {}}  # type: ignore[method-assign]
    endpoint = endpoint_of(service, "toy", version=2, classes=("b", "a", "c"))
    with pytest.raises(EndpointError, match="calls class"):
        endpoint(toy.test.x[:5])
    endpoint.close()


def test_inputs_must_have_the_endpoints_shape_and_bounds(service: Service) -> None:
    endpoint = endpoint_of(service)
    fit_to(endpoint, (8,), (0.0, 1.0), "data")
    with pytest.raises(ModelError, match=r"\[8\].*\[9\]"):
        fit_to(endpoint, (9,), (0.0, 1.0), "data")
    with pytest.raises(ModelError, match="--bounds"):
        fit_to(endpoint, (8,), (-1.0, 1.0), "data")


@pytest.mark.parametrize("url", [
    "http://127.0.0.1:1", "http://127.0.0.1:1/v1/guards", "http://127.0.0.1:1/v1/guards/a/b", "http://127.0.0.1:1/v3/x",
])  # fmt: skip
def test_urls_that_name_no_model_are_refused(url: str) -> None:
    with pytest.raises(OptionError, match="names no model"):
        connect(url)


def test_other_hosts_are_asked_with_permission_alone() -> None:
    url = "https://ward.example.org/v1/guards/ecg"
    with pytest.raises(OptionError, match=r"written permission.*--allow-host ward\.example\.org"):
        connect(url)
    with pytest.raises(OptionError, match="written permission"):
        connect(url, EndpointOptions(allow_host=("other.example.org",)))


def test_a_model_is_reached_over_a_socket_by_either_protocol(service: Service, served: str, toy: Toy) -> None:
    for path in ("v1/guards/toy", "v2/models/toy", "v2/models/toy/versions/1"):
        endpoint = connect(f"{served}/{path}", EndpointOptions(rate=1e6))
        assert torch.equal(endpoint(toy.test.x[:5]), service.guards["toy"](toy.test.x[:5]).answers)
        endpoint.close()
    assert np.all(np.array(list(service.judged.values())) == 3)
