"""Pydantic models whose fields are options: for what has many, and is read from Python, a command line and YAML."""

from __future__ import annotations

import functools
from typing import Any, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationInfo, ValidatorFunctionWrapHandler, field_validator

from salus.options import REQUIRED, Option, options_of


class DeclaredModel(BaseModel):
    """A frozen model; its fields that have a line of help are read, and refused, as Salus's other options are.

    Raises:
        OptionError: an option is none of what it may be.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    @functools.cache
    def declared_options(cls) -> tuple[Option, ...]:
        """List the fields that have a line of help; see ``salus.options.options_of``."""
        hints = get_type_hints(cls, include_extras=True)
        options = []
        for name, field in cls.model_fields.items():
            if field.description:
                default = REQUIRED if field.is_required() else field.get_default(call_default_factory=True)
                options.append(Option(name, hints[name], default, field.description))
        return tuple(options)

    @field_validator("*", mode="wrap")
    @classmethod
    def _read(cls, value: Any, check: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
        """Read and check an option as all options are, and any other field as pydantic does."""
        option = next((option for option in options_of(cls) if option.name == info.field_name), None)
        return check(value) if option is None else option.check(value)
