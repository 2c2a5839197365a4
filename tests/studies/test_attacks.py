"""The page of attacks lists every attack, its tables follow the benchmark, and its examples run."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from salus.attacks import ATTACKS
from salus_studies.attacks.page import page
from salus_studies.attacks.study import STUDY
from salus_studies.frame.results import Results


def result(library: str, success: str, seconds: float, error: str = "") -> dict[str, Any]:
    """What the benchmark stores of one contender."""
    head = {"library": library, "version": "1", "settings": "ours", "goal": "inside", "error": error}
    if error:
        return head
    counts = {"attacked": len(success), "samples": len(success), "queries": 3.0, "backward": 2.0}
    times = {"seconds": seconds, "cpu": seconds, "of_bare": 1.5}
    return head | counts | times | {"success": success, "distance": [0.01] * len(success)}


@pytest.fixture
def benchmark() -> dict[str, Any]:
    """A benchmark of one row."""
    results = [
        result("salus", "1110", 0.5),
        result("foolbox", "1100", 1.0),
        result("torchattacks", "", 0, "no signals"),
    ]
    record = {"row": "fgsm", "data": "beats", "eps": 0.01, "title": "FGSM", "attack": "FGSM", "goal": "inside"}
    record |= {"norm": "linf", "samples": 4, "threads": 1, "accuracy": 0.98, "command": "python x", "results": results}
    record["bars"] = [{"bar": "no slower", "found": "2 times", "met": True}]
    streaming = {"command": "python y", "attack": "pgd", "threads": 1, "marks": [{"beats": 9, "peak": 1, "rate": 2}]}
    meta = {"versions": {"torch": "2"}, "machine": "a machine", "seed": 0}
    return {"meta": meta, "records": [record], "streaming": streaming}


def test_the_page_lists_every_attack_with_its_techniques() -> None:
    lines = STUDY.place.read_text(encoding="utf-8").splitlines()
    for name, cls in ATTACKS.own.items():
        (line,) = (line for line in lines if line.startswith(f"| `{cls.__name__}` | `{name}` |"))
        assert cls.paper in line and "AML.T0015" in line


@pytest.mark.parametrize("number", [0, 1])
def test_the_examples_run_as_they_stand(number: int, capsys: pytest.CaptureFixture[str]) -> None:
    example = re.findall(r"```python\n(.*?)```", STUDY.place.read_text(encoding="utf-8"), re.DOTALL)[number]
    for library in ("art", "foolbox"):
        if f"from {library}." in example:
            pytest.importorskip(library)
    exec(compile(example, str(STUDY.place), "exec"), {})
    if "print" in example:
        printed = re.fullmatch(r"fooled: (\d+)%, median L2 distance \d\.\d\d\n", capsys.readouterr().out)
        assert printed and int(printed[1]) > 90


def test_results_become_tables_bars_and_a_figure(benchmark: dict[str, Any]) -> None:
    composed = page(Results(benchmark), "images")
    assert "| **Salus 1** | ours | 4 | 75.0 |" in composed.text and "| Foolbox 1 | ours | 4 | 50.0 |" in composed.text
    assert "cannot run: `no signals`" in composed.text
    assert "| FGSM, eps 0.01 | no slower | 2 times | met |" in composed.text
    assert "| 9 | 1 | 2 |" in composed.text
    assert list(composed.pictures) == ["attacks"] and "](images/attacks.png)" in composed.text
    picture = composed.pictures["attacks"]
    assert len(picture.draw()) > 5000
    before = json.dumps(picture.drawn_from)
    benchmark["records"][0]["results"][1] |= {"seconds": 2.0}
    assert json.dumps(page(Results(benchmark), "images").pictures["attacks"].drawn_from) != before


def test_the_figure_shows_the_smallest_eps_of_an_attack(benchmark: dict[str, Any]) -> None:
    smaller = json.loads(json.dumps(benchmark["records"][0])) | {"eps": 0.003}
    benchmark["records"].append(smaller)
    drawn_from: Any = page(Results(benchmark), "images").pictures["attacks"].drawn_from
    assert [record["eps"] for record in drawn_from[0]] == [0.003]


def test_a_benchmark_that_lies_elsewhere_can_be_shown(benchmark: dict[str, Any], tmp_path: Path) -> None:
    Results(benchmark).write(tmp_path / "benchmark")
    outcome = STUDY.reproduce(tmp_path / "out", benchmark=tmp_path / "benchmark")
    assert "a machine, 1 threads" in outcome.page.read_text(encoding="utf-8")
    assert (tmp_path / "out" / "images" / "attacks.png").exists()
