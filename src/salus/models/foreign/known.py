"""Which forms there are, and of which a file is."""

from __future__ import annotations

from pathlib import Path

from salus.errors import ModelError
from salus.models.foreign.boosted import LightGBMFile, XGBoostFile
from salus.models.foreign.form import Form
from salus.models.foreign.keras_file import KerasFile
from salus.models.foreign.onnx_file import ONNXFile
from salus.models.foreign.sklearn_file import SklearnFile

#: By name, in the order in which they are asked about a file.
FORMS: dict[str, Form] = {
    form.name: form for form in (ONNXFile(), KerasFile(), SklearnFile(), XGBoostFile(), LightGBMFile())
}

#: First bytes that are looked at.
_HEAD = 4096


def form_of(path: Path) -> Form | None:
    """Recognise a file by its name or its first bytes; None where it is of no known form."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError:
        head = b""
    return next((form for form in FORMS.values() if form.recognises(path, head)), None)


def form_named(name: str) -> Form:
    """Find a form by the name that saved models call it.

    Raises:
        ModelError: there is none.
    """
    if name not in FORMS:
        raise ModelError(f"There is no form of models {name!r}; known: {', '.join(FORMS)}.")
    return FORMS[name]


def known_suffixes() -> tuple[str, ...]:
    """List how files of models are called."""
    return (".pt2", *(suffix for form in FORMS.values() for suffix in form.suffixes))
