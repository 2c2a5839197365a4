"""One raw thing has one answer: by audit, guard fit, guard apply, attack and Python, in whichever order or process."""

from __future__ import annotations

import csv
import io
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image
from safetensors.torch import load_file

from salus.cli import main
from salus.data.load import load_for
from salus.guard import Guard

#: name -> the probability of each class.
Answers = dict[str, tuple[float, ...]]

FIT = ("--defence", "mahalanobis", "--false-alarm-rate", "0.2", "--training")
SCRIPT = """
import json, sys
from pathlib import Path
from salus import Guard
judgement = Guard.load(Path(sys.argv[1])).judge(Path(sys.argv[2]))
print(json.dumps(dict(zip(judgement.names, judgement.verdict.probabilities.tolist()))))
"""


def salus(*words: object) -> Result:
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    return result


def probabilities(bundle: Path, x: torch.Tensor, names: tuple[str, ...]) -> Answers:
    rows = Guard.load(bundle).classifier.predict(x).softmax(1).tolist()
    return dict(zip(names, map(tuple, rows), strict=True))


def audited(bundle: Path, data: Path, out: Path) -> Answers:
    """What the audit attacked, by name."""
    salus(
        "audit", "--model", bundle, "--data", data, "--attack", "fgsm:eps=0.01", "--defence", "none",
        "--threat-model", "white-box", "--out", out,
    )  # fmt: skip
    given = Guard.load(bundle).preprocessor
    assert given is not None
    test = load_for(given, data, {}).test
    stored = load_file(out / "samples.safetensors")
    return probabilities(bundle, stored["x"], tuple(test.names[row] for row in stored["indices"].tolist()))


def attacked(bundle: Path, data: Path, out: Path) -> Answers:
    """What `salus attack` read, with an eps that changes next to nothing."""
    salus("attack", bundle, data, "--attack", "fgsm:eps=1e-7", "--out", out)
    with (out / "results.csv").open() as file:
        names = tuple(row["name"] for row in csv.DictReader(file))
    return probabilities(bundle, torch.from_numpy(np.load(out / "x_adv.npy")), names)


def applied(bundle: Path, data: Path, out: Path) -> dict[str, tuple[str, float]]:
    salus("guard", "apply", bundle, data, "--out", out)
    rows = csv.DictReader(io.StringIO(out.read_text()))
    return {row["name"]: (row["class"], float(row["probability"])) for row in rows}


def judged_elsewhere(bundle: Path, data: Path) -> Answers:
    """The Python API, in a new process."""
    done = subprocess.run([sys.executable, "-c", SCRIPT, bundle, data], capture_output=True, text=True, check=True)
    return {name: tuple(row) for name, row in json.loads(done.stdout).items()}


def agree(first: Answers, second: Answers, rename: Callable[[str], str] = lambda name: name) -> None:
    common = [name for name in first if rename(name) in second]
    assert len(common) >= min(len(first), len(second)) > 4
    for name in common:
        assert first[name] == pytest.approx(second[rename(name)], abs=2e-5), name


def judged_here(bundle: Path, data: Path) -> Answers:
    """The Python API."""
    judgement = Guard.load(bundle).judge(data)
    assert judgement.verdict is not None
    rows = map(tuple, judgement.verdict.probabilities.tolist())
    return dict(zip(judgement.names, rows, strict=True))


def judged(bundle: Path, data: Path, out: Path) -> Answers:
    """What Python says, and `salus guard apply` too."""
    answers = judged_here(bundle, data)
    classes = Guard.load(bundle).classifier.classes
    for name, (label, probability) in applied(bundle, data, out).items():
        assert classes[int(np.argmax(answers[name]))] == label
        assert probability == pytest.approx(max(answers[name]), abs=2e-5)
    return answers


def agree_all(bundle: Path, data: Path, place: Path) -> Answers:
    """Check that every way to ask in this process gives one answer to everything in the data."""
    answers = judged(bundle, data, place / "answers.csv")
    agree(audited(bundle, data, place / "audit"), answers)
    agree(attacked(bundle, data, place / "attack"), answers)
    return answers


def test_rows_of_a_table_whatever_the_order_of_its_columns_and_rows(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = []
    for number in range(240):
        sick = number % 2
        age, dose = rng.integers(20, 90), rng.normal(3 + 2 * sick, 1)
        rows.append([f"p{number}", age, rng.choice(["f", "m"]), "" if number % 17 == 0 else f"{dose:.3f}", sick])
    header = ["patient", "age", "sex", "dose [mg]", "label"]

    def write(path: Path, columns: list[int], order: list[int]) -> Path:
        with path.open("w", newline="") as file:
            table = [header, *(rows[row] for row in order)]
            csv.writer(file).writerows([[row[column] for column in columns] for row in table])
        return path

    data = write(tmp_path / "own.csv", [0, 1, 2, 3, 4], list(range(240)))
    bundle = tmp_path / "bundle"
    salus(
        "guard", "fit", "--data", data, "--scale", "--categories", "sex", "--impute", "median", "--group-by", "patient",
        *FIT, "epochs=25", "--out", bundle,
    )  # fmt: skip
    answers = agree_all(bundle, data, tmp_path)
    assert len(answers) == 240
    shuffled = write(tmp_path / "shuffled.csv", [3, 4, 2, 0, 1], list(range(239, -1, -1)))
    others = judged(bundle, shuffled, tmp_path / "others.csv")
    of_patient = {name.split("(")[1]: name for name in others}
    agree(answers, others, lambda name: of_patient[name.split("(")[1]])


def test_images_whatever_their_names_and_sizes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    data = tmp_path / "moles"
    for number in range(60):
        place = data / ("benign", "malignant")[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        levels = rng.integers(0, 120, (20 + number % 3, 24, 3), dtype=np.uint8)
        levels[:, :12, 0] += np.uint8(120 * (number % 2))
        Image.fromarray(levels).save(place / f"{number:03}.png")
    bundle = tmp_path / "bundle"
    salus("guard", "fit", "--data", data, "--size", "12", *FIT, "epochs=8", "--out", bundle)
    answers = agree_all(bundle, data, tmp_path)
    assert len(answers) == 60
    renamed = tmp_path / "renamed"
    for path in data.rglob("*.png"):
        (renamed / path.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, renamed / path.parent.name / f"IMG_{999 - int(path.stem)}.PNG")
    others = judged(bundle, renamed, tmp_path / "others.csv")

    def new_name(name: str) -> str:
        return f"{Path(name).parent.name}/IMG_{999 - int(Path(name).stem)}.PNG"

    agree(answers, others, new_name)
    one = data / "benign" / "004.png"
    assert judged_here(bundle, one)["004.png"] == pytest.approx(answers["benign/004.png"], abs=2e-5)
    Image.open(one).resize((96, 84), Image.Resampling.NEAREST).save(tmp_path / "large.png")
    large = judged_here(bundle, tmp_path / "large.png")["large.png"]
    assert large == pytest.approx(answers["benign/004.png"], abs=0.1)


def record(place: Path, name: str, symbols: str, signals: dict[str, np.ndarray]) -> None:
    """Write an annotated record, its leads in the order given."""
    import wfdb

    place.mkdir(exist_ok=True)
    leads = list(signals)
    values = np.stack([signals[lead] for lead in leads], axis=1)
    wfdb.wrsamp(
        name, fs=360, units=["mV"] * len(leads), sig_name=leads, p_signal=values, fmt=["16"] * len(leads),
        adc_gain=[1000.0] * len(leads), baseline=[0] * len(leads), write_dir=str(place),
    )  # fmt: skip
    peaks = np.array([400 * (place + 1) for place in range(len(symbols))])
    wfdb.wrann(name, "atr", peaks, symbol=list(symbols), write_dir=str(place))


@pytest.mark.filterwarnings("ignore")
def test_beats_of_recordings_wherever_their_leads_stand(tmp_path: Path) -> None:
    data, other, rng = tmp_path / "ecg", tmp_path / "other", np.random.default_rng(0)
    for number in range(6):
        symbols = "NV" * 8 if number < 5 else "N" * 16
        signal = rng.normal(0, 0.05, 400 * 17)
        for beat, symbol in enumerate(symbols):
            width = 6 if symbol == "N" else 20
            signal += np.exp(-(((np.arange(len(signal)) - 400 * (beat + 1)) / width) ** 2))
        beside = rng.normal(0, 1, len(signal))
        record(data, f"r{number}", symbols, {"V1": beside, "MLII": signal})
        record(other, f"r{number}", symbols, {"mlii": signal, "V1": beside})
    bundle = tmp_path / "bundle"
    salus("guard", "fit", "--data", data, *FIT, "epochs=25", "--out", bundle)
    answers = agree_all(bundle, data, tmp_path)
    assert len(answers) > 60
    agree(judged_elsewhere(bundle, data), answers)
    agree(answers, judged(bundle, other, tmp_path / "others.csv"))
