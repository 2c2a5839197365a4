"""How models answer that do not answer with logits: several labels, one logit, keys, ordinal classes, volumes."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from salus.audit import Plan, run_audit
from salus.classifier import Classifier, load_user_model
from salus.cli import main
from salus.cli.terminal import print_cells
from salus.data import load
from salus.errors import DataError, ModelError, OptionError
from salus.guard import Guard
from salus.jobs import check_model, fit_bundle
from salus.metrics import Commonest
from salus.models.reading import Inputs, Reading, found_answers, read_with, resolved
from salus.preprocessing.label_sets import label_sets, set_names
from salus.report import write_report

BUILT: dict[str, nn.Module] = {}


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "given_models", sys.modules[__name__])


def leads() -> nn.Module:
    """Hand back the network of twelve leads that a test has trained."""
    return BUILT["leads"]


def volumes() -> nn.Module:
    """Hand back the network of volumes that a test has trained."""
    return BUILT["volumes"]


class TwelveLeads(nn.Module):
    """Takes twelve leads of any length, and answers with a number for each of three labels."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv1d(12, 12, 9, padding=4), nn.Conv1d(12, 12, 9, padding=4)
        self.last = nn.Linear(24, 3)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        states = torch.relu(self.second(torch.relu(self.first(10 * (x - 0.5)))))
        z = self.last(torch.cat([states.amax(2), states.mean(2)], 1))
        return {"features": states.mean(2), "logits": z}


def _trained(net: nn.Module, x: Tensor, y: Tensor, steps: int, answer: Any) -> nn.Module:
    optimiser = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(steps):
        optimiser.zero_grad()
        answer(net(x), y).backward()
        optimiser.step()
    return net.eval()


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recordings of twelve leads that carry up to three labels at once, and a network that learnt them."""
    rng = np.random.default_rng(0)
    n, length = 300, 48
    y = rng.random((n, 3)) < (0.5, 0.4, 0.3)
    x = 0.5 + 0.02 * rng.normal(size=(n, 12, length))
    wave = 0.15 * np.sin(np.arange(length) / 2)
    x[y[:, 0], 1] += wave
    x[y[:, 1], 5] += 0.15
    x[y[:, 2], 9] -= wave[::-1]
    x = x.clip(0, 1).astype(np.float32)
    path = tmp_path_factory.mktemp("recordings") / "ecg.npz"
    np.savez(path, x=x, y=y.astype(np.int64), labels=np.array(["AF", "LBBB", "MI"]))
    torch.manual_seed(0)
    BUILT["leads"] = _trained(
        TwelveLeads(),
        torch.from_numpy(x),
        torch.from_numpy(y.astype(np.float32)),
        100,
        lambda answer, y: nn.functional.binary_cross_entropy_with_logits(answer["logits"], y),
    )
    return path


MODEL = "given_models:leads:output=logits,answers=labels"


def test_several_labels_are_asked_for_one_by_one_or_as_sets(recordings: Path, tmp_path: Path) -> None:
    net = BUILT["leads"]
    for label in ("LBBB", None):
        options = {} if label is None else {"label": label}
        splits = load(recordings, **options)
        test = splits.test
        classifier = load_user_model(MODEL, classes=test.classes, shape=test.x.shape[1:], data=test)
        z = net(test.x)["logits"]
        answers = classifier.predict(test.x).argmax(1)
        if label is None:
            assert test.classes[0] == "none" and test.classes[-1] == "AF+LBBB+MI" and len(test.classes) == 8
            expected = ((z > 0).long() * torch.tensor([1, 2, 4])).sum(1)
        else:
            assert test.classes == ("no LBBB", "LBBB") and test.positive == ("LBBB",)
            expected = (z[:, 1] > 0).long()
        assert torch.equal(answers, expected)
        assert float((answers == test.y).float().mean()) > 0.9
        classifier.save(tmp_path / str(label))
        again = Classifier.load(tmp_path / str(label), factory="given_models:leads")
        assert torch.equal(again.predict(test.x), classifier.predict(test.x))


def test_check_audit_and_guard_of_a_twelve_lead_network_with_several_labels(
    recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    looked = CliRunner().invoke(main, ["model", "check", MODEL, "--data", str(recordings), "--label", "AF"])
    assert looked.exit_code == 0, looked.output
    assert "3 labels at once (AF, LBBB, MI); the label AF is asked for" in looked.output
    shared = {"data": str(recordings), "model": MODEL, "attack": "pgd:steps=6", "eps": [0.05], "samples": 20,
              "defence": "none", "threat_model": "white-box"}  # fmt: skip
    outcome = run_audit(Plan.of(shared), tmp_path / "any")
    one = run_audit(Plan.of({**shared, "label": "AF"}), tmp_path / "one")
    write_report(tmp_path / "any")
    (any_label,) = [row for row in outcome.cells if row["attack"]]
    (alone,) = [row for row in one.cells if row["attack"]]
    assert any_label["robust_accuracy"] <= alone["robust_accuracy"]  # any label wrong is wrong
    assert alone["health"] is not None and alone["per_label"] is None
    rows = {row["label"]: row for row in any_label["per_label"]}
    worst = any_label["worst_label"]
    assert set(rows) == {"AF", "LBBB", "MI"} and rows[worst]["flipped"] == max(row["flipped"] for row in rows.values())
    assert rows[worst]["sensitivity_attacked"] < rows[worst]["sensitivity_clean"]
    assert any(f"Its worst label is {worst!r}" in sentence for sentence in outcome.meta["verdict"])
    page = (tmp_path / "any" / "report.html").read_text()
    assert "Each label by itself" in page and "Worst label" in page
    assert "Each label by itself" not in write_report(tmp_path / "one").read_text()
    print_cells(outcome.cells, Commonest(**outcome.meta["commonest"]))
    assert "worst label" in capsys.readouterr().out
    plan = Plan.of({"data": str(recordings), "model": MODEL, "label": "AF", "defence": "i-defender:layers=logits"})
    assert fit_bundle(plan, tmp_path / "bundle").right > 0.5
    assert Guard.load(tmp_path / "bundle", factory="given_models:leads").classifier.classes == ("no AF", "AF")


@given(st.lists(st.lists(st.floats(-5, 5), min_size=3, max_size=3), min_size=1, max_size=5))
def test_the_best_set_is_that_of_all_labels_above_zero_and_its_margin_that_of_the_weakest(z: list[list[float]]) -> None:
    logits = torch.tensor(z)
    names = ("a", "b", "c")
    inputs = Inputs((3,), classes=set_names(names), labels=names)
    model = read_with(nn.Identity(), resolved(Reading(answers="labels"), inputs), inputs)
    found = model(logits)
    best = found.argmax(1)
    held = torch.from_numpy(label_sets(3))[best]
    clear = logits.abs().amin(1) > 1e-4
    assert torch.equal(held[clear], (logits > 0)[clear])
    top = found.topk(2, 1).values
    assert torch.allclose((top[:, 0] - top[:, 1])[clear], logits.abs().amin(1)[clear], atol=1e-4)


def test_labels_are_put_into_the_order_of_the_data_by_name() -> None:
    inputs = Inputs((2,), classes=set_names(("a", "b")), labels=("a", "b"))
    reading = resolved(Reading(answers="labels", labels=("b", "a")), inputs)
    z = torch.tensor([[3.0, -2.0]])  # b is there, a is not
    assert inputs.classes[int(read_with(nn.Identity(), reading, inputs)(z).argmax())] == "b"
    with pytest.raises(ModelError, match="are not the data's"):
        resolved(Reading(answers="labels", labels=("b", "c")), inputs)


def test_one_number_a_sample_is_read_or_both_ways_to_read_it_are_named() -> None:
    inputs = Inputs((1,), classes=("well", "sick"))
    wide, narrow = torch.tensor([[-3.0], [2.0]]), torch.tensor([[0.2], [0.9]])
    assert found_answers(nn.Identity(), Reading(), inputs, wide).answers == "logit"
    with pytest.raises(ModelError, match="answers=logit or answers=probability"):
        found_answers(nn.Identity(), Reading(), inputs, narrow)
    p = read_with(nn.Identity(), Reading(answers="probability"), inputs)(narrow).softmax(1)[:, 1:]
    assert torch.allclose(p, narrow, atol=1e-6)
    extreme = read_with(nn.Identity(), Reading(answers="probability"), inputs)(torch.tensor([[0.0], [1.0]]))
    assert bool(extreme.isfinite().all())


def test_ordinal_classes_are_counted_as_their_authors_count_them() -> None:
    inputs = Inputs((3,), classes=("0", "1", "2", "3"))
    z = torch.tensor([[-1.0, -2.0, -3.0], [1.0, -1.0, -2.0], [3.0, 2.0, -1.0], [3.0, 2.0, 1.0]])
    model = read_with(nn.Identity(), Reading(answers="ordinal"), inputs)
    assert model(z).argmax(1).tolist() == (z > 0).sum(1).tolist()
    with pytest.raises(ModelError, match="answers=ordinal"):
        found_answers(nn.Identity(), Reading(), inputs, z)


def test_outputs_are_taken_by_key_or_place_and_others_are_named() -> None:
    class Several(nn.Module):
        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"features": x, "out": x[:, :2]}

    inputs = Inputs((3,), classes=("a", "b"))
    x = torch.randn(2, 3)
    assert torch.equal(read_with(Several(), Reading(output="out"), inputs)(x), x[:, :2])
    with pytest.raises(ModelError, match="no output 'oud'; it has features, out"):
        read_with(Several(), Reading(output="oud"), inputs)(x)
    with pytest.raises(OptionError, match="did you mean 'output'"):
        Reading.parse({"ouput": "x"}, "model 'm'")


def test_labels_that_are_none_or_too_many_are_refused(tmp_path: Path) -> None:
    x = np.random.default_rng(0).random((40, 4)).astype(np.float32)
    one_each = np.eye(8, dtype=int)[np.arange(40) % 8]
    np.savez(tmp_path / "either.npz", x=x, y=one_each)
    with pytest.raises(DataError, match=r"take the argmax; several labels at once: name them in an array labels"):
        load(tmp_path / "either.npz")
    np.savez(tmp_path / "many.npz", x=x, y=one_each, labels=np.array(list("abcdefgh")))
    with pytest.raises(DataError, match="ask for one of them, such as --label 'a'"):
        load(tmp_path / "many.npz")
    np.savez(tmp_path / "odd.npz", x=x, y=np.full((40, 3), 2))
    with pytest.raises(DataError, match="must be 0 and 1"):
        load(tmp_path / "odd.npz")
    np.savez(tmp_path / "one.npz", x=x, y=np.arange(40) % 2)
    with pytest.raises(DataError, match="leave --label out"):
        load(tmp_path / "one.npz", label="a")


def test_volumes_are_checked_audited_and_guarded(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.random((120, 1, 8, 8, 8)).astype(np.float32) * 0.3
    y = np.arange(120) % 2
    x[y == 1, :, 2:5, 2:5, 2:5] += 0.2
    np.savez(tmp_path / "scans.npz", x=x, y=y, classes=np.array(["well", "nodule"]))
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv3d(1, 6, 3, padding=1), nn.ReLU(), nn.MaxPool3d(2), nn.Conv3d(6, 8, 3, padding=1), nn.ReLU(),
        nn.AdaptiveMaxPool3d(1), nn.Flatten(), nn.Linear(8, 2),
    )  # fmt: skip
    BUILT["volumes"] = _trained(net, torch.from_numpy(x), torch.from_numpy(y), 60, nn.functional.cross_entropy)
    shared = {"data": str(tmp_path / "scans.npz"), "model": "given_models:volumes"}
    found = check_model(Plan.of(shared))
    assert any(group.why == "made for other data than a volume" and "patch" in group.names for group in found.attacks)
    attacks = ["pgd:steps=5", "square:queries=20", "hop-skip-jump:queries=40", "cgba:queries=40"]
    plan = {**shared, "attack": attacks, "eps": [0.1], "samples": 6, "defence": "none", "threat_model": "white-box"}
    outcome = run_audit(Plan.of(plan), tmp_path / "audit")
    assert not outcome.failed and len(outcome.cells) == 5
    robust = {row["attack"]: row["robust_accuracy"] for row in outcome.cells if row["attack"]}
    assert robust["pgd"] < 0.9
    assert write_report(tmp_path / "audit").is_file()
    bundle = fit_bundle(Plan.of({**shared, "defence": "i-defender:layers=logits"}), tmp_path / "bundle")
    assert bundle.right > 0.6
