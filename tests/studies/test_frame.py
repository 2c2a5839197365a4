"""The frame of all studies: options, folder, results, pages, and the check of what is stored."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest
from click.testing import CliRunner
from matplotlib.figure import Figure
from PIL import Image
from pydantic import Field

import salus_studies
from salus.cli import main, reproduce
from salus.cli.reproduce import find_study
from salus.errors import OptionError, StoreError
from salus.options import Repeated
from salus.registry import Registry
from salus_studies import STUDIES
from salus_studies.frame.folder import Folder
from salus_studies.frame.markdown import circumstances
from salus_studies.frame.options import TrainingStudyOptions
from salus_studies.frame.page import Page, Picture, Show, compose
from salus_studies.frame.png import describe, description, pack, png
from salus_studies.frame.results import Results
from salus_studies.frame.study import Study
from salus_studies.frame.unstored import UNSTORED


@dataclass(frozen=True, kw_only=True)
class SumOptions(TrainingStudyOptions):
    """Two words more."""

    words: Annotated[tuple[str, ...], Repeated(), Field(description="what to say")] = ("one",)
    loud: Annotated[bool, Field(description="say it loudly")] = False


def run_sum(options: SumOptions, folder: Folder) -> Results:
    steps = folder.claim({"scale": options.scale, "seed": options.seed}, {}, options.time)
    rows = [steps.do(word, "word", [word, options.loud], lambda: {"n": 1}) for word in options.words]
    meta = steps.meta(scale=options.scale, seed=options.seed, device=options.device)
    return Results({"meta": meta, "rows": rows}, {"line": np.arange(3.0)})


def draw() -> bytes:
    return png(Figure(figsize=(1, 1)))


def compose_sum(results: Results, folder: str) -> Page:
    done = [row for row in results.values["rows"] if row["status"] == "done"]

    def parts(show: Show) -> list[str]:
        return ["# Sum\n", f"{len(done)} of {len(results.values['rows'])}\n", show("line", "A line"), show("no", "No")]

    return compose({"line": Picture(draw), "of": Picture(draw, drawn_from=["of", 1])}, folder, parts)


SUM = Study(
    name="sum", title="Sum", summary="It sums.", options=SumOptions, version=1, run=run_sum, compose=compose_sum,
    page="docs/sum.md",
)  # fmt: skip


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A repository in which the study keeps its results."""
    monkeypatch.setattr("salus_studies.frame.study._ROOMS", tmp_path / "src" / "salus_studies")
    monkeypatch.setattr("salus_studies.frame.study._REPOSITORY", tmp_path)
    monkeypatch.setitem(STUDIES, "sum", f"{__name__}:SUM")
    monkeypatch.setattr(reproduce, "STUDIES", Registry("study", "salus.studies", reproduce._own, reproduce._suits))
    monkeypatch.setitem(sys.modules, __name__, sys.modules[__name__])
    yield tmp_path


def test_a_study_writes_results_page_and_figures_and_goes_on_where_it_was(tmp_path: Path) -> None:
    out = tmp_path / "run"
    outcome = SUM.reproduce(out, words=("one", "two"), command="salus reproduce sum")
    assert (outcome.computed, outcome.stored, outcome.not_run, outcome.page) == (2, 0, 0, out / "sum.md")
    results = Results.read(out)
    assert results.values["meta"]["command"] == "salus reproduce sum" and results.arrays["line"].tolist() == [0, 1, 2]
    assert outcome.page.read_text() == (
        "# Sum\n\n2 of 2\n\n![A line](sum/line.png)\n\n*No.* not run: nothing to draw it from is stored.\n"
    )
    assert sorted(path.name for path in (out / "sum").iterdir()) == ["line.png", "of.png"]
    again = SUM.reproduce(out, page=tmp_path / "other.md", words=("one", "two", "three"))
    assert (again.computed, again.stored, again.page) == (1, 2, tmp_path / "other.md")
    assert "(other/line.png)" in again.page.read_text()
    late = SUM.reproduce(out, words=("four",), time=1e-9)
    assert late.not_run == 1 and "0 of 1" in late.page.read_text()
    with pytest.raises(StoreError, match="another seed"):
        SUM.reproduce(out, seed=1)


def test_an_option_that_will_not_do_leaves_nothing(tmp_path: Path) -> None:
    mistakes: tuple[tuple[dict[str, Any], str], ...] = (
        ({"scale": "smal"}, "scale must be 'smoke', 'small' or 'full', not 'smal'"),
        ({"time": "soon"}, "time must be a number or none, not 'soon'"),
        ({"word": "x"}, "has no option 'word'; did you mean 'words'"),
    )
    for options, words in mistakes:
        with pytest.raises(OptionError, match=words):
            SUM.reproduce(tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


def test_a_page_is_rebuilt_from_stored_results_and_checked_byte_for_byte(repository: Path) -> None:
    assert "cannot be rebuilt" in SUM.check()
    with pytest.raises(StoreError, match="not stored"):
        SUM.rebuild()
    SUM.room.mkdir(parents=True)
    SUM.run(SumOptions(), FolderOf(repository / "run")).write(SUM.room)
    assert "sum.md, line.png, of.png are not what" in SUM.check()
    page = SUM.rebuild()
    assert page == repository / "docs" / "sum.md" and SUM.check() == ""
    page.write_text(page.read_text() + "\n")
    assert SUM.check() == (
        "Of docs/sum.md sum.md is not what the stored results give; run: salus reproduce sum --rebuild."
    )
    SUM.rebuild()
    other = replace(SUM, compose=partial(_drawn_anew))
    assert "of.png is not what" in other.check(), "a figure says what it is drawn from"
    results = Results.read(SUM.room)
    Results(results.values, {"line": np.arange(4.0)}).write(SUM.room)
    assert "line.png is not what" in SUM.check()


def test_runs_of_parts_are_stored_together_and_the_page_says_whose_is_what(repository: Path) -> None:
    study = replace(SUM, joined={"rows": ("word",)})
    study.room.mkdir(parents=True)

    def run(folder: str, done: dict[str, int], **meta: Any) -> Path:
        rows = [
            {"word": word, "n": done[word], "status": "done"}
            if word in done
            else {"word": word, "status": "not run", "reason": "not asked for"}
            for word in ("one", "two")
        ]
        told = {"scale": "small", "seed": 0, "command": folder, "created": "now", "machine": "m", "seconds": 60.0}
        Results({"meta": {**told, **meta}, "rows": rows}).write(repository / folder)
        return repository / folder

    study.store(run("first", {"one": 1}))
    study.store(run("second", {"two": 2}))
    values = Results.read(study.room).values
    assert [(row["word"], row["n"]) for row in values["rows"]] == [("one", 1), ("two", 2)]
    assert [(run["command"], run["records"]) for run in values["meta"]["runs"]] == [
        ("second", {"rows": 1}),
        ("first", {"rows": 1}),
    ]
    assert "| rows 1 | `first` | now | m | 1.0 |" in circumstances(values["meta"])
    study.store(run("third", {"one": 3}))
    values = Results.read(study.room).values
    assert [row["n"] for row in values["rows"]] == [3, 2], "what is measured anew replaces what was there"
    assert [run["command"] for run in values["meta"]["runs"]] == ["third", "second"], "first has nothing left"
    with pytest.raises(StoreError, match="seed 1 and the stored ones 0"):
        study.store(run("other", {"one": 1}, seed=1))


def _drawn_anew(results: Results, folder: str) -> Page:
    page = compose_sum(results, folder)
    return Page(page.text, {**page.pictures, "of": Picture(draw, drawn_from=["of", 2])})


def FolderOf(out: Path) -> Folder:  # noqa: N802 - reads like the class
    from salus.storage import Store

    return Folder(Store(out, "reproduction"), "sum", 1, "salus")


def test_the_command_line_has_the_options_that_the_study_declares(repository: Path, tmp_path: Path) -> None:
    def call(*words: str) -> Any:
        return CliRunner().invoke(main, ["reproduce", *words])

    told = call("sum", "--help").output
    for words in ("--words TEXT", "What to say.  [default: one]", "--loud", "[smoke|small|full]", "[default: 0]"):
        assert words in told
    assert "It sums." in call("--help").output
    out = str(tmp_path / "run")
    done = call("--out", out, "sum", "--words", "a", "--words", "b", "--loud")
    assert done.exit_code == 0 and "2 steps done, 0 stored before, 0 not run." in done.output
    assert call("sum", "--out", out, "--words", "a", "--loud").output.startswith("0 steps done, 1 stored")
    refused = call("sum", "--protocol", "honest", "--out", out)
    assert refused.exit_code == 2 and "The study sum has no option --protocol" in refused.output
    assert call("sum").exit_code == 2 and call("summ", "--out", out).exit_code == 2
    assert call("sum", "--check").exit_code == 1
    SUM.room.mkdir(parents=True)
    Results.read(Path(out)).write(SUM.room)
    assert call("sum", "--rebuild").exit_code == 0
    assert call("sum", "--store").exit_code == 2, "what is stored lies in a folder that has to be named"
    assert call("sum", "--store", "--out", out).output == f"Page: {SUM.place}\n"
    told = call("sum", "--check")
    assert (told.exit_code, told.output) == (0, "The page of sum is what its stored results give.\n")


def test_without_the_repository_there_are_no_studies_and_the_command_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "salus_studies", None)
    monkeypatch.setattr(reproduce, "STUDIES", Registry("study", "salus.studies", reproduce._own, reproduce._suits))
    for words in (["sum", "--out", "run"], ["--help"]):
        told = CliRunner().invoke(main, ["reproduce", *words])
        assert told.exit_code == 2 and "come with a checkout of the repository, not with the wheel" in told.output


def test_every_study_says_what_it_is() -> None:
    assert salus_studies.STUDIES is STUDIES
    for name in STUDIES:
        study: Any = find_study(name)
        assert study.name == name and study.title and study.summary.endswith(".") and study.place.exists(), name
        assert (study.room / "study.py").exists(), name


@pytest.mark.parametrize("transparent", [True, False])
@pytest.mark.parametrize("lines", [True, False])
def test_a_picture_is_packed_without_loss(transparent: bool, lines: bool) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 4)).astype(np.uint8)
    if lines:
        pixels[:] = (255, 255, 255, 255)
        pixels[::7, :, 0] = 9
    pixels[..., 3] = np.where(pixels[..., 1] > 100, 255, 128 if transparent else 255)
    pixels[0, 0, 3] = 0 if transparent else 255
    content = describe(pack(Image.fromarray(pixels)), "of this")
    with Image.open(io.BytesIO(content)) as picture:
        assert picture.mode == ("RGBA" if transparent else "RGB")
        assert np.array_equal(np.asarray(picture.convert("RGBA")), pixels)
    assert description(content) == "of this"


@pytest.mark.parametrize("name", STUDIES)
def test_every_stored_page_is_what_its_results_give(name: str) -> None:
    study: Any = find_study(name)
    if name in UNSTORED:
        assert study.stored() is None, f"results of {name} are stored: take it off the list UNSTORED"
    else:
        assert study.check() == ""
        assert (study.room / "results.json").stat().st_size < 1_000_000


def test_only_studies_are_listed_as_not_stored() -> None:
    assert set(UNSTORED) <= set(STUDIES)
