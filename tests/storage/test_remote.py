from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import fsspec
import pytest

from salus.audit import Plan, run_audit
from salus.errors import StoreError
from salus.storage import remote
from salus.storage.remote import run_folder

PLAN = {"data": "breast-cancer", "attack": "fgsm:eps=0.03", "defence": "none", "samples": 40}


@pytest.fixture
def url() -> Iterator[str]:
    place = f"memory://{uuid4()}/run"
    yield place
    memory = fsspec.filesystem("memory")
    if memory.exists(place.removeprefix("memory:/")):
        memory.rm(place.removeprefix("memory:/"), recursive=True)


def _stored(url: str) -> dict[str, bytes]:
    files, root = fsspec.core.url_to_fs(url)
    return {path.removeprefix(root).lstrip("/"): files.cat_file(path) for path in files.find(root)}


def test_an_audit_in_object_storage_goes_on_where_it_was(url: str) -> None:
    plan = Plan.of(PLAN)
    with run_folder(url) as folder:
        first = run_audit(plan, folder)
    assert first.computed == len(first.cells) + 1
    stored = _stored(url)
    assert {"run.json", "results.json", "model.safetensors"} <= set(stored)
    assert not any(name.startswith(".") for name in stored)  # neither locks nor an owner
    assert not folder.exists()
    with run_folder(url) as again:
        second = run_audit(plan, again)
    assert second.computed == 0
    assert [cell["id"] for cell in second.cells] == [cell["id"] for cell in first.cells]


def test_what_a_run_that_broke_off_has_done_is_stored(url: str) -> None:
    with pytest.raises(KeyError), run_folder(url) as folder:
        (folder / "cells").mkdir()
        (folder / "cells" / "a.safetensors").write_bytes(b"rows")
        (folder / "cells" / "a.json").write_text("{}")
        raise KeyError
    assert _stored(url) == {"cells/a.safetensors": b"rows", "cells/a.json": b"{}"}


def test_records_are_stored_after_the_arrays_that_they_vouch_for(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = fsspec.filesystem("memory")
    order: list[str] = []
    put = type(memory).put_file

    def noted(self: Any, local: str, place: str, **options: Any) -> None:
        order.append(place.rsplit("/", 1)[-1])
        put(self, local, place, **options)

    monkeypatch.setattr(type(memory), "put_file", noted)
    with run_folder(url) as folder:
        for name in ("b.json", "b.safetensors", "a.json", "z.csv", "a.safetensors"):
            (folder / name).write_text(name)
    assert order == ["a.safetensors", "b.safetensors", "z.csv", "a.json", "b.json"]


def test_work_is_stored_while_it_goes_on(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "EVERY", 0.05)
    with run_folder(url) as folder:
        (folder / "cell").write_text("one")
        _until(lambda: _stored(url).get("cell") == b"one")
        (folder / "cell").unlink()
        (folder / "other").write_text("two")
        _until(lambda: "cell" not in _stored(url) and _stored(url).get("other") == b"two")


def _until(true: Any) -> None:
    for _ in range(400):
        if true():
            return
        time.sleep(0.05)
    raise AssertionError("It did not come about within 20 seconds.")


def test_a_second_owner_is_refused_and_a_dead_one_is_not(url: str) -> None:
    files, root = fsspec.core.url_to_fs(url)
    files.makedirs(root)
    owner = {"host": "elsewhere", "process": 7, "time": time.time()}
    files.pipe_file(f"{root}/.salus-owner.json", json.dumps(owner).encode())
    with pytest.raises(StoreError, match="elsewhere, process 7"), run_folder(url):
        pass
    files.pipe_file(f"{root}/.salus-owner.json", json.dumps({**owner, "time": time.time() - 3600}).encode())
    with run_folder(url) as folder:
        assert folder.is_dir()


def test_what_cannot_be_stored_stays_here_and_is_named(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = fsspec.filesystem("memory")

    def full(*args: Any, **options: Any) -> None:
        raise OSError("the bucket is full")

    with pytest.raises(StoreError, match="the bucket is full") as error, run_folder(url) as folder:
        (folder / "cell").write_text("one")
        monkeypatch.setattr(type(memory), "put_file", full)
    assert str(folder) in str(error.value)
    assert (folder / "cell").read_text() == "one"


@pytest.mark.parametrize(("out", "words"), [("nonsense://x/y", "nonsense"), ("gs://bucket/run", "gcsfs")])
def test_a_url_of_no_known_storage_is_refused_in_a_sentence(out: str, words: str) -> None:
    with pytest.raises(StoreError, match=words), run_folder(out):
        pass


def test_a_folder_of_this_machine_is_used_as_it_is(tmp_path: Path) -> None:
    with run_folder(tmp_path / "run") as folder:
        assert folder == tmp_path / "run"
    with run_folder(f"file://{tmp_path}/run") as folder:
        assert folder == tmp_path / "run"
