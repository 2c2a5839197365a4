"""The tutorials, and the page on data, run as they stand, block after block, and print what they show."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from salus.cli import main

DOCS = Path(__file__).parents[2] / "docs"
TUTORIALS = [*sorted((DOCS / "tutorials").glob("*.md")), DOCS / "data.md"]
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The inplace keyword")  # wfdb, of pandas 3
@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_every_block_of_a_tutorial_runs_and_prints_what_is_shown(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    variables: dict[str, Any] = {}
    printed = ""
    text = page.read_text(encoding="utf-8")
    for fenced in FENCED.finditer(text):
        language, block = fenced.groups()
        if language == "python":
            lines_above = text.count("\n", 0, fenced.start(2))  # so that a traceback shows the page's own line
            exec(compile("\n" * lines_above + block, str(page), "exec"), variables)
            printed = capsys.readouterr().out
        elif language == "sh":
            printed = "".join(_run(command) for command in block.replace("\\\n", " ").splitlines())
        elif language or page.parent.name == "tutorials":
            assert language == "text", f"{page.name}: nobody runs a block of {language or 'no language'}"
            for line in block.splitlines():
                assert _without_figures(line) in _without_figures(printed), f"{line!r} is not in\n{printed}"


def _run(command: str) -> str:
    """Give what a line prints that a reader types into a shell."""
    program, *words = shlex.split(command)
    assert program == "salus", f"{command!r} does not call salus"
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
    return result.output


def _without_figures(text: str) -> str:
    """Blank figures with a decimal point, which differ a little from machine to machine, and the width of gaps."""
    return " ".join(re.sub(r"\d+\.\d+", "#", text).split())
