"""What a sweep tries: values of a method's options, seeds, folds, and the attack that judges."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from salus.declared import DeclaredModel
from salus.options import Repeated, Words, parse_value


def _seeds(value: Any) -> Any:
    """Read whole numbers separated by commas, or one alone."""
    values = value.split(",") if isinstance(value, str) else value
    values = values if isinstance(values, (list, tuple)) else (values,)
    return tuple(parse_value(number.strip()) if isinstance(number, str) else number for number in values)


class SweepOptions(DeclaredModel):
    """Which trainings are compared, and by what.

    The setting is chosen whose trainings keep most of their answers right under the judge's attack, on samples that
    none of them learnt from and that are not the test's; of equals the one with more right answers to clean samples,
    then the first.

    Attributes:
        grid: ``NAME=value,value`` each: an option of the method and the values it takes; every combination is tried.
        seeds: of the training; the data are dealt by the plan's own seed, the same for all. One training each.
        folds: parts of the training data, whole patients each; every setting is trained on all but one, once for each,
            and judged on that one. None: trained on all of it, and judged on the validation part.
        judge: the attack, one for all; PGD of 40 steps at the largest eps that is trained against when not given.
    """

    grid: Annotated[
        tuple[str, ...],
        Repeated(),
        Words("NAME=value,value"),
        Field(description="values of an option of the method (eps=0.01,0.02); every combination is tried"),
    ] = ()
    seeds: Annotated[
        tuple[Annotated[int, Field(ge=0, lt=2**31)], ...],
        BeforeValidator(_seeds),
        Words("whole numbers from 0 up, comma-separated"),
        Field(description="seeds of training, comma-separated: each setting is trained once by each"),
    ] = ()
    folds: Annotated[
        Annotated[int, Field(ge=2)] | None,
        Field(
            description="train each setting on all but one of so many parts of the training data, and judge it on that "
            "one; the validation part judges when not given"
        ),
    ] = None
    judge: Annotated[
        str | None,
        Field(
            description="the attack under which settings are compared; pgd of 40 steps at the largest eps trained "
            "against when not given"
        ),
    ] = None
