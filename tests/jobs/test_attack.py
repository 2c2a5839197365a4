"""One attack on a file: written as it comes, gone on with after a kill, the same as in one piece."""

from __future__ import annotations

import csv
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from salus.atomic import write_json
from salus.attacks import PGD, UAP
from salus.classifier import Classifier
from salus.cli import main
from salus.errors import DataError, OptionError, StoreError
from salus.jobs import attack as stream
from salus.jobs.attack import Rows, attack_rows
from salus.jobs.samples import read_samples
from salus.models import build_model
from salus.storage import RowReader, RowWriter

ATTACK = PGD(eps=0.05, steps=3, batch_size=32)


@pytest.fixture
def files(toy: Any, tmp_path: Path) -> tuple[Path, Path]:
    x, y = tmp_path / "x.npy", tmp_path / "y.npy"
    np.save(x, toy.test.x.numpy())
    np.save(y, toy.test.y.numpy())
    return x, y


def opened(x: Path, y: Path) -> tuple[Rows, Rows]:
    return RowReader(x), RowReader(y)


def rows(out: Path) -> list[dict[str, str]]:
    with (out / "results.csv").open() as file:
        return list(csv.DictReader(file))


def test_the_file_holds_what_one_run_over_all_gives(toy: Any, files: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    made = attack_rows(ATTACK, toy.classifier, *opened(*files), out, shard=70)
    whole = ATTACK.run(toy.classifier, toy.test.x, toy.test.y)
    np.testing.assert_array_equal(np.load(out / "x_adv.npy"), whole.x_adv.numpy())
    assert [row["success"] == "true" for row in rows(out)] == whole.success.tolist()
    assert [int(row["queries"]) for row in rows(out)] == whole.queries.tolist()
    assert [int(row["index"]) for row in rows(out)] == list(range(300))
    assert made.n == made.computed == 300 and made.fooled == int(whole.success.sum()) > 0


@pytest.mark.parametrize("write", [1, 2, 4, 6])
def test_a_killed_run_goes_on_to_the_same_bytes(
    write: int, toy: Any, files: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = opened(*files)
    attack_rows(ATTACK, toy.classifier, *data, tmp_path / "whole", shard=70)
    left = write

    def dying(path: Path, content: Any) -> None:
        nonlocal left
        left -= 1
        if left == 0:  # rows are on the disk that nobody knows of
            raise KeyboardInterrupt
        write_json(path, content)

    broken = tmp_path / "broken"
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(stream, "write_json", dying)
        attack_rows(ATTACK, toy.classifier, *data, broken, shard=70)
    made = attack_rows(ATTACK, toy.classifier, *data, broken, shard=70)
    assert made.computed == 300 - 70 * max(write - 2, 0)
    for name in ("x_adv.npy", "results.csv", "attack.json"):
        assert (broken / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert attack_rows(ATTACK, toy.classifier, *data, broken, shard=70).computed == 0


def test_the_folder_of_another_attack_or_of_something_else_is_refused(
    toy: Any, files: tuple[Path, Path], tmp_path: Path
) -> None:
    data = opened(*files)
    attack_rows(ATTACK, toy.classifier, *data, tmp_path / "out")
    with pytest.raises(StoreError, match="another attack"):
        attack_rows(PGD(eps=0.06), toy.classifier, *data, tmp_path / "out")
    x, y = (np.array(part) for part in (data[0][:], data[1][:]))
    later, other = x.copy(), (y + 1) % 3
    later[250] = 0.5
    for samples, labels in ((later, y), (x, other)):
        with pytest.raises(StoreError, match="another attack, model or data"):
            attack_rows(ATTACK, toy.classifier, samples, labels, tmp_path / "out")
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.tex").write_text("years of work")
    with pytest.raises(StoreError, match="something else"):
        attack_rows(ATTACK, toy.classifier, *data, tmp_path / "thesis")
    assert [path.name for path in (tmp_path / "thesis").iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("name", ["x_adv.npy", "results.csv"])
def test_a_result_that_was_cut_short_is_not_taken_for_finished(
    name: str, toy: Any, files: tuple[Path, Path], tmp_path: Path
) -> None:
    data = opened(*files)
    attack_rows(ATTACK, toy.classifier, *data, tmp_path / "out")
    os.truncate(tmp_path / "out" / name, 200)
    with pytest.raises(StoreError, match="shorter"):
        attack_rows(ATTACK, toy.classifier, *data, tmp_path / "out")


def test_a_universal_perturbation_is_not_fitted_shard_by_shard(
    toy: Any, files: tuple[Path, Path], tmp_path: Path
) -> None:
    with pytest.raises(OptionError, match="UAP"):
        attack_rows(UAP(eps=0.1), toy.classifier, *opened(*files), tmp_path / "out")
    with pytest.raises(OptionError, match="streamed"):
        next(UAP(eps=0.1).stream(toy.classifier, [(toy.test.x, toy.test.y)]))


def test_a_stream_names_the_sample_by_its_place_in_all_of_them(toy: Any, tmp_path: Path) -> None:
    x = toy.test.x.numpy().copy()
    x[137, 2] = np.nan
    with pytest.raises(DataError, match="sample 137"):
        attack_rows(ATTACK, toy.classifier, x, toy.test.y.numpy(), tmp_path / "out", shard=50)


def test_a_stream_has_one_time_limit_for_all_batches(toy: Any) -> None:
    asked = 0

    def slow(batch: torch.Tensor) -> torch.Tensor:
        nonlocal asked
        asked += 1
        time.sleep(0.02)
        return toy.classifier(batch)  # type: ignore[no-any-return]

    attack = PGD(eps=0.01, steps=1000, early_stop=False, time_limit=0.2)
    batches = [(toy.test.x[i : i + 50], toy.test.y[i : i + 50]) for i in range(0, 300, 50)]
    assert len(list(attack.stream(slow, batches))) == 6 and asked < 60


@pytest.mark.parametrize(
    ("x", "y", "sentence"),
    [
        (np.zeros((3, 7), np.float32), np.zeros(3, np.int64), r"takes floats \[N, 8\]"),
        (np.zeros((3, 8), np.uint8), np.zeros(3, np.int64), "takes floats"),
        (np.zeros((3, 8), np.float32), np.zeros(4, np.int64), "3 whole numbers"),
        (np.zeros((3, 8), np.float32), np.zeros(3, np.float32), "3 whole numbers"),
        (np.zeros((0, 8), np.float32), np.zeros(0, np.int64), "no samples"),
        (np.full((3, 8), 2.0, np.float32), np.zeros(3, np.int64), "outside the bounds"),
    ],
)
def test_data_that_do_not_fit_are_refused(x: Any, y: Any, sentence: str, toy: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=sentence):
        attack_rows(ATTACK, toy.classifier, x, y, tmp_path / "out")


def test_rows_are_read_and_written_in_slices(toy: Any, tmp_path: Path) -> None:
    values = np.arange(60, dtype=np.float32).reshape(10, 2, 3)
    writer = RowWriter(tmp_path / "a.npy", values.shape)
    writer.append(values[:4])
    writer.append(np.full((3, 2, 3), -1, np.float32))  # cut off by the next
    writer.close()
    writer = RowWriter(tmp_path / "a.npy", values.shape, done=4)
    writer.append(values[4:])
    writer.close()
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), values)
    np.testing.assert_array_equal(RowReader(tmp_path / "a.npy")[3:7], values[3:7])
    np.save(tmp_path / "fortran.npy", np.asfortranarray(values))
    (tmp_path / "cut.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:-5])
    for name in ("fortran", "cut", "none"):
        with pytest.raises(DataError, match=name):
            RowReader(tmp_path / f"{name}.npy")
    with pytest.raises(DataError, match="--labels"):
        read_samples(toy.classifier, tmp_path / "a.npy")


def test_the_command_attacks_a_saved_model(toy: Any, files: tuple[Path, Path], tmp_path: Path) -> None:
    module = build_model("mlp", (8,), 3, {})
    architecture = {"name": "mlp", "options": {}}
    classifier = Classifier(module, toy.test.classes, shape=(8,), architecture=architecture, name="mlp")
    classifier.save(tmp_path / "model")
    np.savez(tmp_path / "both.npz", x=toy.test.x.numpy(), y=toy.test.y.numpy())
    spec = ["--attack", "pgd:eps=0.05,steps=3", "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(main, ["attack", str(tmp_path / "model"), str(tmp_path / "both.npz"), *spec])
    assert result.exit_code == 0 and "of 300 samples" in result.output, result.output
    torch.testing.assert_close(
        torch.from_numpy(np.load(tmp_path / "out" / "x_adv.npy")),
        PGD(eps=0.05, steps=3)(classifier, toy.test.x, toy.test.y),
    )
    x, y = files
    again = ["attack", str(tmp_path / "model"), str(x), "--labels", str(y), *spec]
    assert "0 attacked by this run" in CliRunner().invoke(main, again).output
    wrong = CliRunner().invoke(main, ["attack", str(tmp_path / "model"), str(x), *spec])
    assert wrong.exit_code == 2 and wrong.output.count("\n") == 1
