"""``salus reproduce``: every step is done once, listed where it was not run, and goes on after a kill."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from salus.attacks import FGSM, PGD, Boundary
from salus.classifier import Classifier
from salus.cli import main
from salus.data import load
from salus.errors import StoreError
from salus.guard import Guard
from salus.hardening import PRESETS
from salus_studies.ecg_atk_gan import honest, trainings
from salus_studies.ecg_atk_gan import protocol as room
from salus_studies.ecg_atk_gan.attacked import COLUMNS, LOTTERY
from salus_studies.ecg_atk_gan.honest import Planned
from salus_studies.ecg_atk_gan.records import Material, drawn_by_class, load_by_record
from salus_studies.ecg_atk_gan.scales import PROPOSED, SCALES
from salus_studies.ecg_atk_gan.study import STUDY
from salus_studies.ecg_atk_gan.trainings import ARCHITECTURES
from salus_studies.frame.folder import Reproduction

SPACING = 400


def write_record(folder: Path, name: str, symbols: str) -> None:
    """Write a record whose beats are bumps, as wide as their class has them."""
    rng = np.random.default_rng(int(name))
    time = np.arange(SPACING * (len(symbols) + 1))
    signal = rng.normal(0, 20, len(time))
    for number, symbol in enumerate(symbols, 1):
        width = {"N": 6, "S": 12, "V": 30, "F": 60}[symbol]
        signal += 400 * np.exp(-(((time - SPACING * number) / width) ** 2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # wfdb calls pandas in ways that pandas 3 warns of
        import wfdb

        wfdb.wrsamp(
            name, fs=360, units=["mV"], sig_name=["MLII"], d_signal=(signal[:, None] + 1024).astype(np.int64),
            fmt=["212"], adc_gain=[200.0], baseline=[1024], write_dir=str(folder),
        )  # fmt: skip
        peaks = SPACING * np.arange(1, len(symbols) + 1)
        wfdb.wrann(name, "atr", peaks, symbol=list(symbols), write_dir=str(folder))


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six patients with beats of all four classes, 240 together."""
    folder = tmp_path_factory.mktemp("records")
    for number in range(6):
        write_record(folder, f"{300 + number}", "NNNNNSSVVF" * 4)
    return folder


def weak(architecture: str, scale: Any, seed: int) -> Iterator[Planned]:
    """One cell of each kind: at full strength they take minutes on any data."""
    yield Planned(None, None, False, None)
    yield Planned(FGSM(eps=0.01), "white-box", False, None)
    if architecture == "proposed":
        yield Planned(None, None, True, None)
        for threat in ("oblivious", "adaptive"):
            yield Planned(PGD(eps=0.01, steps=1), threat, True, None)
    yield Planned(Boundary(eps=0.5, queries=20), "decision-only", False, scale.query_beats)


@pytest.fixture(scope="module", autouse=True)
def _small() -> Iterator[None]:
    """Make smoke smaller still, and leave out pictures and timing, which have tests of their own."""
    smoke = SCALES["smoke"]
    small = replace(
        smoke, per_class=12, gan={**smoke.gan, "batch_size": 16}, test_beats=30, seed_beats=12, honest_beats=3
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SCALES, "smoke", small)
        patch.setattr(honest, "planned", weak)
        patch.setattr("salus.hardening.ecg_atk_gan._Fold._show", lambda *given: None)
        patch.setattr(
            "salus_studies.ecg_atk_gan.speed.measure",
            lambda options: {"gan_beats_per_second": 100.0, "share_bare": 0.8, "settings": "not measured"},
        )
        yield


@pytest.fixture
def two_by_two(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Two columns of two architectures; returns what is trained."""
    for place in (room, trainings):
        monkeypatch.setattr(place, "COLUMNS", ("none", "fgsm"))
    monkeypatch.setattr(room, "ARCHITECTURES", ("proposed", "acharya"))
    monkeypatch.setattr(room.GANOrder, "networks", ("proposed", "acharya"))
    trained: list[tuple[str, str]] = []
    real = trainings.train_column

    def count(material: Any, network: str, column: str, scale: Any, folder: Path, **more: Any) -> Any:
        trained.append((network, column))
        return real(material, network, column, scale, folder, **more)

    monkeypatch.setattr(room, "train_column", count)
    return trained


def run(out: Path, records: Path, **options: Any) -> tuple[Reproduction, dict[str, Any]]:
    outcome = STUDY.reproduce(out, **{"scale": "smoke", "data": str(records), **options})
    return outcome, json.loads((out / "results.json").read_text())


#: What costs least first.
ALL = [("acharya", "none"), ("proposed", "none"), ("acharya", "fgsm"), ("proposed", "fgsm")]
PUBLISHED = {"protocol": ["as-published"]}


@pytest.mark.soak  # a minute; the suite does some of the cells, below
def test_every_cell_of_both_protocols_is_done_and_done_once(records: Path, tmp_path: Path) -> None:
    outcome, results = run(tmp_path / "run", records)
    assert outcome.not_run == 0 and outcome.page.exists()
    cells = {(cell["attack"], cell["architecture"], cell.get("preset")): cell for cell in results["cells"]}
    six, four = {(column, "proposed", "six-attacks") for column in COLUMNS}, COLUMNS[:5]
    baselines = {(column, name, None) for column in COLUMNS for name in ARCHITECTURES[1:]}
    assert set(cells) == six | {(column, "proposed", "four-attacks") for column in four} | baselines
    for cell in cells.values():
        assert cell["status"] == "done" and cell["n"] == 30 and 0 <= cell["accuracy"] <= 1
        assert sum(map(sum, cell["confusion"]["matrix"])) == 30 and cell["scaling"] == "record"
    assert [row["attack"] for row in results["attack_data"]] == list(COLUMNS[1:])
    bim, pgd = (row["digest"] for row in results["attack_data"] if row["attack"] in ("bim", "pgd"))
    assert bim == pgd, "the same data"
    assert [row["attack"] for row in results["generator"] if row["preset"] == "six-attacks"] == list(COLUMNS)
    assert [row["attack"] for row in results["generator"] if row["preset"] == "four-attacks"] == list(four)
    assert {(row["attack"], row["seed"]) for row in results["seeds"] if row["attack"] in LOTTERY} == {
        (attack, seed) for attack in LOTTERY for seed in (0, 1)
    }
    drawn = {(row["attack"], row["trained_on"]) for row in results["again"] if row["architecture"] == "acharya"}
    assert drawn == {(attack, "none") for attack in COLUMNS[1:]} | {(attack, attack) for attack in LOTTERY}
    assert results["overlays"]["attacks"] == list(COLUMNS)
    of = {(row["split"], row["architecture"], row["trained_on"]) for row in results["honest"]}
    assert of == {(s, name, on) for s in ("beats", "patients") for name in ARCHITECTURES for on in ("none", "pgd")}
    assert all(row["status"] == "done" for row in results["honest"])
    threats = {row["threat_model"] for row in results["honest"] if row["guard"] == "attacked-head"}
    assert threats == {None, "oblivious", "adaptive"}
    page = outcome.page.read_text()
    assert "not run: no time left" not in page and "nan" not in page.split()

    trained = {path: path.stat().st_mtime_ns for path in (tmp_path / "run" / "models").rglob("*.safetensors")}
    again, same = run(tmp_path / "run", records)
    assert (again.computed, again.not_run) == (0, 0)
    assert again.stored >= outcome.computed - len(COLUMNS[1:]), "copies that judging alone needs are read no more"
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "run" / "models").rglob("*.safetensors")} == trained
    assert [same[key] for key in ("cells", "honest", "trainings")] == [
        results[key] for key in ("cells", "honest", "trainings")
    ]


@pytest.mark.slow
@pytest.mark.usefixtures("no_figures")
def test_what_the_time_does_not_allow_is_listed_and_done_later(
    records: Path, tmp_path: Path, two_by_two: list[tuple[str, str]]
) -> None:
    outcome, results = run(tmp_path / "run", records, time=1e-9, **PUBLISHED)
    assert two_by_two == [] and outcome.not_run == 4
    assert {(cell["architecture"], cell["attack"]) for cell in results["cells"]} == set(ALL)
    for cell in results["cells"]:
        assert cell["status"] == "not run"
        assert cell["reason"] == "no time left within the budget of 1e-09 minutes"
    assert "no time left within the budget" in outcome.page.read_text()
    later, results = run(tmp_path / "run", records, **PUBLISHED)
    assert later.not_run == 0 and sorted(two_by_two) == sorted(ALL)
    assert [cell["status"] for cell in results["cells"]] == ["done"] * 4
    assert "no time left" not in outcome.page.read_text()


@pytest.mark.slow
@pytest.mark.usefixtures("no_figures")
def test_killed_in_the_middle_it_goes_on_to_the_same_numbers(
    records: Path, tmp_path: Path, two_by_two: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, whole = run(tmp_path / "whole", records, **PUBLISHED)
    two_by_two.clear()
    count = vars(room)["train_column"]  # the fixture's

    def stop(material: Any, network: str, column: str, *more: Any, **named: Any) -> Any:
        if (network, column) == ALL[-1]:
            raise KeyboardInterrupt
        return count(material, network, column, *more, **named)

    monkeypatch.setattr(room, "train_column", stop)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "run", records, **PUBLISHED)
    assert sorted(two_by_two) == sorted(ALL[:-1]) and not (tmp_path / "run" / "results.json").exists()
    monkeypatch.setattr(room, "train_column", count)
    torch.rand(7)  # whatever else the new process drew
    outcome, results = run(tmp_path / "run", records, **PUBLISHED)
    assert two_by_two[3:] == ALL[-1:] and outcome.not_run == 0

    def plain(cells: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{key: value for key, value in cell.items() if key != "seconds"} for cell in cells]

    assert plain(results["cells"]) == plain(whole["cells"])
    assert plain(results["attack_data"]) == plain(whole["attack_data"])


@pytest.mark.slow
@pytest.mark.usefixtures("no_figures")
def test_what_is_lost_or_damaged_is_done_again(
    records: Path, tmp_path: Path, two_by_two: list[tuple[str, str]]
) -> None:
    out = tmp_path / "run"
    run(out, records, **PUBLISHED)
    two_by_two.clear()
    (out / "models" / "record-acharya-fgsm" / "model.safetensors").unlink()
    (out / "attacked" / "fgsm.safetensors").unlink()
    (out / "steps" / "record-proposed-none-judged.json").write_text("{")
    outcome, results = run(out, records, **PUBLISHED)
    assert two_by_two == [("acharya", "fgsm")]
    assert outcome.computed == 2, "a training and a judgement; the attacked copies are not needed any more"
    assert [cell["status"] for cell in results["cells"]] == ["done"] * 4


def test_a_protocol_that_is_not_asked_for_is_listed_as_such(
    records: Path, tmp_path: Path, two_by_two: list[tuple[str, str]]
) -> None:
    outcome, results = run(tmp_path / "run", records, protocol=["honest"], split=["beats"], time=1e-9)
    assert two_by_two == [] and outcome.not_run == 4
    reasons = {cell["attack"]: cell["reason"] for cell in results["cells"]}
    assert set(reasons) == {"none", "fgsm"} and reasons["fgsm"] == "not reached in the time that was given"
    assert {(row["attack"], row["status"]) for row in results["trainings"]} == {("none", "not run"), ("pgd", "not run")}


def test_a_scale_leaves_the_papers_losses_and_rates_alone() -> None:
    less = {"epochs", "folds", "folds_trained", "scored", "widths", "precision", "batch_size"}
    for name, scale in SCALES.items():
        assert set(scale.gan) <= less and (name == "smoke" or "batch_size" not in scale.gan)
        for network, paper in PROPOSED.items():
            ours, theirs = scale.options(0, network), PRESETS[paper]
            for field in (
                "lambda_atk",
                "lambda_ary",
                "lambda_mse",
                "learning_rate",
                "final_rate",
                "skip",
                "attack_loss",
            ):
                assert getattr(ours, field) == getattr(theirs, field), (name, paper, field)
    letter = SCALES["letter"].options(0)
    assert (letter.epochs, letter.folds_trained, letter.lambda_mse, letter.learning_rate) == (30, 2, 1.0, 1e-4)
    assert SCALES["letter"].seeds == 10 and SCALES["letter"].honest_whole == ("S", "F")


def test_beats_are_scaled_by_their_record_and_dealt_80_to_20(records: Path) -> None:
    data = load_by_record(str(records), 0)
    assert (len(data.train), len(data.test)) == (191, 49), "of each class a fifth, rounded"
    assert set(data.train.groups.tolist()) == set(data.test.groups.tolist())  # type: ignore[union-attr]
    heights = data.train.x.amax(2) - data.train.x.amin(2)
    assert heights.min() > 0.5 and heights.max() <= 1 and len(heights.unique()) > 10, "not each its own range"
    own = load(str(records), split="beats", seed=0)
    assert torch.equal(own.test.y, data.test.y), "the same test beats as scaled by themselves"
    x = data.test.x
    by_beat = (x - x.amin(2, keepdim=True)) / (x.amax(2, keepdim=True) - x.amin(2, keepdim=True))
    assert torch.allclose(by_beat, own.test.x, atol=1e-5)
    told = data.describe()
    assert told["scaling"] == "record" and told["height"] == pytest.approx(float((x.amax(2) - x.amin(2)).mean()))
    material = Material.published(data, 0)
    assert len(material.whole) == len(material.learn) + len(material.validation) == 191
    assert 36 <= len(material.validation) <= 40


def test_honest_figures_are_weighted_to_the_whole_test_part(records: Path) -> None:
    test = load(str(records), split="beats", seed=0).test
    few = drawn_by_class(test, 3, ("F",), 0)
    assert few.counts == {"N": 3, "S": 3, "V": 3, "F": test.counts["F"]} and test.counts["N"] > 20

    class AlwaysN(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.eye(4)[0].expand(len(x), 4) + 0 * x.sum()

    guard = Guard(Classifier(AlwaysN(), test.classes, shape=(1, 280), name="always-n"), name="none")
    cell = honest.cell(Planned(None, None, False, None), guard, None, few)
    told = honest.count(cell, {"split": "beats"}, test.counts)
    share = test.counts["N"] / len(test)
    assert told["clean_accuracy"] == pytest.approx(share) and share > 3 / len(few)
    matrix = told["confusion"]["matrix"]
    assert [round(sum(row), 6) for row in matrix] == list(test.counts.values())
    attacked = honest.cell(Planned(FGSM(eps=0.01), "white-box", False, None), guard, None, few)
    assert honest.count(attacked, {}, test.counts)["robust_accuracy"] == pytest.approx(share)


def test_a_folder_of_another_reproduction_is_refused(
    records: Path, tmp_path: Path, two_by_two: list[tuple[str, str]]
) -> None:
    run(tmp_path / "run", records, time=1e-9, **PUBLISHED)
    with pytest.raises(StoreError, match="another seed"):
        run(tmp_path / "run", records, time=1e-9, seed=1, **PUBLISHED)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["ecg-atk-gan", "--protocol", "honst"], ["'honst'", "honest"]),
        (["ecg-atk-gan", "--scale", "smal"], ["'smal'", "small"]),
        (["ecg-atk-gan", "--split", "patient"], ["'patient'", "patients"]),
        (["ecg-atk-gan", "--device", "abacus"], ["abacus", "cpu"]),
        (["ecg-atk-gan", "--data", "mitd"], ["mitd"]),
        (["ecg-atk-gan", "--time", "soon"], ["soon"]),
        (["ecg-gan"], ["'ecg-gan'", "ecg-atk-gan"]),
    ],
)
def test_bad_words_are_one_sentence_and_leave_nothing(tmp_path: Path, words: list[str], expected: list[str]) -> None:
    result = CliRunner().invoke(main, ["reproduce", *words, "--out", str(tmp_path / "run")])
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    sentence = result.output.strip().splitlines()[-1]
    for word in expected:
        assert word in sentence
    assert not (tmp_path / "run").exists(), "nothing is left behind"


def test_the_command_prints_what_was_done_and_where_the_page_lies(
    records: Path, tmp_path: Path, two_by_two: list[tuple[str, str]]
) -> None:
    out, page = tmp_path / "run", tmp_path / "page.md"
    words = ["--scale", "smoke", "--data", records, "--protocol", "as-published", "--time", "1e-9", "--page", page]
    result = CliRunner().invoke(main, ["reproduce", "ecg-atk-gan", *map(str, words), "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert f"2 steps done, 0 stored before, 4 not run.\nPage: {page}\n" in result.stdout
    assert page.read_text().startswith("#")
