"""Requests that bring files of hospitals: DICOM and the formats of recorders, alone, in forms and in archives."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from salus.classifier import Classifier
from salus.client.bodies import body_of
from salus.errors import DataError
from salus.preprocessing import ImagePreprocessor, RecordingPreprocessor
from salus.serve.reading import read_body

pytest.importorskip("pydicom")
pytest.importorskip("ecgdatakit")

SAMPLES = Path(__file__).parents[1] / "preprocessing" / "samples"


def _classifier(preprocessor: Any) -> Classifier:
    module = nn.Sequential(nn.Flatten(), nn.Linear(int(np.prod(preprocessor.shape)), 2))
    return Classifier(module, ("a", "b"), shape=preprocessor.shape, preprocessor=preprocessor)


@pytest.fixture
def beats() -> Classifier:
    return _classifier(RecordingPreprocessor(leads=("II",), classes=("a", "b"), shape=(1, 280)))


@pytest.fixture
def pictures() -> Classifier:
    return _classifier(ImagePreprocessor(classes=("a", "b"), shape=(1, 8, 8), resized=True))


def _read(classifier: Classifier, kind: str, body: bytes, **options: Any) -> Any:
    return read_body(kind, body, classifier, **{"most": 1000, "max_bytes": 2**22, **options})


def _picture(levels: np.ndarray) -> bytes:
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage

    dataset, dataset.file_meta = Dataset(), FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = SecondaryCaptureImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = "1.2.3"  # type: ignore[assignment]
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.Rows, dataset.Columns = levels.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 8, 8, 7, 0
    dataset.PixelData = levels.tobytes()
    content = io.BytesIO()
    dataset.save_as(content, enforce_file_format=True)
    return content.getvalue()


def test_a_picture_of_dicom_is_read_as_its_png(pictures: Classifier) -> None:
    from PIL import Image

    levels = np.random.default_rng(0).integers(0, 256, (16, 12)).astype(np.uint8)
    png = io.BytesIO()
    Image.fromarray(levels).save(png, "PNG")
    dicom = _read(pictures, "application/dicom", _picture(levels))
    assert torch.equal(dicom.x, _read(pictures, "image/png", png.getvalue()).x)
    form = _read(pictures, "multipart/form-data", b"", files=[("IM0001", _picture(levels))])
    assert torch.equal(form.x, dicom.x) and form.names == ("IM0001",)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("pyedflib.edf", "application/edf"), ("biosig.xml", "application/xml"), ("ishneholterlib.ecg", "")],
)
def test_a_recording_comes_alone_in_a_form_and_as_the_client_sends_it(name: str, kind: str, beats: Classifier) -> None:
    content = (SAMPLES / name).read_bytes()
    form = _read(beats, "multipart/form-data", b"", files=[(name, content)])
    assert len(form.x) > 5 and form.names[0].startswith(f"{name} ")
    if kind:
        assert torch.equal(_read(beats, kind, content).x, form.x)
    sent = body_of(SAMPLES / name)
    assert torch.equal(_read(beats, sent.media_type, sent.content).x, form.x)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as packed:
        for place in ("one", "two"):
            packed.writestr(f"{place}/{name}", content)
    both = _read(beats, "application/zip", archive.getvalue())
    assert len(both.x) == 2 * len(form.x)


def test_a_refusal_names_no_scratch_folder(beats: Classifier, pictures: Classifier) -> None:
    with pytest.raises(DataError) as refusal:
        _read(beats, "application/dicom", _picture(np.zeros((4, 4), np.uint8)))
    assert "holds no ECG (Secondary Capture Image Storage)" in str(refusal.value)
    assert "/salus-" not in str(refusal.value)
    with pytest.raises(DataError, match=r"no image of the formats|is no DICOM file"):
        _read(pictures, "application/dicom", b"no file of DICOM")
