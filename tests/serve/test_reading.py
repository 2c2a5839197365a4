"""Bodies of requests: every media type, prepared as the same files are from the command line."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import nn

from salus.classifier import Classifier
from salus.errors import DataError
from salus.preprocessing import (
    ArrayPreprocessor,
    ImagePreprocessor,
    Preprocessor,
    RecordingPreprocessor,
    TablePreprocessor,
)
from salus.preprocessing.scaling import MinMax
from salus.preprocessing.tables import Column
from salus.serve.problems import ProblemDetailsError
from salus.serve.reading import read_body


class _Sum(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        total = x.flatten(1).sum(1, keepdim=True)
        return torch.cat([total, -total], 1)


def _classifier(preprocessor: Preprocessor | None, shape: tuple[int, ...]) -> Classifier:
    return Classifier(_Sum(), ("a", "b"), shape=shape, preprocessor=preprocessor)


@pytest.fixture
def table() -> Classifier:
    scaling = MinMax(np.array([0.0, 10.0], np.float32), np.array([100.0, 20.0], np.float32))
    columns = (Column("age"), Column("sugar [mg/dl]"))
    return _classifier(
        TablePreprocessor(
            columns=columns,
            scaling=scaling,
            label="ill",
            classes=("a", "b"),
            bounds=(0.0, 1.0),
            shape=(2,),
            fitted_on="t",
        ),
        (2,),
    )


@pytest.fixture
def pictures() -> Classifier:
    return _classifier(
        ImagePreprocessor(classes=("a", "b"), bounds=(0.0, 1.0), shape=(1, 8, 8), fitted_on="i"), (1, 8, 8)
    )


@pytest.fixture
def beats() -> Classifier:
    return _classifier(
        RecordingPreprocessor(leads=("MLII",), classes=("a", "b"), bounds=(0.0, 1.0), shape=(1, 280), fitted_on="r"),
        (1, 280),
    )


def _read(classifier: Classifier, content_type: str, body: bytes, **options: Any) -> Any:
    return read_body(content_type, body, classifier, **{"most": 1000, "max_bytes": 2**22, **options})


def test_rows_are_matched_by_name_from_json_and_from_csv_alike(table: Classifier) -> None:
    rows = {"inputs": [{"sugar [mg/dl]": 20, "age": 50}, {"sugar [mg/dl]": 10, "age": 100}]}
    from_json = _read(table, "application/json", json.dumps(rows).encode())
    from_csv = _read(table, "text/csv", b"sugar [mg/dl],age\n20,50\n10,100\n")
    assert from_json.x.tolist() == from_csv.x.tolist() == [[0.5, 0.5], [1.0, 0.0]]
    assert from_json.names == from_csv.names == ("row 1", "row 2")


def test_a_row_that_cannot_be_prepared_is_named_and_the_others_stay(table: Classifier) -> None:
    rows = {"inputs": [{"age": 50}, {"sugar [mg/dl]": 10, "age": 100}]}
    prepared = _read(table, "application/json", json.dumps(rows).encode())
    assert prepared.names == ("row 2",)
    assert [refusal.name for refusal in prepared.refused] == ["row 1"]


def test_a_missing_column_is_named_without_the_scratch_folder(table: Classifier) -> None:
    with pytest.raises(DataError, match="sugar") as caught:
        _read(table, "text/csv", b"age\n50\n")
    assert "/tmp" not in str(caught.value)
    assert "salus-" not in str(caught.value)


def test_prepared_arrays_are_checked_and_not_scaled_again(table: Classifier) -> None:
    body = json.dumps({"inputs": [[0.25, 0.75], [0.5, 2.0]], "prepared": True}).encode()
    prepared = _read(table, "application/json", body)
    assert prepared.x.tolist() == [[0.25, 0.75]]
    assert "outside the bounds" in prepared.refused[0].reason


def test_numbers_in_the_order_of_the_features_are_scaled(table: Classifier) -> None:
    assert _read(table, "application/json", b'{"inputs": [[50, 20]]}').x.tolist() == [[0.5, 0.5]]


@pytest.mark.parametrize("kind", ["npy", "npz"])
def test_files_of_arrays_are_prepared_already(table: Classifier, kind: str) -> None:
    file = io.BytesIO()
    x = np.array([[0.25, 0.75]], np.float32)
    np.save(file, x) if kind == "npy" else np.savez(file, x=x)
    assert _read(table, f"application/x-{kind}", file.getvalue()).x.tolist() == x.tolist()


def test_images_come_alone_in_a_form_and_in_an_archive(pictures: Classifier) -> None:
    file = io.BytesIO()
    Image.fromarray(np.full((8, 8), 51, np.uint8)).save(file, "PNG")
    alone = _read(pictures, "image/png", file.getvalue())
    form = _read(
        pictures, "multipart/form-data", b"", files=[("../a.png", file.getvalue()), ("b.png", file.getvalue())]
    )
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("x/a.png", file.getvalue())
    zipped = _read(pictures, "application/zip", archive.getvalue())
    assert alone.x.tolist() == zipped.x.tolist() == form.x[:1].tolist() == torch.full((1, 1, 8, 8), 0.2).tolist()
    assert form.names == ("a.png", "b.png")
    assert zipped.names == ("x/a.png",)


def test_a_record_comes_as_a_pair_or_an_archive_and_as_signals(
    beats: Classifier, tmp_path: Path, write_record: Callable[..., Any]
) -> None:
    signals = write_record(tmp_path, "r1", ["N", "V", "N"])
    files = [(path.name, path.read_bytes()) for path in sorted(tmp_path.iterdir())]
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as packed:
        for name, content in files:
            packed.writestr(name, content)
    pair = _read(beats, "multipart/form-data", b"", files=files)
    zipped = _read(beats, "application/zip", archive.getvalue())
    millivolts = ((signals[:, 0] - 1024) / 200).tolist()
    raw = {"inputs": [{"signals": {"mlii": millivolts}, "rate": 360, "peaks": [400, 800, 1200], "name": "r1"}]}
    told = _read(beats, "application/json", json.dumps(raw).encode())
    assert len(pair.x) == 3
    assert torch.equal(pair.x, zipped.x)
    assert torch.allclose(pair.x, told.x, atol=1e-6)
    assert pair.names == zipped.names == told.names


@pytest.mark.parametrize(
    ("content_type", "body", "kind"),
    [
        ("text/html", b"<p>", "unsupported"),
        ("image/png", b"", "unsupported"),
        ("", b"{}", "unsupported"),
        ("application/json", json.dumps({"inputs": [[1, 2]] * 11}).encode(), "too-large"),
        ("text/csv", b"age,sugar [mg/dl]\n" + b"1,2\n" * 11, "too-large"),
    ],
)
def test_what_is_not_read_or_too_much_is_a_problem(
    table: Classifier, content_type: str, body: bytes, kind: str
) -> None:
    with pytest.raises(ProblemDetailsError) as caught:
        _read(table, content_type, body, most=10)
    assert caught.value.kind == kind


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[" * 100_000,
        b"{}",
        b'{"inputs": []}',
        b'{"inputs": [[1, 2], [1]]}',
        b'{"inputs": [["a", "b"]]}',
        b'{"inputs": [[1, 2]], "more": 1}',
        b'{"inputs": [[1e999, 2]], "prepared": true, "x": 1}',
        b'{"inputs": [[1, 2, 3]]}',
        b'{"inputs": [10000000000000000000000000000000000]}',
        b'{"inputs": [{"signals": 3}]}',
        b"\xff\xfe",
    ],
)
def test_json_that_is_no_request_gets_a_sentence(table: Classifier, beats: Classifier, body: bytes) -> None:
    for classifier in (table, beats):
        with pytest.raises(DataError) as caught:
            _read(classifier, "application/json", body)
        assert str(caught.value).endswith(".")


def test_archives_that_unpack_to_too_much_or_outside_are_refused(pictures: Classifier) -> None:
    bomb, escape = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("a.png", b"\0" * 2**23)
    with zipfile.ZipFile(escape, "w") as packed:
        packed.writestr("../a.png", b"")
    for archive in (bomb, escape):
        with pytest.raises(DataError):
            _read(pictures, "application/zip", archive.getvalue())


def test_arrays_that_unpack_to_too_much_are_refused(table: Classifier) -> None:
    bomb = io.BytesIO()
    np.savez_compressed(bomb, x=np.zeros((2**20, 2), np.float64))
    with pytest.raises(DataError, match="unpack to"):
        _read(table, "application/x-npz", bomb.getvalue())


_KINDS = ("application/json", "application/x-npy", "application/x-npz", "text/csv", "image/png", "application/zip")


@given(st.sampled_from(_KINDS), st.binary(max_size=300), st.booleans())
def test_any_bytes_end_in_inputs_or_in_a_sentence(kind: str, body: bytes, scaled: bool) -> None:
    scaling = MinMax(np.zeros(2, np.float32), np.ones(2, np.float32)) if scaled else None
    plain = ArrayPreprocessor(scaling=scaling, classes=("a", "b"), bounds=(0.0, 1.0), shape=(2,), fitted_on="t")
    try:
        prepared = _read(_classifier(plain, (2,)), kind, body)
    except (DataError, ProblemDetailsError):
        return
    assert len(prepared.x) + len(prepared.refused)
