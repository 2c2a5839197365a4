from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from salus.errors import BundleError, ModelError
from salus.guard import Guard
from salus.purifiers import BitDepth

if TYPE_CHECKING:
    from conftest import Toy
    from salus.detectors import Detector
    from salus.generative import Member
    from salus.models.autoencoders import AutoencoderSpec
    from salus.progress import Advance
    from salus.purifiers import Purifier


def test_a_verdict_does_not_depend_on_the_other_samples_of_its_batch(toy: Toy) -> None:
    guard = toy.guard()
    together = guard(toy.test.x)
    alone = [guard(toy.test.x[i : i + 1]) for i in range(40)]
    assert torch.equal(torch.cat([v.answers for v in alone]), together.answers[:40])
    assert together.suspicion is not None
    suspicion = torch.cat([v.suspicion for v in alone if v.suspicion is not None])
    assert torch.allclose(suspicion, together.suspicion[:40], rtol=1e-3, atol=1e-4)


def test_a_rejected_input_is_answered_with_minus_one(toy: Toy) -> None:
    guard = toy.guard(0.2)
    verdict = guard(torch.rand(200, 8))
    assert bool((~verdict.accepted).any())
    assert torch.equal(verdict.answers == -1, ~verdict.accepted)
    assert torch.equal(verdict.rejected_by["i-defender"], ~verdict.accepted)


def test_the_classifier_is_left_as_it_was(toy: Toy) -> None:
    guard = toy.guard()
    toy.classifier.module.train()
    try:
        guard(toy.test.x)
        assert toy.classifier.module.training
    finally:
        toy.classifier.module.eval()
    assert all(p.requires_grad for p in toy.classifier.parameters())


def test_the_classifier_sees_the_purified_input_and_the_detectors_the_raw_one(toy: Toy) -> None:
    plain = toy.guard()
    guard = Guard(toy.classifier, plain.detectors, BitDepth(bits=2))
    verdict = guard(toy.test.x)
    expected = toy.classifier.predict(BitDepth(bits=2).purify(toy.test.x)).argmax(1)
    assert torch.equal(verdict.labels, expected)
    assert torch.equal(verdict.accepted, plain(toy.test.x).accepted)


def test_two_detectors_keep_one_false_alarm_rate_together(toy: Toy) -> None:
    from salus.detectors import IDefender

    detectors = [IDefender(layers=("logits",)), IDefender(layers=("penultimate",))]
    guard = Guard(toy.classifier, detectors).fit(toy.train, toy.calibration, 0.1)
    assert set(guard(toy.test.x).scores) == {"i-defender", "i-defender#2"}
    assert [d.false_alarm_rate_ for d in detectors] == [0.1, 0.1]
    assert detectors[0].threshold_ == detectors[1].threshold_
    # On the half that set the threshold the rate is kept exactly by both together, and by neither alone exceeded.
    order = torch.randperm(len(toy.calibration), generator=torch.Generator().manual_seed(0))
    verdict = guard(toy.calibration.x[order[: len(order) // 2]])
    rejected = float((~verdict.accepted).double().mean())
    assert 0.08 <= rejected <= 0.1
    alone = [float(one.double().mean()) for one in verdict.rejected_by.values()]
    assert max(alone) <= rejected <= sum(alone)


def test_what_guards_train_is_kept_so_that_equal_ones_train_once_and_a_stopped_fit_goes_on(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from salus.detectors import DefenseGAN, MagNet, MultiMagNet
    from salus.generative import autoencoder_training as training
    from salus.generative.wgan import _Game
    from salus.purifiers import DefenseGANPurifier, MultiMagNetReformer, Reformer

    trained: list[str] = []
    train, play = training._RepositoryTraining.train, _Game.play
    stops = ["after two"]

    def counted(run: training._RepositoryTraining, spec: AutoencoderSpec, advance: Advance) -> Member:
        if stops and len(trained) == 2:
            raise KeyboardInterrupt(stops.pop())
        trained.append(spec.name)
        return train(run, spec, advance)

    def epoch(game: _Game, *rest: Any) -> tuple[float, float]:
        trained.append("generator")
        return play(game, *rest)

    def fitted(detector: Detector, purifier: Purifier, folder: Path | None) -> Guard:
        return Guard(toy.classifier, [detector], purifier).fit(toy.train, toy.calibration, 0.1, folder=folder)

    def several(folder: Path | None) -> Guard:
        return fitted(MultiMagNet(epochs=1, draw_seed=0), MultiMagNetReformer(epochs=1, draw_seed=0), folder)

    def autoencoders(guard: Guard) -> list[str]:
        (detector,), purifier = guard.detectors, guard.purifier
        assert isinstance(detector, MultiMagNet) and isinstance(purifier, MultiMagNetReformer)
        assert detector.repository_ is not None and purifier.repository_ is not None
        return [detector.repository_.fingerprint(), purifier.repository_.fingerprint()]

    alone = several(None)
    monkeypatch.setattr(training._RepositoryTraining, "train", counted)
    monkeypatch.setattr(_Game, "play", epoch)
    with pytest.raises(KeyboardInterrupt):
        several(tmp_path)
    resumed = several(tmp_path)
    assert len(trained) == len(set(trained)) == 10
    assert autoencoders(resumed) == autoencoders(alone)
    fitted(MagNet(epochs=1), Reformer(epochs=1, member=3), tmp_path)
    assert len(trained) == 10  # they are among the ten
    fitted(MagNet(epochs=2), Reformer(epochs=1, seed=1), tmp_path)
    assert len(trained) == 12  # these are others
    options: dict[str, Any] = {"epochs": 2, "width": 2, "restarts": 1, "iterations": 2}
    fitted(DefenseGAN(**options), DefenseGANPurifier(**options), tmp_path)
    assert trained[12:] == ["generator"] * 2


def test_a_detector_of_another_classifier_is_refused(toy: Toy) -> None:
    from copy import deepcopy

    with pytest.raises(ModelError, match="another classifier"):
        Guard(deepcopy(toy.classifier), toy.guard().detectors)


@pytest.fixture
def bundle(tmp_path: Path) -> tuple[Path, Guard]:
    from salus.classifier import Classifier
    from salus.data import load
    from salus.detectors import IDefender
    from salus.models import build_model

    splits = load("breast-cancer")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = build_model("mlp", (30,), 2, {})
    classifier = Classifier(
        module, splits.test.classes, shape=(30,), name="mlp", architecture={"name": "mlp", "options": {}}
    )
    guard = Guard(classifier, [IDefender()], BitDepth(bits=6), name="one").fit(splits.train, splits.calibration, 0.05)
    guard.save(tmp_path / "bundle")
    return tmp_path / "bundle", guard


def test_a_saved_guard_judges_as_the_one_that_was_saved(bundle: tuple[Path, Guard]) -> None:
    folder, guard = bundle
    x = torch.rand(100, 30)
    ours, theirs = guard(x), Guard.load(folder)(x)
    assert torch.equal(ours.answers, theirs.answers)
    assert ours.suspicion is not None and theirs.suspicion is not None
    assert torch.equal(ours.suspicion, theirs.suspicion)
    assert Guard.load(folder).fingerprint() == guard.fingerprint()


def test_a_bundle_holds_no_pickles(bundle: tuple[Path, Guard]) -> None:
    folder, _ = bundle
    assert {path.suffix for path in folder.iterdir()} == {".json", ".safetensors"}


@pytest.mark.parametrize("name", ["guard.json", "model.json", "model.safetensors", "detector-0.safetensors"])
@pytest.mark.parametrize("harm", ["missing", "truncated", "flipped", "empty"])
def test_a_harmed_bundle_gives_one_sentence(bundle: tuple[Path, Guard], name: str, harm: str) -> None:
    folder, _ = bundle
    path = folder / name
    content = path.read_bytes()
    if harm == "missing":
        path.unlink()
    elif harm == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif harm == "empty":
        path.write_bytes(b"")
    else:
        middle = len(content) // 2
        path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    with pytest.raises(BundleError) as caught:
        Guard.load(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("change", ["threshold", "path", "detector"])
def test_an_edited_bundle_is_refused(bundle: tuple[Path, Guard], change: str) -> None:
    folder, _ = bundle
    content = json.loads((folder / "guard.json").read_text())
    if change == "threshold":
        content["detectors"][0]["settings"]["suspicion_threshold"] = 1e9
    elif change == "path":
        content["detectors"][0]["file"] = "../../elsewhere.safetensors"
    else:
        content["detectors"][0]["name"] = "os.system"
    (folder / "guard.json").write_text(json.dumps(content))
    with pytest.raises(BundleError, match="checksum"):
        Guard.load(folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_an_input_that_is_no_number_is_never_accepted(toy: Toy, value: float) -> None:
    x = toy.test.x[:4].clone()
    x[2, 3] = value
    guard = toy.guard()
    assert not bool(guard(x).accepted[2])
    assert bool(guard.detectors[0].detect(x)[2])


@pytest.mark.parametrize(
    "content",
    [
        {"detectors": 3, "sha256": {}},
        {"detectors": [{"name": "i-defender"}], "sha256": {}},
        {"detectors": [{"name": "i-defender", "file": "x.safetensors", "settings": {}}], "sha256": {}},
        {"detectors": [], "sha256": {"../guard.json": "0"}},
        {"detectors": [], "sha256": []},
    ],
)
def test_a_bundle_that_vouches_for_itself_but_makes_no_sense_is_refused(
    bundle: tuple[Path, Guard], content: dict[str, Any]
) -> None:
    from salus.guard import _checksum

    folder, _ = bundle
    content = {"format": "salus-guard-1", "name": "x", "purifier": None, **content}
    (folder / "guard.json").write_text(json.dumps({**content, "checksum": _checksum(content)}))
    with pytest.raises(BundleError):
        Guard.load(folder)
