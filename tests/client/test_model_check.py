"""A look at a model behind HTTP: `salus model check URL`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from salus.cli import main
from salus.client import endpoint
from salus.client.retries import Retries

if TYPE_CHECKING:
    from client.conftest import Service
    from conftest import Toy


def check(url: str, data: Path, *words: object) -> Result:
    asked = ("model", "check", url, "--data", data, "--split", "all", *words)
    return CliRunner().invoke(main, [str(word) for word in asked])


def fact(result: Result, what: str) -> str:
    """Give the line of one fact."""
    return next(line for line in result.output.splitlines() if line[2:].startswith(f"{what}:"))


def test_a_served_guard_is_looked_at_by_its_answers_alone(
    service: Service, served: str, samples: Path, toy: Toy, tmp_path: Path
) -> None:
    url = f"{served}/v1/guards/toy"
    before = sorted(tmp_path.rglob("*"))
    looked = check(url, samples)
    assert looked.exit_code == 0, looked.output
    assert f"an endpoint, {url}: a guard" in fact(looked, "what it is")
    assert "none are shown: an endpoint gives answers alone" in fact(looked, "gradients")
    assert ", ".join(toy.train.classes) in fact(looked, "comes out")
    with np.load(samples) as arrays:
        x, y = torch.from_numpy(arrays["x"]), arrays["y"]
    places = torch.arange(min(len(x), 64)) * len(x) // min(len(x), 64)
    verdict = service.guards["toy"](x[places])
    truth = torch.tensor([toy.train.classes.index(str(word)) for word in y[places.numpy()]])
    right, rejected = (float(each.float().mean()) for each in (verdict.answers == truth, ~verdict.accepted))
    assert f"{100 * right:.1f}% of {len(places)} test samples" in fact(looked, "accuracy")
    assert f"{100 * rejected:.1f}% of {len(places)} clean samples" in fact(looked, "rejects")
    assert "they ask for scores, which are withheld of what is rejected" in looked.output
    assert "cgba" in next(line for line in looked.output.splitlines() if "attacks by its answers alone" in line)
    assert f"--model {url} --attack cgba" in looked.output.splitlines()[-1]
    assert sum(service.posts) == len(places), "each sample is asked about once"
    assert sorted(tmp_path.rglob("*")) == before


def test_a_bare_classifier_behind_http_takes_attacks_by_scores(
    service: Service, served: str, samples: Path, toy: Toy
) -> None:
    service.kind = "logits"
    looked = check(f"{served}/v2/models/bare", samples, "--classes", ",".join(toy.train.classes))
    assert looked.exit_code == 0, looked.output
    assert "a bare classifier" in fact(looked, "what it is") and "nothing" in fact(looked, "rejects")
    assert "square" in next(line for line in looked.output.splitlines() if "attacks by its scores" in line)


def test_an_endpoint_that_fails_or_is_not_there_is_one_sentence(
    service: Service, served: str, samples: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint, "_PATIENCE", Retries(attempts=2, first=0.01))
    for url in (f"{served}/v1/guards/other", "http://127.0.0.1:9/v1/guards/toy"):
        looked = check(url, samples)
        assert looked.exit_code == 2 and "Traceback" not in looked.output and looked.output.startswith("Error")
    for _ in range(20):
        service.fail(422, "No such inputs.")
    looked = check(f"{served}/v1/guards/toy", samples)
    assert looked.exit_code == 2 and "No such inputs" in looked.output
