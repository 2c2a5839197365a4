"""A guard judges raw things: what it says of each, what it refuses, and what it tells of all."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from salus.cli import main
from salus.errors import BundleError, DataError
from salus.guard import Guard
from salus.jobs import JudgingTally, judge_thing


def salus(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def write(path: Path, rows: list[list[object]], header: str = "age,dose,label") -> Path:
    path.write_text("\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n")
    return path


def patients(count: int = 240, seed: int = 0) -> list[list[object]]:
    rng = np.random.default_rng(seed)
    sick = np.arange(count) % 2
    age, dose = rng.integers(20, 90, count), rng.normal(30 + 25 * sick, 8, count)
    return [[int(a), round(float(d), 2), "sick" if s else "well"] for a, d, s in zip(age, dose, sick, strict=True)]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("guards")
    data = write(place / "own.csv", patients())
    result = salus(
        "guard", "fit", "--data", data, "--scale", "--defence", "mahalanobis", "--false-alarm-rate", "0.1",
        "--training", "epochs=40", "--out", place / "bundle",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    return place / "bundle"


def test_raw_rows_of_other_patients_are_answered_as_those_of_training(bundle: Path, tmp_path: Path) -> None:
    tally = JudgingTally()
    "".join(judge_thing(bundle, write(tmp_path / "new.csv", patients(seed=1)), tally))
    assert tally.judged == 240
    assert tally.right / tally.labelled > 0.9, "46% were wrong when raw rows were taken for scaled ones"
    assert not any("WARNING" in sentence for sentence in tally.sentences())


def test_scaled_rows_and_rows_in_other_units_are_doubted(bundle: Path, tmp_path: Path) -> None:
    rows = patients(seed=1)
    for factor in (1 / 100, 1000):  # scaled by hand; in micrograms
        strange = [[age * (factor if factor < 1 else 1), dose * factor, label] for age, dose, label in rows]  # type: ignore[operator]
        tally = JudgingTally()
        "".join(judge_thing(bundle, write(tmp_path / "strange.csv", strange), tally))
        assert any("units of the training data, and not scaled already?" in word for word in tally.sentences())


def test_what_cannot_be_prepared_is_named_with_its_reason_and_the_rest_is_judged(bundle: Path, tmp_path: Path) -> None:
    rows = patients(20)
    rows[3][1], rows[5][0] = "much", ""
    result = salus("guard", "apply", bundle, write(tmp_path / "gaps.csv", rows), "--out", tmp_path / "answers.csv")
    assert result.exit_code == 0 and "WARNING: 2 inputs could not be prepared" in result.output
    table = list(csv.DictReader(io.StringIO((tmp_path / "answers.csv").read_text())))
    refused = {row["name"]: row["reason"] for row in table if row["answer"] == "not judged"}
    assert refused == {
        "row 4": "column 'dose' holds 'much', which is no number",
        "row 6": "column 'age' is empty",
    }
    assert [row["index"] for row in table if row["index"]] == [str(index) for index in range(18)]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("lacks.csv", "age,label\n3,sick\n", "there is no column 'dose'"),
        ("empty.csv", "age,dose\n", "Nothing in .*empty.csv could be prepared"),
        ("bad.csv", "age,dose\nx,1\n", "Nothing in .* could be prepared: the first, row 1, column 'age' holds 'x'"),
        ("scan.png", "no image", "is not what this model takes: a CSV file"),
        ("unit.csv", "age,dose [ug]\n1,2\n", "training had 'dose'; bring its values in that unit"),
    ],
)
def test_a_thing_that_is_no_input_gets_one_sentence_and_nothing_is_written(
    bundle: Path, tmp_path: Path, name: str, content: str, words: str
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=words):
        "".join(judge_thing(bundle, tmp_path / name, JudgingTally()))
    result = salus("guard", "apply", bundle, tmp_path / name, "--out", tmp_path / "answers.csv")
    assert result.exit_code == 2 and len(result.output.strip().splitlines()) == 1
    assert not (tmp_path / "answers.csv").exists()
    assert salus("guard", "apply", bundle, tmp_path / name).stdout == ""
    assert salus("guard", "apply", bundle, tmp_path / "nowhere.csv").exit_code == 2


def test_prepared_arrays_are_judged_as_before(bundle: Path, tmp_path: Path) -> None:
    guard = Guard.load(bundle)
    prepared = guard.classifier.prepare({"age": [30, 40, 50], "dose": [20.0, 60.0, 35.5]})
    np.savez(tmp_path / "x.npz", x=prepared.x.numpy())
    judged = guard.judge(tmp_path / "x.npz")
    assert judged.verdict is not None and judged.names == ("x[0]", "x[1]", "x[2]")
    assert judged.verdict.probabilities.tolist() == guard(prepared.x).probabilities.tolist()
    np.savez(tmp_path / "named.npz", x=prepared.x.numpy()[:, ::-1], features=np.array(["dose", "age"]))
    again = guard.judge(tmp_path / "named.npz").verdict
    assert again is not None and again.probabilities.tolist() == judged.verdict.probabilities.tolist()
    np.savez(tmp_path / "raw.npz", x=np.array([[30.0, 20.0]]))
    with pytest.raises(DataError, match=r"x\[0\], has values from 20 to 30, outside the bounds"):
        guard.judge(tmp_path / "raw.npz")


def test_a_bundle_from_before_refuses_raw_things_until_a_preprocessor_is_attached(bundle: Path, tmp_path: Path) -> None:
    guard = Guard.load(bundle)
    guard.classifier.preprocessor = None
    old = tmp_path / "old"
    guard.save(old)
    raw = write(tmp_path / "own.csv", patients())
    with pytest.raises(BundleError, match="attach-preprocessor"):
        Guard.load(old).judge(raw)
    with pytest.raises(BundleError, match="attach-preprocessor"):
        Guard.load(old).judge({"age": [1], "dose": [2]})
    wrong = salus("guard", "attach-preprocessor", old, "--data", raw)
    assert wrong.exit_code == 2 and "outside the bounds" in wrong.output, "without --scale"
    other = write(tmp_path / "other.csv", [[age, -dose, label] for age, dose, label in patients()])  # type: ignore[operator]
    wrong = salus("guard", "attach-preprocessor", old, "--data", other, "--scale")
    assert wrong.exit_code == 2 and ("no better than chance" in wrong.output or "not calibrated on" in wrong.output)
    attached = salus("guard", "attach-preprocessor", old, "--data", raw, "--scale")
    assert attached.exit_code == 0 and "now prepares raw inputs: 2 columns by name" in attached.output
    judged, before = Guard.load(old).judge(raw).verdict, Guard.load(bundle).judge(raw).verdict
    assert judged is not None and before is not None
    assert judged.probabilities.tolist() == before.probabilities.tolist()
    again = salus("guard", "attach-preprocessor", old, "--data", raw, "--scale")
    assert again.exit_code == 2 and "has a preprocessor" in again.output


def test_numbers_as_labels_are_compared_as_numbers(bundle: Path, tmp_path: Path) -> None:
    guard = Guard.load(bundle)
    guard.classifier.classes = ("1", "2")  # sick, well
    assert guard.preprocessor is not None
    guard.classifier.preprocessor = guard.preprocessor.of(classes=("1", "2"), bounds=(0, 1), shape=(2,))
    guard.save(tmp_path / "numbers")
    rows = [[age, dose, {"sick": "1.0", "well": "2.0"}[str(label)]] for age, dose, label in patients(seed=1)]
    tally = JudgingTally()
    "".join(judge_thing(tmp_path / "numbers", write(tmp_path / "new.csv", rows), tally))
    assert tally.labelled == tally.judged - tally.rejected > 200 and tally.right / tally.labelled > 0.9
