"""Media types of raw inputs, and what kind of file each is."""

from __future__ import annotations

from salus.preprocessing import ImagePreprocessor, Preprocessor, RecordingPreprocessor, TablePreprocessor

JSON, NPY, NPZ, ZIP, FORM = (
    "application/json",
    "application/x-npy",
    "application/x-npz",
    "application/zip",
    "multipart/form-data",
)

TABLES = {"text/csv": ".csv", "text/tab-separated-values": ".tsv"}
IMAGES = {
    "image/png": ".png",
    "image/jpeg": ".jpg",
    "image/tiff": ".tiff",
    "image/webp": ".webp",
    "image/bmp": ".bmp",
    "image/x-portable-anymap": ".ppm",
}
DICOM = {"application/dicom": ".dcm"}
RECORDINGS = {"application/edf": ".edf", "application/xml": ".xml", "text/xml": ".xml"}
ARRAYS = {NPY: ".npy", NPZ: ".npz"}

#: Media type -> suffix of the file that it is.
SUFFIXES = {**TABLES, **IMAGES, **DICOM, **RECORDINGS, **ARRAYS}


def media_types(preprocessor: Preprocessor | None) -> tuple[str, ...]:
    """List what a guard reads: arrays always, and raw files as its preprocessor takes them."""
    arrays = (JSON, *ARRAYS)
    if isinstance(preprocessor, TablePreprocessor):
        return (*arrays, *TABLES)
    if isinstance(preprocessor, ImagePreprocessor):
        return (*arrays, *IMAGES, *DICOM, ZIP, FORM)
    if isinstance(preprocessor, RecordingPreprocessor):
        return (*arrays, *DICOM, *RECORDINGS, ZIP, FORM)
    return arrays
