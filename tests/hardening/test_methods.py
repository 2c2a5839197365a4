"""Hardening from the command line: what is saved, what is resumed, what is refused."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from safetensors.torch import load_file

from salus.audit import Plan
from salus.classifier import Classifier
from salus.cli import main
from salus.data import load
from salus.errors import OptionError
from salus.hardening import METHODS, build_method
from salus.jobs import run_hardening
from salus.models.ecg_atk_gan import Generator
from salus.training.checkpoint import Checkpoint

STEPS = "single-step:eps=0.05"
GAN = "ecg-atk-gan:widths=4+8,epochs=3,folds=2,per_class=none,batch_size=16,learning_rate=0.005,lambda_atk=1"
ROUNDS = "adversarial-retraining:rounds=2,epochs=2,learning_rate=0.01"
COMMANDS = {
    "steps": [STEPS],
    "gan": [GAN, "--attack", "fgsm:eps=0.2"],
    "rounds": [ROUNDS, "--attack", "fgsm:eps=0.1"],
}
Hardened = dict[str, tuple[Path, Result]]
PLAIN = ["--model", "ecg-cnn:widths=4+8,kernels=5+3", "--training", "epochs=6", "--training", "learning_rate=0.02"]


@pytest.fixture(scope="module", autouse=True)
def _no_pictures_of_epochs() -> Iterator[None]:
    """Leave out what is drawn after each epoch, which takes longer than the training and is tested beside it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("salus.hardening.ecg_atk_gan._Fold._show", lambda *given: None)
        yield


def salus(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


@pytest.fixture(scope="module")
def beats(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of heartbeats: one bump each, at a place that its class decides."""
    generator, y = np.random.default_rng(0), np.arange(240) % 3
    places = 8 * (y[:, None] + 1) + generator.normal(0, 1, (240, 1))
    x = 0.1 + 0.7 * np.exp(-((np.arange(32) - places) ** 2) / 8) + 0.05 * generator.random((240, 32))
    path = tmp_path_factory.mktemp("data") / "beats.npz"
    np.savez(path, x=x[:, None].astype(np.float32), y=y, classes=np.array(["N", "S", "V"]))
    return path


@pytest.fixture(scope="module")
def hardened(beats: Path) -> Hardened:
    """One folder for each way of hardening, and what was printed."""
    made = {}
    for name, words in COMMANDS.items():
        out = beats.parent / name
        made[name] = out, salus("harden", *words, "--data", beats, *PLAIN, "--out", out)
    return made


def facts_of(folder: Path) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads((folder / "hardening.json").read_text())
    return facts


@pytest.mark.parametrize("name", COMMANDS)
def test_it_prints_one_line_and_saves_a_model_with_its_facts(beats: Path, hardened: Hardened, name: str) -> None:
    out, result = hardened[name]
    assert result.exit_code == 0, result.output
    (line,) = result.stdout.strip().splitlines()
    facts, test = facts_of(out), load(beats).test
    model = Classifier.load(out)
    right = float((model.predict(test.x).argmax(1) == test.y).double().mean())
    assert facts["test"]["clean_accuracy"] == right > 0.5
    assert line.startswith(f"{right:.1%} of {len(test)} test inputs") and f"salus audit --data {beats}" in line
    assert f"--model {out}" in line
    assert facts["model"]["fingerprint"] == model.fingerprint()
    assert facts["data"]["fingerprint"] == test.fingerprint()
    assert facts["data"]["provenance"]["checksum"]
    assert facts["seed"] == 0 and facts["versions"]["torch"]
    assert not (out / "training").exists(), "what served to resume is gone"


def test_adversarial_training_records_its_recipe_and_its_network(hardened: Hardened) -> None:
    facts = facts_of(hardened["steps"][0])
    assert facts["method"] == "single-step"
    assert facts["options"] == {"eps": 0.05, "warmup": 0.0, "gains": False, "clean_share": 0.0}
    assert facts["model"]["name"] == "ecg-cnn hardened by single-step"
    assert facts["model"]["architecture"]["options"] == {"widths": [4, 8], "kernels": [5, 3]}
    assert facts["model"]["training"]["recipe"]["attack"]["steps"] == 1
    assert facts["history"]["epochs"] == 6
    assert facts["attack"] is None


def test_the_gan_leaves_its_generator_losses_and_pictures(hardened: Hardened) -> None:
    out = hardened["gan"][0]
    facts = facts_of(out)
    assert facts["options"]["epochs"] == 3 and facts["options"]["per_class"] is None
    assert facts["attack"]["name"] == "fgsm" and facts["attack"]["eps"] == 0.2
    assert len(facts["copies"]) == 4, "what is learnt from and what is held out, in two folds"
    assert all(part["fooled"] > 0.5 for part in facts["copies"])
    Generator(3, 1, skip="sda").load_state_dict(load_file(out / "generator.safetensors"), strict=True)
    with (out / "losses.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["fold"], row["epoch"]) for row in rows] == [(f, e) for f in "01" for e in "123"]
    for name in ("losses.png", "samples.png"):
        assert (out / name).read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(("name", "defence"), [("steps", "none"), ("gan", "attacked-head"), ("rounds", "none")])
def test_the_folder_is_audited(beats: Path, hardened: Hardened, tmp_path: Path, name: str, defence: str) -> None:
    out = hardened[name][0]
    result = salus(
        "audit", "--data", beats, "--model", out, "--defence", defence, "--attack", "fgsm:eps=0.05",
        "--false-alarm-rate", "0.1", "--out", tmp_path / "audit",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    results = json.loads((tmp_path / "audit" / "results.json").read_text())
    assert results["cells"][0]["clean_accuracy"] == facts_of(out)["test"]["clean_accuracy"]
    assert not any("learnt" in warning for warning in results["meta"]["warnings"])
    threats = {cell["threat_model"] for cell in results["cells"] if cell["guard"] == "attacked-head"}
    assert threats == ({None, "oblivious", "adaptive"} if defence != "none" else set())


def test_a_finished_hardening_is_not_done_again(
    beats: Path, hardened: Hardened, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, first = hardened["steps"]
    monkeypatch.setattr(Checkpoint, "save", lambda *_: pytest.fail("it trains again"))
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    again = salus("harden", STEPS, "--data", beats, *PLAIN, "--out", out)
    assert again.exit_code == 0 and again.stdout == first.stdout
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


@pytest.mark.parametrize(("name", "after"), [("steps", 3), ("gan", 4), ("gan", 11), ("rounds", 3), ("rounds", 9)])
def test_a_stopped_hardening_goes_on_to_the_same_weights(
    beats: Path, hardened: Hardened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, after: int
) -> None:
    command = ["harden", *COMMANDS[name], "--data", beats, *PLAIN, "--out", tmp_path / "run"]
    real, saves = Checkpoint.save, []

    def stop(self: Checkpoint, *parts: Any) -> None:
        real(self, *parts)
        saves.append(self.path.name)
        if len(saves) == after:
            raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoint, "save", stop)
    stopped = salus(*command)
    assert stopped.exit_code == 130 and "go on from here" in stopped.output
    assert not (tmp_path / "run" / "model.json").exists()
    assert salus("audit", "--data", beats, "--out", tmp_path / "run").exit_code == 2, "it is no audit's folder"
    before = len(saves)
    done = salus(*command)
    assert done.exit_code == 0, done.output
    assert len(saves) - before == len(range(before, {"steps": 6, "gan": 12, "rounds": 10}[name]))
    for file in ("model.safetensors", *(["generator.safetensors"] if name == "gan" else [])):
        assert (tmp_path / "run" / file).read_bytes() == (hardened[name][0] / file).read_bytes()


def test_the_copies_are_attacked_on_a_saved_model_too(beats: Path, hardened: Hardened, tmp_path: Path) -> None:
    plan = Plan.of({"data": str(beats), "model": str(hardened["steps"][0])})
    short = GAN.replace("epochs=3", "epochs=1")
    made = run_hardening(short, plan, tmp_path / "run", attack="fgsm:eps=0.2")
    identity = json.loads((tmp_path / "run" / "run.json").read_text())["identity"]
    assert identity["model"] == {"fingerprint": facts_of(hardened["steps"][0])["model"]["fingerprint"]}
    assert len(made.facts["copies"]) == 4
    assert "attacked-head" in made.audit


def test_every_method_reads_its_options() -> None:
    assert sorted(METHODS) == [
        "adversarial-distillation",
        "adversarial-retraining",
        "defensive-distillation",
        "ecg-atk-gan",
        "gradient-regularisation",
        "madry",
        "noise-to-signal",
        "single-step",
        "trades",
    ]
    four = build_method("ecg-atk-gan", {"preset": "four-attacks", "epochs": 2}, seed=7).settings()
    assert (four["attack_loss"], four["widths"], four["epochs"], four["seed"]) == ("mae", (16, 32, 128), 2, 7)
    assert build_method("trades", {"eps": 0.01, "beta": 3}).settings()["beta"] == 3.0
    with pytest.raises(OptionError, match="'widts'; did you mean 'widths'"):
        build_method("ecg-atk-gan", {"widts": (4,)})


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["plain"], ["'plain'", "madry"]),
        (["madry"], ["eps"]),
        (["madry:eps=0.1,stps=3"], ["'stps'", "steps"]),
        (["madry:eps=2"], ["eps=2", "8/255"]),
        (["madry:eps=0.1,steps=many"], ["steps", "many"]),
        (["madry:eps=0.1,gains=true"], ["gains", "departure,timing", "it names none"]),
        (["trades:eps=0.1,clean_share=0.5"], ["clean_share"]),
        (["madry:eps=0.1", "--attack", "fgsm:eps=0.1"], ["--attack", "madry"]),
        (["madry:eps=0.1", "--model", "."], ["'.'", "ecg-cnn"]),
        (["madry:eps=0.1", "--model", "mlp"], ["mlp", "signal"]),
        (["madry:eps=0.1", "--model", "ecg-cnn:width=4"], ["'width'", "widths"]),
        (["madry:eps=0.1", "--weights", "own.pt"], ["--weights"]),
        (["madry:eps=0.1", "--training", "epoch=3"], ["epoch", "epochs"]),
        (["madry:eps=0.1", "--device", "abacus"], ["abacus"]),
        (["ecg-atk-gan:preset=five"], ["'five'", "six-attacks"]),
        (["ecg-atk-gan:epoch=3"], ["'epoch'", "epochs"]),
        (["ecg-atk-gan:kappa=3"], ["kappa"]),
        (["ecg-atk-gan:folds=200"], ["'N'", "200 folds"]),
        (["ecg-atk-gan", "--attack", "fgsm"], ["fgsm", "eps"]),
        (["ecg-atk-gan", "--attack", "fgms:eps=0.1"], ["'fgms'", "fgsm"]),
        (["ecg-atk-gan", "--data", "breast-cancer"], ["signals", "breast-cancer"]),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_nothing(
    beats: Path, tmp_path: Path, words: list[str], expected: list[str]
) -> None:
    out = tmp_path / "run"
    result = salus("harden", words[0], "--data", beats, *words[1:], "--out", out)
    assert result.exit_code == 2, result.output
    (line,) = result.output.strip().splitlines()
    for word in expected:
        assert word in line
    assert not out.exists()


def test_a_folder_of_something_else_is_refused(beats: Path, hardened: Hardened, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    out = hardened["steps"][0]
    for method, place, word in (
        (STEPS, tmp_path, "thesis.tex"),
        ("single-step:eps=0.06", out, "another options"),
        ("madry:eps=0.05", out, "another method"),
    ):
        result = salus("harden", method, "--data", beats, *PLAIN, "--out", place)
        assert result.exit_code == 2 and word in result.output
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
