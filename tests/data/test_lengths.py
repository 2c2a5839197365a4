"""Recordings of several lengths in one file, loaded and attacked a length at a time."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from salus.attacks import PGD
from salus.audit import Fleet
from salus.classifier import check_classifier, load_user_model
from salus.data import load
from salus.errors import DataError, ModelError

SIZES = (40, 64)


def written(folder: Path, **changes: Any) -> Path:
    """Write recordings of twelve leads, padded with a value that would be seen if it were read."""
    rng = np.random.default_rng(0)
    lengths = np.where(np.arange(120) % 3 == 0, *SIZES)
    x = rng.uniform(0.3, 0.6, (120, 12, 64)).astype(np.float32)
    for row, length in enumerate(lengths):
        x[row, :, length:] = 1.0
    y = np.arange(120) // 60
    arrays = {"x": x, "y": y, "lengths": lengths, "groups": np.arange(120) // 2, **changes}
    path = folder / "leads.npz"
    np.savez(path, **{key: value for key, value in arrays.items() if value is not None})
    return path


def test_recordings_of_one_length_are_loaded_without_their_padding_and_keep_their_names(tmp_path: Path) -> None:
    path = written(tmp_path)
    raw = np.load(path)
    seen: set[str] = set()
    for length, count in zip(SIZES, (40, 80), strict=True):
        splits = load(path, length=length)
        assert sum(len(part) for _, part in splits) == count
        for _, part in splits:
            assert part.x.shape[1:] == (12, length) and float(part.x.max()) < 0.7
            assert part.groups is not None
            for name, x, y, group in zip(part.names, part.x, part.y, part.groups, strict=True):
                row = int(name[2:-1])
                assert np.array_equal(x, raw["x"][row, :, :length]) and y == raw["y"][row]
                assert group in part.groups and raw["lengths"][row] == length
                seen.add(name)
        note = next(note for note in splits.test.provenance.notes if "of length" in note)
        assert f"{count} of 120" in note and "left out" in note
    assert len(seen) == 120


@pytest.mark.parametrize(
    ("changes", "options", "sentence"),
    [
        ({}, {}, r"of 2 lengths: 64 \(80 recordings\), 40 \(40 recordings\).*--length 64"),
        ({}, {"length": 50}, "no recordings of length 50; it has 64"),
        ({"lengths": None}, {"length": 40}, "add an array lengths"),
        ({"lengths": np.full(120, 65)}, {}, r"lengths\[0\] is 65; it must be 1 to 64"),
        ({"lengths": np.full(119, 40)}, {}, "must be 120 whole numbers"),
        ({"lengths": np.full(120, 40.0)}, {}, "whole numbers, one a recording; it is float64"),
        ({"x": np.full((120, 12), 0.5, np.float32)}, {}, r"lengths are of recordings \[N, C, L\]"),
    ],
)
def test_lengths_that_do_not_fit_are_refused(
    changes: dict[str, Any], options: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=sentence):
        load(written(tmp_path, **changes), **options)


def test_one_length_alone_needs_no_word_and_sides_are_cut_alike(tmp_path: Path) -> None:
    assert load(written(tmp_path, lengths=np.full(120, 40))).test.x.shape[1:] == (12, 40)
    rng = np.random.default_rng(0)
    sides: dict[str, Any] = {}
    for side, count in (("train", 60), ("test", 30)):
        sides[f"x_{side}"] = rng.uniform(0, 1, (count, 2, 9)).astype(np.float32)
        sides[f"y_{side}"], sides[f"lengths_{side}"] = np.arange(count) // 2 % 2, np.where(np.arange(count) % 2, 9, 6)
    np.savez(tmp_path / "sides.npz", **sides)
    splits = load(tmp_path / "sides.npz", length=6)
    assert len(splits.test) == 15 and splits.test.x.shape[1:] == (2, 6)
    assert np.array_equal(splits.test.x.numpy(), sides["x_test"][::2, :, :6])
    del sides["lengths_test"]
    np.savez(tmp_path / "sides.npz", **sides)
    with pytest.raises(DataError, match="has lengths_train and no lengths_test"):
        load(tmp_path / "sides.npz", length=6)


def test_a_model_of_any_length_is_attacked_at_each_and_one_of_one_length_refuses_the_other(tmp_path: Path) -> None:
    path = written(tmp_path)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv1d(12, 4, 5), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(4, 2)).eval()
    for length in SIZES:
        data = load(path, length=length).test
        x_adv = PGD(eps=0.1, steps=3)(net, data.x, net(data.x).argmax(1))
        assert x_adv.shape == data.x.shape and not torch.equal(x_adv, data.x)
    fixed = nn.Sequential(nn.Flatten(), nn.Linear(12 * 40, 2)).eval()
    torch.export.save(torch.export.export(fixed, (torch.rand(2, 12, 40),)), tmp_path / "fixed.pt2")
    other = load(path, length=64).test
    with pytest.raises(ModelError):
        classifier = load_user_model(
            str(tmp_path / "fixed.pt2"), classes=other.classes, shape=other.x.shape[1:], data=other
        )
        check_classifier(classifier, other)


def test_a_fleet_has_an_audit_a_length(tmp_path: Path) -> None:
    plans = [{"length": length} for length in SIZES]
    fleet = Fleet.of({"data": str(written(tmp_path)), "model": "ecg-cnn", "audits": plans})
    assert fleet.single is None and {member.plan.length for member in fleet.members} == set(SIZES)
