"""Where replicas keep copies of bundles."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from salus.serve.ray.place import Place


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place for temporary folders that nobody else uses."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_folders_of_those_that_run_stay_and_each_is_cleared_at_its_end(temporary: Path) -> None:
    one, two = Place(), Place()
    assert one.folder != two.folder
    assert len(list(temporary.iterdir())) == 2
    one.clear()
    assert list(temporary.iterdir()) == [two.folder.parent]
    two.clear()
    assert not list(temporary.iterdir())


def test_a_folder_of_a_process_that_was_killed_is_removed_by_the_next(temporary: Path) -> None:
    program = (
        "import sys, time; from salus.serve.ray.place import Place; p = Place(); print('.', flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, env={**os.environ, "TMPDIR": str(temporary)}
    ) as process:
        assert process.stdout is not None
        process.stdout.read(1)
        (left,) = temporary.iterdir()
        Place().clear()
        assert left.exists()
        process.send_signal(signal.SIGKILL)
    Place().clear()
    assert not left.exists()


def test_what_only_looks_like_one_is_left_alone(temporary: Path) -> None:
    (temporary / "salus-bundles-of-mine").mkdir()
    (temporary / "salus-bundles-linked").symlink_to(temporary)
    Place().clear()
    assert len(list(temporary.iterdir())) == 2
