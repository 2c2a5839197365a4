"""A multi-layer perceptron for tables."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from salus.models.options import Hidden
from salus.options import checked


class MLP(nn.Module):
    """Linear layers with ReLU between.

    Args:
        features: features of a sample.
        classes: number of classes.
        hidden: width of each hidden layer.
    """

    @checked
    def __init__(self, features: int, classes: int, *, hidden: Hidden = (64, 64)) -> None:
        super().__init__()
        widths = (features, *hidden)
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Linear(before, after), nn.ReLU()]
        self.trunk = nn.Sequential(*layers)
        self.head = nn.Linear(widths[-1], classes)

    def forward(self, x: Tensor) -> Tensor:
        """Compute logits ``[N, K]`` of ``x [N, F]``."""
        logits: Tensor = self.head(self.trunk(x))
        return logits
