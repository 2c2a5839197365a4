"""Sweeps of hardening: what is compared on what, what is kept, what goes on, and what is refused."""

from __future__ import annotations

import csv
import json
import pickle
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from salus.audit import Plan
from salus.audit.subject import load_splits
from salus.cli import main
from salus.data import Dataset, Provenance, Splits
from salus.engines import Done, EngineOptions, open_engine
from salus.engines.here import Here
from salus.errors import ModelError, OptionError, SalusError, StoreError
from salus.figures.frontier import frontier
from salus.hardening.adversarial_methods import AdversarialTrainingMethod
from salus.jobs import SweepOptions, Swept, run_hardening, run_sweep
from salus.jobs.sweep.grid import settings_of
from salus.jobs.sweep.member import Parts
from salus.jobs.sweep.scores import choose
from salus.training import fit_classifier

FAST: dict[str, Any] = {"grid": ("eps=0.05,0.1",), "seeds": (0, 1), "judge": "pgd:eps=0.2,steps=3"}
TRAINING = {"epochs": 2, "learning_rate": 0.1, "batch_size": 16}


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Compute as the engines' processes do, so that all is equal bit for bit."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Patients of five rows each, whose first features tell ill from well."""
    generator, n = np.random.default_rng(0), 300
    groups = np.arange(n) // 5
    y = groups % 2
    x = 0.5 + 0.25 * (2 * y[:, None] - 1) * np.linspace(1, 0.1, 6) + 0.1 * generator.standard_normal((n, 6))
    path = tmp_path_factory.mktemp("data") / "patients.npz"
    x = x.clip(0, 1).astype(np.float32)
    np.savez(path, x=x, y=y, groups=groups, classes=np.array(["ill", "well"]))
    return path


@pytest.fixture(scope="module")
def plan(table: Path) -> Plan:
    return Plan.of({"data": str(table), "model": "mlp:hidden=16", "training": TRAINING})


@pytest.fixture(scope="module")
def swept(plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Swept]:
    out = tmp_path_factory.mktemp("sweep") / "out"
    return out, run_sweep("single-step", plan, out, SweepOptions(**FAST), command="salus harden")


class Elsewhere(Here):
    """Tasks on another machine: all that they take and give is pickled, and they see no disk of ours."""

    words, shares_disk = "elsewhere", False

    def wait(self) -> Done:
        task = self._waiting.popleft()
        self._waiting.appendleft(replace(task, arguments=pickle.loads(pickle.dumps(task.arguments))))
        done = super().wait()
        return replace(done, task=task, value=pickle.loads(pickle.dumps(done.value)))


def trainings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Count what is trained from now on, by seed and eps."""
    real, seen = AdversarialTrainingMethod.train, []

    def train(self: AdversarialTrainingMethod, splits: Splits, task: Any, folder: Path, log: Any) -> Any:
        seen.append(f"{self.eps:g}-{task.training.seed}")
        return real(self, splits, task, folder, log)

    monkeypatch.setattr(AdversarialTrainingMethod, "train", train)
    return seen


def figures(grid: dict[str, Any]) -> list[dict[str, Any]]:
    """All that was found, but for how long it took."""
    rows: list[dict[str, Any]] = json.loads(json.dumps(grid["settings"]))
    for row in rows:
        for record in (row, *row["runs"]):
            del record["seconds"]
    return rows


def test_the_setting_that_keeps_most_under_attack_is_kept_as_a_hardening_of_its_own(
    plan: Plan, swept: tuple[Path, Swept], tmp_path: Path
) -> None:
    out, result = swept
    rows = result.grid["settings"]
    assert [row["spec"] for row in rows] == ["single-step:eps=0.05", "single-step:eps=0.1"]
    (chosen,) = (row for row in rows if row["chosen"])
    assert all((row["robust_accuracy"], row["clean_accuracy"]) <= (chosen["robust_accuracy"], chosen["clean_accuracy"])
               for row in rows)  # fmt: skip
    for row in rows:
        for name in ("clean_accuracy", "robust_accuracy"):
            runs = [run[name] for run in row["runs"]]
            assert row[name] == pytest.approx(sum(runs) / 2) and row[f"{name}_low"] <= row[name] <= row[f"{name}_high"]
    assert result.grid["judged_on"] == "the validation part"
    assert [run["on"] for row in rows for run in row["runs"]] == ["the validation part"] * 4
    seeded = plan.model_copy(update={"training": {**TRAINING, "seed": 0}})
    alone = run_hardening(chosen["spec"], seeded, tmp_path / "alone")
    for file in ("model.safetensors", "model.json", "preprocessor.json"):
        assert (out / file).read_bytes() == (tmp_path / "alone" / file).read_bytes(), file
    assert result.hardened.facts["test"] == alone.facts["test"] == result.grid["test"]
    assert result.hardened.facts["options"] == alone.facts["options"]
    assert result.hardened.audit.startswith("salus audit") and f"--model {out}" in result.hardened.audit
    stored = json.loads((out / "grid.json").read_text())
    assert stored == result.grid
    with (out / "grid.csv").open() as text:
        lines = list(csv.DictReader(text))
    assert [line["eps"] for line in lines] == ["0.05", "0.1"]
    assert [float(line["robust_accuracy"]) for line in lines] == [row["robust_accuracy"] for row in rows]
    assert [line["chosen"] for line in lines].count("true") == 1
    assert (out / "grid.png").read_bytes().startswith(b"\x89PNG")


def test_the_test_part_is_opened_for_the_chosen_network_alone(
    plan: Plan, swept: tuple[Path, Swept], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def otherwise(plan: Plan) -> Splits:
        splits = load_splits(plan)
        test = replace(splits.test, y=1 - splits.test.y)
        calibration = replace(splits.calibration, x=1 - splits.calibration.x)
        return replace(splits, test=test, calibration=calibration)

    monkeypatch.setattr("salus.jobs.harden.load_splits", otherwise)
    other = run_sweep("single-step", plan, tmp_path / "out", SweepOptions(**FAST))
    assert figures(other.grid) == figures(swept[1].grid), "nothing that was compared saw the test part"
    assert other.grid["test"] != swept[1].grid["test"]
    runs = (tmp_path / "out" / "runs").iterdir()
    assert not any("test" in json.loads((place / "hardening.json").read_text()) for place in runs)


def same(out: Path, other: Path) -> None:
    """Check that two sweeps left the same weights."""
    files = [
        Path("model.safetensors"),
        *(Path("runs", place.name, "model.safetensors") for place in (out / "runs").iterdir()),
    ]
    assert all((out / file).read_bytes() == (other / file).read_bytes() for file in files) and len(files) == 5


def test_a_sweep_on_another_machine_comes_to_the_same_bit_for_bit(
    plan: Plan, swept: tuple[Path, Swept], tmp_path: Path
) -> None:
    result = run_sweep("single-step", plan, tmp_path, SweepOptions(**FAST), engine=Elsewhere())
    assert figures(result.grid) == figures(swept[1].grid) and result.grid["engine"] == "elsewhere"
    same(swept[0], tmp_path)


@pytest.mark.soak
@pytest.mark.parametrize("name", ["processes", "ray"])
def test_a_sweep_by_engines_comes_to_the_same_bit_for_bit(
    plan: Plan, swept: tuple[Path, Swept], tmp_path: Path, name: str, request: pytest.FixtureRequest
) -> None:
    options = EngineOptions(jobs=2, task_cores=1)
    if name == "ray":
        options = EngineOptions(engine=f"ray:{request.getfixturevalue('ray_nodes')}", jobs=2)
    with open_engine(options) as engine:
        result = run_sweep("single-step", plan, tmp_path, SweepOptions(**FAST), engine=engine)
        assert result.grid["engine"] == engine.words
    assert figures(result.grid) == figures(swept[1].grid)
    same(swept[0], tmp_path)


def test_folds_keep_patients_apart_and_the_chosen_setting_learns_from_them_all(plan: Plan, tmp_path: Path) -> None:
    options = SweepOptions(grid=("eps=0.05,0.1",), folds=2, judge="fgsm:eps=0.05")
    result = run_sweep("single-step", plan, tmp_path / "out", options)
    train = load_splits(plan).train
    rows = result.grid["settings"]
    assert all(row["n"] == len(train) == sum(run["n"] for run in row["runs"]) for row in rows)
    places = sorted(place.name for place in (tmp_path / "out" / "runs").iterdir())
    chosen = next(row for row in rows if row["chosen"])["varied"]["eps"]
    assert places == sorted(
        [f"eps-{eps}-fold-{fold}" for eps in ("0.05", "0.1") for fold in (1, 2)] + [f"eps-{chosen}-whole"]
    )
    alone = run_hardening(f"single-step:eps={chosen}", plan, tmp_path / "alone")
    weights = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("out", "alone"))
    assert len(set(weights)) == 1 and result.hardened.facts["test"] == alone.facts["test"]
    assert result.hardened.facts["judged"]["on"] == "the validation part"


@given(
    owners=st.lists(st.integers(0, 9), min_size=12, max_size=40).filter(lambda owners: len(set(owners)) > 3),
    folds=st.integers(2, 3),
)
def test_every_sample_judges_once_and_none_of_its_patient_is_learnt_from(owners: list[int], folds: int) -> None:
    groups = torch.tensor(owners)
    x = torch.linspace(0, 1, len(owners))[:, None]
    data = Dataset(x, groups % 2, ("a", "b"), Provenance("made", "here"), groups=groups)
    parts = Parts(data, data, groups % folds, folds)
    seen: list[float] = []
    for fold in range(folds):
        judged = parts.judged(fold)
        if not len(judged) or len(judged) == len(data):
            continue
        splits = parts.splits(fold)
        assert splits.train.groups is not None and splits.test.groups is not None
        assert not set(splits.train.groups.tolist()) & set(splits.test.groups.tolist())
        assert len(splits.train) + len(splits.test) == len(data)
        seen += judged.x[:, 0].tolist()
    assert sorted(seen) == sorted(set(seen))


def test_what_was_stopped_goes_on_and_trains_nothing_twice(
    plan: Plan, swept: tuple[Path, Swept], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stopped(Here):
        def wait(self) -> Done:
            if len(seen) == 2:
                raise KeyboardInterrupt
            return super().wait()

    seen = trainings(monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        run_sweep("single-step", plan, tmp_path, SweepOptions(**FAST), engine=Stopped())
    assert not (tmp_path / "hardening.json").exists() and not (tmp_path / "grid.json").exists()
    result = run_sweep("single-step", plan, tmp_path, SweepOptions(**FAST))
    assert Counter(seen) == {"0.05-0": 1, "0.05-1": 1, "0.1-0": 1, "0.1-1": 1}
    assert figures(result.grid) == figures(swept[1].grid)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and path.name != "run.json"}
    again = run_sweep("single-step", plan, tmp_path, SweepOptions(**FAST))
    assert len(seen) == 4 and again.grid == result.grid
    assert {path: path.read_bytes() for path in before} == before
    (tmp_path / "runs" / "eps-0.1-seed-1" / "judged.safetensors").write_bytes(b"cut")
    with pytest.raises(StoreError, match=r"opened .* chosen among other trainings"):
        run_sweep("single-step", plan, tmp_path, SweepOptions(**{**FAST, "seeds": (0, 1, 2)}))
    assert len(seen) == 4, "what was decided is not decided again"


def test_a_failed_training_leaves_the_test_part_closed_and_the_others_finished(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = trainings(monkeypatch)
    real = AdversarialTrainingMethod.train

    def train(self: AdversarialTrainingMethod, *given: Any) -> Any:
        if self.eps == 0.1 and given[1].training.seed == 0:
            raise ModelError("The loss is not a number.")
        return real(self, *given)

    monkeypatch.setattr(AdversarialTrainingMethod, "train", train)
    with pytest.raises(ModelError, match=r"1 of 4 trainings failed.*eps-0\.1-seed-0: The loss is not a number\)"):
        run_sweep("single-step", plan, tmp_path, SweepOptions(**FAST))
    assert not (tmp_path / "hardening.json").exists() and not (tmp_path / "model.json").exists()
    assert len(list((tmp_path / "runs").glob("*/hardening.json"))) == 3
    result = run_sweep("single-step", plan, tmp_path, SweepOptions(**{**FAST, "grid": ("eps=0.05",)}))
    assert sorted(seen) == ["0.05-0", "0.05-1", "0.1-1"] and result.grid["settings"][0]["chosen"]


def test_plain_classifiers_are_trained_once_for_all_settings(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def fit(*given: Any, **options: Any) -> Any:
        seen.append(given[3].seed)
        return fit_classifier(*given, **options)

    monkeypatch.setattr("salus.audit.networks.fit_classifier", fit)
    method = "adversarial-retraining:rounds=1,learning_rate=0.01"
    options = SweepOptions(grid=("epochs=1,2",), seeds=(3, 4))
    result = run_sweep(method, plan, tmp_path / "out", options, attack="fgsm:eps=0.06", engine=Elsewhere())
    assert sorted(seen) == [3, 4]
    assert result.grid["judge"]["eps"] == 0.06 and result.grid["judge"]["steps"] == 40
    assert [row["options"]["epochs"] for row in result.grid["settings"]] == [1, 2]
    assert not (tmp_path / "out" / "training").exists(), "what served to train is gone"
    chosen = next(row for row in result.grid["settings"] if row["chosen"])
    seeded = plan.model_copy(update={"training": {**TRAINING, "seed": 3}})
    spec = f"{chosen['spec']},seed=3"
    run_hardening(spec, seeded, tmp_path / "alone", attack="fgsm:eps=0.06")
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("out", "alone")]
    assert weights[0] == weights[1]


def test_a_trained_classifier_is_retrained_by_settings_and_never_judged_by_folds_it_may_know(
    plan: Plan, swept: tuple[Path, Swept], tmp_path: Path
) -> None:
    ready = Plan.of({"data": plan.data, "model": str(swept[0])})
    method = "adversarial-retraining:rounds=1,epochs=1"
    options = SweepOptions(seeds=(0, 1), judge="fgsm:eps=0.05")
    result = run_sweep(method, ready, tmp_path / "out", options, attack="fgsm:eps=0.05", engine=Elsewhere())
    assert len({run["fingerprint"] for run in result.grid["settings"][0]["runs"]}) == 2, "each seed draws its own"
    with pytest.raises(OptionError, match="may have learnt from all of them"):
        run_sweep(method, ready, tmp_path / "folds", SweepOptions(folds=2), attack="fgsm:eps=0.05")
    assert not (tmp_path / "folds").exists()


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=8))
def test_of_equals_under_attack_the_cleaner_wins_then_the_first(hits: list[tuple[int, int]]) -> None:
    scores: Any = [SimpleNamespace(hits=pair, place=place) for place, pair in enumerate(hits)]
    best: Any = choose(scores)
    for score in scores:
        mine, theirs = (score.hits[1], score.hits[0]), (best.hits[1], best.hits[0])
        assert mine < theirs or (mine == theirs and best.place <= score.place)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=12))
def test_the_frontier_holds_every_setting_that_none_beats(points: list[tuple[int, int]]) -> None:
    rows = [{"clean_accuracy": clean, "robust_accuracy": robust} for clean, robust in points]
    best = frontier(rows)
    for row, (clean, robust) in zip(rows, points, strict=True):
        beaten = any(c >= clean and r >= robust and (c, r) != (clean, robust) for c, r in points)
        assert any(row is one for one in best) != beaten


def test_the_grid_names_every_combination_once_as_a_user_wrote_it() -> None:
    settings = settings_of("madry:warmup=0.1", ("eps=2/255,8/255", "steps=5,10"))
    assert [setting.spec for setting in settings] == [
        f"madry:warmup=0.1,eps={eps}/255,steps={steps}" for eps in (2, 8) for steps in (5, 10)
    ]
    assert settings[1].folder == "eps-2-255-steps-10" and settings[1].name == "eps 2/255, steps 10"
    expected = {"eps": 2 / 255, "warmup": 0.1, "gains": False, "steps": 10, "clean_share": 0.0}
    assert settings[1].build(0).settings() == expected
    assert [setting.folder for setting in settings_of("trades:eps=0.1", ())] == ["trades"]
    wide = settings_of("ecg-atk-gan", ("widths=4+8,8+16",))
    assert wide[1].build(5).settings()["widths"] == (8, 16) and wide[1].build(5).settings()["seed"] == 5


@pytest.mark.parametrize(
    ("method", "options", "words"),
    [
        ("single-step", {"grid": ("eps",)}, "write an option and its values, such as eps=0.01,0.02"),
        ("single-step", {"grid": ("eps=0.1,",)}, "write an option and its values"),
        ("single-step", {"grid": ("epz=0.1",)}, "has no option 'epz'; did you mean 'eps'"),
        ("single-step", {"grid": ("eps=0.1,1e-1",)}, "has 1e-1 twice"),
        ("single-step", {"grid": ("eps=0.1", "eps=0.2")}, "given by another --grid already"),
        ("single-step:eps=0.1", {"grid": ("eps=0.1,0.2",)}, "given in 'single-step:eps=0.1' already"),
        ("single-step", {"grid": ("eps=0.1,much",)}, "eps must be a number above 0, not 'much'"),
        ("single-step", {"grid": ("eps=0.1,3",)}, "eps=3 is more than the whole range"),
        ("single-step", {"seeds": (0, 1)}, "needs eps"),
        ("adversarial-retraining", {"grid": ("seed=1,2",)}, "seeds are named by --seeds"),
        ("adversarial-retraining:seed=1", {"seeds": (0, 1)}, "leave out the seed in"),
        ("single-step:eps=0.1", {"seeds": (1, 1)}, "names a seed twice"),
        ("single-step:eps=0.1", {"judge": "deepfool"}, "names no eps"),
        ("single-step:eps=0.1", {"judge": "uap:eps=0.1"}, "fits one change to all samples"),
        ("single-step:eps=0.1", {"judge": "pgdd:eps=0.1"}, "did you mean 'pgd'"),
        ("single-step:eps=0.1", {"folds": 90}, "ask for fewer folds"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_written(
    plan: Plan, tmp_path: Path, method: str, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(SalusError, match="(?s).*".join(map(_literal, [words]))):
        run_sweep(method, plan, tmp_path / "out", SweepOptions(**options))
    assert not (tmp_path / "out").exists()


def _literal(words: str) -> str:
    import re

    return re.escape(words)


def test_a_folder_of_one_hardening_is_no_sweeps_and_the_other_way_round(
    plan: Plan, swept: tuple[Path, Swept], tmp_path: Path
) -> None:
    run_hardening("single-step:eps=0.05", plan, tmp_path / "one")
    with pytest.raises(StoreError, match="another options"):
        run_sweep("single-step", plan, tmp_path / "one", SweepOptions(**FAST))
    with pytest.raises(StoreError, match="another"):
        run_hardening("single-step:eps=0.05", plan, swept[0])
    for changes, words in (({"judge": "pgd:eps=0.21,steps=3"}, "judge"), ({"folds": 2}, "folds")):
        with pytest.raises(StoreError, match=f"another {words}"):
            run_sweep("single-step", plan, swept[0], SweepOptions(**{**FAST, **changes}))


def test_the_command_line_prints_the_settings_and_what_was_chosen(table: Path, tmp_path: Path) -> None:
    def salus(*words: object) -> Any:
        return CliRunner().invoke(main, [str(word) for word in words])

    words = [
        *("harden", "single-step", "--grid", "eps=0.05,0.1", "--data", table, "--model", "mlp:hidden=16"),
        *(
            "--training",
            "learning_rate=0.05",
            "--training",
            "epochs=4",
            "--training",
            "batch_size=16",
            "--judge",
            "fgsm:eps=0.05",
        ),
    ]
    done = salus(*words, "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    grid = json.loads((tmp_path / "out" / "grid.json").read_text())
    chosen = next(row for row in grid["settings"] if row["chosen"])
    assert f"Chosen: {chosen['spec']}." in done.stdout and "Judged on the validation part (30 samples)" in done.stdout
    assert "test inputs are answered rightly" in done.stdout and "--model" in done.stdout
    audit = salus("audit", "--data", table, "--model", tmp_path / "out", "--attack", "fgsm:eps=0.05", "--defence",
                  "none", "--threat-model", "white-box", "--out", tmp_path / "audit")  # fmt: skip
    assert audit.exit_code == 0, audit.output
    results = json.loads((tmp_path / "audit" / "results.json").read_text())
    assert results["cells"][0]["clean_accuracy"] == grid["test"]["clean_accuracy"]
    assert not any("learnt" in warning for warning in results["meta"]["warnings"])
    refused = salus(*words, "--seeds", "0,x", "--out", tmp_path / "other")
    assert refused.exit_code == 2 and "whole numbers from 0 up" in refused.output
    told = salus("harden", "--help").output
    for word in ("--grid", "--seeds", "--folds", "--judge", "--engine", "--jobs"):
        assert word in told
