"""``salus reproduce multimagnet`` on small files in MNIST's format: every step once, and on after a kill."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from salus.data import load
from salus.detectors.multimagnet_calibration import measure
from salus.detectors.multimagnet_grid import Calibration, Grid
from salus.errors import DataError, OptionError, StoreError
from salus.generative import RepositoryOptions
from salus.threats.models import Adaptive, Oblivious
from salus.training import TrainingOptions
from salus_studies.frame.folder import Reproduction
from salus_studies.multimagnet import attacked, breaking
from salus_studies.multimagnet import experiments as room
from salus_studies.multimagnet.judging import CONFIGURATIONS
from salus_studies.multimagnet.published import ATTACKS, PARAMETERS
from salus_studies.multimagnet.scales import SCALES, deal
from salus_studies.multimagnet.study import STUDY

pytest.importorskip("art", reason="the attacks are ART's")

pytestmark = pytest.mark.slow


def write_idx(path: Path, values: NDArray[np.uint8]) -> None:
    head = bytes([0, 0, 8, values.ndim]) + b"".join(size.to_bytes(4, "big") for size in values.shape)
    path.write_bytes(head + values.tobytes())


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Digits that are bright squares, each class at its own place, on noise: 600 to train on, 100 to test."""
    folder = tmp_path_factory.mktemp("data") / "mnist"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for side, count in (("train", 600), ("t10k", 100)):
        y = np.arange(count) % 10
        x = rng.integers(0, 40, (count, 28, 28))
        for image, label in zip(x, y, strict=True):
            row, column = 4 + 12 * (label // 5), 2 + 5 * (label % 5)
            image[row : row + 6, column : column + 4] += 150
        write_idx(folder / f"{side}-images-idx3-ubyte", x.astype(np.uint8))
        write_idx(folder / f"{side}-labels-idx1-ubyte", y.astype(np.uint8))
    return folder.parent


class Quick(Oblivious):
    """Stands for the attacker who knows the defence, whose hundred variants tests/threats has."""

    name = "adaptive"


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make smoke smaller still, and ART's attacks short; there is no CIFAR-10."""
    monkeypatch.delenv("SALUS_DATA", raising=False)
    short = {key: {**values, **({"max iter": 3} if "max iter" in values else {})} for key, values in PARAMETERS.items()}
    monkeypatch.setattr(attacked, "PARAMETERS", short)
    monkeypatch.setattr(breaking, "Adaptive", Quick)
    monkeypatch.setattr(attacked, "ARTS_DEEPFOOL", {**attacked.ARTS_DEEPFOOL, "max_iter": 3})
    smoke = SCALES["smoke"]
    setting = replace(
        smoke.settings["mnist"],
        network="model-f",
        network_options={"widths": [4, 8]},
        training=TrainingOptions(epochs=6, batch_size=32, learning_rate=1e-2, keep="last"),
        surrogate=TrainingOptions(epochs=1, batch_size=32, learning_rate=1e-2, keep="last"),
        repository=RepositoryOptions(family="multimagnet-mnist", size=3, epochs=1),
        held_out=40,
        images=400,
        attacked=20,
    )
    monkeypatch.setitem(
        SCALES,
        "smoke",
        replace(
            smoke, settings={**smoke.settings, "mnist": setting}, legitimate=60, tested=30, experiments=3, tried=20,
            adaptive=2, adaptive_steps=1, grid=Grid(sizes=(3,), temperatures=(1.0,), drop_rates=(0.05, 0.1)),
        ),
    )  # fmt: skip
    yield


def run(out: Path, data_dir: Path, **options: Any) -> tuple[Reproduction, dict[str, Any]]:
    outcome = STUDY.reproduce(out, scale="smoke", data_dir=data_dir, **options)
    return outcome, json.loads((out / "results.json").read_text())


def plain(results: dict[str, Any]) -> dict[str, Any]:
    """Everything but when it was made and how long it took."""
    without: dict[str, Any] = json.loads(json.dumps({key: value for key, value in results.items() if key != "meta"}))
    for records in without.values():
        for record in records:
            record.pop("seconds", None)
    return without


def test_all_of_it_is_done_and_done_once(data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def count(*given: Any, **named: Any) -> Any:
        seen.append(len(given[2]))
        return measure(*given, **named)

    monkeypatch.setattr(room, "measure", count)
    outcome, results = run(tmp_path / "run", data_dir)
    assert outcome.not_run == 0 and outcome.page == tmp_path / "run" / "multimagnet.md"
    mnist, cifar = ([one for one in results["rows"] if one["dataset"] == name] for name in ("mnist", "cifar10"))
    assert {(one["attack"], one["configuration"]) for one in mnist} == {
        (attack, name) for attack in ATTACKS for name in CONFIGURATIONS
    }
    for one in mnist:
        if one["configuration"].startswith("table-4") and one["attack"] in ("fgsm", "bim"):
            assert "drop rate of 0.001 drops none of 60" in one["reason"]  # 60 images cannot carry it
            continue
        assert one["status"] == "done" and 0 <= one["accuracy"]["mean"] <= 1
        assert one["accuracy"]["mean"] == pytest.approx((one["ppv"]["mean"] + one["npv"]["mean"]) / 2)
        assert one["undefended"]["experiments"] == pytest.approx(0, abs=1e-12)
    assert all(one["status"] == "not run" and "not on this machine" in one["reason"] for one in cifar)
    page = outcome.page.read_text()
    assert "Data 'cifar10' is not on this machine" in page and "nan" not in page.lower().split()

    # V_leg, D_leg and the blends, then validation and test images of each attack in each arm: nobody is seen twice.
    made = [one for one in results["attacks"] if (one["attack"], one["arm"]) != ("cw", "retuned")]
    assert seen == [60, 30, 20, *[20, 30] * len(made)]
    assert {(one["attack"], one["arm"]) for one in made} >= {
        *((attack, arm) for attack in ATTACKS for arm in ("white-box", "surrogate")),
        ("deepfool", "released"),
    }
    for one in results["attacks"]:
        assert 0 <= one["accuracy_test"] <= 1 and (one["arm"] == "retuned" or one["seconds"] >= 0)
        if one["attack"] == "deepfool" and one["arm"] == "white-box":
            assert one["unchanged_test"] == 0, "ART's DeepFool never puts an image back"
    assert {(one["threat_model"], one["norm"]) for one in results["adaptive"] if one["dataset"] == "mnist"} == {
        (threat, norm) for threat in ("oblivious", "adaptive") for norm in ("linf", "l2")
    }
    assert results["surrogates"][0]["network"] == "multimagnet-surrogate"
    for path in (tmp_path / "run" / "calibrations").glob("*.json"):
        assert set(Calibration.load(path).thresholds) == {"mnist-i", "mnist-ii", "mnist-dae1"}

    again, same = run(tmp_path / "run", data_dir)
    assert (again.computed, again.not_run, again.stored) == (0, 0, outcome.computed)
    assert len(seen) == 3 + 2 * len(made)
    assert plain(same) == plain(results)


@pytest.mark.soak  # of the same frame the suite kills another study
@pytest.mark.usefixtures("no_figures")
def test_killed_in_the_middle_it_goes_on_to_the_same_numbers(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "ATTACKS", ("fgsm", "deepfool"))
    _, whole = run(tmp_path / "whole", data_dir)
    real = attacked.run

    def stop(engine: Any, *given: Any) -> Any:
        if engine.name == "art:DeepFool":
            raise KeyboardInterrupt
        return real(engine, *given)

    monkeypatch.setattr(attacked, "run", stop)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "run", data_dir)
    assert not (tmp_path / "run" / "results.json").exists()
    monkeypatch.setattr(attacked, "run", real)
    torch.rand(7)  # whatever else the new process drew
    outcome, results = run(tmp_path / "run", data_dir)
    assert outcome.stored > 0 and outcome.computed > 0
    assert plain(results) == plain(whole)


@pytest.mark.usefixtures("no_figures")
def test_what_the_time_does_not_allow_is_listed_and_done_later(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "ATTACKS", ("fgsm",))
    outcome, results = run(tmp_path / "run", data_dir, time=1e-9)
    assert outcome.computed == 0 and outcome.not_run == 1
    reason = "no time left within the budget of 1e-09 minutes"
    assert {one["reason"] for one in results["rows"] if one["dataset"] == "mnist"} == {reason}
    assert results["classifiers"][0]["status"] == "not run" and reason in outcome.page.read_text()
    later, results = run(tmp_path / "run", data_dir)
    assert later.not_run == 0 and reason not in outcome.page.read_text()


@pytest.mark.soak
@pytest.mark.usefixtures("no_figures")
def test_who_knows_the_deployment_leaves_no_more_of_it_than_who_does_not(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(breaking, "Adaptive", Adaptive)
    monkeypatch.setattr(room, "ATTACKS", ("fgsm",))
    _, results = run(tmp_path / "run", data_dir)
    rates = {(one["norm"], one["threat_model"]): one["robust_accuracy"] for one in results["adaptive"][:4]}
    for norm in ("linf", "l2"):
        assert rates[norm, "adaptive"] <= rates[norm, "oblivious"] + 1e-9


def test_options_and_data_that_will_not_do_are_refused(data_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"scale must be 'smoke', 'small' or 'full', not 'tiny'"):
        STUDY.reproduce(tmp_path / "run", scale="tiny", data_dir=data_dir)
    with pytest.raises(DataError, match="not on this machine"):
        STUDY.reproduce(tmp_path / "none", scale="smoke", data_dir=tmp_path)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").write_text("mine")
    with pytest.raises(StoreError):
        STUDY.reproduce(tmp_path / "other", scale="smoke", data_dir=data_dir)


def test_images_are_dealt_as_in_the_paper_and_nobody_twice(data_dir: Path) -> None:
    splits = load("mnist", data_dir=data_dir)  # 500, 50, 50 and 100
    smoke = SCALES["smoke"]
    setting = replace(smoke.settings["mnist"], images=540)
    dealt = deal(splits, replace(smoke, legitimate=60), setting, 0)
    assert [len(part) for part in (dealt.train, dealt.legitimate, dealt.test, dealt.drawn)] == [540, 60, 100, 30]
    rows = {part.numpy().tobytes() for part in (*dealt.train.x, *dealt.legitimate.x)}
    assert len(rows) == 600
    assert {row.numpy().tobytes() for row in dealt.drawn.x} <= {row.numpy().tobytes() for row in splits.test.x}
    assert {row.numpy().tobytes() for row in splits.calibration.x} <= {x.numpy().tobytes() for x in dealt.legitimate.x}
    # In random order: the first of V_leg, which are attacked, are not all of the first classes.
    assert len(set(dealt.legitimate.y[:20].tolist())) > 5
