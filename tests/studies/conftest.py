"""What tests of several studies share."""

from __future__ import annotations

from pathlib import Path

import pytest

from salus import atomic
from salus_studies.frame.page import Page


@pytest.fixture
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write pages without their figures, where results alone are compared: they take as long as a small study."""

    def write(page: Page, place: Path, folder: str, stamp: str) -> None:
        atomic.write_text(place, page.text)

    monkeypatch.setattr("salus_studies.frame.page.write", write)
