"""Ranges and costs of features from a CSV file: read or refused, kept to by every attack, counted in own units."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from salus.attacks import ATTACKS, PGD
from salus.attacks.ball import ball
from salus.audit.plan import marks
from salus.data import load
from salus.data.ranges import FeatureRanges, read_ranges
from salus.errors import DataError

FEATURES = ("age", "crp", "sex", "visits")


def a_table(folder: Path, rows: int = 200) -> Path:
    rng = np.random.default_rng(0)
    lines = ["age,crp,sex,visits,label"]
    for row in range(rows):
        sick = row % 2
        lines.append(f"{rng.integers(20, 90)},{rng.uniform(0, 60) + 20 * sick:.1f},{row % 3 // 2},"
                     f"{rng.integers(0, 12)},{'sick' if sick else 'well'}")  # fmt: skip
    path = folder / "ward.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


RANGES = """feature,least,most,step,change,cost,cost_up,cost_down
age,18,110,1,up,5,,
crp,0,300,,free,0.1,,0.2
sex,,,,never,,,
visits,0,40,2,,3,,
"""


def written(folder: Path, text: str = RANGES) -> Path:
    path = folder / "ranges.csv"
    path.write_text(text)
    return path


def test_a_file_is_read_in_any_order_and_said_in_words(tmp_path: Path) -> None:
    read = read_ranges(written(tmp_path), FEATURES)
    assert read.describe() == [
        "age: only rises, 18 to 110, in steps of 1, costs 5 a unit",
        "crp: 0 to 300, costs 0.1 a unit up, 0.2 down",
        "sex: never changes",
        "visits: 0 to 40, in steps of 2, costs 3 a unit",
    ]
    lines = RANGES.splitlines()
    turned = "\n".join([lines[0], *reversed(lines[1:])])
    assert read_ranges(written(tmp_path, turned), FEATURES) == read


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("feature,least\nagee,1\n", "the data have no feature 'agee'; did you mean 'age'"),
        ("feature,least\nage,1\nage,2\n", "names the feature 'age' twice"),
        ("feature,lowest\nage,1\n", "has a column 'lowest'; "),
        ("least,most\n1,2\n", "has no column 'feature'"),
        ("feature,least,most\nage,5,1\n", "feature 'age' goes from 5 to 1; the lower is first"),
        ("feature,change\nage,upward\n", "feature 'age' changes 'upward'; did you mean 'up'"),
        ("feature,step\nage,-1\n", "steps and costs of feature 'age' must be numbers from 0 up"),
        ("feature,step\nage,one\n", "row 1, column 'step' holds 'one', no number"),
        ("feature,most\nage,50\n", r"sample \d+: feature 'age' is \d+, outside its range -inf to 50"),
    ],
)
def test_what_contradicts_itself_or_the_data_is_refused(text: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=reason):
        load(a_table(tmp_path), scale=True, ranges=written(tmp_path, text))


def test_data_carry_ranges_in_the_units_of_x_and_notes_in_their_own(tmp_path: Path) -> None:
    data = load(a_table(tmp_path), scale=True, ranges=str(written(tmp_path))).test
    scaling = getattr(data.preprocessor, "scaling", None)
    assert data.ranges is not None and scaling is not None
    assert data.marks.immutable == ("sex",) and data.marks.integer == ("age", "visits")
    assert data.steps == pytest.approx((1 / scaling.span[0], 0, 0, 2 / scaling.span[3]))
    own = np.array(data.ranges.most) * scaling.span + scaling.low
    assert own.tolist() == pytest.approx([110, 300, np.inf, 40])
    assert any("age: only rises, 18 to 110" in note for note in data.provenance.notes)
    assert load(a_table(tmp_path), scale=True).test.fingerprint() != data.fingerprint()


tables = st.lists(
    st.tuples(
        st.floats(0, 0.4),
        st.floats(0.6, 1),
        st.sampled_from([0, 1, -1]),
        st.sampled_from([0.0, 0.05, 0.25]),
        st.booleans(),
    ),
    min_size=4,
    max_size=4,
)


@pytest.mark.parametrize("name", ["pgd", "apgd", "fab", "square", "hop-skip-jump", "sparse-rs", "auto-attack", "uap"])
@settings(max_examples=3, deadline=None)
@given(limits=tables, seed=st.integers(0, 1000), norm=st.sampled_from(["linf", "l2"]))
def test_impossible_patients_are_impossible(
    name: str, limits: list[tuple[float, float, int, float, bool]], seed: int, norm: str
) -> None:
    least, most, way, step, never = zip(*limits, strict=True)
    x = torch.rand(12, 4, generator=torch.Generator().manual_seed(seed)) * 0.2 + 0.4
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 3))
    kind = ATTACKS[name]
    options: dict[str, Any] = {"eps": 0.5}
    if "l0" in kind.norms and "linf" not in kind.norms:
        options["eps"] = 3
    elif norm in kind.norms:
        options["norm"] = norm
    if name in ("square", "hop-skip-jump", "sparse-rs", "auto-attack"):
        options["queries"] = 60
    if name == "fab":
        options["steps"] = 10
    fixed: dict[str, Any] = {"units": step, "mask": [not each for each in never], "seed": seed}
    attack = kind(**options, **fixed, ranges=tuple(zip(least, most, way, strict=True)))
    attacked = attack(net, x, net(x).argmax(1))
    assert bool(((attacked >= torch.tensor(least)) & (attacked <= torch.tensor(most))).all())
    moved = (attacked.double() - x.double()).T
    for column in range(4):
        if never[column]:
            assert not moved[column].any()
        assert bool((moved[column] * way[column] >= 0).all())
        if step[column]:
            units = moved[column] / step[column]
            assert float((units - units.round()).abs().max()) < 1e-4


@settings(max_examples=25, deadline=None)
@given(
    least=st.floats(-1, 0.3),
    most=st.floats(0.7, 2),
    way=st.sampled_from([-1, 0, 1]),
    norm=st.sampled_from(["linf", "l2", "l1", "l0"]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    seed=st.integers(0, 10**6),
)
def test_every_ball_keeps_to_the_ranges(
    least: float, most: float, way: int, norm: Any, dtype: torch.dtype, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(5, 3, generator=generator, dtype=dtype) * 0.4 + 0.3
    ranges = torch.tensor([[least, most, way]] * 3, dtype=torch.float64)
    region = ball(norm, x, 2.0, (-2.0, 3.0), None, None, ranges)
    point = region.project(x + 4 * torch.randn(5, 3, generator=generator, dtype=dtype))
    assert float(point.double().min()) >= least and float(point.double().max()) <= most
    assert bool(((point - x) * way >= 0).all())


def test_the_cost_of_a_change_is_in_own_units(tmp_path: Path) -> None:
    data = load(a_table(tmp_path), scale=True, ranges=written(tmp_path)).test
    scaling = getattr(data.preprocessor, "scaling", None)
    assert data.ranges is not None and scaling is not None
    moved = torch.tensor([[2.0, -10.0, 0.0, 4.0], [0.0, 10.0, 0.0, -2.0], [0.0, 0.0, 0.0, 0.0]])
    x = data.x[:3]
    changed = x + moved / torch.tensor(scaling.span, dtype=torch.float32)
    cost = data.ranges.cost(x, changed)
    assert cost.tolist() == pytest.approx([2 * 5 + 10 * 0.2 + 4 * 3, 10 * 0.1 + 2 * 3, 0], abs=1e-3)


def test_an_audit_keeps_to_them_and_reports_the_cost_of_every_row(tmp_path: Path) -> None:
    import json

    from safetensors.torch import load_file

    from salus.audit import Plan, run_audit

    plan = Plan.of(
        {
            "data": str(a_table(tmp_path)), "scale": True, "ranges": str(written(tmp_path)), "label": "label",
            "attack": "pgd:eps=0.3,steps=10", "samples": 20, "defence": "none", "training": {"epochs": 6},
        }
    )  # fmt: skip
    run_audit(plan, tmp_path / "audit")
    results = json.loads((tmp_path / "audit" / "results.json").read_text())
    record = next(cell for cell in results["cells"] if cell["attack"])
    assert 0 <= record["cost_median"] < 1000
    rows = [load_file(path) for path in (tmp_path / "audit").rglob("*.safetensors")]
    costs = [stored["cost"] for stored in rows if "cost" in stored and "x_adv" in stored]
    assert record["cost_median"] in [pytest.approx(float(each.quantile(0.5))) for each in costs]
    assert all(each.shape == (record["n"],) for each in costs)
    assert max(float(each.max()) for each in costs) > 0
    assert not any("may be impossible" in doubt for doubt in results["meta"].get("doubts", []))


def test_an_attack_keeps_to_ranges_in_own_units(tmp_path: Path) -> None:
    data = load(a_table(tmp_path), scale=True, ranges=written(tmp_path)).test
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    attack = PGD(eps=0.3, **marks(data))
    attacked = attack(net, data.x, data.y)
    scaling = getattr(data.preprocessor, "scaling", None)
    assert scaling is not None and data.ranges is not None
    own = scaling.inverse(attacked)
    before = scaling.inverse(data.x)
    assert bool((own[:, 0] >= before[:, 0] - 1e-3).all()), "age only rises"
    assert torch.allclose(own[:, 0], own[:, 0].round(), atol=1e-3)
    assert torch.equal(attacked[:, 2], data.x[:, 2])
    assert float(own[:, 1].min()) >= -1e-3
    assert data.ranges.cost(data.x, attacked).shape == (len(data),)


def test_attacks_of_before_keep_their_identity() -> None:
    assert "ranges" not in PGD(eps=0.1).identity()
    ranged = PGD(eps=0.1, ranges=((0.0, 1.0, 1),)).identity()
    assert ranged["ranges"] == [[0.0, 1.0, 1]] or ranged["ranges"] == [(0.0, 1.0, 1)]


def test_nothing_is_said_of_features_that_the_file_leaves_out(tmp_path: Path) -> None:
    read = read_ranges(written(tmp_path, "feature,cost\ncrp,2\n"), FEATURES)
    assert isinstance(read, FeatureRanges)
    assert read.fixed == read.stepped == ()
    assert read.within((0.0, 1.0)) == ((0.0, 1.0, 0),) * 4
