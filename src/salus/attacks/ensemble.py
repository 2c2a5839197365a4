"""AutoAttack: four attacks that fail for different reasons, one after the other, without a knob to turn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import Field
from torch import Tensor

from salus.attacks.apgd import APGD
from salus.attacks.base import Attack
from salus.attacks.cost import Cost
from salus.attacks.fab import FAB
from salus.attacks.search import Search
from salus.attacks.settings import Eps
from salus.attacks.square import Square


@dataclass(frozen=True, kw_only=True)
class Ensemble(Attack):
    """Attacks one after the other, each on the samples that those before it have left standing."""

    #: A part that fools a sample leaves nothing to do for the next.
    early_stop: ClassVar[bool] = True

    eps: Eps

    @property
    def shared(self) -> dict[str, Any]:
        """The options that all parts have in common."""
        names = ("eps", "norm", "bounds", "seed", "targeted", "mask", "units", "ranges", "batch_size")
        return {name: getattr(self, name) for name in names}

    def cost(self, classes: int) -> Cost | None:
        """Those of its parts, for a sample that none of them fools."""
        costs = [part.cost(classes) for part in self.parts]
        known = [cost for cost in costs if cost is not None]
        return Cost(sum(cost.forward for cost in known), sum(cost.backward for cost in known))


@dataclass(frozen=True, kw_only=True)
class AutoAttack(Ensemble):
    """AutoAttack's standard version (Croce and Hein, 2020): APGD-CE, APGD-T, FAB-T and Square.

    Each part attacks the samples that the parts before it have left standing. With two classes there is one other
    class to target; with y as the target (``targeted``) it is the only one, and the parts climb towards it.

    Attributes:
        steps: of APGD and FAB, from each start.
        restarts: random starts of APGD and FAB, for each class that they target.
        targets: how many other classes APGD-T and FAB-T try, the nearest first.
        square_queries: forward passes that Square may ask for a sample.
    """

    name: ClassVar[str] = "auto-attack"
    paper: ClassVar[str] = "Croce and Hein, 2020"

    steps: Annotated[int, Field(ge=1, description="steps of APGD and FAB, from each start")] = 100
    restarts: Annotated[int, Field(ge=1, description="random starts of APGD and FAB")] = 1
    targets: Annotated[int, Field(ge=1, description="how many other classes APGD-T and FAB-T try")] = 9
    square_queries: Annotated[int, Field(ge=1, description="most forward passes a sample that Square takes")] = 5000

    @property
    def parts(self) -> tuple[Attack, ...]:
        """The attacks, in their order."""
        climbing = {**self.shared, "steps": self.steps, "restarts": self.restarts}
        targets = None if self.targeted else self.targets
        return (
            APGD(**climbing),
            APGD(**climbing, loss="dlr", targets=targets),
            FAB(**climbing, targets=targets),
            Square(**self.shared, queries=self.square_queries),
        )

    def perturb(self, search: Search, start: Tensor | None) -> None:
        """Run the parts on one search, which lets go whoever has fallen; ``start`` is where the first starts."""
        for part in self.parts:
            if len(search) == 0:
                return
            part.perturb(search, start)
            start = None
