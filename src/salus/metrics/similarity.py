"""How alike two signals are: the four similarities of ECG-ATK-GAN's tables on its generator."""

from __future__ import annotations

from typing import TYPE_CHECKING

from salus.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor

#: Samples of the sliding window of ``ssim``, and the two constants that keep its quotients finite.
WINDOW = 7
_K1, _K2 = 0.01, 0.03


def mse(original: Tensor, other: Tensor) -> Tensor:
    """Mean squared error of each signal.

    Args:
        original: signals ``[N, C, L]`` or ``[N, L]``.
        other: of the same shape.

    Returns:
        ``[N]``, float64.
    """
    a, b = _signals(original, other)
    return (a - b).square().mean((1, 2))


def ssim(original: Tensor, other: Tensor, *, data_range: float = 1.0) -> Tensor:
    """Structural similarity (Wang et al., 2004) along the signal, mean over positions and channels; 1 = equal.

    It is ``skimage.metrics.structural_similarity`` with its defaults in one dimension: a uniform window of 7
    samples, sample covariances, and only those positions where the whole window lies inside the signal.

    Args:
        original: signals ``[N, C, L]`` or ``[N, L]``, at least 7 samples long.
        other: of the same shape.
        data_range: how far apart two values can lie.

    Returns:
        ``[N]``, float64.

    Raises:
        DataError: the signals are shorter than the window, their shapes differ, or the range is not positive.
    """
    a, b = _signals(original, other)
    if a.shape[2] < WINDOW:
        raise DataError(f"Structural similarity needs signals of at least {WINDOW} samples; these have {a.shape[2]}.")
    if not data_range > 0:
        raise DataError(f"data_range must be above 0, the span of the values, but it is {data_range}.")
    mean_a, mean_b = _window_mean(a), _window_mean(b)  # [N, C, L - 6]
    unbiased = WINDOW / (WINDOW - 1)
    var_a = unbiased * (_window_mean(a * a) - mean_a * mean_a)
    var_b = unbiased * (_window_mean(b * b) - mean_b * mean_b)
    cov = unbiased * (_window_mean(a * b) - mean_a * mean_b)
    c1, c2 = (_K1 * data_range) ** 2, (_K2 * data_range) ** 2
    luminance = (2 * mean_a * mean_b + c1) / (mean_a.square() + mean_b.square() + c1)
    structure = (2 * cov + c2) / (var_a + var_b + c2)
    return (luminance * structure).mean((1, 2))


def cross_correlation(original: Tensor, other: Tensor) -> Tensor:
    """Normalised cross-correlation at lag zero, which is Pearson's coefficient, all channels taken together.

    Args:
        original: signals ``[N, C, L]`` or ``[N, L]``.
        other: of the same shape.

    Returns:
        ``[N]``, float64, from -1 to 1; NaN where one of the two is constant, since it is undefined there.
    """
    a, b = (signals.flatten(1) for signals in _signals(original, other))
    constant = (a == a[:, :1]).all(1) | (b == b[:, :1]).all(1)
    a, b = a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True)
    a, b = (signals / signals.abs().amax(1, keepdim=True) for signals in (a, b))  # tiny squares would vanish
    coefficient: Tensor = (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1))
    return coefficient.clamp(-1, 1).masked_fill(constant, float("nan"))


def nrmse(original: Tensor, other: Tensor) -> Tensor:
    """Root of the mean squared error over the original's root mean square: ``||a - b||2 / ||a||2``.

    It is ``skimage.metrics.normalized_root_mse`` with its default, Euclidean normalisation, and so depends on
    which of the two is the original.

    Args:
        original: signals ``[N, C, L]`` or ``[N, L]``.
        other: of the same shape.

    Returns:
        ``[N]``, float64; NaN where the original is 0 throughout, since it is undefined there.
    """
    a, b = (signals.flatten(1) for signals in _signals(original, other))
    error: Tensor = (a - b).norm(dim=1) / a.norm(dim=1)
    return error.masked_fill((a == 0).all(1), float("nan"))


def similarities(original: Tensor, other: Tensor, *, data_range: float = 1.0) -> dict[str, Tensor]:
    """All four similarities of each signal, as fractions, by name: ``mse ssim cross_correlation nrmse``.

    Args:
        original: signals ``[N, C, L]`` or ``[N, L]``.
        other: of the same shape.
        data_range: how far apart two values can lie.
    """
    return {
        "mse": mse(original, other),
        "ssim": ssim(original, other, data_range=data_range),
        "cross_correlation": cross_correlation(original, other),
        "nrmse": nrmse(original, other),
    }


def _window_mean(signals: Tensor) -> Tensor:
    """Mean over every window that lies inside: ``[N, C, L]`` to ``[N, C, L - 6]``."""
    return signals.unfold(2, WINDOW, 1).mean(-1)


def _signals(original: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Both as float64 ``[N, C, L]``."""
    if original.shape != other.shape or original.ndim not in (2, 3):
        raise DataError(
            "Similarities compare signals [N, C, L] or [N, L] of one shape, but these have the shapes "
            f"{list(original.shape)} and {list(other.shape)}."
        )
    a, b = original.double(), other.double()
    return (a, b) if a.ndim == 3 else (a[:, None], b[:, None])
