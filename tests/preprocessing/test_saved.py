"""A preprocessor in a folder: the same when it comes back, refused when it is another; folders before have none."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from salus.audit.plan import Plan
from salus.classifier import Classifier
from salus.data import Splits, load
from salus.detectors import IDefender
from salus.errors import BundleError, DataError
from salus.guard import Guard
from salus.jobs import attach_preprocessor
from salus.models import build_model
from salus.preprocessing import (
    ArrayPreprocessor,
    ImagePreprocessor,
    Preprocessor,
    RawRecording,
    RecordingPreprocessor,
    TablePreprocessor,
    load_preprocessor,
    save_preprocessor,
)
from salus.preprocessing.csv_file import RawTable
from salus.preprocessing.scaling import MinMax

TABLE = RawTable(
    {"age": np.array([30.0, 50.0, np.nan]), "bmi (kg/m2)": np.array([20.5, 31.1, 25.0]), "sex": ["f", "m", "?"]},
    ("row 1", "row 2", "row 3"),
)


def of_tables(scale: bool = True) -> TablePreprocessor:
    made = TablePreprocessor.fit(
        TABLE, np.arange(3), categories=("sex",), impute="mean", label="dx", identifiers=("who",), ignored=("note",)
    )
    scaling = MinMax.fit(made.encode(TABLE)[0]) if scale else None
    return replace(made, scaling=scaling).of(classes=("a", "b"), bounds=(0, 1) if scale else (0, 100), shape=(4,))


def of_images() -> ImagePreprocessor:
    return ImagePreprocessor(white=4095, pages="first", resized=True, classes=("a", "b"), shape=(1, 5, 7))


def of_recordings() -> RecordingPreprocessor:
    inputs = ("beat", "next", "rhythm")
    return RecordingPreprocessor(leads=("MLII", "V5"), inputs=inputs, peaks="xqrs", classes=("N",), shape=(3, 280))


def of_arrays() -> ArrayPreprocessor:
    scaling = MinMax(np.asarray(-1.5), np.asarray(3.25))
    return ArrayPreprocessor(features=("p", "q"), scaling=scaling, classes=("a", "b"), shape=(2,), fitted_on="c0ffee")


RAW: dict[str, tuple[Callable[[], Preprocessor], Any]] = {
    "table": (of_tables, TABLE),
    "table in its own units": (lambda: of_tables(scale=False), TABLE),
    "image": (of_images, torch.arange(2 * 48).reshape(2, 1, 6, 8) * 40),
    "recording": (
        of_recordings,
        RawRecording({"V5": np.random.default_rng(0).normal(size=2000)}, 360, "r", [300, 600, 900]),
    ),
    "array": (of_arrays, torch.tensor([[-1.0, 0.5], [9.0, 0.0]])),
    "array as it is": (lambda: ArrayPreprocessor(classes=("a", "b"), shape=(2,)), torch.tensor([[0.1, 0.5]])),
}


@pytest.mark.parametrize("kind", RAW)
def test_what_is_saved_comes_back_the_same(tmp_path: Path, kind: str) -> None:
    make, raw = RAW[kind]
    preprocessor = make()
    save_preprocessor(preprocessor, tmp_path)
    again = load_preprocessor(tmp_path)
    assert again is not None
    assert type(again) is type(preprocessor)
    assert again.fingerprint() == preprocessor.fingerprint()
    assert again.settings() == preprocessor.settings()
    assert again.describe() == preprocessor.describe()
    before, after = preprocessor.transform(raw), again.transform(raw)
    assert len(before.x)
    assert torch.equal(before.x, after.x)
    assert (before.names, before.refused, before.notes) == (after.names, after.refused, after.notes)


@pytest.mark.parametrize(
    "change",
    [
        {"white": 255}, {"pages": None}, {"resized": False}, {"classes": ("b", "a")}, {"bounds": (0.0, 2.0)},
        {"shape": (1, 7, 5)},
    ],
)  # fmt: skip
def test_the_fingerprint_tells_all_that_decides_an_input(change: dict[str, Any]) -> None:
    assert replace(of_images(), **change).fingerprint() != of_images().fingerprint()
    assert replace(of_images(), fitted_on="elsewhere").fingerprint() == of_images().fingerprint()


def test_the_fingerprint_tells_the_scaling() -> None:
    made = of_tables()
    assert made.scaling is not None
    other = replace(made, scaling=MinMax(made.scaling.low, made.scaling.span * 1.001))
    assert other.fingerprint() != made.fingerprint()


def page_of(folder: Path) -> dict[str, Any]:
    page: dict[str, Any] = json.loads((folder / "preprocessor.json").read_text())
    return page


def write_page(folder: Path, page: Any) -> None:
    (folder / "preprocessor.json").write_text(page if isinstance(page, str) else json.dumps(page))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda page: page["settings"].update(label="other"), "was changed since"),
        (lambda page: page["settings"]["columns"][0].update(fill=99.0), "was changed since"),
        (lambda page: page["settings"].pop("columns"), "is damaged"),
        (lambda page: page.update(settings=[1]), "is damaged"),
        (lambda page: page.pop("fingerprint"), "is damaged"),
        (lambda page: page.update(kind="image"), "is damaged"),
        (lambda page: page.update(kind=["table"]), "this Salus reads version 1 of table"),
        (lambda page: page.update(kind="dicom"), "this Salus reads version 1 of table"),
        (lambda page: page.update(version=2), "has version 2"),
        (lambda page: page.update(format="else"), "does not describe a preprocessor"),
        (lambda page: page.update(sha256="0"), "was changed or cut short"),
        (lambda page: page.pop("sha256"), "was changed since"),
    ],
)
def test_a_page_that_was_changed_is_refused(tmp_path: Path, change: Callable[[dict[str, Any]], Any], said: str) -> None:
    save_preprocessor(of_tables(), tmp_path)
    page = page_of(tmp_path)
    change(page)
    write_page(tmp_path, page)
    with pytest.raises(BundleError, match=said) as error:
        load_preprocessor(tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "[" * 100_000, '"\ud800'])
def test_a_page_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "preprocessor.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(BundleError, match=r"preprocessor\.json"):
        load_preprocessor(tmp_path)


def test_arrays_that_are_missing_or_cut_short_are_refused(tmp_path: Path) -> None:
    save_preprocessor(of_tables(), tmp_path)
    arrays = tmp_path / "preprocessor.safetensors"
    arrays.write_bytes(arrays.read_bytes()[:-3])
    with pytest.raises(BundleError, match="was changed or cut short"):
        load_preprocessor(tmp_path)
    arrays.unlink()
    with pytest.raises(BundleError, match="is damaged"):
        load_preprocessor(tmp_path)


# --- models and guards


def write_csv(path: Path, *, shift: float = 0.0) -> Path:
    rng = np.random.default_rng(0)
    rows = ["age,glucose,label"]
    for number in range(240):
        ill = number % 2
        rows.append(
            f"{rng.normal(40 + 20 * ill, 4):.3f},{rng.normal(90 + 60 * ill, 9) + shift:.3f},{'ill' if ill else 'well'}"
        )
    path.write_text("\n".join(rows) + "\n")
    return path


def plan(data: Path, **options: Any) -> Plan:
    return Plan.of({"data": str(data), **options})


class Folders:
    """A table, the splits that were made of it, and a guard for them: as it is saved now, and as it was before."""

    def __init__(self, root: Path) -> None:
        self.csv = write_csv(root / "patients.csv")
        self.splits: Splits = load(self.csv, scale=True)
        train = self.splits.train
        with torch.random.fork_rng():
            torch.manual_seed(0)
            module = build_model("mlp", (2,), 2)
        optimiser = torch.optim.Adam(module.parameters(), 0.01)
        for _ in range(100):
            optimiser.zero_grad()
            nn.functional.cross_entropy(module(train.x), train.y).backward()
            optimiser.step()
        classifier = Classifier(
            module, train.classes, shape=(2,), architecture={"name": "mlp"}, preprocessor=self.splits.test.preprocessor
        )
        self.guard = Guard(classifier, [IDefender()]).fit(train, self.splits.calibration, 0.1)
        self.now, self.before = root / "now", root / "before"
        self.guard.save(self.now)
        classifier.preprocessor = None
        self.guard.save(self.before)
        classifier.preprocessor = self.splits.test.preprocessor
        page = json.loads((self.before / "model.json").read_text())
        assert page.pop("preprocessor") is None  # the key itself is new
        (self.before / "model.json").write_text(json.dumps(page))
        guard = json.loads((self.before / "guard.json").read_text())
        from salus.guard import _checksum, _sha256

        guard["sha256"]["model.json"] = _sha256(self.before / "model.json")
        guard.pop("checksum")
        guard["checksum"] = _checksum(guard)
        (self.before / "guard.json").write_text(json.dumps(guard))
        assert not list(self.before.glob("preprocessor.*"))

    def copy(self, which: Path, to: Path) -> Path:
        shutil.copytree(which, to)
        return to

    def prepared(self, folder: Path) -> Path:
        np.savez(folder / "x.npz", x=self.splits.test.x.numpy(), y=self.splits.test.y.numpy())
        return folder / "x.npz"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    return Folders(tmp_path_factory.mktemp("models"))


def test_a_guard_that_was_saved_judges_raw_rows_as_the_one_in_memory(folders: Folders) -> None:
    again = Guard.load(folders.now)
    ours, theirs = folders.guard.judge(folders.csv), again.judge(folders.csv)
    assert ours.names == theirs.names
    assert ours.verdict is not None
    assert theirs.verdict is not None
    assert torch.equal(ours.verdict.probabilities, theirs.verdict.probabilities)
    assert torch.equal(ours.verdict.accepted, theirs.verdict.accepted)


def test_a_folder_whose_preprocessor_is_missing_or_another_is_refused(folders: Folders, tmp_path: Path) -> None:
    missing = folders.copy(folders.now, tmp_path / "missing")
    (missing / "preprocessor.json").unlink()
    with pytest.raises(BundleError, match=r"preprocessor\.json is missing; take a fresh copy"):
        Guard.load(missing)
    other = folders.copy(folders.now, tmp_path / "other")
    save_preprocessor(of_tables(), other)
    with pytest.raises(BundleError, match="is not the one that the model was saved with"):
        Guard.load(other)


def test_a_folder_from_before_judges_prepared_arrays_and_refuses_raw_things_with_the_remedy(
    folders: Folders, tmp_path: Path
) -> None:
    guard = Guard.load(folders.before)
    assert guard.preprocessor is None
    prepared = folders.prepared(tmp_path)
    before, now = guard.judge(prepared), folders.guard.judge(prepared)
    assert before.verdict is not None
    assert now.verdict is not None
    assert torch.equal(before.verdict.probabilities, now.verdict.probabilities)
    assert torch.equal(before.verdict.accepted, folders.guard(folders.splits.test.x).accepted)
    for raw in (folders.csv, {"age": [40.0], "glucose": [90.0]}):
        with pytest.raises(BundleError, match="salus guard attach-preprocessor"):
            guard.judge(raw)


def test_a_preprocessor_is_attached_after_its_data_were_checked(folders: Folders, tmp_path: Path) -> None:
    folder = folders.copy(folders.before, tmp_path / "guard")
    attached = attach_preprocessor(folder, plan(folders.csv, scale=True))
    assert "of their calibration samples" in attached.check
    again = Guard.load(folder)
    ours, theirs = folders.guard.judge(folders.csv), again.judge(folders.csv)
    assert ours.verdict is not None
    assert theirs.verdict is not None
    assert torch.equal(ours.verdict.accepted, theirs.verdict.accepted)
    with pytest.raises(BundleError, match="has a preprocessor"):
        attach_preprocessor(folder, plan(folders.csv, scale=True))


def test_a_preprocessor_of_other_data_is_refused_and_the_folder_stays_as_it_was(
    folders: Folders, tmp_path: Path
) -> None:
    folder = folders.copy(folders.before, tmp_path / "guard")
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    for other in (
        plan(folders.csv, bounds=(0.0, 400.0)),  # not scaled
        plan(folders.csv, scale=True, ignore=("age",)),
    ):
        with pytest.raises(BundleError, match="was not made from these data"):
            attach_preprocessor(folder, other)
    shuffled = tmp_path / "renamed.csv"
    shuffled.write_text(folders.csv.read_text().replace("well", "healthy"))
    with pytest.raises(BundleError, match="its classes are"):
        attach_preprocessor(folder, plan(shuffled, scale=True))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == files


def test_where_the_folder_holds_a_fingerprint_seed_and_file_must_be_those_of_training(
    folders: Folders, tmp_path: Path
) -> None:
    folder = folders.copy(folders.before, tmp_path / "guard")
    data = {**folders.splits.describe(), "fingerprint": folders.splits.test.fingerprint()}
    (folder / "results.json").write_text(json.dumps({"meta": {"model": {"training": {}}, "data": data}}))
    with pytest.raises(BundleError, match="name the same file, options and seed as in training"):
        attach_preprocessor(folder, plan(folders.csv, scale=True, seed=1))
    moved = write_csv(tmp_path / "patients.csv", shift=64)  # scaled, its samples are the same
    with pytest.raises(BundleError, match="was made from another file than this"):
        attach_preprocessor(folder, plan(moved, scale=True))
    attached = attach_preprocessor(folder, plan(folders.csv, scale=True))
    assert "fingerprint" in attached.check
    assert Guard.load(folder).preprocessor is not None


def test_arrays_that_name_their_features_are_put_in_order_and_others_refused(folders: Folders, tmp_path: Path) -> None:
    x = folders.splits.test.x.numpy()
    np.savez(tmp_path / "a.npz", x=x[:, ::-1], features=["glucose", "age"])
    np.savez(tmp_path / "b.npz", x=x, features=["glucose", "height"])
    np.savez(tmp_path / "c.npz", x=x, features=["glucose", "age", "height"])
    np.savez(tmp_path / "d.npz", x=x[:, 0], features=["glucose", "age"])
    ours = folders.guard.judge(tmp_path / "a.npz").verdict
    assert ours is not None
    assert torch.equal(ours.accepted, folders.guard(folders.splits.test.x).accepted)
    for name, said in (("b", "has no feature 'age'"), ("c", "names 3 features"), ("d", "names 2 features")):
        with pytest.raises(DataError, match=said):
            folders.guard.judge(tmp_path / f"{name}.npz")
