"""``salus data show``: who is who, and where the picture goes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from salus.cli import main
from salus.figures.signature import is_ours

ROWS = "".join(f"{value:.4f},{i % 2},p{i // 3}\n" for i, value in enumerate(np.random.default_rng(0).random(60)))


def _show(*words: str) -> str:
    result = CliRunner().invoke(main, ["data", "show", "scan.csv", *words])
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(autouse=True)
def _table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("scan.csv").write_text("dose,label,patient\n" + ROWS)


def test_a_default_picture_overwrites_only_what_salus_drew() -> None:
    scan, theirs = Path("scan.png"), b"\x89PNG\r\n\x1a\n of the hospital"
    scan.write_bytes(theirs)
    said = "picture: scan-salus.png (scan.png is not of Salus's making and was left alone)\n"
    assert said in _show("--ignore", "patient")
    assert said in _show("--ignore", "patient"), "and scan-salus.png, which Salus drew, makes way for a new one"
    assert scan.read_bytes() == theirs
    assert sorted(path.name for path in Path().iterdir()) == ["scan-salus.png", "scan.csv", "scan.png"]
    assert "picture: scan.png\n" in _show("--ignore", "patient", "--picture", "scan.png")
    assert is_ours(scan), "a name that is asked for is taken at its word"


def test_a_column_that_says_who_is_who_must_be_told() -> None:
    result = CliRunner().invoke(main, ["data", "show", "scan.csv"])
    assert result.exit_code == 2 and "--group-by patient" in result.output and "--ignore patient" in result.output
    assert "split: by patient (column patient), seed 0" in _show("--group-by", "patient")
    result = CliRunner().invoke(main, ["data", "show", "scan.csv", "--group", "patient"])
    assert result.exit_code == 2 and "--group-by" in result.output
