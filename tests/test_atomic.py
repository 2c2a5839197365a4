"""A reader sees the old file or the new one, never half of one."""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from salus import atomic
from salus.errors import StoreError


def test_files_are_written_whole_with_parents_and_ordinary_rights(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "text.txt"
    atomic.write_text(path, "größer ×\n")
    assert path.read_text(encoding="utf-8") == "größer ×\n"
    atomic.write_text(path, "new")
    assert path.read_text() == "new" and [entry.name for entry in path.parent.iterdir()] == ["text.txt"]
    plain = tmp_path / "plain"
    plain.write_text("")
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


def test_json_is_readable_and_refuses_nan_leaving_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "card.json"
    atomic.write_json(path, {"eps": 0.1, "name": "ä"})
    assert json.loads(path.read_text(encoding="utf-8")) == {"eps": 0.1, "name": "ä"}
    with pytest.raises(ValueError, match="JSON"):
        atomic.write_json(path, {"eps": float("nan")})
    assert json.loads(path.read_text(encoding="utf-8"))["eps"] == 0.1


def test_tensors_come_back_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    weight = torch.arange(6.0).reshape(2, 3).t().requires_grad_()
    atomic.write_tensors(path, {"weight": weight})
    assert torch.equal(load_file(path)["weight"], weight)


def test_tensors_written_by_rows_are_the_same_as_those_written_at_once(tmp_path: Path) -> None:
    whole = {
        "label": torch.arange(7),
        "x": torch.rand(7, 3, 5, generator=torch.Generator().manual_seed(0)),
        "right": torch.arange(7) % 3 == 0,
    }
    with atomic.tensor_rows(tmp_path / "rows.safetensors", 7) as append:
        for rows in torch.arange(7).split(3):
            append({name: value[rows] for name, value in reversed(whole.items())})
    found = load_file(tmp_path / "rows.safetensors")
    assert found.keys() == whole.keys()
    assert all(torch.equal(found[name], value) and found[name].dtype == value.dtype for name, value in whole.items())
    atomic.write_tensors(tmp_path / "once.safetensors", whole)
    assert (tmp_path / "rows.safetensors").read_bytes() == (tmp_path / "once.safetensors").read_bytes()


def test_rows_that_were_not_all_written_leave_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, rows = tmp_path / "rows.safetensors", {"y": torch.arange(3)}
    path.write_text("old")
    with pytest.raises(ValueError, match="was to hold 5 rows, not 3"), atomic.tensor_rows(path, 5) as append:
        append(rows)
    # What fails while rows are made is no matter of the disk.
    with pytest.raises(FileNotFoundError), atomic.tensor_rows(path, 5):
        (tmp_path / "of the user's model").read_text()

    def full(_: object, __: object, ___: object) -> dict[str, int]:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(atomic, "_begin", full)
    with pytest.raises(StoreError, match="is full"), atomic.tensor_rows(path, 3) as append:
        append(rows)
    assert path.read_text() == "old" and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(("code", "sentence"), [(errno.ENOSPC, "is full"), (errno.EACCES, "Permission denied")])
def test_a_failed_write_leaves_the_old_file_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, sentence: str
) -> None:
    path = tmp_path / "text.txt"
    atomic.write_text(path, "old")

    def fail(_: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StoreError, match=sentence):
        atomic.write_text(path, "new")
    assert path.read_text() == "old" and len(list(tmp_path.iterdir())) == 1


def test_a_folder_that_is_a_file_is_refused_with_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="Choose a folder"):
        atomic.write_text(tmp_path / "file" / "text.txt", "new")


def test_an_interrupted_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "text.txt"
    atomic.write_text(path, "old")

    def interrupt(_: object, __: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        atomic.write_text(path, "new")
    assert path.read_text() == "old" and len(list(tmp_path.iterdir())) == 1
