"""Attacks on the voltage of whole recordings: within their bounds, stronger than noise, nothing else touched."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from salus.attacks import APGD, FGSM, Square
from salus.classifier import Classifier
from salus.errors import DataError, OptionError
from salus.preprocessing import RawRecording, RecordingPreprocessor
from salus.threats.recording_search import RecordingSearch
from salus.threats.recording_square import RecordingSquare
from salus.threats.recording_universal import RecordingUAP, UniversalVoltage
from salus.threats.recordings import RecordingAttack, noise
from salus.threats.voltage import AttackedRecording

INPUTS = ("departure", "second-departure", "timing")
EPS = 0.05


class Height(nn.Module):
    """Says V where a beat departs upwards around its peak by more than a little, N otherwise."""

    def forward(self, x: Tensor) -> Tensor:
        up = (x[:, 0, 120:160] - 0.5).mean(1) * 200
        return torch.stack([0.5 - up, up - 0.5], 1)


@pytest.fixture(scope="module")
def recording() -> RawRecording:
    rng = np.random.default_rng(0)
    peaks = 400 + np.cumsum(rng.integers(280, 320, 25))
    time = np.arange(peaks[-1] + 400)[:, None]
    lead = (1.2 * np.exp(-(((time - peaks) / 5.0) ** 2))).sum(1) + rng.normal(0, 0.01, len(time))
    return RawRecording({"MLII": lead, "V1": -0.5 * lead}, 360, "made", peaks.tolist())


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    preprocessor = RecordingPreprocessor(leads=("MLII",), inputs=INPUTS, classes=("N", "V"), shape=(3, 280))
    return Classifier(Height(), ("N", "V"), shape=(3, 280), bounds=(0.0, 1.0), preprocessor=preprocessor)


def wrong(answers: Tensor) -> int:
    return int((answers != 0).sum())


@pytest.mark.parametrize("shape", ["free", "smooth"])
def test_a_change_stays_within_eps_and_fools_more_than_one_as_large_that_is_blind(
    shape: str, classifier: Classifier, recording: RawRecording
) -> None:
    attack = RecordingAttack(eps=EPS, steps=8, shape=shape)  # type: ignore[arg-type]
    y = torch.zeros(25, dtype=torch.int64)
    attacked = attack(classifier, recording, y)
    assert max(float(change.abs().max()) for change in attacked.change.values()) <= EPS + 1e-12
    blind = RecordingAttack(eps=0.0)(classifier, noise(recording, attacked), y)
    assert wrong(attacked.clean) <= wrong(blind.answers) < wrong(attacked.answers)
    again = attack(classifier, recording, y)
    assert all(torch.equal(again.change[lead], change) for lead, change in attacked.change.items())
    assert isinstance(recording.signals["MLII"], np.ndarray)  # nothing was written into what was given


def test_a_tied_change_is_the_same_at_every_beat_and_so_in_the_sinus_beat(
    classifier: Classifier, recording: RawRecording
) -> None:
    attack = RecordingAttack(eps=EPS, steps=3, shape="tied")
    attacked = attack(classifier, recording, torch.zeros(25, dtype=torch.int64))
    change = attacked.change["MLII"]
    assert recording.peaks is not None
    assert 0 < float(change.abs().max()) <= EPS + 1e-12
    assert wrong(attacked.answers) <= 2  # what every beat has departs from none
    near = torch.stack([change[peak - 100 : peak + 100] for peak in recording.peaks])
    assert float((near - near[0]).abs().max()) < 1e-9


def test_noise_moves_every_sample_as_far_as_the_attack_moved_some(recording: RawRecording) -> None:
    length = len(recording.signals["MLII"])
    change = {"MLII": torch.linspace(-EPS, EPS, length, dtype=torch.float64)}
    attacked = AttackedRecording(recording, change, torch.zeros(25), torch.zeros(25))
    moved = torch.as_tensor(noise(recording, attacked).signals["MLII"]) - torch.as_tensor(recording.signals["MLII"])
    torch.testing.assert_close(moved.abs().sort().values, change["MLII"].abs().sort().values)


def test_peaks_are_moved_by_no_more_than_the_jitter_and_stay_in_order(recording: RawRecording) -> None:
    class Early(nn.Module):
        """Says V where the interval before is short."""

        def forward(self, x: Tensor) -> Tensor:
            short = (0.48 - x[:, -1, :56].mean(1)) * 100
            return torch.stack([-short, short], 1)

    preprocessor = RecordingPreprocessor(leads=("MLII",), inputs=INPUTS, classes=("N", "V"), shape=(3, 280))
    network = Classifier(Early(), ("N", "V"), shape=(3, 280), bounds=(0.0, 1.0), preprocessor=preprocessor)
    attacked = RecordingAttack(eps=0.0, jitter=6)(network, recording, torch.zeros(25, dtype=torch.int64))
    assert attacked.recording.peaks is not None
    assert recording.peaks is not None
    moves = np.asarray(attacked.recording.peaks) - np.asarray(recording.peaks)
    assert 0 < np.abs(moves).max() <= 6
    assert np.diff(attacked.recording.peaks).min() > 0
    assert wrong(attacked.answers) > wrong(attacked.clean)


def test_beats_that_nobody_asks_about_are_left_alone_in_the_count(
    classifier: Classifier, recording: RawRecording
) -> None:
    y = torch.full((25,), -1)
    y[10] = 0
    attacked = RecordingAttack(eps=EPS, steps=8)(classifier, recording, y)
    assert int(attacked.answers[10]) == 1


def test_what_cannot_be_attacked_is_refused(classifier: Classifier, recording: RawRecording) -> None:
    y = torch.zeros(25, dtype=torch.int64)
    with pytest.raises(OptionError, match="eps"):
        RecordingAttack(eps=-1.0)
    with pytest.raises(DataError, match="needs R peaks"):
        RecordingAttack(eps=EPS)(classifier, RawRecording(recording.signals, 360), y)
    table = Classifier(nn.Linear(2, 2), ("N", "V"), shape=(2,), bounds=(0.0, 1.0))
    with pytest.raises(DataError, match="takes no recordings"):
        RecordingAttack(eps=EPS)(table, recording, y)


def test_a_network_that_is_very_sure_is_attacked_no_less(classifier: Classifier, recording: RawRecording) -> None:
    class Sure(Height):
        def forward(self, x: Tensor) -> Tensor:
            return 1000 * super().forward(x)

    sure = Classifier(Sure(), ("N", "V"), shape=(3, 280), bounds=(0.0, 1.0), preprocessor=classifier.preprocessor)
    y = torch.zeros(25, dtype=torch.int64)
    attack = RecordingAttack(eps=EPS, steps=8)
    assert torch.equal(attack(sure, recording, y).answers, attack(classifier, recording, y).answers)


def test_beats_that_are_wrong_already_draw_no_effort(classifier: Classifier, recording: RawRecording) -> None:
    attack = RecordingAttack(eps=EPS, steps=8)
    y = torch.zeros(25, dtype=torch.int64)
    half = torch.where(torch.arange(25) % 2 == 0, y, 1)  # as if these were V, which they are not called
    asked = torch.where(torch.arange(25) % 2 == 0, y, -1)
    assert torch.equal(attack(classifier, recording, half).answers, attack(classifier, recording, asked).answers)


@pytest.mark.parametrize("peaks", [[], [700, 400], [400, 400, 700]])
def test_peaks_that_are_none_or_in_no_order_are_refused(
    peaks: list[int], classifier: Classifier, recording: RawRecording
) -> None:
    with pytest.raises(DataError, match="in order and each once"):
        RecordingAttack(eps=EPS)(classifier, replace(recording, peaks=peaks), torch.zeros(len(peaks)).long())


def test_gaps_stay_gaps_and_spoil_neither_change_nor_noise(classifier: Classifier, recording: RawRecording) -> None:
    lead = np.array(recording.signals["MLII"])
    lead[2000:2100] = np.nan
    holed = replace(recording, signals={"MLII": lead, "V1": recording.signals["V1"]})
    attacked = RecordingAttack(eps=EPS, steps=3)(classifier, holed, torch.zeros(25, dtype=torch.int64))
    assert all(bool(change.isfinite().all()) for change in attacked.change.values())
    moved = torch.as_tensor(noise(holed, attacked).signals["MLII"])
    assert int(moved.isnan().sum()) == 100


#: Attacks of other kinds, each of which has to fool more beats than its blind control.
OTHERS: dict[str, RecordingSearch | RecordingSquare] = {
    "apgd, cross-entropy": RecordingSearch(attack=APGD(eps=EPS, steps=8, early_stop=False)),
    "square": RecordingSquare(eps=EPS, queries=40),
}


@pytest.mark.parametrize("name", OTHERS)
def test_parts_of_autoattack_fool_more_within_eps_than_a_blind_change_as_large(
    name: str, classifier: Classifier, recording: RawRecording
) -> None:
    y = torch.zeros(25, dtype=torch.int64)
    attacked = OTHERS[name](classifier, recording, y)
    assert 0 < max(float(change.abs().max()) for change in attacked.change.values()) <= EPS + 1e-12
    blind = RecordingAttack(eps=0.0)(classifier, noise(recording, attacked), y)
    assert wrong(blind.answers) < wrong(attacked.answers)
    again = OTHERS[name](classifier, recording, y)
    assert all(torch.equal(again.change[lead], change) for lead, change in attacked.change.items())


def test_the_ratio_of_logits_has_no_slope_that_beats_alike_share_and_still_keeps_within_eps(
    classifier: Classifier, recording: RawRecording
) -> None:
    attack = RecordingSearch(attack=APGD(eps=EPS, steps=4, early_stop=False), loss="dlr")
    attacked = attack(classifier, recording, torch.zeros(25, dtype=torch.int64))
    assert 0 < max(float(change.abs().max()) for change in attacked.change.values()) <= EPS + 1e-12


def test_any_attack_on_loss_and_margin_takes_a_recording_for_its_sample(
    classifier: Classifier, recording: RawRecording
) -> None:
    y = torch.zeros(25, dtype=torch.int64)
    for attack in (FGSM(eps=EPS), Square(eps=EPS, queries=6, early_stop=False)):
        attacked = RecordingSearch(attack=attack)(classifier, recording, y)
        assert 0 < max(float(change.abs().max()) for change in attacked.change.values()) <= EPS + 1e-12
        assert torch.equal(attacked.clean, torch.zeros(25, dtype=torch.int64))


def test_attacks_without_eps_or_in_another_norm_take_no_recording() -> None:
    for attack in (APGD(eps=0.1, norm="l2"), FGSM(eps=0.1, targeted=True)):
        with pytest.raises(OptionError, match="give it an eps in mV"):
            RecordingSearch(attack=attack)
    with pytest.raises(OptionError, match="loss"):
        RecordingSearch(attack=FGSM(eps=0.1), loss="cw")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="queries"):
        RecordingSquare(eps=0.1, queries=1)


def test_a_waveform_of_some_recordings_fools_another_and_is_kept_as_it_was(
    classifier: Classifier, recording: RawRecording
) -> None:
    def other(seed: int) -> RawRecording:
        rng = np.random.default_rng(seed)
        signals = {lead: signal + rng.normal(0, 0.005, len(signal)) for lead, signal in recording.signals.items()}
        return replace(recording, signals=signals)

    y = torch.zeros(25, dtype=torch.int64)
    attack = RecordingUAP(eps=EPS, length=290, epochs=4)
    seen: list[int] = []
    fitted = attack.fit(classifier, [lambda: (other(1), y), lambda: (other(2), y)], seen.append)
    assert sum(seen) == 8
    assert fitted.waveform.shape == (2, 290)
    assert float(fitted.waveform.abs().max()) <= EPS
    attacked = fitted(classifier, other(3), y)
    torch.testing.assert_close(attacked.change["MLII"][:290], attacked.change["MLII"][290:580])
    again = UniversalVoltage.from_json(fitted.to_json())(classifier, other(3), y)
    assert all(torch.equal(again.change[lead], change) for lead, change in attacked.change.items())
    # The right classes decide nothing of what is added to a recording that it was not fitted on.
    others = fitted(classifier, other(3), torch.ones(25, dtype=torch.int64))
    assert torch.equal(others.change["MLII"], attacked.change["MLII"])
    blind = RecordingAttack(eps=0.0)(classifier, noise(other(3), attacked), y)
    assert wrong(attacked.answers) > wrong(blind.answers)


def test_a_waveform_may_be_tied_to_the_beats_and_needs_one_that_is_answered_rightly(
    classifier: Classifier, recording: RawRecording
) -> None:
    y = torch.zeros(25, dtype=torch.int64)
    fitted = RecordingUAP(eps=EPS, locked="beats", epochs=1).fit(classifier, [lambda: (recording, y)])
    change = fitted(classifier, recording, y).change["MLII"]
    assert recording.peaks is not None
    near = torch.stack([change[peak - 100 : peak + 100] for peak in recording.peaks])
    assert float((near - near[0]).abs().max()) < 1e-9
    with pytest.raises(DataError, match="a beat that is answered rightly"):
        RecordingUAP(eps=EPS).fit(classifier, [lambda: (recording, y - 1)])
