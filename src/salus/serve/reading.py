"""The body of a request, read as its media type says and prepared as the guard's training data were."""

from __future__ import annotations

import re
import tempfile
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError

from salus.classifier import Classifier
from salus.client.messages import VerdictsRequest
from salus.data.archive import unpack
from salus.errors import DataError, SalusError
from salus.preprocessing import Prepared, RawRecording
from salus.preprocessing.base import inside, joined, numbered, tensor_of
from salus.preprocessing.ecg_files import is_ecg_file
from salus.serve.media import FORM, JSON, NPZ, SUFFIXES, ZIP, media_types
from salus.serve.problems import ProblemDetailsError

#: Files of one request.
MAX_FILES = 1000

#: A file's name and content.
File = tuple[str, bytes]


def read_body(
    content_type: str, body: bytes, classifier: Classifier, *, most: int, max_bytes: int, files: Iterable[File] = ()
) -> Prepared:
    """Prepare what a request brings.

    Args:
        content_type: its media type, without parameters.
        body: its content; b"" where it has several parts.
        classifier: whose inputs they are.
        most: inputs that it may hold.
        max_bytes: that it may unpack to.
        files: the parts of a form.

    Raises:
        ProblemDetailsError: the media type is not read, or there are too many inputs.
        DataError: they are no inputs of this guard.
    """
    known = media_types(classifier.preprocessor)
    if content_type not in known:
        raise ProblemDetailsError(
            "unsupported",
            f"Content-Type {content_type or '(none)'} is not one of this guard's: {', '.join(known)}.",
        )
    try:
        if content_type == JSON:
            prepared = _json(body, classifier, most)
        else:
            prepared = _as_files(content_type, body, classifier, most=most, max_bytes=max_bytes, files=files)
    except (ProblemDetailsError, SalusError):
        raise
    except Exception as error:  # what a hostile file leads a library to raise
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise DataError(f"The {content_type} of the request cannot be read ({reason}); check it.") from error
    _refuse_many(len(prepared.x) + len(prepared.refused), most)
    if not len(prepared.x) and not prepared.refused:
        raise DataError("The request holds no inputs; send one or more.")
    return prepared


def _refuse_many(count: int, most: int) -> None:
    if count > most:
        raise ProblemDetailsError(
            "too-large", f"The request holds {count} inputs or more; send at most {most} at a time."
        )


def _json(body: bytes, classifier: Classifier, most: int) -> Prepared:
    try:
        request = VerdictsRequest.model_validate_json(body)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, fault["loc"])) or "the body"
        raise DataError(
            f'In the JSON, {where}: {fault["msg"]}; send {{"inputs": [...]}}, with "prepared": true where they are '
            "prepared already."
        ) from error
    _refuse_many(len(request.inputs), most)
    if request.prepared or classifier.preprocessor is None:
        return prepared_array(request.inputs, classifier)
    return classifier.prepare(_raw(request.inputs))


def _raw(inputs: list[Any]) -> Any:
    """Make of JSON what a preprocessor takes: columns of rows, recordings of objects with signals, or numbers."""
    if not all(isinstance(each, Mapping) for each in inputs):
        return numbers_of(inputs)
    if all("signals" in each for each in inputs):
        return [_recording(each, number) for number, each in enumerate(inputs, 1)]
    names = dict.fromkeys(str(name) for row in inputs for name in row)
    return {name: [row.get(name) for row in inputs] for name in names}


def numbers_of(inputs: Any) -> torch.Tensor:
    """Read nested lists of numbers; float32, or whole numbers where all are whole.

    Raises:
        DataError: they are ragged, or hold something else.
    """
    try:
        array = np.asarray(inputs)
    except (ValueError, OverflowError) as error:
        raise DataError("The inputs are no array: they must be lists of numbers of one length.") from error
    if array.dtype.kind not in "fiub":
        raise DataError("The inputs must be lists of numbers, all of one length, or objects; they hold something else.")
    return torch.from_numpy(np.ascontiguousarray(array if array.dtype.kind == "i" else array.astype(np.float32)))


def _recording(each: Mapping[str, Any], number: int) -> RawRecording:
    known = {"signals", "rate", "name", "peaks"}
    strange = sorted(set(each) - known)
    if strange or "rate" not in each or not isinstance(each["signals"], Mapping):
        raise DataError(
            f"Recording {number} must have signals (lead -> millivolts), rate (Hz) and may have name and peaks"
            f"{f', not {strange[0]!r}' if strange else ''}."
        )
    signals = {str(lead): numbers_of(values) for lead, values in each["signals"].items()}
    return RawRecording(signals, float(each["rate"]), str(each.get("name", f"recording {number}")), each.get("peaks"))


def prepared_array(inputs: Any, classifier: Classifier) -> Prepared:
    """Take numbers that are prepared already, checked against the classifier's shape and bounds.

    Raises:
        DataError: they have another shape.
    """
    x = inputs if isinstance(inputs, torch.Tensor) else tensor_of(numbers_of(inputs), "The inputs")
    if tuple(x.shape[1:]) != classifier.shape:
        raise DataError(
            f"The inputs have the shape {list(x.shape)}; they must be [N, {', '.join(map(str, classifier.shape))}]."
        )
    x, (low, high) = x.float(), classifier.bounds
    values = x.numpy()
    if values.size and low <= values.min() and values.max() <= high:  # nearly always, and NaN is neither
        return Prepared(x, numbered(len(x), "input"))
    x, names, refused = inside(x, numbered(len(x), "input"), classifier.bounds)
    return Prepared(x, tuple(names), refused=tuple(refused))


def _as_files(
    content_type: str, body: bytes, classifier: Classifier, *, most: int, max_bytes: int, files: Iterable[File]
) -> Prepared:
    """Lay the content into a folder that is gone afterwards, and prepare it from there as every command does."""
    with tempfile.TemporaryDirectory(prefix="salus-") as place:
        folder = Path(place) / "request"
        folder.mkdir()
        if content_type == ZIP:
            archive = Path(place) / "request.zip"
            archive.write_bytes(body)
            _named(lambda: unpack(archive, folder, max_bytes=max_bytes, max_files=MAX_FILES), place)
        elif content_type == FORM:
            _lay_out(files, folder)
        else:
            folder = Path(place) / f"request{SUFFIXES[content_type]}"
            folder.write_bytes(body)
            if content_type == NPZ:
                _refuse_bomb(folder, max_bytes)
        batches: list[Prepared] = []

        def read() -> None:
            for batch in classifier.read(_single(folder)):
                batches.append(batch)
                _refuse_many(sum(len(each.x) + len(each.refused) for each in batches), most)

        _named(read, place)
    return joined(batches, classifier.shape)


def _refuse_bomb(archive: Path, max_bytes: int) -> None:
    """Refuse arrays that unpack to more than a request may hold.

    Raises:
        DataError: they do.
    """
    if not zipfile.is_zipfile(archive):
        return  # whoever reads it says so
    with zipfile.ZipFile(archive) as packed:
        size = sum(member.file_size for member in packed.infolist())
    if size > max_bytes:
        raise DataError(f"The arrays of the request unpack to {size} bytes; at most {max_bytes} are read at a time.")


def _single(folder: Path) -> Path:
    """Take a folder's only record or file for itself, so that its beats are named as those of a record are."""
    if folder.is_dir():
        only = list(folder.iterdir())
        if len(only) == 1 and is_ecg_file(only[0]):
            return only[0]
        headers = list(folder.glob("*.hea"))
        files = list(folder.iterdir())
        if len(headers) == 1 and all(path.stem == headers[0].stem for path in files):
            return headers[0]
    return folder


def _lay_out(files: Iterable[File], folder: Path) -> None:
    """Write the parts of a form; their names are somebody else's, so that only their last part counts.

    Raises:
        DataError: two have one name, or one has none.
    """
    count = 0
    for name, content in files:
        count += 1
        plain = PurePosixPath(name.replace("\\", "/")).name
        if count > MAX_FILES:
            raise ProblemDetailsError("too-large", f"The form holds more than {MAX_FILES} files; send fewer at a time.")
        if not plain or plain.startswith(".") or not plain.isprintable() or len(plain) > 200:
            raise DataError(f"Part {count} of the form has no usable file name; name each file.")
        if (folder / plain).exists():
            raise DataError(f"Two files of the form are called {plain!r}; name them differently.")
        (folder / plain).write_bytes(content)
    if not count:
        raise DataError("The form holds no files; send one or more.")


def _named(read: Any, place: str) -> None:
    """Keep the name of the scratch folder out of what is said."""
    try:
        read()
    except SalusError as error:
        scratch = re.escape(place)
        text = re.sub(rf"^(File|Folder|Record|Archive) {scratch}/request(\.\w+)?", "The request", str(error))
        text = re.sub(rf"{scratch}/request/", "", text)
        text = re.sub(rf"{scratch}/request(\.\w+)?", "the request", text)
        raise type(error)(text) from error
