"""The residual heartbeat network of Kachuee et al. (2018), a baseline of the ECG-ATK-GAN papers."""

from __future__ import annotations

from torch import Tensor, nn

from salus.errors import ModelError

MIN_LENGTH = 125  # one sample is left after the fifth pooling
BLOCKS = 5
WIDTH = 32


class Kachuee(nn.Module):
    """One convolution, five residual blocks, two linear layers of 32, then one to the classes.

    The paper does not say how its convolutions are padded: here they keep the length, which the sum in each block
    asks for. Pooling is unpadded: 280 samples become 138, 67, 32, 14 and 5. What the paper draws as a softmax after
    the second layer of 32 needs one weight matrix more for classes other than 32; the softmax is left to the loss.

    Args:
        classes: number of classes.
        channels: leads of a beat.
        length: samples of a beat, 125 or more.

    References:
        Kachuee, Fazeli and Sarrafzadeh, "ECG heartbeat classification: a deep transferable representation", IEEE
        International Conference on Healthcare Informatics, 2018, arXiv:1805.00794.
    """

    def __init__(self, classes: int, channels: int = 1, length: int = 280) -> None:
        super().__init__()
        if length < MIN_LENGTH:
            raise ModelError(f"Model 'kachuee' takes signals of {MIN_LENGTH} samples or more, not {length}.")
        self.trunk = nn.Sequential(_convolution(channels), *(_ResidualBlock() for _ in range(BLOCKS)))
        for _ in range(BLOCKS):
            length = (length - 5) // 2 + 1
        self.hidden = nn.Sequential(nn.Linear(WIDTH * length, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH))
        self.head = nn.Linear(WIDTH, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Compute logits ``[N, K]`` of ``x [N, C, L]``."""
        states = self.trunk(x).flatten(1)  # [N, 32 * 5] for 280 samples
        logits: Tensor = self.head(self.hidden(states))
        return logits


class _ResidualBlock(nn.Module):
    """Two convolutions added to their input, then pooling that halves the length."""

    def __init__(self) -> None:
        super().__init__()
        self.residual = nn.Sequential(_convolution(WIDTH), nn.ReLU(), _convolution(WIDTH))
        self.relu = nn.ReLU()
        self.pool = nn.MaxPool1d(kernel_size=5, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        pooled: Tensor = self.pool(self.relu(x + self.residual(x)))  # [N, 32, (L - 5) / 2 + 1]
        return pooled


def _convolution(before: int) -> nn.Conv1d:
    return nn.Conv1d(before, WIDTH, kernel_size=5, padding=2)
