"""Audits and attacks of a model behind HTTP, end to end."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from salus.audit import Plan, run_audit
from salus.cli import main
from salus.client.served_guard import ServedGuard
from salus.errors import EndpointError, OptionError, SalusError, StoreError

if TYPE_CHECKING:
    from client.conftest import Service
    from conftest import Toy


def salus(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def plan(url: str, data: Path, **fields: Any) -> Plan:
    return Plan.of({"data": str(data), "split": "all", "model": url, "samples": 12, **fields})


def results(out: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((out / "results.json").read_text())
    return content


def test_a_served_guard_is_audited_by_its_answers(service: Service, served: str, samples: Path, tmp_path: Path) -> None:
    url, out = f"{served}/v1/guards/toy", tmp_path / "run"
    words = [
        "audit", "--data", samples, "--split", "all", "--model", url, "--samples", 8, "--attack",
        "cgba:queries=40,eps=0.5", "--control", "uniform-noise:eps=0.01", "--out", out,
    ]  # fmt: skip
    result = salus(*words, "--rate", 100000)
    assert result.exit_code == 0, result.output
    assert "is asked about up to" in result.output and "3 cells computed, 0 stored before" in result.output
    stored = results(out)
    _, cell, control = stored["cells"]
    assert cell["threat_model"] == "decision-only" and cell["nist_id"] == "NISTAML.025" and cell["guard"] == "toy"
    assert cell["error"] is None and control["error"] is None and 0 < cell["queries"] <= 40
    facts = stored["meta"]["model"]["endpoint"]
    assert facts["url"] == url and facts["bundle"] == "b" * 64 and facts["asked"] == len(service.judged)
    assert set(service.judged.values()) == {1}, "nothing is asked twice"
    page = (out / "report.html").read_text()
    for text in (url, "b" * 64, f"{len(service.judged):,}"):
        assert text in page
    asked = len(service.judged)
    again = salus(*words)
    assert again.exit_code == 0 and "0 cells computed" in again.output and len(service.judged) == asked


def test_somebody_elses_classifier_is_audited_by_scores_answers_and_a_substitute(
    service: Service, served: str, toy: Toy, tmp_path: Path
) -> None:
    service.kind = "logits"
    names = np.array(toy.train.classes)
    np.savez(tmp_path / "clouds.npz", x=toy.train.x[:300].numpy(), y=names[toy.train.y[:300].numpy()])
    outcome = run_audit(
        Plan.of(
            {
                "data": str(tmp_path / "clouds.npz"),
                "model": f"{served}/v2/models/bare",
                "classes": "a,b,c",
                "samples": 20,
                "attack": ["square:eps=0.2,queries=40", "boundary:eps=0.5,queries=40", "fgsm:eps=0.2"],
                "threat_model": ["score-only", "decision-only", "transfer"],
                "substitute": "queries:rounds=2,seeds=40",
            }
        ),
        tmp_path / "run",
    )
    assert outcome.failed == 0
    cells = {(cell["attack"], cell["threat_model"]) for cell in outcome.cells if cell["attack"]}
    assert {("square", "score-only"), ("boundary", "decision-only"), ("fgsm", "transfer")} <= cells
    assert {cell["guard"] for cell in outcome.cells} == {"none"}
    assert outcome.meta["model"]["endpoint"]["outputs"] == "logits"
    assert any("sees the probabilities of its answers" in line for line in outcome.meta["verdict"])
    assert any("fgsm" in line.lower() and "score-only" in line for line in outcome.meta["warnings"])
    assert set(service.judged.values()) == {1}


def test_a_spent_budget_fails_the_cells_and_a_larger_one_goes_on(
    service: Service, served: str, samples: Path, tmp_path: Path
) -> None:
    fields = {"attack": ["boundary:queries=30"]}
    small = run_audit(plan(f"{served}/v1/guards/toy", samples, endpoint_queries=60, **fields), tmp_path / "run")
    assert small.failed == 1 and len(service.judged) <= 60
    assert "--endpoint-queries" in small.cells[1]["error"]
    asked = len(service.judged)
    large = run_audit(plan(f"{served}/v1/guards/toy", samples, endpoint_queries=5000, **fields), tmp_path / "run")
    assert large.failed == 0 and len(service.judged) > asked and set(service.judged.values()) == {1}
    whole = run_audit(plan(f"{served}/v1/guards/toy", samples, **fields), tmp_path / "other")
    assert whole.cells[1]["queries"] == large.cells[1]["queries"], "as if it had never stopped"


def test_a_stopped_audit_goes_on_and_asks_nothing_twice(
    service: Service, served: str, samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = plan(f"{served}/v1/guards/toy", samples, attack=["boundary:queries=40"])
    real = ServedGuard.ask

    def stop_midway(self: ServedGuard, x: Any, card: Any, key: str) -> Any:
        answers = real(self, x, card, key)
        if len(service.judged) > 100:
            raise KeyboardInterrupt  # judged and paid for, and not written down yet
        return answers

    monkeypatch.setattr(ServedGuard, "ask", stop_midway)
    with pytest.raises(KeyboardInterrupt):
        run_audit(request, tmp_path / "run")
    monkeypatch.setattr(ServedGuard, "ask", real)
    before = len(service.judged)
    outcome = run_audit(request, tmp_path / "run")
    assert outcome.failed == 0 and len(service.judged) > before > 100
    assert set(service.judged.values()) == {1}


@pytest.mark.soak
def test_a_killed_audit_goes_on_and_asks_nothing_twice(
    service: Service, served: str, samples: Path, tmp_path: Path
) -> None:
    words = [
        "audit", "--data", samples, "--split", "all", "--model", f"{served}/v1/guards/toy", "--samples", 12,
        "--attack", "boundary:queries=60", "--out", tmp_path / "run",
    ]  # fmt: skip
    for most in (20, 60, 150, 300):
        code = "from salus.cli import main; main()"
        process = subprocess.Popen([sys.executable, "-c", code, *map(str, words)], stdout=subprocess.DEVNULL)
        try:
            while len(service.judged) < most and process.poll() is None:
                time.sleep(0.002)
        finally:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
        assert len(service.judged) >= most
    before = len(service.judged)
    done = salus(*words)
    assert done.exit_code == 0, done.output
    assert len(service.judged) > before and set(service.judged.values()) == {1}


def test_an_endpoint_that_is_exchanged_or_lost_ends_the_audit_in_a_sentence(
    service: Service, served: str, samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = service._verdicts

    def exchanged(name: str, x: Any) -> Any:
        if len(service.judged) > 50:
            service.bundle = "c" * 64
        return real(name, x)

    monkeypatch.setattr(service, "_verdicts", exchanged)
    request = plan(f"{served}/v1/guards/toy", samples, attack=["boundary:queries=30"])
    with pytest.raises(EndpointError, match="exchanged while it was asked"):
        run_audit(request, tmp_path / "run")
    monkeypatch.setattr(service, "_verdicts", real)
    with pytest.raises(StoreError, match="another model"):
        run_audit(request, tmp_path / "run")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"threat_model": ["white-box"]}, "white-box.*gradients.*These do: transfer, decision-only"),
        ({"threat_model": ["oblivious"]}, "oblivious.*gradients"),
        ({"threat_model": ["adaptive"]}, "adaptive.*whole guard"),
        ({"threat_model": ["gray-box"]}, "gray-box"),
        ({"threat_model": ["score-only"], "attack": ["square:eps=0.1"]}, "withheld"),
        ({"attack": ["pgd:eps=0.1"]}, "PGD asks for gradients"),
        ({"attack": ["square:eps=0.1"]}, "Square asks for logits"),
        ({"defence": ["i-defender"]}, "i-defender.*--defence none"),
        ({"training": {"epochs": 3}}, "Training options"),
        ({"weights": "w.pt"}, "--weights"),
        ({"poison": ["label-flips:share=0.2"]}, "--poison"),
        ({"clean_labels": "high-loss"}, "Label cleaning"),
        ({"attack": ["boundary:targeted=true"]}, "--target"),
        ({"bounds": "0,2"}, "--bounds"),
        ({"classes": "b,a,c"}, "--classes"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_to_an_endpoint_is_refused_before_anything_is_asked(
    service: Service, served: str, samples: Path, tmp_path: Path, fields: dict[str, Any], words: str
) -> None:
    with pytest.raises(SalusError, match=f"(?s){words}"):
        run_audit(plan(f"{served}/v1/guards/toy", samples, **fields), tmp_path / "run")
    assert not service.judged and not (tmp_path / "run").exists()


def test_data_of_other_classes_are_refused(served: str, toy: Toy, tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", x=toy.test.x.numpy(), y=np.array(["ill", "well", "so-so"])[toy.test.y.numpy()])
    with pytest.raises(SalusError, match="ill"):
        run_audit(plan(f"{served}/v1/guards/toy", tmp_path / "other.npz"), tmp_path / "run")


def test_samples_that_are_prepared_otherwise_are_told_by_their_accuracy(served: str, toy: Toy, tmp_path: Path) -> None:
    np.savez(tmp_path / "wrong.npz", x=1 - toy.test.x.numpy(), y=np.array(toy.test.classes)[toy.test.y.numpy()])
    with pytest.raises(SalusError, match=r"rejects all|no better than chance"):
        run_audit(plan(f"{served}/v1/guards/bare", tmp_path / "wrong.npz", samples=100), tmp_path / "run")


def test_options_of_endpoints_are_refused_without_one(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="--rate goes with an endpoint"):
        run_audit(Plan.of({"rate": 5}), tmp_path / "run")
    result = salus("attack", tmp_path, "x.npz", "--attack", "cgba", "--rate", "5", "--out", tmp_path / "run")
    assert result.exit_code == 2 and "--rate goes with an endpoint" in result.output


@pytest.mark.parametrize(
    "command",
    [
        ["harden", "madry:eps=0.01"],
        ["harden", "adversarial-retraining"],
        ["labels"],
        ["guard", "fit", "--defence", "kde"],
    ],
)
def test_other_commands_refuse_an_endpoint(served: str, toy: Toy, tmp_path: Path, command: list[str]) -> None:
    np.savez(tmp_path / "clouds.npz", x=toy.train.x.numpy(), y=np.array(toy.train.classes)[toy.train.y.numpy()])
    url = f"{served}/v1/guards/toy"
    result = salus(*command, "--model", url, "--data", tmp_path / "clouds.npz", "--out", tmp_path / "out")
    assert result.exit_code == 2 and url in result.output and not (tmp_path / "out").exists()
    assert len(result.output.strip().splitlines()) == 1


def test_a_file_is_attacked_at_an_endpoint_and_gone_on_with(
    service: Service, served: str, samples: Path, tmp_path: Path, toy: Toy
) -> None:
    url, out = f"{served}/v1/guards/toy", tmp_path / "attacked"
    few = tmp_path / "few.npz"
    with np.load(samples) as arrays:
        np.savez(few, x=arrays["x"][:10], y=arrays["y"][:10])
    words = ["attack", url, few, "--attack", "boundary:queries=30,eps=0.5", "--out", out]
    stopped = salus(*words, "--endpoint-queries", 40)
    assert stopped.exit_code == 2 and "--endpoint-queries" in stopped.output and len(service.judged) <= 40
    result = salus(*words)
    assert result.exit_code == 0, result.output
    assert f"asked about {len(service.judged)} inputs" in result.output and set(service.judged.values()) == {1}
    with (out / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    attacked = service.guards["toy"](torch.from_numpy(np.load(out / "x_adv.npy")))
    for row, answer, y in zip(rows, attacked.answers.tolist(), toy.test.y.tolist(), strict=False):
        assert (row["success"] == "true") == (answer >= 0 and answer != y)
    assert json.loads((out / "endpoint.json").read_text())["url"] == url
    for spec, word in (("pgd:eps=0.1", "gradients"), ("square:eps=0.1", "withholds")):
        refused = salus("attack", url, few, "--attack", spec, "--out", tmp_path / "no")
        assert refused.exit_code == 2 and word in refused.output and not (tmp_path / "no").exists()


def test_a_served_guard_gives_the_same_lines_as_the_bundle(
    service: Service, served: str, samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("salus.jobs.judging.open_guard", lambda *_: service.guards["toy"])
    with np.load(samples) as arrays:
        np.save(tmp_path / "x.npy", arrays["x"][:20])
    (tmp_path / "token").write_text("secret\n")
    asked = salus("guard", "ask", tmp_path / "x.npy", "--url", served, "--guard", "toy", "--token-file",
                  tmp_path / "token", "--out", tmp_path / "asked.csv")  # fmt: skip
    assert asked.exit_code == 0, asked.output
    applied = salus("guard", "apply", tmp_path, tmp_path / "x.npy", "--out", tmp_path / "applied.csv")
    assert applied.exit_code == 0, applied.output
    there, here = (
        list(csv.DictReader((tmp_path / f"{name}.csv").read_text().splitlines())) for name in ("asked", "applied")
    )
    assert len(there) == 20 and list(there[0]) == list(here[0])
    for one, other in zip(there, here, strict=True):
        withheld = {"class": "", "probability": ""} if one["answer"] == "rejected" else {}
        assert one == {**other, **withheld}
    assert "20 inputs judged" in asked.output
    assert service.seen[-1][1]["authorization"] == "Bearer secret"
    printed = salus("guard", "ask", tmp_path / "x.npy", "--url", served, "--guard", "toy")
    assert printed.output.splitlines()[0] == ",".join(here[0])


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--guard", "nosuch"], "no guard nosuch"),
        ([], "several guards"),
        (["--token-file", "nosuch"], "token file nosuch"),
    ],
)
def test_a_service_that_refuses_is_one_sentence_and_exit_code_two(
    served: str, samples: Path, words: list[str], expected: str
) -> None:
    result = salus("guard", "ask", samples, "--url", served, *words)
    assert result.exit_code == 2 and len(result.output.strip().splitlines()) == 1
    assert expected in result.output
