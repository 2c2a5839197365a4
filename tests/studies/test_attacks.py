"""The study of attacks: passes are counted and refused, what was reached is judged, and the page follows from it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from salus.attacks import ATTACKS, PGD
from salus_studies.attacks import bars, ensembles, floor, plan, queries, subjects, summary
from salus_studies.attacks.contenders import DEFAULTS, Contender, Task
from salus_studies.attacks.counting import BudgetSpent, Counted, measure
from salus_studies.attacks.networks import PatchNet
from salus_studies.attacks.page import page
from salus_studies.attacks.peers import LIBRARIES, own
from salus_studies.attacks.plan import Effort
from salus_studies.attacks.running import quiet, run
from salus_studies.attacks.study import STUDY
from salus_studies.attacks.subjects import Recipe, Subject
from salus_studies.frame.results import Results
from salus_studies.frame.steps import Steps

GRID = {"l0": (1, 2), "l1": (0.1, 0.3), "l2": (0.05, 0.2), "linf": (0.02, 0.1)}


class Halves(nn.Module):
    """Answers 1 where the first of two features is above a half."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(4.0), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        above = self.slope * (x[:, :1] - 0.5)
        return torch.cat([-above, above], 1)


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> Subject:
    """Eight samples of two features; the last one's label is wrong from the start."""
    recipe = Recipe(title="a toy", data="toy", epochs=1, grid=GRID)
    monkeypatch.setattr(subjects, "RECIPES", {"toy": recipe})
    x = torch.linspace(0.1, 0.9, 8)[:, None].repeat(1, 2)
    y = (x[:, 0] > 0.5).long()
    y[-1] = 0
    return Subject("toy", Halves().eval(), x, y, 2, x.flip(0))


def contender(attack: Any, goal: Any = "nearest", library: str = "peer") -> Contender:
    return Contender(library=library, attack="it", family="it", goal=goal, run=attack)


def test_forward_and_backward_passes_count_one_each_and_a_gradient_of_each_class_for_each(toy: Subject) -> None:
    counted = Counted(toy.model, toy.x, toy.y, "linf")
    point = toy.x[:3].clone().requires_grad_()
    logits = counted(point)
    for column in logits.unbind(1):
        torch.autograd.grad(column.sum(), point, retain_graph=True)
    with torch.no_grad():
        counted(toy.x)
    assert (counted.forward_passes, counted.backward_passes) == (3 + 8, 2 * 3)


@pytest.mark.parametrize("backward", [False, True])
def test_the_pass_that_exceeds_the_budget_is_refused(toy: Subject, backward: bool) -> None:
    counted = Counted(toy.model, toy.x, toy.y, "linf", budget=3)
    point = toy.x.clone().requires_grad_()
    logits = counted(point)
    counted(toy.x)
    with pytest.raises(BudgetSpent):
        if backward:
            (first, second) = (logits.sum(), logits.square().sum())
            torch.autograd.grad(first, point, retain_graph=True)
            torch.autograd.grad(second, point)
        counted(toy.x)
        counted(toy.x)
    assert counted.passes == 3 * 8 and counted.stopped


@given(st.integers(0, 2**16), st.sampled_from(plan.NORMS))
def test_what_is_seen_was_reached_whoever_is_asked_about(seed: int, norm: str) -> None:
    draws = torch.Generator().manual_seed(seed)
    x = torch.rand(6, 2, generator=draws)
    y = (x[:, 0] > 0.5).long()
    counted = Counted(Halves(), x, y, norm, eps=None if seed % 2 else 0.3)
    shown = torch.rand(4, 2, generator=draws) * 1.2 - 0.1
    answers = counted(shown).argmax(1)
    for row in range(6):
        counts = ((shown >= 0) & (shown <= 1)).all(1) & (answers != y[row])
        reached = measure(norm, shown[counts], x[row].expand(int(counts.sum()), 2))
        assert counted.seen[row].isinf() or bool((reached == counted.seen[row]).any())


def test_l0_counts_places_with_all_their_channels() -> None:
    x = torch.zeros(1, 3, 2, 2)
    moved = x.clone()
    moved[0, :, 0, 0] = 1
    moved[0, 1, 1, 1] = 1
    assert float(measure("l0", moved, x)) == 2


def test_what_an_attack_showed_counts_where_it_returns_something_else(toy: Subject) -> None:
    def shows(model: nn.Module, x: Tensor, y: Tensor, eps: float) -> Tensor:
        model(1 - x)
        return x

    found = run(contender(shows), toy, Task(norm="linf", budget=10, classes=2))
    assert found.returned.tolist() == [torch.inf] * 7 + [0]
    assert torch.allclose(found.seen, measure("linf", 1 - toy.x, toy.x) * (found.seen > 0))


def test_an_attack_that_overspends_is_stopped_with_what_was_seen(toy: Subject) -> None:
    def greedy(model: nn.Module, x: Tensor, y: Tensor, eps: float) -> Tensor:
        while True:
            model(1 - x)

    found = run(contender(greedy), toy, Task(norm="linf", budget=5, classes=2))
    assert found.stopped == "budget" and found.most == 5
    assert found.returned[:7].isfinite().all() and found.forward == 5 * 7


def test_with_a_fixed_eps_only_those_left_standing_are_attacked_again_and_nobody_leaves_the_ball(toy: Subject) -> None:
    sizes = []

    def across(model: nn.Module, x: Tensor, y: Tensor, eps: float) -> Tensor:
        sizes.append((eps, len(x)))
        return x + torch.where(x > 0.5, -1.0, 1.0) * eps * (0.999 if eps < 0.1 else 1.5)

    found = run(contender(across, "within"), toy, Task(norm="linf", budget=5, classes=2))
    assert sizes == [(0.02, 7), (0.1, 7)]
    assert found.returned[:7].isinf().all()  # one eps was too small for all, beyond the other nothing counts


def test_a_failure_of_a_library_is_told(toy: Subject) -> None:
    def fails(model: nn.Module, x: Tensor, y: Tensor, eps: float) -> Tensor:
        raise RuntimeError("no\nsignals")

    found = run(contender(fails), toy, Task(norm="linf", budget=5, classes=2))
    assert found.error == "RuntimeError: no signals" and found.returned[:7].isinf().all()


@pytest.mark.parametrize("norm", plan.NORMS)
def test_every_attack_of_ours_keeps_to_the_budget_by_its_own_settings(norm: str, toy: Subject) -> None:
    task, budget = Task(norm=norm, budget=30, classes=2), 30
    for each in own.contenders(task):
        found = run(each, toy, task)
        assert not found.error, each.name
        assert found.most <= budget, each.name


@pytest.mark.parametrize("library", [name for name in LIBRARIES if name not in (own.LIBRARY, "torchattacks")])
def test_no_peer_gets_more_passes_than_the_budget(library: str, toy: Subject) -> None:
    task = Task(norm="l2", budget=16, classes=2)
    if plan.absent((library,)):
        pytest.skip(f"{library} is not installed here")
    with quiet():
        contenders = LIBRARIES[library].contenders(task)
    runs = [run(each, toy, task) for each in contenders]
    assert contenders and max(found.most for found in runs) <= 16
    assert any(found.returned[:7].isfinite().any() for found in runs)


def test_attacks_of_the_registry_join_by_their_norms() -> None:
    for norm in plan.NORMS:
        names = {each.attack for each in own.contenders(Task(norm=norm, budget=200, classes=10))}
        known = {
            name
            for name, cls in ATTACKS.own.items()
            if norm in cls.norms and cls.knowledge in ("gradients", "logits") and name not in own.OTHER_GOALS
        }
        assert names == known


def test_a_patch_net_cuts_images_and_signals_into_patches() -> None:
    image = torch.arange(16.0).reshape(1, 1, 4, 4)
    cut = PatchNet((1, 4, 4), 2, patch=2).cut(image)
    assert cut[0].tolist() == [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]
    assert PatchNet((2, 12), 3, patch=4)(torch.rand(5, 2, 12)).shape == (5, 3)


@pytest.fixture
def values(toy: Subject) -> dict[str, Any]:
    """What the study stores of a toy: Salus and a peer, each within two budgets."""
    contents: dict[str, Any] = {"toy-model": model_step(toy)}
    task = Task(norm="linf", budget=20, classes=2)
    runs = [step(each, task, toy) for each in own.contenders(task) if each.attack in ("pgd", "deepfool")]
    runs.append(step(contender(flip, library="foolbox"), task, toy))
    for budget in (80, 2000):
        contents |= {f"{budget} {number}": {**each, "budget": budget} for number, each in enumerate(runs)}
    asked = {"part": "queries", "model": "beats", "seed": 0, "library": "salus", "attack": "hop-skip-jump"}
    asked |= {"settings": DEFAULTS, "samples": 8, "median": 0.5, "fallen": 1.0, "queries": 499.0, "error": ""}
    contents["queries"] = {**asked, "budget": 500, "cpu": 2.0, "bare": 1.0, "status": "done", "reason": None}
    whole = {"part": "ensemble", "model": "toy", "norm": "linf", "eps": 0.1, "library": "salus", "error": ""}
    for name, passes in (("auto-attack", 1000.0), ("auto-attack-plus", 100.0)):
        rest = {"attack": name, "left": 0.25, "forward": passes, "backward": passes, "status": "done", "reason": None}
        contents[name] = {**whole, **rest}
    meta = {"command": "salus reproduce attacks", "created": "2026-01-01T00", "machine": "a machine", "threads": 1}
    return summary.summary(contents, {**meta, "seconds": 60.0, "versions": {"torch": "2"}, "absent": []})


def flip(model: nn.Module, x: Tensor, y: Tensor, eps: float) -> Tensor:
    return 1 - x


def step(each: Contender, task: Task, toy: Subject) -> dict[str, Any]:
    cell = plan.Cell(subject="toy", task=task, contender=each)
    return {"part": "attack", **cell.facts, **run(each, toy, task).record(), "status": "done", "reason": None}


def model_step(toy: Subject) -> dict[str, Any]:
    told = {"part": "model", "model": "toy", "title": "a toy", "data": "toy", "shape": [2], "classes": 2, "samples": 8}
    told |= {"accuracy": 0.875, "constant": 0.5, "parameters": 0}
    told |= {"hardened": None, "grid": {k: list(v) for k, v in GRID.items()}}
    return {**told, "bare": {"forward": 1e-6, "backward": 1e-6}, "status": "done", "reason": None}


def test_results_become_curves_tables_and_bars(values: dict[str, Any]) -> None:
    composed = page(Results(json.loads(json.dumps(values, allow_nan=False))), "images")
    rows = {bar.bar[:40]: bar for bar in bars.bars(values)}
    assert rows["best Salus attack in L∞ at 2,000 passes:"].met is True
    assert rows["best Salus attack in L1 at 2,000 passes:"].met is None
    assert rows["no library's attack above ours by more t"].met is True
    assert rows["`auto-attack-plus`: nothing left that Au"].met is True
    assert "| `toy` | L∞ | 2,000 | `deepfool` |" in composed.text
    assert "| 500 | `hop-skip-jump` | 0 | 0.5 | 100 | 499 | 2 | 2.00 |" in composed.text
    assert list(composed.pictures) == ["attacks-toy"] and "](images/attacks-toy.png)" in composed.text
    assert len(composed.pictures["attacks-toy"].draw()) > 5000


def test_a_peer_that_comes_nearer_is_named(values: dict[str, Any]) -> None:
    place = values["columns"].index("seen")
    for row in values["attacks"]:
        if row[values["columns"].index("library")] == "salus" and row[place] is not None:
            row[values["columns"].index("returned")] = 0.5
    values["attacks"] = [
        [
            1.0 if name == "seen" and row[3] == "foolbox" else value
            for name, value in zip(values["columns"], row, strict=True)
        ]
        for row in values["attacks"]
    ]
    assert {(peer["library"], peer["norm"]) for peer, _, _ in bars.above(values)} == {("foolbox", "linf")}
    assert "Foolbox it | 1.000 |" in page(Results(values), "images").text


def test_the_lowest_curve_holds_what_was_reached_within_fewer_passes() -> None:
    near = {"model": "m", "norm": "l2", "budget": 200, "returned": [1.0, 4.0], "seen": [1.0, 3.0]}
    far = {"model": "m", "norm": "l2", "budget": 2000, "returned": [2.0, 2.0], "seen": [2.0, 2.0]}
    best = summary.unions([near, far])
    assert best["m", "l2", 200].tolist() == [1, 3] and best["m", "l2", 2000].tolist() == [1, 2]


def test_the_study_runs_is_stopped_goes_on_and_sums_up_what_two_processes_left(
    toy: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_figures: None
) -> None:
    from salus_studies.attacks import protocol

    monkeypatch.setattr(protocol, "RECIPES", subjects.RECIPES)
    monkeypatch.setattr(protocol, "open_subject", lambda *_: toy)
    efforts = {80: Effort(norms=("linf",), nearest=()), 200: Effort(norms=("l2",), within=())}
    few = {name: ATTACKS.own[name] for name in ("pgd", "deepfool", "auto-attack")}
    monkeypatch.setattr(own, "ATTACKS", SimpleNamespace(own=few))
    for module in (plan, protocol):
        monkeypatch.setattr(module, "EFFORTS", efforts)
    told: dict[str, Any] = {"part": ("attacks",), "library": ("salus",)}
    first = STUDY.reproduce(tmp_path / "out", budget=("80",), **told)
    second = STUDY.reproduce(tmp_path / "out", budget=("200",), **told)
    third = STUDY.reproduce(tmp_path / "out", again=("pgd",), **told)
    assert (first.computed, second.computed, second.stored) == (3, 1, 1)
    assert (third.computed, third.stored) == (1, 3)  # the model's facts, and all but PGD
    values = json.loads((tmp_path / "out" / "results.json").read_text(encoding="utf-8"))
    assert {row[values["columns"].index("budget")] for row in values["attacks"]} == {80, 200}
    assert "a toy" in first.page.read_text(encoding="utf-8")


def test_ensembles_and_attacks_that_see_answers_alone_leave_their_steps(
    toy: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ensembles, "PLACES", (1,))
    monkeypatch.setattr(ensembles, "_own", lambda name, norm, eps: PGD(eps=eps, norm=norm, steps=3))
    monkeypatch.setattr(queries, "BUDGETS", (20,))
    monkeypatch.setattr(queries, "SEEDS", (0,))
    steps = Steps(tmp_path, 1)
    ensembles.run(steps, toy, (own.LIBRARY,))
    queries.run(steps, toy, (own.LIBRARY,))
    asked = [step for step in steps.contents().values() if step["part"] == "queries"]
    whole = [step for step in steps.contents().values() if step["part"] == "ensemble"]
    assert asked and all(step["queries"] <= 20 and not step["error"] for step in asked)
    assert whole and all(step["left"] < 0.875 and step["backward"] > 0 and not step["error"] for step in whole)


def test_white_box_attacks_leave_what_attacks_by_answers_may_hope_for(
    toy: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(floor, "PASSES", 60)
    rows = queries.attacked(toy)
    with torch.no_grad():
        assert bool((toy.model(toy.x[rows]).argmax(1) == toy.y[rows]).all()) and len(rows) == 7
    steps = Steps(tmp_path, 1)
    floor.run(steps, toy, rows)
    again = Steps(tmp_path, 1)
    floor.run(again, toy, rows)
    assert (steps.computed, again.computed, again.stored) == (1, 0, 1)
    (found,) = steps.contents().values()
    assert set(found["each"]) == set(floor.SEEING) and 0 < found["median"] <= min(found["each"].values())


def test_the_floor_stands_beside_the_query_table_and_in_its_bars(values: dict[str, Any]) -> None:
    words = "white-box attacks come to 0.25"
    assert not any(words in bar.found for bar in bars.bars({**values, "before": {"median": {"500": 0.5}}}))
    values["floor"] = {"model": "beats", "passes": 2000, "samples": 8, "median": 0.25, "each": {"ddn": 0.26}}
    (bar,) = (bar for bar in bars.bars({**values, "before": {"median": {"500": 0.5}}}) if words in bar.found)
    assert bar.found == "1.00 (`hop-skip-jump`, 0.5; 0.5 before); white-box attacks come to 0.25, 0.50 times"
    assert "`ddn` 0.26, and 0.25 where the nearest" in page(Results(values), "images").text.replace("\n", " ")


def test_the_time_of_square_stands_beside_that_of_its_passes_alone(values: dict[str, Any]) -> None:
    assert [bar.found for bar in bars.bars(values) if bar.bar.startswith("Square")] == ["not run"]
    row = dict(zip(values["columns"], values["attacks"][0], strict=True))
    row |= {"model": "beats", "norm": "linf", "budget": 80, "settings": DEFAULTS, "error": "", "fallen": 0.5}
    pair = ({"library": "salus", "attack": "square", "cpu": 1.0}, {"library": "torchattacks", "attack": "Square"})
    values["models"].append({**values["models"][0], "model": "beats"})
    values["attacks"] = [list({**row, "forward": 78.0, "cpu": 1.6, **each}.values()) for each in pair]
    (bar,) = (bar for bar in bars.bars(values) if bar.bar.startswith("Square"))
    assert bar.met and bar.found == (
        "1.60 times at least on heartbeats: 1 to 1.6 ms in L∞ at 80 passes, which alone take 0.078 ms"
    )


def test_the_page_lists_every_attack_with_its_techniques() -> None:
    lines = STUDY.place.read_text(encoding="utf-8").splitlines()
    for name, cls in ATTACKS.own.items():
        (line,) = (line for line in lines if line.startswith(f"| `{cls.__name__}` | `{name}` |"))
        assert cls.paper in line and "AML.T0015" in line


@pytest.mark.parametrize("number", [0, 1])
def test_the_examples_run_as_they_stand(number: int, capsys: pytest.CaptureFixture[str]) -> None:
    example = re.findall(r"```python\n(.*?)```", STUDY.place.read_text(encoding="utf-8"), re.DOTALL)[number]
    for library in ("art", "foolbox"):
        if f"from {library}." in example:
            pytest.importorskip(library)
    exec(compile(example, str(STUDY.place), "exec"), {})
    if "print" in example:
        printed = re.fullmatch(r"fooled: (\d+)%, median L2 distance \d\.\d\d\n", capsys.readouterr().out)
        assert printed and int(printed[1]) > 90
