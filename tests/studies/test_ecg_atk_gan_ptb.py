"""``salus reproduce ecg-atk-gan --data ptbdb``: Table 2 and half of Table 3, on a small database in PTB's layout."""

from __future__ import annotations

import json
import re
import shutil
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from salus.attacks import FGSM, PGD
from salus.cli import main
from salus.data.ptbdb import CLASSES, all_beats, read_record
from salus.errors import DataError
from salus.preprocessing.wfdb_files import by_name, read_lead
from salus_studies.ecg_atk_gan import honest, ptb, trainings
from salus_studies.ecg_atk_gan import protocol as room
from salus_studies.ecg_atk_gan.attacked import COLUMNS
from salus_studies.ecg_atk_gan.honest import Planned
from salus_studies.ecg_atk_gan.naming import NAMES
from salus_studies.ecg_atk_gan.published import GENERATOR, PTB
from salus_studies.ecg_atk_gan.scales import SCALES
from salus_studies.ecg_atk_gan.study import STUDY
from salus_studies.ecg_atk_gan.tables_ptb import ABSENT, generator_table, ptb_table
from salus_studies.ecg_atk_gan.trainings import ARCHITECTURES
from salus_studies.frame.folder import Reproduction
from salus_studies.frame.results import Results

LEADS = ("i", "ii", "iii", "avr", "avl", "avf", "v1", "v2", "v3", "v4", "v5", "v6", "vx", "vy", "vz")

#: record -> reason for admission: four healthy people, four with infarctions, of whom one has two records, another.
RECORDS = {
    "patient001/s0010_re": "Myocardial infarction",
    "patient001/s0014lre": "Myocardial infarction",
    "patient002/s0015lre": "Myocardial infarction",
    "patient003/s0017lre": "Myocardial infarction",
    "patient005/s0021are": "Myocardial infarction",
    "patient104/s0306lre": "Healthy control",
    "patient105/s0303lre": "Healthy control",
    "patient116/s0302lre": "Healthy control",
    "patient117/s0291lre": "Healthy control",
    "patient120/s0331lre": "Cardiomyopathy",
}


def write(folder: Path, name: str, reason: str, leads: Sequence[str] = LEADS) -> None:
    """Write twelve beats in the official layout: 1000 Hz, no annotations, the diagnosis in the header."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng([*name.encode()])
    peaks = 0.5 + np.cumsum(rng.uniform(0.7, 0.8, 12))
    time = np.arange(int(1000 * (peaks[-1] + 1))) / 1000
    height = -0.4 if "infarction" in reason else 0.3  # of the T wave
    waves = ((0.0, 0.012, 1.2), (0.26, 0.045, height))
    beats = sum(h * np.exp(-(((time[:, None] - peaks - at) / w) ** 2)).sum(1) for at, w, h in waves)
    signal = np.stack([beats + rng.normal(0, 0.01, len(time)) for _ in leads], axis=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # wfdb calls pandas in ways that pandas 3 warns of
        import wfdb

        wfdb.wrsamp(
            path.name, fs=1000, units=["mV"] * len(leads), sig_name=list(leads), p_signal=signal,
            fmt=["16"] * len(leads), adc_gain=[2000.0] * len(leads), baseline=[0] * len(leads),
            comments=["age: 61", "sex: female", f"Reason for admission: {reason}"], write_dir=str(path.parent),
        )  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder that holds a small ``ptbdb``; nobody writes to it."""
    place = tmp_path_factory.mktemp("sets")
    folder = place / "ptbdb"
    for name, reason in RECORDS.items():
        write(folder, name, reason)
    (folder / "RECORDS").write_text("\n".join(RECORDS) + "\n")
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    lines = [f"{sha256(path.read_bytes()).hexdigest()} {path.relative_to(folder).as_posix()}" for path in files]
    (folder / "SHA256SUMS.txt").write_text("\n".join(lines) + "\n")
    return place


def weak(architecture: str, scale: Any, seed: int) -> Iterator[Planned]:
    """One cell of each kind: at full strength they take minutes on any data."""
    yield Planned(None, None, False, None)
    yield Planned(FGSM(eps=0.01), "white-box", False, None)
    if architecture == "proposed":
        yield Planned(PGD(eps=0.01, steps=1), "adaptive", True, None)


@pytest.fixture(scope="module", autouse=True)
def _small() -> Iterator[None]:
    """Make smoke smaller still, and leave out what has tests of its own."""
    smoke = SCALES["smoke"]
    small = replace(smoke, per_class=30, gan={**smoke.gan, "batch_size": 16}, seed_beats=10)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SCALES, "smoke", small)
        patch.setattr(honest, "planned", weak)
        patch.setattr(honest, "FALSE_ALARM_RATE", 0.2)  # which one patient's twelve beats can carry
        patch.setattr("salus.hardening.ecg_atk_gan._Fold._show", lambda *given: None)
        patch.setattr(
            "salus_studies.ecg_atk_gan.speed.measure",
            lambda options: {"gan_beats_per_second": 100.0, "share_bare": 0.8, "settings": "not measured"},
        )
        yield


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two columns of two architectures."""
    for module in (room, trainings):
        monkeypatch.setattr(module, "COLUMNS", ("none", "dbb"))
        monkeypatch.setattr(module, "ARCHITECTURES", ("proposed", "acharya"))
    monkeypatch.setattr(ptb.PTBOrder, "networks", ("proposed", "acharya"))
    monkeypatch.setattr(honest, "TRAINED_ON", ("none",))


def run(out: Path, place: Path, **options: Any) -> tuple[Reproduction, dict[str, Any]]:
    outcome = STUDY.reproduce(out, **{"scale": "smoke", "data": "ptbdb", "data_dir": place, **options})
    return outcome, json.loads((out / "results.json").read_text())


# The material.


def test_beats_are_scaled_by_their_record(place: Path) -> None:
    beats = all_beats(place)
    scaled = ptb.by_record(beats)[:, 0].numpy()
    assert scaled.min() >= 0 and scaled.max() <= 1 and len(scaled) > 80
    for name in ("patient001/s0010_re", "patient116/s0302lre"):
        signal = read_lead(place / "ptbdb" / name, by_name("ii")).signal
        for peak in read_record(place / "ptbdb" / name).peaks:
            window = (signal[peak - 140 : peak + 140] - signal.min()) / np.ptp(signal)
            assert np.abs(scaled - window).max(1).min() < 1e-6


def test_as_many_of_each_class_are_drawn_and_dealt_80_to_20(place: Path) -> None:
    beats = all_beats(place)
    published = ptb.published_beats(beats, 30, 0)
    assert published.train.counts == dict.fromkeys(CLASSES, 24)
    assert published.test.counts == dict.fromkeys(CLASSES, 6)
    both = torch.cat([published.train.x, published.test.x]).flatten(1)
    assert len(both.unique(dim=0)) == 60, "no beat on both sides"
    assert "30 of 30 beats of each class were drawn" in published.test.provenance.notes
    assert ptb.published_beats(beats, 30, 1).test.fingerprint() != published.test.fingerprint()
    healthy = int((beats.y == 0).sum())
    short = ptb.published_beats(beats, 10_000, 0)
    assert set(short.train.counts.values()) == {healthy - round(0.2 * healthy)}
    assert f"{healthy} of 10000 beats of each class were drawn, for want of more of healthy" in (
        short.test.provenance.notes
    )


def test_the_untrained_network_answers_with_two_classes() -> None:
    scale = ptb.PTBScale.of(SCALES["full"])
    assert (scale.beats, scale.per_class, scale.options(0).per_class) == (10_000, None, None)
    released = replace(scale, tries=2).released("hsj", 3)
    network = released.network((1, 280), 4)
    assert network(torch.rand(5, 1, 280)).shape == (5, 2)
    x = torch.rand(6, 1, 280)
    assert released(x, torch.zeros(6, dtype=torch.int64)).shape == x.shape


# The run.


@pytest.mark.slow
@pytest.mark.usefixtures("few")
def test_one_command_makes_both_tables_and_goes_on_where_it_was(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    words = ["--data", "ptbdb", "--data-dir", place, "--scale", "smoke", "--out", out]
    result = CliRunner().invoke(main, ["reproduce", "ecg-atk-gan", *map(str, words)])
    assert result.exit_code == 0, result.output
    results = json.loads((out / "results.json").read_text())
    stored = results["ptb"]
    cells = {(cell["attack"], cell["architecture"]): cell for cell in stored["cells"] if cell["status"] == "done"}
    assert set(cells) == {(column, name) for column in ("none", "dbb") for name in ("proposed", "acharya")}
    for cell in cells.values():
        assert cell["n"] == 12 and sum(map(sum, cell["confusion"]["matrix"])) == 12
        assert cell["paper_accuracy"] == pytest.approx(cell["accuracy"]), "with two classes they are one"
    assert {row["attack"] for row in stored["generator"]} == {"none", "dbb"}
    assert {row["split"] for row in stored["honest"]} == {"patients"}
    assert all(row["status"] == "done" for row in stored["honest"])
    assert stored["patients_of_each"] == {"healthy": 4, "myocardial infarction": 4}
    data = results["meta"]["data"]
    assert set(data) == {"as published", "patients"}
    assert len(set(data["patients"]["counts"]["train"].values())) == 1, "balanced by drawing alone"

    page = (out / "ecg-atk-gan.md").read_text()
    tables = page.split("## Honest")[0]
    for row in PTB:
        assert f" {row.accuracy:.1f} |" in tables and f" {row.sensitivity:.1f} |" in tables
    ours = 100 * cells["none", "proposed"]["accuracy"]
    line = next(line for line in tables.splitlines() if line.startswith("| accuracy | ECG-ATK-GAN, **ours** |"))
    assert line.startswith(f"| accuracy | ECG-ATK-GAN, **ours** | {ours:.1f} | not run")
    assert "4 of 28 places were run" in page and "over 2 seeds of the untrained network" in page
    assert "myocardial infarction: " in page and ABSENT not in page
    assert not re.search(r"\b(None|nan|NaN|inf)\b", page)
    assert all((out / "ecg-atk-gan" / f"{name}.png").exists() for name in ("attacked", "generated"))

    monkeypatch.setattr("salus_studies.frame.page.write", lambda *given: None)  # the page is there
    again, same = run(out, place)
    assert (again.computed, again.not_run) == (0, 0)
    assert same["ptb"]["cells"] == stored["cells"]


@pytest.mark.usefixtures("few", "no_figures")
def test_what_the_time_does_not_allow_is_listed(place: Path, tmp_path: Path) -> None:
    outcome, results = run(tmp_path / "run", place, time=1e-9)
    assert outcome.not_run > 0
    assert {cell["status"] for cell in results["ptb"]["cells"]} == {"not run"}
    page = outcome.page.read_text()
    assert "no time left within the budget of 1e-09 minutes" in page and "0 of 28 places were run" in page


@pytest.mark.soak  # minutes; the suite does some of the cells, above
def test_every_column_of_every_architecture_is_done(place: Path, tmp_path: Path) -> None:
    outcome, results = run(tmp_path / "run", place)
    assert outcome.not_run == 0
    cells = {(cell["attack"], cell["architecture"]) for cell in results["ptb"]["cells"] if cell["status"] == "done"}
    assert cells == {(column, name) for column in COLUMNS for name in ARCHITECTURES}
    assert [row["attack"] for row in results["ptb"]["generator"]] == list(COLUMNS)
    assert "28 of 28 places were run" in outcome.page.read_text()


@pytest.mark.parametrize("fault", ["no lead ii", "truncated", "no infarction", "nowhere", "split"])
def test_what_will_not_do_is_one_sentence_and_leaves_nothing(
    place: Path, tmp_path: Path, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SALUS_DATA", raising=False)
    sets = tmp_path / "sets"
    shutil.copytree(place, sets)
    folder, more = sets / "ptbdb", list[str]()
    (folder / "SHA256SUMS.txt").unlink()
    expected = {
        "no lead ii": "s0303lre has no lead that can be read; it has: i, iii",
        "truncated": "s0303lre: its .dat file is truncated",
        "no infarction": "none of class 'myocardial infarction'",
        "nowhere": "'ptbdb' is not on this machine",
        "split": "Protocol honest keeps the patients of ptbdb apart",
    }[fault]
    if fault == "no lead ii":
        write(folder, "patient105/s0303lre", "Healthy control", ("i", "iii"))
    elif fault == "truncated":
        signal = folder / "patient105" / "s0303lre.dat"
        signal.write_bytes(signal.read_bytes()[:3000])
    elif fault == "no infarction":
        (folder / "RECORDS").write_text("patient104/s0306lre\n")
    elif fault == "nowhere":
        sets = tmp_path / "empty"
    else:
        more = ["--split", "beats"]
    words = ["--data", "ptbdb", "--data-dir", sets, "--scale", "smoke", "--out", tmp_path / "run", *more]
    result = CliRunner().invoke(main, ["reproduce", "ecg-atk-gan", *map(str, words)])
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    assert expected in " ".join(result.output.strip().splitlines()[-1].split())
    assert not (tmp_path / "run").exists()


# The tables where nobody ran it.


def test_without_the_database_the_printed_values_stand_alone_and_why() -> None:
    table, generator = ptb_table({}), generator_table({})
    for row in PTB:
        assert f" {row.accuracy:.1f} |" in table
    assert table.count(ABSENT) == 3 and generator.count(ABSENT) == len(COLUMNS)
    for of in GENERATOR:
        if of.dataset == "PTB":
            assert f"six attacks, as printed | {of.mse:.4g} | {of.ssim:.2f} |" in generator
    assert "cannot" not in table + generator


def test_the_printed_errors_stand_for_beats_of_one_size() -> None:
    rows = [row.corrected for row in GENERATOR if row.dataset == "PTB" and row.swapped]
    assert [row.attack for row in rows] == [None, "BIM", "PGD", "CW"]
    assert {f"{row.mse**0.5 / row.nrmse:.3f}" for row in rows} <= {"0.490", "0.491"}


def test_the_page_of_ptb_says_not_run_everywhere_where_nothing_is_stored(tmp_path: Path) -> None:
    STUDY.write_page(Results({"ptb": {"cells": []}}), tmp_path / "page.md")
    page = (tmp_path / "page.md").read_text()
    assert "0 of 28 places were run" in page and "not run: not in the stored results" in page
    assert all(name in page for name in NAMES.values())


def test_a_page_of_mit_bih_has_no_numbers_of_ptb_s_own(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("salus_studies.ecg_atk_gan.figures.draw", lambda results, arrays: {})
        STUDY.write_page(Results({"cells": []}), tmp_path / "page.md")
    assert (tmp_path / "page.md").read_text().count(ABSENT) == 3 + len(COLUMNS)


def test_a_damaged_database_is_refused_before_a_folder_is_claimed(tmp_path: Path) -> None:
    write(tmp_path / "ptbdb", "patient001/s0010_re", "Healthy control")
    with pytest.raises(DataError, match="holds patients but no file RECORDS"):
        run(tmp_path / "run", tmp_path)
    assert not (tmp_path / "run").exists()
