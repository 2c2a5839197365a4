"""Raw things into x, the same way everywhere: tables, images, recordings, arrays."""

from salus.preprocessing.arrays import ArrayPreprocessor
from salus.preprocessing.base import Prepared, Preprocessor, Refusal
from salus.preprocessing.images import ImagePreprocessor
from salus.preprocessing.recordings import RawRecording, RecordingPreprocessor
from salus.preprocessing.saved import load_preprocessor, save_preprocessor
from salus.preprocessing.tables import TablePreprocessor

__all__ = [
    "ArrayPreprocessor",
    "ImagePreprocessor",
    "Prepared",
    "Preprocessor",
    "RawRecording",
    "RecordingPreprocessor",
    "Refusal",
    "TablePreprocessor",
    "load_preprocessor",
    "save_preprocessor",
]
