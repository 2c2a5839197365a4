"""What an attack optimises: a loss to raise, a margin to bring below zero, and the test of success.

A bare model gets the :class:`LogitObjective`: success is a wrong label, or the target. For a guard,
``salus.threats`` builds objectives whose success means *accepted and wrong*. Attacks know nothing else.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property

import torch
from torch import Tensor, nn

from salus.conduct.logits import as_logits_of
from salus.conduct.modules import buffers_kept, modules_of
from salus.conduct.recurrent import without_cudnn
from salus.errors import ModelError

Model = Callable[[Tensor], Tensor]


class Evaluation:
    """What one forward pass tells about each of N samples; each part is computed when it is first asked for.

    Args:
        logits: ``[N, K]``; None where only answers are seen.
        y: labels, or targets, ``[N]``.
        targeted: ``y`` is the class to reach.
        loss: what the attacker raises ``[N]``; by default the cross-entropy, or minus that of the target.
        margin: negative where the attacker has won ``[N]``; by default the logit margin.
        success: bool ``[N]``; by default a wrong label, or the target.
        class_margins: ``[N, K]``, the margin left to win by way of each class, infinite where that is no win.
    """

    def __init__(
        self,
        logits: Tensor | None,
        y: Tensor,
        *,
        targeted: bool = False,
        loss: Tensor | None = None,
        margin: Tensor | None = None,
        success: Tensor | None = None,
        class_margins: Tensor | None = None,
    ) -> None:
        self._logits = logits
        self.y = y
        self.targeted = targeted
        parts = {"loss": loss, "margin": margin, "success": success, "class_margins": class_margins}
        self.__dict__ |= {name: value for name, value in parts.items() if value is not None}

    @property
    def logits(self) -> Tensor:
        """The logits ``[N, K]``.

        Raises:
            ModelError: only answers are seen.
        """
        if self._logits is None:
            raise ModelError("This attack needs logits, and the model answers with labels alone.")
        return self._logits

    @cached_property
    def loss(self) -> Tensor:
        """What the attacker raises, ``[N]``."""
        loss = cross_entropy(self.logits, self.y)
        return -loss if self.targeted else loss

    @cached_property
    def margin(self) -> Tensor:
        """The distance from success, ``[N]``; negative: the attacker has won."""
        margin = logit_margin(self.logits, self.y)
        return -margin if self.targeted else margin

    @cached_property
    def success(self) -> Tensor:
        """Where the attacker has won, bool ``[N]``."""
        hit = self.logits.argmax(1) == self.y
        return hit if self.targeted else ~hit

    @cached_property
    def class_margins(self) -> Tensor:
        """The margin left to win by way of each class, ``[N, K]``; infinite where that class is no win."""
        own = self.y[:, None]
        if self.targeted:
            nowhere = torch.full_like(self.logits, torch.inf)
            return nowhere.scatter(1, own, self.margin[:, None])
        finite = self.logits.clamp(-1e30, 1e30)
        return (finite.gather(1, own) - finite).scatter(1, own, torch.inf)


class Objective(ABC):
    """A goal of the attacker's, evaluated on a batch ``x [N, ...]`` with labels or targets ``y [N]``."""

    @abstractmethod
    def evaluate(self, x: Tensor, y: Tensor) -> Evaluation:
        """Compute loss, margin and success in one forward pass; loss and margin are differentiable in x.

        The model may write to x: it is a copy.

        Raises:
            ModelError: the model returned NaN; the message gives the first such position in the batch.
        """

    def evaluate_of(self, x: Tensor, y: Tensor, samples: Tensor) -> Evaluation:
        """Do the same of samples that are told apart: int64 ``[N]``, which each point is tried for.

        For goals on what remembers who asked; others need not know.
        """
        return self.evaluate(x, y)

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
        return self.evaluate(x.clone(), y).loss

    def margin(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the distance from success, ``[N]``; negative means that the attacker has won."""
        return self.evaluate(x.clone(), y).margin

    def success(self, x: Tensor, y: Tensor) -> Tensor:
        """Tell where the attacker has won, bool ``[N]``."""
        with torch.no_grad():
            return self.evaluate(x.clone(), y).success


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
        """The modules that the model is made of: itself, or those that the function uses."""
        return tuple(modules_of(self.model))

    @property
    def bounds(self) -> tuple[float, float] | None:
        """The model's ``bounds``, if it has any."""
        bounds = getattr(self._owner, "bounds", None)
        return None if bounds is None else (float(bounds[0]), float(bounds[1]))

    def evaluate(self, x: Tensor, y: Tensor) -> Evaluation:
        """Compute the logits; the rest follows from them."""
        return Evaluation(checked_logits(self.model(x), y), y, targeted=self.targeted)


class DecisionObjective(LogitObjective):
    """Make a model give a wrong answer (or the target) seeing its answers alone.

    Args:
        model: a callable from a batch to labels, int64 ``[N]``, -1 where it rejects, or to logits ``[N, K]``,
            of which only the highest is seen.
        targeted: ``y`` is the class to reach. A rejection is never a success.
    """

    def evaluate(self, x: Tensor, y: Tensor) -> Evaluation:
        """Compare the answers with y; there is no loss and no margin."""
        answers = self.model(x)
        if not isinstance(answers, Tensor) or answers.is_floating_point():
            answers = checked_logits(answers, y).argmax(1)
        elif answers.shape != y.shape:
            shape = list(answers.shape)
            raise ModelError(f"The model must return labels [N] or logits [N, K] for {len(y)} samples; not {shape}.")
        won = answers == y if self.targeted else (answers != y) & (answers >= 0)
        return Evaluation(None, y, targeted=self.targeted, success=won)


def checked_logits(logits: Tensor, y: Tensor) -> Tensor:
    """Take logits ``[N, K]``, in float32 or finer, and refuse what cannot be logits for these labels."""
    if isinstance(logits, Tensor) and not logits.is_floating_point():
        raise ModelError(
            f"The model returned {logits.dtype}, not logits; this attack needs logits, "
            "a model that answers with labels can be attacked by decision-based attacks alone (HopSkipJump, Boundary)."
        )
    logits = as_logits_of(logits, len(y))
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
    finite = logits.double().clamp(-1e300, 1e300)  # infinities would make inf - inf
    own = finite.gather(1, y[:, None])[:, 0]
    others = finite.scatter(1, y[:, None], -torch.inf)
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
    """Hold modules in eval mode, their parameters out of the graph, and put everything back afterwards.

    So are modules that they use without registering them. Recurrent layers can be differentiated on a GPU too.
    """
    parts = modules_of(*modules)
    parameters = list({id(each): each for part in parts for each in part.parameters(recurse=False)}.values())
    modes = [part.training for part in parts]
    grads = [parameter.requires_grad for parameter in parameters]
    try:
        for part in parts:
            part.training = False
        for parameter in parameters:
            parameter.requires_grad_(False)
        with buffers_kept(parts), without_cudnn(parts):
            yield
    finally:
        for part, mode in zip(parts, modes, strict=True):
            part.training = mode
        for parameter, grad in zip(parameters, grads, strict=True):
            parameter.requires_grad_(grad)
