"""A default picture takes the place of a picture of our own, and of nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from salus.figures.signature import free_place, is_ours

Image = pytest.importorskip("PIL.Image")


def test_what_salus_drew_is_known_and_what_others_drew_is_not(tmp_path: Path) -> None:
    from PIL import PngImagePlugin

    for name, software in {"ours": "Salus", "theirs": "Salust", "other": "Matplotlib"}.items():
        marks = PngImagePlugin.PngInfo()
        marks.add_text("Software", software)
        Image.new("L", (4, 4)).save(tmp_path / f"{name}.png", pnginfo=marks)
    assert is_ours(tmp_path / "ours.png")
    (tmp_path / "text.png").write_bytes(b"tEXtSoftware\0Salus")
    (tmp_path / "folder.png").mkdir()
    for name in ("theirs", "other", "text", "folder", "absent"):
        assert not is_ours(tmp_path / f"{name}.png"), name


def test_the_next_free_name_is_taken(tmp_path: Path) -> None:
    scan = tmp_path / "scan.png"
    assert free_place(scan) == scan
    Image.new("L", (4, 4)).save(scan)
    assert free_place(scan) == tmp_path / "scan-salus.png"
    (tmp_path / "scan-salus.png").mkdir()
    (tmp_path / "scan-salus-2.png").symlink_to(tmp_path / "nowhere")
    assert free_place(scan) == tmp_path / "scan-salus-3.png"
