"""Options as a user writes them, ``name:key=value,key=value``, turned into the fields of a dataclass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from fractions import Fraction
from typing import Any, TypeVar

import yaml
from pydantic import TypeAdapter, ValidationError

from salus.errors import OptionError, nearest

T = TypeVar("T")


def split_spec(spec: str, kind: str) -> tuple[str, dict[str, Any]]:
    """Split ``pgd:eps=0.01,steps=40`` into the name and its options; ``2/255`` is read as a number.

    Raises:
        OptionError: a part is not ``key=value``.
    """
    name, _, rest = spec.partition(":")
    options: dict[str, Any] = {}
    for part in filter(None, (part.strip() for part in rest.split(","))):
        key, equals, value = part.partition("=")
        if not equals or not value.strip():
            raise OptionError(
                f"{kind.capitalize()} {spec!r}: {part!r} is not an option; write {name}:key=value,key=value."
            )
        if key.strip() in options:
            raise OptionError(f"{kind.capitalize()} {spec!r} gives {key.strip()} twice.")
        options[key.strip()] = parse_value(value.strip())
    return name.strip(), options


def parse_value(text: str) -> Any:
    """Read a number, a fraction, true, false, or a word."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    if "/" in text:
        try:
            return float(Fraction(text.replace(" ", "")))
        except (ValueError, ZeroDivisionError):
            return text
    try:
        value = float(text) if "e" in text.lower() else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError):
        return text
    return value if value is None or isinstance(value, (int, float)) else text  # a word as it is, such as a file's name


def build(cls: type[T], options: Mapping[str, Any], what: str) -> T:
    """Make a dataclass from options, checking names and types.

    Args:
        cls: the dataclass.
        options: field values; fractions such as ``"2/255"`` are read as numbers.
        what: how to name it in an error message, ``attack 'pgd'``.

    Raises:
        OptionError: an unknown, missing or ill-typed option.
    """
    known = [field.name for field in fields(cls) if field.init]  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    for key, value in options.items():
        word = key.replace("-", "_")
        if word not in known:
            raise OptionError(f"{what[0].upper()}{what[1:]} has no option {key!r}; {nearest(word, known)}")
        values[word] = parse_value(value) if isinstance(value, str) and "/" in value else value
    try:
        return TypeAdapter(cls).validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        cause = first.get("ctx", {}).get("error")
        if isinstance(cause, OptionError):
            raise cause from error
        place = ".".join(map(str, first["loc"])) or "its options"
        if first["type"] in ("missing", "missing_keyword_only_argument"):
            raise OptionError(f"{what[0].upper()}{what[1:]} needs {place}: write {place}=VALUE.") from error
        raise OptionError(
            f"{what[0].upper()}{what[1:]}: {place}={first['input']!r} will not do: "
            f"{first['msg'][0].lower()}{first['msg'][1:]}."
        ) from error
