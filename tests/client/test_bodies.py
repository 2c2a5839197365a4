"""What is sent of a thing."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from salus.client.bodies import body_of
from salus.errors import DataError


def members(content: bytes) -> list[str]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return archive.namelist()


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.csv", "text/csv"), ("a.PNG", "image/png"), ("a.jpg", "image/jpeg"), ("a.jpeg", "image/jpeg"),
        ("a.tif", "image/tiff"), ("a.webp", "image/webp"), ("a.bmp", "image/bmp"), ("a.npy", "application/x-npy"),
        ("a.npz", "application/x-npz"), ("a.zip", "application/zip"), ("a.json", "application/json"),
    ],
)  # fmt: skip
def test_a_file_is_sent_as_it_is_under_the_media_type_of_its_name(tmp_path: Path, name: str, kind: str) -> None:
    (tmp_path / name).write_bytes(b"content")
    body = body_of(tmp_path / name)
    assert body.content == b"content" and body.media_type == kind
    assert body_of(str(tmp_path / name), "text/x").media_type == "text/x"


def test_a_record_is_zipped_with_all_its_files_however_it_is_named(
    tmp_path: Path, write_record: Callable[..., np.ndarray]
) -> None:
    write_record(tmp_path, "100", "NNV", length=2000)
    write_record(tmp_path, "101", "N", length=2000)
    bodies = [body_of(tmp_path / name) for name in ("100", "100.hea", "100.dat", "100.atr")]
    assert {body.content for body in bodies} == {bodies[0].content}, "the same record gives the same bytes"
    assert bodies[0].media_type == "application/zip"
    assert members(bodies[0].content) == ["100.atr", "100.dat", "100.hea"]


def test_a_headers_other_files_come_along_but_none_from_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "record").mkdir()
    (tmp_path / "secret.dat").write_bytes(b"s")
    record = tmp_path / "record" / "r1"
    record.with_name("r1.hea").write_text("r1 2 360 10\nsignals.bin 16 200\n../secret.dat 16 200\n# a comment\n")
    record.with_name("signals.bin").write_bytes(b"12")
    assert members(body_of(record).content) == ["r1.hea", "signals.bin"]


def test_a_folder_is_zipped_with_what_lies_below_it(tmp_path: Path) -> None:
    (tmp_path / "images" / "left").mkdir(parents=True)
    for name in ("b.png", "a.png", "left/c.png"):
        (tmp_path / "images" / name).write_bytes(name.encode())
    body = body_of(tmp_path / "images")
    assert body.media_type == "application/zip" and members(body.content) == ["a.png", "b.png", "left/c.png"]


def test_arrays_and_tensors_say_that_they_are_prepared(tmp_path: Path) -> None:
    x = torch.rand(3, 4, requires_grad=True)
    for thing in (x, x.detach().double().numpy()):
        body = body_of(thing)
        assert body.media_type == "application/x-npz"
        with np.load(io.BytesIO(body.content)) as arrays:
            assert arrays["x"].dtype == np.float32 and bool(arrays["prepared"])
            np.testing.assert_array_equal(arrays["x"], x.detach().numpy())


def test_rows_become_json_and_frames_a_table() -> None:
    assert json.loads(body_of([{"age": 60}]).content) == {"inputs": [{"age": 60}], "prepared": False}
    assert json.loads(body_of({"age": 60}).content)["inputs"] == [{"age": 60}]
    body = body_of(pd.DataFrame({"age": [60, 70]}))
    assert body.media_type == "text/csv" and body.content == b"age\n60\n70\n"


@pytest.mark.parametrize("thing", [b"abc", [], 3, np.array(["a"]), [object()]])
def test_what_nobody_could_read_is_refused_before_it_is_sent(thing: object) -> None:
    with pytest.raises(DataError):
        body_of(thing)


def test_missing_files_and_strange_names_are_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "a.xyz").write_bytes(b"1")
    (tmp_path / "empty").mkdir()
    for name, word in (("nosuch.csv", "no file"), ("a.xyz", "a.xyz"), ("empty", "no files")):
        with pytest.raises(DataError, match=word):
            body_of(tmp_path / name)
