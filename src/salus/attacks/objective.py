"""What an attack optimises: a loss to raise, a margin to bring below zero, and the test of success.

A bare model gets the :class:`LogitObjective`: success is a wrong label, or the target. For a guard,
``salus.threats`` builds objectives whose success means *accepted and wrong*. Attacks know nothing else.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from salus.errors import ModelError

Model = Callable[[Tensor], Tensor]


class Evaluation(NamedTuple):
    """What one forward pass tells about each sample; each ``[N]``."""

    loss: Tensor  # what the attacker raises
    margin: Tensor  # negative: the attacker has won
    success: Tensor  # bool


class Objective(ABC):
    """A goal of the attacker's, evaluated on a batch ``x [N, ...]`` with labels or targets ``y [N]``."""

    @abstractmethod
    def evaluate(self, x: Tensor, y: Tensor) -> Evaluation:
        """Compute loss, margin and success in one forward pass; loss and margin are differentiable in x.

        Raises:
            ModelError: the model returned NaN; the message gives the first such position in the batch.
        """

    @property
    def modules(self) -> tuple[nn.Module, ...]:
        """The modules that evaluate, set to eval mode and frozen while an attack runs."""
        return ()

    @property
    def bounds(self) -> tuple[float, float] | None:
        """The value bounds that the model states, if it states any."""
        return None

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        """Return what the attacker raises, ``[N]``."""
        return self.evaluate(x, y).loss

    def margin(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the distance from success, ``[N]``; negative means that the attacker has won."""
        return self.evaluate(x, y).margin

    def success(self, x: Tensor, y: Tensor) -> Tensor:
        """Tell where the attacker has won, bool ``[N]``."""
        with torch.no_grad():
            return self.evaluate(x, y).success


class LogitObjective(Objective):
    """Make a bare model give a wrong label (or the target), by raising (or lowering) its cross-entropy.

    Args:
        model: any callable from a batch to logits ``[N, K]``.
        targeted: ``y`` is the class to reach instead of the class to leave.
    """

    def __init__(self, model: Model, *, targeted: bool = False) -> None:
        self.model = model
        self.targeted = targeted

    @property
    def _owner(self) -> object:
        return getattr(self.model, "__self__", self.model)

    @property
    def modules(self) -> tuple[nn.Module, ...]:
        """The model itself, or the module whose method it is."""
        return (self._owner,) if isinstance(self._owner, nn.Module) else ()

    @property
    def bounds(self) -> tuple[float, float] | None:
        """The model's ``bounds``, if it has any."""
        bounds = getattr(self._owner, "bounds", None)
        return None if bounds is None else (float(bounds[0]), float(bounds[1]))

    def evaluate(self, x: Tensor, y: Tensor) -> Evaluation:
        """Compute the cross-entropy, the logit margin and whether the label is wrong (or the target's)."""
        logits = checked_logits(self.model(x), y)
        hit = logits.argmax(1) == y
        if self.targeted:
            return Evaluation(-cross_entropy(logits, y), -logit_margin(logits, y), hit)
        return Evaluation(cross_entropy(logits, y), logit_margin(logits, y), ~hit)


def checked_logits(logits: Tensor, y: Tensor) -> Tensor:
    """Refuse what cannot be logits for these labels."""
    if isinstance(logits, Tensor) and not logits.is_floating_point():
        raise ModelError(
            f"The model returned {logits.dtype}, not logits; this attack needs logits, "
            "a model that answers with labels can be attacked by decision-based attacks only."
        )
    if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != len(y):
        shape = list(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise ModelError(f"The model must return logits [N, K] for {len(y)} samples; it returned {shape}.")
    if logits.shape[1] < 2:
        raise ModelError("The model returned one logit a sample; two classes need two, such as [0, z] for the logit z.")
    if len(y) and int(y.max()) >= logits.shape[1]:
        raise ModelError(f"The model has {logits.shape[1]} classes, but a label is {int(y.max())}.")
    broken = logits.isnan().any(1)
    if bool(broken.any()):
        raise NaNLogitsError(int(broken.nonzero()[0]))
    return logits


class NaNLogitsError(ModelError):
    """The model returned NaN; ``row`` is the position in the batch; the search names the sample."""

    def __init__(self, row: int) -> None:
        super().__init__(f"The model returned NaN for sample {row} of the batch.")
        self.row = row


def cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """Compute the cross-entropy ``[N]`` in float64, with a gradient that confidence cannot quench.

    With ``u = logsumexp(other logits) - own logit`` the cross-entropy is ``softplus(u)``. Its gradient is
    that of u times ``1 - p_y``, which rounds to 0 when the model is very sure, by nature or to mask its
    gradients. Here the gradient is that of u itself: the same direction, and never zero for want of digits.
    """
    wide = logits.double().clamp(-1e300, 1e300)  # infinities would make inf - inf
    own = wide.gather(1, y[:, None])[:, 0]
    others = wide.scatter(1, y[:, None], -torch.inf)
    u = others.logsumexp(1) - own
    return nn.functional.softplus(u).detach() + (u - u.detach())


def logit_margin(logits: Tensor, y: Tensor) -> Tensor:
    """Compute how far the logit of class y stands above the highest other, ``[N]``."""
    finite = logits.clamp(-1e30, 1e30)
    own = finite.gather(1, y[:, None])[:, 0]
    others = finite.scatter(1, y[:, None], -torch.inf)
    return own - others.amax(1)


@contextmanager
def frozen(*modules: nn.Module) -> Iterator[None]:
    """Hold modules in eval mode, their parameters out of the graph, and put everything back afterwards."""
    parts = [part for module in modules for part in module.modules()]
    parameters = [parameter for module in modules for parameter in module.parameters()]
    modes = [part.training for part in parts]
    grads = [parameter.requires_grad for parameter in parameters]
    try:
        for part in parts:
            part.training = False
        for parameter in parameters:
            parameter.requires_grad_(False)
        yield
    finally:
        for part, mode in zip(parts, modes, strict=True):
            part.training = mode
        for parameter, grad in zip(parameters, grads, strict=True):
            parameter.requires_grad_(grad)
