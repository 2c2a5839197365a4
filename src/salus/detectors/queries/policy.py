"""What follows from an alarm: policies, apart from the monitors that raise it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Protocol

from pydantic import Field

from salus.options import check_fields
from salus.registry import Registry


class Policy(Protocol):
    """What a service does with the queries of a caller under suspicion.

    Attributes:
        refuses: answers nothing more.
        delay: seconds that each answer is held back.
        probabilities: whether answers still say how probable each class is.
    """

    name: ClassVar[str]

    @property
    def refuses(self) -> bool:
        """Whether queries are refused."""

    @property
    def delay(self) -> float:
        """Seconds that an answer is held back."""

    @property
    def probabilities(self) -> bool:
        """Whether answers carry probabilities."""


@dataclass(frozen=True, kw_only=True)
class Review:
    """Show the caller to those who run the service, and answer as before."""

    name: ClassVar[str] = "review"
    refuses: ClassVar[bool] = False
    delay: ClassVar[float] = 0.0
    probabilities: ClassVar[bool] = True


@dataclass(frozen=True, kw_only=True)
class LabelsOnly:
    """Answer with labels alone: whoever follows probabilities has nothing to follow any more."""

    name: ClassVar[str] = "labels"
    refuses: ClassVar[bool] = False
    delay: ClassVar[float] = 0.0
    probabilities: ClassVar[bool] = False


@dataclass(frozen=True, kw_only=True)
class SlowDown:
    """Hold each answer back, and give labels alone.

    Attributes:
        delay: seconds.
    """

    name: ClassVar[str] = "slow"
    refuses: ClassVar[bool] = False
    probabilities: ClassVar[bool] = False

    delay: Annotated[float, Field(gt=0, le=30, description="seconds that each answer is held back")] = 2.0

    def __post_init__(self) -> None:
        check_fields(self, "Policy slow")


@dataclass(frozen=True, kw_only=True)
class Refuse:
    """Answer nothing more until somebody lifts the suspicion, or it expires."""

    name: ClassVar[str] = "refuse"
    refuses: ClassVar[bool] = True
    delay: ClassVar[float] = 0.0
    probabilities: ClassVar[bool] = False


def _suits(thing: object) -> str | None:
    needed = ("refuses", "delay", "probabilities")
    return None if all(hasattr(thing, name) for name in needed) else f"lacks one of {', '.join(needed)}"


POLICIES: Registry[type[Policy]] = Registry(
    "policy", "salus.policies", {each.name: each for each in (Review, LabelsOnly, SlowDown, Refuse)}, _suits
)
