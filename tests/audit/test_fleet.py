"""Fleets: what a plan with lists comes to, and that each of its audits stands for itself."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

from salus.audit import Fleet, Plan, run_audit, run_fleet
from salus.audit.fleet_run import prepare
from salus.cli import main
from salus.engines import EngineOptions, Task, open_engine
from salus.engines.here import Here
from salus.errors import DataError, EngineError, OptionError, StoreError
from salus.report.leaderboard import rank_fleet, write_index

#: An audit of a moment.
QUICK: dict[str, Any] = {
    "data": "breast-cancer", "training": {"epochs": 1}, "attack": "fgsm:eps=0.05", "threat_model": "white-box",
    "defence": "none", "samples": 12,
}  # fmt: skip


def names(fleet: Fleet) -> list[str]:
    return [member.name for member in fleet.members]


def test_lists_are_combined_and_the_seed_changes_fastest() -> None:
    fleet = Fleet.of({"data": ["mitdb", "ptbdb"], "model": ["ecg-cnn", "ecg-cnn:dropout=0.2"], "seed": [0, 1]})
    assert names(fleet) == [
        "mitdb-ecg-cnn-seed-0", "mitdb-ecg-cnn-seed-1", "mitdb-ecg-cnn-dropout-0-2-seed-0",
        "mitdb-ecg-cnn-dropout-0-2-seed-1", "ptbdb-ecg-cnn-seed-0", "ptbdb-ecg-cnn-seed-1",
        "ptbdb-ecg-cnn-dropout-0-2-seed-0", "ptbdb-ecg-cnn-dropout-0-2-seed-1",
    ]  # fmt: skip
    second = fleet.members[3].plan
    assert (second.data, second.model, second.seed) == ("mitdb", "ecg-cnn:dropout=0.2", 1)
    assert fleet.single is None


def test_a_plan_without_lists_is_a_fleet_of_one() -> None:
    assert Fleet.of({"seed": [4]}).single == Plan.of({"seed": 4}) == Fleet.of({"seed": 4}).single


def test_partial_plans_take_the_place_of_what_stands_beside_them_and_may_be_named(tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text(
        "data: mitdb\nsplit: patients\nseed: [0, 1]\naudits:\n"
        "  - model: ecg-cnn\n  - {name: hardened, model: runs/hard, seed: 7}\n"
        "  - {name: both ways, defence: [none, magnet], seed: [0, 1]}\n",
        encoding="utf-8",
    )
    fleet = Fleet.read(path, {"samples": 50})
    assert names(fleet) == ["mitdb-ecg-cnn-seed-0", "mitdb-ecg-cnn-seed-1", "hardened", "both-ways-seed-0",
                            "both-ways-seed-1"]  # fmt: skip
    assert fleet.members[2].plan.model == "runs/hard" and fleet.members[2].plan.seed == 7
    assert fleet.members[4].plan.defence == ("none", "magnet")
    assert {member.plan.samples for member in fleet.members} == {50}
    assert {member.plan.split for member in fleet.members} == {"patients"}


def test_whatever_else_differs_stands_in_the_names() -> None:
    fleet = Fleet.of({"data": "mitdb", "audits": [{"eps": 0.01}, {"eps": [0.01, 0.02], "training": {"epochs": 3}}]})
    assert names(fleet) == ["mitdb-seed-0-eps-0-01", "mitdb-seed-0-epochs-3-eps-0-01-0-02"]


def test_options_given_beside_a_plan_win_over_its_partial_plans_too(tmp_path: Path) -> None:
    fields = {"audits": [{"model": "mlp", "seed": [0, 1]}, {"model": "mlp:hidden=4", "seed": 2}]}
    assert [member.plan.seed for member in Fleet.of(fields, {"seed": ("5", "6")}).members] == [5, 6, 5, 6]


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"seed": [0, 1, 0]}, "asks 2 times for the same audit"),
        ({"audits": [{"model": "mlp"}, {"name": "again", "model": "mlp"}]}, "name each once"),
        ({"model": []}, "lists no model"),
        ({"audits": []}, "must list partial plans"),
        ({"audits": {"model": "mlp"}}, "must list partial plans"),
        ({"audits": ["mlp"]}, "Entry 1 of audits must hold fields"),
        ({"audits": [{"model": "mlp"}, {"modle": "mlp"}]}, "Entry 2 of audits: The plan has no field 'modle'"),
        ({"seed": [0, "x"]}, "seed must be a whole number"),
        ({"atack": "pgd", "seed": [0, 1]}, "no field 'atack'"),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_sentence(fields: dict[str, Any], sentence: str) -> None:
    with pytest.raises(OptionError, match=sentence):
        Fleet.of(fields)


_WORDS = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=60)


@settings(max_examples=25)
@given(st.lists(_WORDS, min_size=1, max_size=3, unique=True), st.lists(_WORDS, min_size=1, max_size=3, unique=True))
def test_names_are_folders_of_their_own_on_any_disk(data: list[str], models: list[str]) -> None:
    models = [f"runs/{model}" for model in models]  # no address
    found = names(Fleet.of({"data": data, "model": models, "seed": [0, 1]}))
    assert len({name.casefold() for name in found}) == len(found) == 2 * len(data) * len(models)
    for name in found:
        assert name and Path(name).name == name and not name.startswith(".") and len(name) < 100


@pytest.fixture(scope="module")
def fleet_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fleet of which one audit has bad data."""
    folder = tmp_path_factory.mktemp("fleet")
    x = np.full((60, 5), np.nan, np.float32)
    np.savez(folder / "bad.npz", x=x, y=np.arange(60) % 2)
    fleet = Fleet.of({**QUICK, "audits": [{"data": str(folder / "bad.npz")}, {"seed": [0, 1]}]})
    outcome = run_fleet(fleet, folder / "out", command="salus audit plan.yaml")
    bad, *good = outcome.finishes
    assert not outcome.whole and bad.outcome is None and bad.error is not None and "bad.npz" in bad.error
    assert [each.whole for each in good] == [True, True]
    return folder / "out"


def test_an_audit_that_fails_stops_no_other_and_is_said(fleet_folder: Path) -> None:
    members = json.loads((fleet_folder / "fleet.json").read_text())["members"]
    assert [member["error"] is None for member in members] == [False, True, True]
    page = write_index(fleet_folder).read_text(encoding="utf-8")
    assert "2 of 3 audits ended, 1 failed" in page and "breast-cancer-seed-1" in page
    assert "NaN" in page or "nan" in page


def test_each_member_is_the_audit_that_it_would_be_alone(fleet_folder: Path, tmp_path: Path) -> None:
    alone = run_audit(Plan.of({**QUICK, "seed": 1}), tmp_path / "alone")
    stored = json.loads((fleet_folder / "breast-cancer-seed-1" / "results.json").read_text())
    assert _measured(alone.cells) == _measured(stored["cells"])


def test_a_fleet_that_is_run_again_computes_nothing_and_may_grow(fleet_folder: Path) -> None:
    again = run_fleet(Fleet.of({**QUICK, "seed": [0, 1, 2]}), fleet_folder)
    assert [each.outcome and each.outcome.computed for each in again.finishes] == [0, 0, 3] and again.whole


def test_what_plainly_does_not_exist_is_refused_before_anything_begins(tmp_path: Path) -> None:
    for fields in ({"data": ["breast-cancer", "brest-cancer"]}, {"model": ["mlp", "mpl"]},
                   {"data": ["breast-cancer", "digits"], "label": "diagnosis"}):  # fmt: skip
        with pytest.raises((DataError, OptionError), match=r"Audit '.*' of the fleet: "):
            run_fleet(Fleet.of({**QUICK, **fields}), tmp_path / "out")
        assert not (tmp_path / "out").exists()


def test_a_fleet_takes_no_other_works_folder_and_gives_none_its_own(fleet_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="another kind of work, fleet"):
        run_audit(Plan.of(QUICK), fleet_folder)
    with pytest.raises(StoreError, match="another kind of work, audit"):
        run_fleet(Fleet.of({**QUICK, "seed": [0, 1]}), fleet_folder / "breast-cancer-seed-0")


class Elsewhere(Here):
    """Tasks that do not see the owner's disk."""

    shares_disk = False
    slots = 2


def test_networks_that_are_trained_elsewhere_come_home(tmp_path: Path, fleet_folder: Path) -> None:
    bad = str(fleet_folder.parent / "bad.npz")
    fleet = Fleet.of({**QUICK, "audits": [{"seed": [0, 1]}, {"data": bad}]})
    tasks: list[Task] = []

    class Noting(Elsewhere):
        def submit(self, task: Task) -> None:
            tasks.append(task)
            super().submit(task)

    with Noting() as engine:
        outcome = run_fleet(fleet, tmp_path / "out", engine=engine)
    assert [task.key for task in tasks[:3]] == names(fleet)
    assert [pickle.loads(pickle.dumps(task.arguments)) == task.arguments for task in tasks[:3]] == [True] * 3
    assert [finish.whole for finish in outcome.finishes] == [True, True, False]
    assert "bad.npz" in str(outcome.finishes[2].error)
    for name in names(fleet)[:2]:
        stored, there = (
            json.loads((place / name / "results.json").read_text()) for place in (fleet_folder, tmp_path / "out")
        )
        assert _measured(stored["cells"]) == _measured(there["cells"])
        assert stored["meta"]["model"]["fingerprint"] == there["meta"]["model"]["fingerprint"]


def test_a_task_trains_into_the_members_own_folder_and_refuses_anothers(tmp_path: Path, fleet_folder: Path) -> None:
    plan = Plan.of({**QUICK, "threat_model": ["white-box", "transfer"]})
    _, files = prepare(plan, tmp_path / "one")
    assert not files and (tmp_path / "one" / "substitute" / "model.json").exists()
    with pytest.raises(StoreError, match="another split"):
        prepare(plan, fleet_folder / "breast-cancer-seed-1")


def test_an_engine_that_is_gone_ends_the_fleet(tmp_path: Path) -> None:
    class Gone(Here):
        slots = 2

        def wait(self) -> Any:
            raise EngineError("The cluster is gone; run again.")

    with pytest.raises(EngineError, match="cluster is gone"):
        run_fleet(Fleet.of({**QUICK, "seed": [0, 1]}), tmp_path / "out", engine=Gone())


@pytest.mark.soak
def test_processes_side_by_side_give_the_same(tmp_path: Path, fleet_folder: Path) -> None:
    with open_engine(EngineOptions(jobs=2, task_cores=1)) as engine:
        assert run_fleet(Fleet.of({**QUICK, "seed": [0, 1]}), tmp_path / "out", engine=engine).whole
    (here,), (there,) = rank_fleet(fleet_folder), rank_fleet(tmp_path / "out")
    mine, theirs = here.boards[0].standings[0], there.boards[0].standings[0]
    by_seed = {each.audit.seed: each.robust.value for each in mine.seeds}
    assert [by_seed[each.audit.seed] for each in theirs.seeds] == [each.robust.value for each in theirs.seeds]


def salus(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def test_the_command_takes_several_prints_the_ranking_and_draws_all_pages(tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ("audit", "--training", "epochs=1", "--attack", "fgsm:eps=0.05", "--threat-model", "white-box", "--defence",
             "none", "--samples", 12, "--model", "mlp:hidden=4", "--model", "mlp:hidden=8", "--out", out)  # fmt: skip
    result = salus(*words)
    assert result.exit_code == 0, result.output
    assert "2 audits, 6 cells computed." in result.output and "place" in result.output
    index = (out / "index.html").read_bytes()
    for name in ("breast-cancer-mlp-hidden-4-seed-0", "breast-cancer-mlp-hidden-8-seed-0"):
        assert (out / name / "report.html").is_file() and f'href="{name}/report.html"'.encode() in index
    (out / "index.html").unlink()
    assert salus("report", out).exit_code == 0 and (out / "index.html").read_bytes() == index


def test_the_command_ends_with_three_where_an_audit_failed(tmp_path: Path) -> None:
    np.savez(tmp_path / "bad.npz", x=np.zeros((8, 3), np.float32), y=np.arange(9) % 2)
    plan = tmp_path / "plan.yaml"
    plan.write_text(json.dumps({**QUICK, "data": ["breast-cancer", str(tmp_path / "bad.npz")]}), encoding="utf-8")
    result = salus("audit", plan, "--out", tmp_path / "out")
    assert result.exit_code == 3, result.output
    assert "bad-seed-0 failed: " in result.output and (tmp_path / "out" / "index.html").is_file()
    assert (tmp_path / "out" / "breast-cancer-seed-0" / "report.html").is_file()


def _measured(cells: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Everything of cells but how long they took."""
    return [{key: value for key, value in cell.items() if key not in ("seconds", "cost")} for cell in cells]
