"""A preprocessor in a folder: ``preprocessor.json``, and its arrays in safetensors."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError

from salus.atomic import write_json, write_tensors
from salus.errors import BundleError, SalusError
from salus.preprocessing.arrays import ArrayPreprocessor
from salus.preprocessing.base import Preprocessor
from salus.preprocessing.images import ImagePreprocessor
from salus.preprocessing.recordings import RecordingPreprocessor
from salus.preprocessing.tables import TablePreprocessor

FORMAT = "salus-preprocessor"
VERSION = 1

PAGE, ARRAYS = "preprocessor.json", "preprocessor.safetensors"

KINDS: dict[str, type[Preprocessor]] = {
    kind.kind: kind for kind in (TablePreprocessor, ImagePreprocessor, RecordingPreprocessor, ArrayPreprocessor)
}


def save_preprocessor(preprocessor: Preprocessor, folder: Path) -> None:
    """Write it, the page last.

    Raises:
        StoreError: the folder cannot be written.
    """
    tensors = preprocessor.tensors()
    page = {
        "format": FORMAT,
        "version": VERSION,
        "kind": preprocessor.kind,
        "settings": preprocessor.settings(),
        "fingerprint": preprocessor.fingerprint(),
    }
    if tensors:
        write_tensors(folder / ARRAYS, tensors)
        page["sha256"] = hashlib.sha256((folder / ARRAYS).read_bytes()).hexdigest()
    write_json(folder / PAGE, page)


def saved_preprocessor(folder: Path, fingerprint: str | None) -> Preprocessor | None:
    """Read the preprocessor that a model was saved with, by its fingerprint; None where it had none.

    Raises:
        BundleError: it is missing, damaged, or another.
    """
    if fingerprint is None:
        return None
    preprocessor = load_preprocessor(folder)
    if preprocessor is None or preprocessor.fingerprint() != fingerprint:
        fault = "is missing" if preprocessor is None else "is not the one that the model was saved with"
        raise BundleError(f"{folder / PAGE} {fault}; take a fresh copy of the folder.")
    return preprocessor


def load_preprocessor(folder: Path) -> Preprocessor | None:
    """Read it back; None where the folder has none, as those have that were written before there were any.

    Raises:
        BundleError: it is damaged, was changed, or is of another version.
    """
    path = folder / PAGE
    try:
        page = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise BundleError(f"{path} is no readable JSON; take a fresh copy of the folder.") from error
    if not isinstance(page, dict) or page.get("format") != FORMAT:
        raise BundleError(f"{path} does not describe a preprocessor (it has no format {FORMAT!r}).")
    if page.get("version") != VERSION or str(page.get("kind")) not in KINDS:
        raise BundleError(
            f"{path} has version {page.get('version')!r} and kind {page.get('kind')!r}; this Salus reads version "
            f"{VERSION} of {', '.join(KINDS)}."
        )
    try:
        tensors = {}
        if "sha256" in page:
            content = (folder / ARRAYS).read_bytes()
            if hashlib.sha256(content).hexdigest() != page["sha256"]:
                raise BundleError(f"{folder / ARRAYS} was changed or cut short since the preprocessor was saved.")
            tensors = safetensors.torch.load(content)
        preprocessor = KINDS[page["kind"]].restore(page["settings"], tensors)
        agrees = preprocessor.fingerprint() == page["fingerprint"]
    except BundleError:
        raise
    except (
        KeyError,
        TypeError,
        ValueError,
        AttributeError,
        OverflowError,
        RuntimeError,
        OSError,
        SafetensorError,
        SalusError,
    ) as error:
        raise BundleError(f"{path} is damaged ({error}); take a fresh copy of the folder.") from error
    if not agrees:
        raise BundleError(f"{path} was changed since the preprocessor was saved: its fingerprint does not agree.")
    return preprocessor
