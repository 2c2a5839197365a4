"""What an attack takes of its victim, before it is run."""

from __future__ import annotations

from typing import NamedTuple


class Cost(NamedTuple):
    """Passes that one sample takes, at most.

    Attributes:
        forward: through the model.
        backward: back through it, each after one of those; one for each class whose margin is differentiated.
    """

    forward: int
    backward: int

    def times(self, count: int) -> Cost:
        """Return what so many runs take."""
        return Cost(self.forward * count, self.backward * count)
