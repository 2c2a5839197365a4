"""``salus reproduce i-defender``: every table's cells, once, resumed after a kill, and within a budget of time."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from salus.cli import main
from salus.errors import DataError, OptionError, StoreError
from salus_studies.frame.folder import Reproduction
from salus_studies.i_defender import black_box, published
from salus_studies.i_defender.published import ALPHAS, BLACK_BOX, GRAY_BOX, IMAGENET, IMAGENET_LINES, SEMI_WHITE_BOX
from salus_studies.i_defender.scales import SCALES
from salus_studies.i_defender.study import STUDY

TRAIN, TEST = 480, 60
SECTIONS = {
    "trainings": 12, "generators": 4, "choices": 28, "black_box": 36, "defense_gan": 10 + 12 + 9 + 10, "speed": 2,
    "trend": 14, "tuned": 6, "reads": 9, "semi_white_box": 24, "gray_box": 32, "alone": 1, "own": 3, "imagenet": 9,
    "figure_1": 3,
}  # fmt: skip


def images(count: int, side: int, channels: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Pictures of ten classes, each a coarse pattern under noise."""
    pattern = np.random.default_rng(9).integers(0, 2, (10, channels, 4, 4)).repeat(side // 4, 2).repeat(side // 4, 3)
    y = np.arange(count) % 10
    x = 60 + 120 * pattern[y] + np.random.default_rng(seed).normal(0, 25, (count, channels, side, side))
    return x.clip(0, 255).astype(np.uint8), y.astype(np.uint8)


def idx(values: np.ndarray) -> bytes:
    return bytes([0, 0, 8, values.ndim]) + b"".join(n.to_bytes(4, "big") for n in values.shape) + values.tobytes()


def write_mnist(folder: Path, seed: int) -> None:
    folder.mkdir(parents=True)
    for part, (side, count) in enumerate((("train", TRAIN), ("t10k", TEST))):
        x, y = images(count, 28, 1, seed + part)
        (folder / f"{side}-images-idx3-ubyte").write_bytes(idx(x[:, 0]))
        (folder / f"{side}-labels-idx1-ubyte").write_bytes(idx(y))


def write_cifar10(folder: Path) -> None:
    folder.mkdir(parents=True)
    for number in range(6):
        x, y = images(TRAIN // 5 if number else TEST, 32, 3, 20 + number)
        name = f"data_batch_{number}.bin" if number else "test_batch.bin"
        (folder / name).write_bytes(np.concatenate([y[:, None], x.reshape(len(x), -1)], 1).tobytes())


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MNIST, Fashion-MNIST and CIFAR-10 in their formats, a few hundred pictures each."""
    folder = tmp_path_factory.mktemp("sets")
    write_mnist(folder / "mnist", 0)
    write_mnist(folder / "fashion-mnist", 5)
    write_cifar10(folder / "cifar10")
    return folder


@pytest.fixture
def only_mnist(tmp_path: Path) -> Path:
    """MNIST alone."""
    write_mnist(tmp_path / "sets" / "mnist", 0)
    return tmp_path / "sets"


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make smoke smaller still, and see to it that no real data are found."""
    monkeypatch.delenv("SALUS_DATA", raising=False)
    small = replace(SCALES["smoke"], components=(1,), choosing=12, fitting=20, validation_images=30, own_images=2)
    small = replace(small, gray_images=20, wide_images=50)
    monkeypatch.setitem(SCALES, "smoke", small)


def run(out: Path, sets: Path, **options: Any) -> tuple[Reproduction, dict[str, Any]]:
    outcome = STUDY.reproduce(out, **{"scale": "smoke", "data_dir": sets, "command": "salus", **options})
    return outcome, json.loads((out / "results.json").read_text())


def without_times(results: dict[str, Any]) -> dict[str, Any]:
    """What a second machine would have found too."""
    kept = {name: rows for name, rows in results.items() if name not in ("meta", "speed")}
    return {name: [{k: v for k, v in row.items() if k != "seconds"} for row in rows] for name, rows in kept.items()}


@pytest.fixture
def imagenet(tmp_path: Path) -> Path:
    """A folder in ImageNet's layout: three classes of small pictures of unequal sizes."""
    from PIL import Image

    for side, count in (("train", 40), ("val", 20)):
        x, y = images(10 * count, 32, 3, 40 + count)
        for row in range(len(x)):
            if y[row] < 3:
                place = tmp_path / "imagenet" / side / f"n0{y[row]}"
                place.mkdir(parents=True, exist_ok=True)
                Image.fromarray(x[row].transpose(1, 2, 0)).resize((36, 40)).save(place / f"{row}.png")
    return tmp_path / "imagenet"


@pytest.mark.soak  # two minutes; the suite does what a short time allows, below
def test_every_cell_of_the_nine_tables_is_done_and_done_once(sets: Path, tmp_path: Path, imagenet: Path) -> None:
    outcome, results = run(tmp_path / "run", sets, data=str(imagenet))
    assert outcome.not_run == 0 and {name: len(results[name]) for name in SECTIONS} == SECTIONS | {"trainings": 14}
    for name in SECTIONS:
        assert all(row["status"] == "done" for row in results[name]), name

    for row in results["black_box"]:
        # each layer by both rules, the joint one, and four that are fixed; model F as released has a layer more
        assert len(row["detectors"]) == (13 if row["setting"] == "table-1" else 11)
        assert (
            row["n"] == TEST and 0 <= row["fooled"] <= TEST and set(row["chosen"]) == {"likelihood", "blends", "joint"}
        )
        assert all(0 <= one["auc"] <= 1 for one in row["detectors"])
    for data, paper in BLACK_BOX.items():
        rows = [row for row in results["black_box"] if row["data"] == data and row["setting"] == "table-1"]
        by_eps = [row for row in rows if row["attack"].startswith("fgsm")]
        fooled = [row["fooled"] for row in by_eps]
        assert fooled == sorted(fooled) and fooled[-1] > fooled[0], "a larger eps fools more"
        single = [row for row in results["choices"]
                  if (row["data"], row["network"]) == (data, "model-f") and row["layer"] != "joint"]  # fmt: skip
        by_likelihood = max(single, key=lambda row: row["per_component"])
        assert [row for row in single if "likelihood" in row["chosen"]] == [by_likelihood]
        by_blends = max(single, key=lambda row: row["best_by_blends"]["blends"])
        assert [row for row in single if "blends" in row["chosen"]] == [by_blends]
        lines = {(row["restarts"], row["iterations"], row["eps"]) for row in results["defense_gan"]
                 if row["data"] == data}  # fmt: skip
        assert {(one.restarts, one.iterations, 0.3) for one in paper.descents} <= lines
        assert {(*paper.setting, one.eps) for one in paper.strengths} <= lines
    supervised = [row for row in results["semi_white_box"] if row["method"] == "svm"]
    assert len(supervised) == len(SEMI_WHITE_BOX) and all(row["at"]["own"]["accuracy"] for row in supervised)
    pairs = {(row["pair"], row["column"], row["alpha"]) for row in results["gray_box"]}
    assert pairs == {(p, c.key, a) for p in ("shallow", "deep") for c in GRAY_BOX for a in ALPHAS}
    assert {(row["column"], row["alpha"]) for row in results["imagenet"]} == {
        (column.key, alpha) for column in IMAGENET for alpha in IMAGENET_LINES
    }
    attackers = [row["attacker"] for row in results["alone"][0]["rows"]]
    assert attackers == ["control", *(f"eq6 alpha={alpha:g}" for alpha in ALPHAS), "class-consistent", "union"]
    page = outcome.page.read_text()
    assert "not run:" not in page and "nan" not in page.split() and published.TITLE in page
    assert {path.name for path in (tmp_path / "run" / "i-defender").iterdir()} >= {
        f"figure-{number}.png" for number in ("1-mnist", "1-fashion-mnist", "1-cifar10", 2, 3, 4, 5)
    }

    trained = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*.safetensors")}
    again, same = run(tmp_path / "run", sets, data=str(imagenet))
    assert (again.computed, again.not_run) == (0, 0) and again.stored >= outcome.computed
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*.safetensors")} == trained
    assert without_times(same) == without_times(results)


@pytest.mark.soak  # of the same frame the suite kills another study
@pytest.mark.usefixtures("no_figures")
def test_killed_in_the_middle_it_goes_on_to_the_same_numbers(
    only_mnist: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, whole = run(tmp_path / "whole", only_mnist)
    with monkeypatch.context() as patch:
        judge = black_box.FromEToF._one

        def stop(self: Any, own: Any, name: str) -> dict[str, Any]:
            if name == "fgsm-0.2":
                raise KeyboardInterrupt
            return judge(self, own, name)

        patch.setattr(black_box.FromEToF, "_one", stop)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "run", only_mnist)
    assert not (tmp_path / "run" / "results.json").exists()
    outcome, results = run(tmp_path / "run", only_mnist)
    assert outcome.stored >= 8, "trainings, choices, and what was judged before"
    assert without_times(results) == without_times(whole)

    # What is lost is made again, and nothing else.
    (tmp_path / "run" / "distances" / "descents-mnist-400-clean.safetensors").unlink()
    (tmp_path / "run" / "models" / "mnist-model-e" / "model.safetensors").unlink()
    outcome, results = run(tmp_path / "run", only_mnist)
    assert outcome.computed == 2 and without_times(results) == without_times(whole)


def test_what_the_time_does_not_allow_is_listed(only_mnist: Path, tmp_path: Path) -> None:
    outcome, results = run(tmp_path / "run", only_mnist, time=1e-9)
    assert outcome.computed == 0
    reason = "no time left within the budget of 1e-09 minutes"
    assert [row["reason"] for row in results["trainings"]] == [reason] * 2
    for section in ("black_box", "defense_gan", "trend", "semi_white_box", "gray_box", "alone", "own", "imagenet"):
        assert len(results[section]) == SECTIONS[section], section
        assert {row["status"] for row in results[section]} == {"not run"}
    reasons = {row["data"]: row["reason"] for row in results["black_box"]}
    assert reasons["mnist"] == "its networks are not trained"
    assert reasons["fashion-mnist"].startswith("no data: ") and "salus data fetch" in reasons["fashion-mnist"]
    assert results["gray_box"][0]["reason"].startswith("no data: ")
    page = outcome.page.read_text()
    assert "not run: its networks are not trained" in page and "not in our copy" in page
    assert "not run: no data: give a folder in ImageNet's layout by --data" in page


def test_parts_that_are_not_asked_for_are_listed_as_such_and_nothing_of_them_is_loaded(
    only_mnist: Path, tmp_path: Path
) -> None:
    outcome, results = run(tmp_path / "run", only_mnist, time=1e-9, part=("black-box",))
    assert outcome.computed == 0 and "cifar10" not in results["meta"]["missing"]
    reasons = {section: {row["reason"] for row in results[section]} for section in SECTIONS if section in results}
    assert reasons["gray_box"] == {"not asked for: --part cifar10 runs it"}
    assert reasons["imagenet"] == {"not asked for: --part imagenet runs it"}
    assert "not asked for: --part defense-gan runs it" in reasons["trend"]


def test_only_what_is_trained_is_used_where_that_is_asked_for(only_mnist: Path, tmp_path: Path) -> None:
    outcome, results = run(tmp_path / "run", only_mnist, trained_only=True)
    assert outcome.computed == 0 and not list((tmp_path / "run").rglob("*.checkpoint"))
    assert {row["reason"] for row in results["trainings"]} == {"not trained yet: run it without --trained-only"}


@pytest.mark.usefixtures("no_figures")
def test_table_9_runs_on_a_folder_in_imagenets_layout(imagenet: Path, tmp_path: Path) -> None:
    outcome, results = run(tmp_path / "run", tmp_path, data=str(imagenet), part=("imagenet",))
    cells = results["imagenet"]
    assert len(cells) == SECTIONS["imagenet"] and all(row["status"] == "done" for row in cells)
    assert all(0 <= row["target"]["adversarial_accuracy"] <= 1 for row in cells)
    table_9 = outcome.page.read_text().split("## Gray-box: Table 9")[1].split("## What to mind")[0]
    assert "not run" not in table_9 and "Ours, small-cnn on images of 32 pixels, has" in table_9
    assert run(tmp_path / "run", tmp_path, data=str(imagenet), part=("imagenet",))[0].computed == 0


def test_a_folder_of_another_reproduction_is_refused(only_mnist: Path, tmp_path: Path) -> None:
    run(tmp_path / "run", only_mnist, time=1e-9)
    with pytest.raises(StoreError, match="another seed"):
        run(tmp_path / "run", only_mnist, time=1e-9, seed=1)


def test_bad_options_are_one_sentence_and_leave_nothing(only_mnist: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    for options, error, words in (
        ({"scale": "smal"}, OptionError, "small"),
        ({"device": "abacus"}, OptionError, "abacus"),
        ({"data": "nowhere"}, DataError, "ImageNet's layout"),
        ({"data_dir": tmp_path / "empty"}, DataError, "salus data fetch"),
        ({"protocol": ("honest",)}, OptionError, "no option 'protocol'"),
    ):
        with pytest.raises(error, match=words):
            run(out, only_mnist, **options)
    assert not out.exists()


def test_the_command_runs_it(only_mnist: Path, tmp_path: Path) -> None:
    words = ["--scale", "smoke", "--time", "1e-9", "--data-dir", str(only_mnist), "--out", str(tmp_path / "run")]
    result = CliRunner().invoke(main, ["reproduce", "i-defender", *words])
    assert result.exit_code == 0, result.output
    assert "0 steps done" in result.stdout and "i-defender.md" in result.stdout
