"""Another package adds an attack, a detector, a purifier and data by entry points, with no line of Salus changed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent / "package"
Salus = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the package into a folder of its own, so that no other test sees it."""
    folder = tmp_path_factory.mktemp("plugin")
    source = folder / "source"
    shutil.copytree(PACKAGE, source)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    subprocess.run([*command, "--target", str(folder / "site"), str(source)], check=True, capture_output=True)
    return folder / "site"


@pytest.fixture(scope="module")
def salus(installed: Path) -> Salus:
    """Run the command where the package is installed."""

    def run(*words: object) -> subprocess.CompletedProcess[str]:
        paths = [str(installed), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "COLUMNS": "200"}
        command = [sys.executable, "-m", "salus.cli", *map(str, words)]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    return run


#: Calls the command once for each list of words that it is given, and prints how each call ended, and its output.
CALLS = """
import json, sys
from click.testing import CliRunner
from salus.cli import main
ended = [CliRunner().invoke(main, words) for words in json.loads(sys.argv[1])]
print(json.dumps([[one.exit_code, one.output] for one in ended]))
"""


def _calls(installed: Path, lines: Sequence[str | Sequence[str]]) -> list[tuple[int, str]]:
    """Call the command for each line in one process where the package is installed; say how each ended."""
    paths = [str(installed), *filter(None, [os.environ.get("PYTHONPATH")])]
    calls = [line.split() if isinstance(line, str) else list(line) for line in lines]
    done = subprocess.run(
        [sys.executable, "-c", CALLS, json.dumps(calls)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=True,
    )
    return [(code, output) for code, output in json.loads(done.stdout)]


@pytest.fixture(scope="module")
def audit(salus: Salus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An audit of the package's data behind its detector and its purifier, under its attack."""
    out = tmp_path_factory.mktemp("audit") / "run"
    done = salus(
        *("audit", "--data", "moons", "--attack", "coin-flip:tosses=3,eps=0.2", "--training", "epochs=8"),
        *("--defence", "centre-distance:power=1.5+squeeze:share=0.2", "--false-alarm-rate", 0.05),
        *("--threat-model", "white-box", "--threat-model", "adaptive", "--threat-model", "oblivious"),
        *("--samples", 40, "--out", out),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "coin-flip" in done.stdout and "salus-moons" not in done.stderr
    return out


def test_it_is_audited_and_printed_in_the_report_like_ours(audit: Path) -> None:
    results = json.loads((audit / "results.json").read_text(encoding="utf-8"))
    cells = [cell for cell in results["cells"] if cell["attack"] == "coin-flip"]
    assert {cell["threat_model"] for cell in cells} == {"white-box", "adaptive", "oblivious"}
    assert all(cell["error"] is None and cell["attack_options"]["tosses"] == 3 for cell in cells)
    assert any(cell["attack_success_rate"] > 0 for cell in cells), "the coin does move some over the border"
    assert results["meta"]["data"]["name"] == "moons"
    page = (audit / "report.html").read_text(encoding="utf-8")
    for words in ("CoinFlip", "Distance to the mean of the predicted class", "squeeze", "moons"):
        assert words in page, words


def test_its_guard_is_saved_and_loaded_and_says_what_it_needs_where_the_package_is_missing(
    audit: Path, salus: Salus, tmp_path: Path
) -> None:
    from salus.errors import BundleError
    from salus.guard import Guard

    again = salus(
        *("audit", "--data", "moons", "--attack", "coin-flip:tosses=3,eps=0.2", "--training", "epochs=8"),
        *("--defence", "centre-distance:power=1.5+squeeze:share=0.2", "--false-alarm-rate", 0.05),
        *("--threat-model", "white-box", "--threat-model", "adaptive", "--threat-model", "oblivious"),
        *("--samples", 40, "--out", audit),
    )
    assert again.returncode == 0 and "0 cells computed" in again.stdout, again.stdout + again.stderr
    (bundle,) = (audit / "guards").iterdir()
    with pytest.raises(BundleError, match="centre-distance"):
        Guard.load(bundle)


def test_help_and_lists_name_it_and_whose_it_is(installed: Path) -> None:
    lines = ("audit --help", "list attacks coin-flip", "list detectors", "list purifiers", "list sources", "data list")
    text, attacks, detectors, purifiers, sources, data = (output for _, output in _calls(installed, lines))
    for words in ("coin-flip (salus-moons 1.2)", "centre-distance (salus-moons 1.2)", "moons (salus-moons 1.2)"):
        assert words in " ".join(text.split()), words
    assert attacks.startswith("coin-flip (salus-moons 1.2): Moves every value by eps")
    assert "tosses=5: a whole number from 1 to 100; how often it tries" in attacks
    assert "centre-distance (salus-moons 1.2)" in detectors
    assert "squeeze (salus-moons 1.2)" in purifiers
    assert "moons (salus-moons 1.2): 600 points" in sources
    assert "moons" in data


MISTAKES = (
    (("--attack", "coin-flip:eps=0.1,toses=3"), "Attack 'coin-flip' has no option 'toses'; did you mean 'tosses'"),
    (("--attack", "coin-flip:eps=0.1,tosses=0"), "tosses must be a whole number from 1 to 100, not 0."),
    (("--attack", "coin-flop"), "Unknown attack 'coin-flop'; did you mean 'coin-flip'?"),
    (("--defence", "centre-distance:power=0"), "power must be a number above 0, not 0."),
    (("--defence", "squeeze:share=1"), "share must be a number from 0 to below 1, not 1."),
    (("--label", "y"), "Option label does not apply to the data 'moons'"),
)


def test_its_bad_options_are_refused_in_the_houses_words(installed: Path, tmp_path: Path) -> None:
    calls = [["audit", "--data", "moons", *words, "--out", str(tmp_path / "run")] for words, _ in MISTAKES]
    for (words, sentence), (code, output) in zip(MISTAKES, _calls(installed, calls), strict=True):
        assert code == 2 and sentence in output and "Traceback" not in output, (words, output)
    assert not (tmp_path / "run").exists()
