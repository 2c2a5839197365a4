"""The page of attacks is what its generator writes, and its examples run."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from salus.attacks import ATTACKS

WritePage = Callable[..., subprocess.CompletedProcess[str]]
DOCS = Path(__file__).parents[1] / "docs"
PAGE = DOCS / "attacks.md"


@pytest.fixture
def write_page(run_script: Callable[..., subprocess.CompletedProcess[str]]) -> WritePage:
    return partial(run_script, DOCS / "attacks_page.py")


def test_the_page_and_its_figures_are_not_stale() -> None:
    command = [sys.executable, str(DOCS / "attacks_page.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_page_lists_every_attack_with_its_techniques() -> None:
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    for name, cls in ATTACKS.items():
        (line,) = (line for line in lines if line.startswith(f"| `{cls.__name__}` | `{name}` |"))
        assert cls.paper in line and "AML.T0015" in line


@pytest.mark.parametrize("number", [0, 1])
def test_the_examples_run_as_they_stand(number: int, capsys: pytest.CaptureFixture[str]) -> None:
    example = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)[number]
    for library in ("art", "foolbox"):
        if f"from {library}." in example:
            pytest.importorskip(library)
    exec(compile(example, str(PAGE), "exec"), {})
    if "print" in example:
        printed = re.fullmatch(r"fooled: (\d+)%, median L2 distance \d\.\d\d\n", capsys.readouterr().out)
        assert printed and int(printed[1]) > 90


def result(library: str, success: str, seconds: float, error: str = "") -> dict[str, Any]:
    ran: dict[str, Any] = {
        "attacked": len(success),
        "samples": len(success),
        "queries": 3.0,
        "backward": 2.0,
        "outside": 0,
        "success": success,
        "distance": [0.01] * len(success),
        "seconds": seconds,
        "cpu": seconds,
        "of_bare": 1.5,
        "runs": 1,
    }
    head = {"library": library, "version": "1", "settings": "ours", "goal": "inside", "error": error}
    return head if error else head | ran


def test_results_become_tables_bars_and_figures_that_go_stale_with_them(tmp_path: Path, write_page: WritePage) -> None:
    results = [
        result("salus", "1110", 0.5),
        result("foolbox", "1100", 1.0),
        result("torchattacks", "", 0, "no signals"),
    ]
    record = {"row": "fgsm", "data": "beats", "eps": 0.01, "title": "FGSM", "attack": "FGSM", "goal": "inside"}
    record |= {"norm": "linf", "samples": 4, "threads": 1, "accuracy": 0.98, "command": "python x", "results": results}
    record["bars"] = [{"bar": "no slower", "found": "2 times", "met": True}]
    meta = {"versions": {"torch": "2"}, "machine": "a machine", "seed": 0}
    stored, page = tmp_path / "stored.json", tmp_path / "attacks.md"
    stored.write_text(json.dumps({"meta": meta, "records": [record]}))
    arguments = ("--stored", stored, "--page", page)

    assert write_page("--check", *arguments).returncode == 1
    assert write_page(*arguments).returncode == 0
    text = page.read_text(encoding="utf-8")
    assert "| **Salus 1** | ours | 4 | 75.0 |" in text and "| Foolbox 1 | ours | 4 | 50.0 |" in text
    assert "cannot run: `no signals`" in text and "| FGSM, eps 0.01 | no slower | 2 times | met |" in text
    assert (tmp_path / "images" / "attacks.png").stat().st_size > 5000
    assert write_page("--check", *arguments).returncode == 0

    results[1]["seconds"] = 2.0
    stored.write_text(json.dumps({"meta": meta, "records": [record]}))
    stale = write_page("--check", *arguments)
    assert stale.returncode == 1 and "attacks.md is stale" in stale.stdout and "attacks.png is stale" in stale.stdout
