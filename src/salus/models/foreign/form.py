"""Forms in which other people's models come: what recognises a file, and what makes a module of it."""

from __future__ import annotations

import importlib
import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

from torch import nn

from salus.errors import ModelError
from salus.models.reading import Inputs, Reading

#: Largest file of a model that is read.
MOST_BYTES = 2**31


@dataclass(frozen=True, eq=False)
class Built:
    """What was made of a model's file.

    Attributes:
        module: what answers.
        reading: how it is read, with what was found out.
        notes: what a reader should know.
        settings: what else it takes to make it again, as plain values.
    """

    module: nn.Module
    reading: Reading
    notes: tuple[str, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)


class Form(ABC):
    """A form of file.

    Attributes:
        name: as saved models call it.
        title: what it is, for sentences.
        suffix: of the file inside a folder that Salus saves.
        suffixes: of files outside.
        extra: of Salus's package, that brings the library.
        gradients: whether its models may be differentiated.
        shows_layers: whether hidden layers can be watched.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    suffix: ClassVar[str]
    suffixes: ClassVar[tuple[str, ...]]
    extra: ClassVar[str]
    gradients: ClassVar[bool] = False
    shows_layers: ClassVar[bool] = False

    def recognises(self, path: Path, head: bytes) -> bool:
        """Tell whether a file is of this form, by its name or its first bytes."""
        return path.suffix.lower() in self.suffixes

    def read(self, path: Path) -> bytes:
        """Read a file whole, with whatever lies beside it and belongs to it.

        Raises:
            ModelError: it cannot be read.
        """
        return read_bytes(path)

    @abstractmethod
    def build(self, content: bytes, reading: Reading, inputs: Inputs, place: str) -> Built:
        """Make a module of a file's content, of which nothing is run.

        Args:
            content: the file.
            reading: how it is to be read.
            inputs: what it will be given.
            place: how to name the file in sentences.

        Raises:
            ModelError: it is damaged, hostile, or does not fit the inputs.
        """


def read_bytes(path: Path) -> bytes:
    """Read a file.

    Raises:
        ModelError: there is none, it is no file, or too large.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ModelError(f"{path} has {path.stat().st_size:,} bytes; models up to {MOST_BYTES:,} are read.")
        return path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}.") from error


def library(name: str, extra: str, what: str, *, least: str = "") -> ModuleType:
    """Import a library that an extra brings.

    Raises:
        ModelError: it is not installed, older than ``least``, or broken.
    """
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or name
        raise ModelError(f"{what} needs {missing}, which is not installed: pip install 'salus[{extra}]'.") from error
    except (ImportError, RuntimeError, OSError) as error:
        raise ModelError(f"{what} needs {name}, which cannot be imported: {error}.") from error
    root = importlib.import_module(name.partition(".")[0])
    version = str(getattr(root, "__version__", ""))
    if least and _number(version) < _number(least):
        raise ModelError(
            f"{what} needs {name} {least} or newer, which refuses what older ones do not; {version} is installed: "
            f"pip install -U 'salus[{extra}]'."
        )
    return module


def _number(version: str) -> tuple[int, ...]:
    digits = (part for part in version.split(".")[:3])
    return tuple(int("".join(letter for letter in part if letter.isdigit()) or 0) for part in digits)


def one_sentence(place: str, what: str, read: Callable[[], Any]) -> Any:
    """Read a file by a library that fails in many ways, and say in one sentence when it does.

    Raises:
        ModelError: it failed.
    """
    try:
        return read()
    except ModelError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:300].rstrip(".") or type(error).__name__
        raise ModelError(
            f"{place} cannot be read as {what}: {reason}; take a fresh copy or export it again."
        ) from error


def quiet_environment(**variables: str) -> None:
    """Set variables of the environment that a library reads when it is first imported, unless they are set."""
    for name, value in variables.items():
        os.environ.setdefault(name, value)
