"""A purifier of somebody else's."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field
from torch import Tensor

from salus.options import checked
from salus.purifiers import Purifier


class Squeeze(Purifier):
    """Draws every value towards the middle of its range.

    Args:
        share: of the way.
    """

    name: ClassVar[str] = "squeeze"

    @checked
    def __init__(self, *, share: Annotated[float, Field(ge=0, lt=1, description="of the way")] = 0.1) -> None:
        self.share = share

    @property
    def differentiable(self) -> bool:
        return True

    def purify(self, x: Tensor) -> Tensor:
        return x + self.share * (0.5 - x)

    def settings(self) -> dict[str, Any]:
        return {"share": self.share}
