"""DICOM images: what is shown is what a viewer shows; the verdict is that of the same picture in PNG."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from salus.classifier import Classifier
from salus.data import load
from salus.errors import DataError
from salus.guard import Guard
from salus.preprocessing import ImagePreprocessor, load_preprocessor, save_preprocessor
from salus.preprocessing.dicom_images import CHOSEN, FIRST, NO_WINDOW, OVERLAID, WINDOWED, read_picture

pydicom = pytest.importorskip("pydicom")
Image = pytest.importorskip("PIL.Image")


def a_guard(channels: int = 1, white: int = 255, **options: Any) -> Guard:
    preprocessor = ImagePreprocessor(
        classes=("clear", "nodule"), shape=(channels, 24, 24), white=white, resized=True, **options
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(channels * 24 * 24, 2))
    return Guard(Classifier(module, preprocessor.classes, shape=preprocessor.shape, preprocessor=preprocessor))


def probabilities(guard: Guard, path: Path) -> torch.Tensor:
    verdict = guard.judge(path).verdict
    assert verdict is not None
    return verdict.probabilities


def scan(seed: int = 0, bits: int = 8, shape: tuple[int, ...] = (40, 48)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2**bits, shape).astype(np.uint8 if bits <= 8 else np.uint16)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_picture_gets_the_verdict_of_its_png(channels: int, ecg_writers: ModuleType, tmp_path: Path) -> None:
    guard, levels = a_guard(channels), scan()
    colours = scan(1, shape=(40, 48, 3))
    expected = 255 - levels
    pictures = {
        "MONOCHROME2": (levels, levels, {}),
        "MONOCHROME1": (expected, levels, {"PhotometricInterpretation": "MONOCHROME1"}),
        "RGB": (colours, colours, {}),
    }
    for name, (shown, stored, elements) in pictures.items():
        Image.fromarray(shown).save(tmp_path / f"{name}.png")
        (tmp_path / f"{name}.dcm").write_bytes(ecg_writers.dicom_image(stored, **elements))
        same = probabilities(guard, tmp_path / f"{name}.png"), probabilities(guard, tmp_path / f"{name}.dcm")
        assert torch.equal(*same), name


def test_deep_levels_get_the_verdict_of_a_deep_file(ecg_writers: ModuleType, tmp_path: Path) -> None:
    levels = scan(bits=12)
    Image.fromarray(levels).save(tmp_path / "a.tif", tiffinfo={281: 4095})
    (tmp_path / "a.dcm").write_bytes(ecg_writers.dicom_image(levels, BitsStored=12))
    for guard in (a_guard(white=4095), a_guard()):
        said = [probabilities(guard, tmp_path / f"a.{kind}") for kind in ("tif", "dcm")]
        assert torch.allclose(said[0], said[1], atol=1e-3)
    assert guard.judge(tmp_path / "a.dcm").notes == (f"{NO_WINDOW}: 1 images",)


@settings(max_examples=15, deadline=None)
@given(
    st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID"]),
    st.floats(-200, 1200).map(lambda value: round(value, 1)),
    st.integers(2, 2000),
    st.sampled_from([(1.0, 0.0), (1.0, -1024.0), (0.5, 3.0)]),
    st.booleans(),
)
def test_a_window_shows_what_pydicom_shows(
    ecg_writers: ModuleType,
    function: str,
    centre: float,
    width: int,
    rescale: tuple[float, float],
    signed: bool,
) -> None:
    from pydicom.pixels.processing import apply_modality_lut, apply_windowing

    stored = (scan(bits=12, shape=(8, 8)).astype(np.int32) - (2048 if signed else 0)).astype("i2" if signed else "u2")
    content = ecg_writers.dicom_image(
        stored,
        BitsStored=12,
        WindowCenter=centre,
        WindowWidth=width,
        VOILUTFunction=function,
        RescaleSlope=rescale[0],
        RescaleIntercept=rescale[1],
    )
    picture = read_picture(content, white=4095)
    assert picture.assumed == (WINDOWED,)
    dataset = pydicom.dcmread(BytesIO(content))
    with np.errstate(over="ignore"):
        theirs = apply_windowing(apply_modality_lut(stored, dataset), dataset)  # over the range of the rescaled levels
    low = (-2048 if signed else 0) * rescale[0] + rescale[1]
    assert np.abs((theirs - low) / rescale[0] - picture.levels).max() <= 1


def test_two_windows_are_refused_with_both_named(ecg_writers: ModuleType, tmp_path: Path) -> None:
    content = ecg_writers.dicom_image(
        scan(bits=12), BitsStored=12, WindowCenter=[40, 600], WindowWidth=[400, 2800],
        WindowCenterWidthExplanation=["BRAIN", "BONE"],
    )  # fmt: skip
    path = tmp_path / "IM0001"  # as a hospital's archive writes it
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"40,400 \(BRAIN\); 600,2800 \(BONE\); say which \(--window first, or"):
        a_guard().judge(path)
    first, bone = a_guard(window="first").judge(path), a_guard(window=(600.0, 2800.0)).judge(path)
    assert first.notes == (f"{FIRST}: 1 images",)
    assert bone.notes == (f"{CHOSEN}: 1 images",)


def test_signed_levels_need_a_window(ecg_writers: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "ct.dcm"
    path.write_bytes(ecg_writers.dicom_image(scan(bits=12).astype(np.int16) - 1024))
    with pytest.raises(DataError, match=r"black and white it does not name .* \(--window CENTRE,WIDTH\)"):
        a_guard().judge(path)
    assert a_guard(window=(40.0, 400.0)).judge(path).verdict is not None


@pytest.mark.parametrize(
    ("elements", "reason"),
    [
        ({"PresentationLUTShape": "INVERSE"}, "can be read in two ways: its lowest level is black .* white by its"),
        ({"PhotometricInterpretation": "YBR_PARTIAL_420"}, "photometric interpretation 'YBR_PARTIAL_420'"),
        ({"BitsStored": 8, "HighBit": 6}, "highest is bit 6"),
        ({"Rows": 60000, "Columns": 60000}, "60000x60000 pixels; they must be 1 to"),
        ({"Rows": 0}, "pixels; they must be 1 to"),
        ({"WindowCenter": [1, 2], "WindowWidth": 5}, "2 centres of windows and 1 widths"),
        ({"WindowCenter": 1, "WindowWidth": 0}, "window of centre 1 and width 0"),
        ({"BitsAllocated": 32}, "levels of 8 bits stored in 32"),
        ({"Columns": 50}, "cannot be decoded"),
    ],
)
def test_what_is_no_picture_that_can_be_read_is_refused_in_a_sentence(
    elements: dict[str, Any], reason: str, ecg_writers: ModuleType, tmp_path: Path
) -> None:
    path = tmp_path / "a.dcm"
    path.write_bytes(ecg_writers.dicom_image(scan(), **elements))
    with pytest.raises(DataError, match=reason) as refusal:
        a_guard().judge(path)
    assert "\n" not in str(refusal.value)


def test_frames_are_refused_unless_the_first_is_asked_for(ecg_writers: ModuleType, tmp_path: Path) -> None:
    frames = scan(shape=(3, 40, 48))
    (tmp_path / "a.dcm").write_bytes(ecg_writers.dicom_image(frames))
    with pytest.raises(DataError, match=r"has 3 frames; keep one frame a file, or read the first alone"):
        a_guard().judge(tmp_path / "a.dcm")
    Image.fromarray(frames[0]).save(tmp_path / "a.png")
    guard = a_guard(pages="first")
    assert torch.equal(probabilities(guard, tmp_path / "a.dcm"), probabilities(guard, tmp_path / "a.png"))


def test_a_file_that_is_called_otherwise_is_read_by_its_content(ecg_writers: ModuleType, tmp_path: Path) -> None:
    content = ecg_writers.dicom_image(scan())
    for name in ("a.png", "a.dcm"):
        (tmp_path / name).write_bytes(content)
    guard = a_guard()
    assert torch.equal(probabilities(guard, tmp_path / "a.png"), probabilities(guard, tmp_path / "a.dcm"))


def test_overlays_are_named(ecg_writers: ModuleType) -> None:
    dataset = pydicom.dcmread(BytesIO(ecg_writers.dicom_image(scan())))
    dataset.add_new(0x60003000, "OW", b"\0" * 240)
    content = BytesIO()
    dataset.save_as(content)
    assert OVERLAID in read_picture(content.getvalue()).assumed


REAL = {  # of pydicom's own files: what they are, and the same picture as a viewer decodes it
    "SC_rgb_jpeg_dcmtk.dcm": 3,  # YBR, JPEG
    "SC_rgb_rle.dcm": 3,
    "examples_palette.dcm": 3,
    "examples_jpeg2k.dcm": 3,
    "SC_ybr_full_422_uncompressed.dcm": 3,
}


@pytest.mark.parametrize("name", REAL)
def test_colours_of_authentic_files_are_those_that_pydicom_shows(name: str) -> None:
    from pydicom.data import get_testdata_file
    from pydicom.pixels.processing import apply_color_lut

    path = get_testdata_file(name, download=False)
    if path is None:
        pytest.skip("pydicom was installed without its files")
    dataset = pydicom.dcmread(str(path))
    theirs = dataset.pixel_array
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        theirs = apply_color_lut(theirs, dataset)[..., :3] >> 8
    picture = read_picture(Path(str(path)).read_bytes())
    assert picture.levels.dtype == np.uint8 and picture.levels.shape[2] == 3
    assert np.array_equal(picture.levels, theirs)


def test_what_no_installed_library_decodes_names_the_extra(
    ecg_writers: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pydicom.data import get_testdata_file
    from pydicom.pixels.decoders.base import Decoder

    path = get_testdata_file("JPEGLSNearLossless_08.dcm", download=False)
    monkeypatch.setattr(Decoder, "available_plugins", property(lambda self: ("gdcm",)))
    with pytest.raises(ValueError, match=r"compressed \(JPEG-LS.*\), .* pip install 'salus\[dicom-codecs\]'"):
        read_picture(Path(str(path)).read_bytes())


def test_without_pydicom_the_extra_is_named(
    ecg_writers: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    (tmp_path / "a.dcm").write_bytes(ecg_writers.dicom_image(scan()))
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(DataError, match=r"DICOM files need pydicom, .* pip install 'salus\[formats\]'"):
        a_guard().judge(tmp_path / "a.dcm")


def test_a_folder_of_dicom_files_by_class_is_learnt_from(ecg_writers: ModuleType, tmp_path: Path) -> None:
    for number in range(40):
        place = tmp_path / ("clear", "nodule")[number % 2]
        place.mkdir(exist_ok=True)
        levels = scan(number, bits=12)
        elements = {"WindowCenter": [2048, 40], "WindowWidth": [4096, 400]}
        name = f"1.2.840.113619.{number}" if number % 3 else f"IM{number:04}"
        (place / name).write_bytes(ecg_writers.dicom_image(levels, BitsStored=12, **elements))
    (tmp_path / "clear" / "DICOMDIR").write_bytes(b"\0" * 128 + b"DICM")
    with pytest.raises(DataError, match="can be seen in several ways"):
        load(tmp_path, size=24)
    splits = load(tmp_path, size=24, window="2048,4096")
    assert sum(sum(part.counts.values()) for _, part in splits) == 40
    preprocessor = splits.test.preprocessor
    assert isinstance(preprocessor, ImagePreprocessor)
    assert (preprocessor.window, preprocessor.white) == ((2048.0, 4096.0), 4095)
    assert "through a window of centre 2048 and width 4096" in preprocessor.describe()
    place = tmp_path / "kept"
    place.mkdir()
    save_preprocessor(preprocessor, place)
    again = load_preprocessor(place)
    assert again is not None and again.fingerprint() == preprocessor.fingerprint()


def test_preprocessors_saved_before_there_were_windows_keep_their_fingerprint() -> None:
    assert "window" not in ImagePreprocessor(classes=("a", "b"), shape=(1, 8, 8)).settings()


def test_a_deflated_file_is_refused_before_it_is_unpacked(ecg_writers: ModuleType) -> None:
    content = ecg_writers.dicom_image(scan()).replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.1.99", 1)
    with pytest.raises(ValueError, match="is a deflated DICOM file"):
        read_picture(content)
