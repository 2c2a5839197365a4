"""The papers that Salus reproduces, each in a room of its own: its published tables as data beside what is measured."""

from __future__ import annotations

import inspect
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from salus.errors import OptionError

if TYPE_CHECKING:
    from salus_studies.frame.steps import Outcome

#: By the name on the command line.
PAPERS = ("ecg-atk-gan", "i-defender", "multimagnet", "skin-lesion")


def reproduce(paper: str, out: Path, **options: Any) -> Outcome:
    """Run ``reproduce`` of a paper's room, whose docstring says what the options are; those that are None are left out.

    Raises:
        OptionError: this paper has no such option.
        SalusError: an option, the data or the folder cannot be used.
    """
    run = import_module(f"salus_studies.{paper.replace('-', '_')}.reproduce").reproduce
    given = {name: value for name, value in options.items() if value is not None}
    for name in given:
        if name not in inspect.signature(run).parameters:
            raise OptionError(f"The reproduction of {paper} has no option {name!r}; leave it out.")
    outcome: Outcome = run(out, **given)
    return outcome
