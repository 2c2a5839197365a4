"""The tutorials run as they stand, block after block, and print what they show."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from salus.cli import main

TUTORIALS = sorted((Path(__file__).parents[2] / "docs" / "tutorials").glob("*.md"))
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_every_block_of_a_tutorial_runs_and_prints_what_is_shown(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    variables: dict[str, Any] = {}
    printed = ""
    for language, block in FENCED.findall(page.read_text(encoding="utf-8")):
        if language == "python":
            exec(compile(block, str(page), "exec"), variables)
            printed = capsys.readouterr().out
        elif language == "sh":
            printed = "".join(_run(command) for command in block.replace("\\\n", " ").splitlines())
        else:
            assert language == "text", f"{page.name}: nobody runs a block of {language or 'no language'}"
            for line in block.splitlines():
                assert re.search(_any_measured_figures(line), printed), f"{line!r} is not in\n{printed}"


def _run(command: str) -> str:
    """Give what a line prints that a reader types into a shell."""
    program, *words = shlex.split(command)
    assert program == "salus", f"{command!r} does not call salus"
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
    return result.output


def _any_measured_figures(line: str) -> str:
    """Match a line whatever its figures with a decimal point: they differ a little from machine to machine."""
    return re.sub(r"(\\ )*\d+\\\.\d+", r" *[\\d.]+", re.escape(line.strip()))
