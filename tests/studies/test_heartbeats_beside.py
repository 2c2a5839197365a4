"""What stands beside the network between patients: rivals, each by its own recipe; beats in the order of a loader."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from salus.attacks import PGD
from salus.classifier import Classifier
from salus.data import Dataset, Provenance
from salus.errors import OptionError
from salus.hardening import AdversarialTraining, Distillation, NoiseToSignal
from salus.models import build_model
from salus.training import GaussianNoise, RandomGains, TrainingOptions
from salus_studies.heartbeats import rivals, sequences, settings
from salus_studies.heartbeats.beside import sequences as sequences_of_page
from salus_studies.heartbeats.rivals import RIVALS, judge_rival
from salus_studies.heartbeats.sequences import Seq2Seq, in_time, made_up, shuffled, sorted_by_class
from salus_studies.heartbeats.settings import recipe, train
from salus_studies.heartbeats.t_to_t import cut_record


@pytest.fixture(scope="module")
def beats() -> Dataset:
    """Beats of four classes: a bump whose place says which."""
    y = torch.arange(240) % 4
    bump = torch.exp(-(((torch.arange(280) - 40 * (y[:, None] + 1)) / 10.0) ** 2)) * 0.4 + 0.5
    x = torch.stack([bump, 1 - bump, torch.full_like(bump, 0.5) + 0.05 * y[:, None]], 1)
    groups = torch.arange(240) % 5
    return Dataset(x, y, ("N", "S", "V", "F"), Provenance("beats", "made here"), groups=groups)


def test_every_rival_differs_from_the_judged_one_in_what_it_says(beats: Dataset) -> None:
    teacher = Classifier(build_model("ecg-hierarchical", (3, 280), 4), beats.classes, shape=(3, 280))
    kinds = {name: recipe(rival.setting, teacher) for name, rival in RIVALS.items()}
    assert isinstance(kinds["ordinary"], RandomGains)
    assert isinstance(kinds["smoothing"], GaussianNoise) and kinds["smoothing"].first == RandomGains()
    assert isinstance(kinds["noise-to-signal"], NoiseToSignal) and isinstance(kinds["distillation"], Distillation)
    assert isinstance(kinds["trades"], AdversarialTraining) and kinds["trades"].loss == "trades"
    assert isinstance(kinds["madry"], AdversarialTraining) and kinds["madry"].attack.steps == 5  # type: ignore[attr-defined]
    usual = settings.judged_setting("patients").inputs
    assert [name for name, rival in RIVALS.items() if rival.setting.inputs != usual] == ["past"]
    with pytest.raises(OptionError, match="learns from a teacher"):
        recipe(RIVALS["distillation"].setting)


def test_a_student_is_taught_by_a_network_of_twice_its_widths(beats: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    taught: list[tuple[Any, Any]] = []

    def fit_classifier(name: str, *given: Any, model_options: dict[str, Any], recipe: Any) -> tuple[Any, None]:
        taught.append((model_options, recipe))
        module = build_model(name, (3, 280), 4, model_options)
        return Classifier(module, beats.classes, shape=(3, 280)), None

    monkeypatch.setattr(settings, "fit_classifier", fit_classifier)
    train(RIVALS["distillation"].setting, beats, beats, 0)
    assert [options for options, _ in taught] == [{"widths": [32, 48, 64], "hidden": 96}, {}]
    assert isinstance(taught[1][1], Distillation)


@pytest.mark.parametrize("name", ["ordinary", "smoothing"])
def test_a_rival_is_trained_and_judged_clean_and_attacked(
    name: str, beats: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = SimpleNamespace(train=beats, validation=beats, test=beats)
    monkeypatch.setattr(rivals, "load", lambda *given, **named: parts)
    monkeypatch.setattr(rivals, "NATURAL", 60)
    few = TrainingOptions(epochs=4, patience=4, learning_rate=5e-3, keep="last", balance="none")
    monkeypatch.setattr(settings.HardeningSetting, "training", lambda *given: few)
    counts = judge_rival(name, None, PGD(eps=0.05, steps=3), 0, {})
    assert (counts["clean"]["n"], counts["drawn"]["n"], counts["attacked"]["n"]) == (240, 60, 60)
    assert counts["attacked"]["accuracy"] <= counts["drawn"]["accuracy"]
    assert counts["drawn"]["accuracy"] > 0.3


def records() -> list[tuple[torch.Tensor, torch.Tensor]]:
    rng = np.random.default_rng(0)
    made = []
    for beats in (57, 83):
        y = torch.from_numpy(rng.choice(3, beats, p=(0.6, 0.2, 0.2)))
        time = torch.arange(beats)[:, None].float()
        made.append((torch.cat([time, y[:, None].float(), torch.zeros(beats, 278)], 1), y))
    return made


def test_the_loader_sorts_beats_by_class_before_it_cuts_them() -> None:
    x, y = sorted_by_class(records(), np.random.default_rng(0))
    assert x.shape == (14, 10, 280)
    mixed = [len(row.unique()) > 1 for row in y]
    assert sum(mixed) <= 2
    assert torch.equal(x[..., 1].long(), y)


def test_in_order_of_time_beats_of_a_record_follow_each_other() -> None:
    x, y = in_time(records(), np.random.default_rng(0))
    assert x.shape == (5 + 8, 10, 280)
    assert bool((x[..., 0].diff(dim=1) == 1).all())
    assert torch.equal(x[..., 1].long(), y)
    assert not bool((shuffled(records(), np.random.default_rng(0))[0][..., 0].diff(dim=1) == 1).all())


def test_made_beats_stand_behind_all_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sequences, "_MADE", {1: 60, 2: 50})
    before, labels = sorted_by_class(records(), np.random.default_rng(0))
    x, y = made_up(before, labels, 0)
    assert torch.equal(x[:14], before) and torch.equal(y[:14], labels)
    assert len(x) > 14 and int(y[14:].min()) == 1
    counts = torch.bincount(y.flatten(), minlength=3).tolist()
    assert counts[1] == 60 and 40 < counts[2] <= 50  # what no longer fills a sequence is left out


def test_a_network_of_sequences_learns_and_is_asked_in_every_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sequences, "_MADE", {1: 60, 2: 60})
    monkeypatch.setattr(sequences, "BATCH", 4)
    row = sequences.row("sorted", records(), records(), seed=0, epochs=2)
    assert set(row["tested"]) == {"sorted", "time", "shuffled"}
    assert row["tested"]["sorted"]["alike"] > 0.7 > row["tested"]["time"]["alike"]
    assert row == sequences.row("sorted", records(), records(), seed=0, epochs=2)
    (text,) = [words for words in sequences_of_page([row]) if words.startswith("| trained")]
    assert text.count("sorted by class, as released") == 4


def test_the_answers_of_a_sequence_follow_from_the_state_and_the_answer_before() -> None:
    torch.manual_seed(0)
    network, x = Seq2Seq().eval(), torch.randn(2, 10, 280)
    given = network.predict(x)
    # Told its own answers, it gives them again.
    assert torch.equal(network(x, given)[..., :3].argmax(2), given)


def test_beats_are_cut_from_one_t_peak_to_the_next(mitdb_folder: Path) -> None:
    x, y = cut_record(mitdb_folder / "100")
    assert x.shape[1] == 280 and torch.bincount(y, minlength=3).tolist()[2] == 1
    assert 2200 < len(y) <= 2272
    # Standardised over the record; the R peak stands between the two T peaks, later than midway.
    assert abs(float(x.mean())) < 0.1 and 0.8 < float(x.std()) < 1.2
    assert 140 < float(x[10:60].mean(0).argmax()) < 260 and float(x[10:60].mean(0).max()) > 2


def test_settings_of_rivals_change_no_step_of_the_settings_that_were_judged() -> None:
    judged = settings.judged_setting("patients")
    assert replace(judged, **RIVALS["single-step"].changes) == judged
