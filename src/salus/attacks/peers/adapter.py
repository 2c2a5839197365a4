"""What the adapters to other libraries share: options, views, budgets, and the check of what comes back."""

from __future__ import annotations

import time
import warnings
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, ClassVar

import torch
from torch import Tensor

from salus.attacks.base import Attack
from salus.attacks.peers.isolation import isolated, seed_of
from salus.attacks.peers.victim import Answers, PeerView, Victim
from salus.attacks.search import Search
from salus.attacks.settings import LargestEps
from salus.errors import ModelError, OptionError

#: How the libraries call what every attack of ours has.
EPS = ("eps", "max_epsilon")
NORM = ("norm", "constraint")
QUERIES = ("n_queries", "query_limit")
#: And what some have.
WORDS: Mapping[str, tuple[str, ...]] = {
    "steps": ("steps", "max_iter", "num_iter_set", "nb_steps", "nb_iter", "n_steps", "max_iterations"),
    "step_size": ("eps_step", "alpha", "abs_stepsize"),
    "restarts": ("n_restarts", "num_random_init", "nb_restarts", "nb_random_init", "restarts"),
}


@dataclass(frozen=True, kw_only=True)
class PeerAttack(Attack):
    """An attack of another library, named ``library:attack``, under the contract of ours.

    The library sees the samples as images of values in 0 to 1, and a victim that counts. Its own options are
    fields here, under its own names and in its own units (those of values in 0 to 1). Ours, in the units of x,
    are handed on under its names: ``eps``, ``norm``, ``targeted``, ``queries``, and where it has the like
    ``steps``, ``step_size`` and ``restarts``; of two that say the same, the one in the library's own words
    counts. A step size that nobody gave keeps the ratio to eps that the library's defaults have.

    Random draws depend on the seed and the index of a batch's first sample. When the queries or the time are
    spent, each sample keeps the nearest success that was seen of it, else x. Points outside the ball or the
    bounds are projected back, and marked in the result's ``corrected``.

    Attributes:
        library_version: what is installed.
    """

    adaptive: ClassVar[bool] = False
    #: The library's class, what its constructor takes, what of that is a field here, and the library's defaults.
    theirs: ClassVar[Any]
    takes: ClassVar[frozenset[str]]
    own: ClassVar[frozenset[str]]
    defaults: ClassVar[Mapping[str, Any]]
    #: The library is told eps, so that a point further away is a mistake of its own.
    takes_eps: ClassVar[bool]
    #: It attacks one sample after the other anyway.
    sample_by_sample: ClassVar[bool] = False
    answers: ClassVar[Answers] = "logits"
    #: It takes square images alone.
    folded: ClassVar[bool] = False
    library: ClassVar[str]
    distribution: ClassVar[str]
    examples: ClassVar[tuple[str, ...]]
    #: What is possible around the library though its constructor has no such option.
    extra_words: ClassVar[frozenset[str]] = frozenset()

    eps: LargestEps = None

    @classmethod
    @abstractmethod
    def catalogue(cls) -> dict[str, Any]:
        """Find the library's attacks by name."""

    @classmethod
    @abstractmethod
    def facts(cls, theirs: Any, takes: frozenset[str]) -> dict[str, Any]:
        """Say what kind of attack it is: ``norms``, ``knowledge``, ``takes_eps``, ``closest`` and what else differs."""

    @classmethod
    def module(cls, name: str) -> Any:
        """Import a module of the library.

        Raises:
            OptionError: it is not installed.
        """
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return import_module(name)
        except ImportError as error:
            raise OptionError(
                f"{cls.library} cannot be imported ({error}); install it: pip install 'salus[bench]'"
            ) from error

    @abstractmethod
    def generate(self, victim: Victim, images: Tensor, y: Tensor, *, targeted: bool, seed: int) -> Tensor:
        """Run the library.

        Args:
            victim: the model, as the library sees it.
            images: clean samples ``[N, C, H, W]``, float32 in 0 to 1.
            y: labels, or targets ``[N]``.
            targeted: y are targets.
            seed: for libraries that seed themselves.

        Returns:
            What it made of them, shaped like ``images``.
        """

    def perturb(self, search: Search, start: Tensor | None) -> None:
        """Let the library attack, one sample after the other where it does so anyway."""
        if start is not None:
            raise OptionError(f"{self.title} takes no start.")
        if self.knowledge == "answers":  # libraries would seek the way back to the right label
            search.select(~search.ask(search.ball.x, search.rows))
        groups = search.rows.split(1 if self.sample_by_sample else max(len(search), 1))
        view = PeerView(tuple(search.ball.x.shape[1:]), self.bounds, self.folded)
        attempts = [self._attempt(search, rows, view, len(groups) - k) for k, rows in enumerate(groups) if len(rows)]
        if attempts:
            points, outside = (torch.cat(column) for column in zip(*attempts, strict=True))
            search.corrected[search.rows] = outside
            search.settle(points)

    def _attempt(self, search: Search, rows: Tensor, view: PeerView, attempts: int) -> tuple[Tensor, Tensor]:
        """Attack these samples; return points inside the ball and where they had to be brought back."""
        deadline = search.deadline
        if deadline is not None:  # its share of the time that is left
            now = time.monotonic()
            deadline = now + max(deadline - now, 0.0) / attempts
        decision = self.knowledge == "answers"
        victim = Victim(
            search,
            rows,
            view,
            answers="success" if decision else self.answers,
            least=self._least_classes,
            deadline=deadline,
        )
        ball, y = victim.ball, search.batch_y[rows]
        if decision:  # class 1 is a success, whatever that means to the objective
            y = torch.zeros_like(y)
        images = view.show(ball.x)
        seed = seed_of(self.seed, int(search.batch_samples[rows[0]]))
        try:
            with isolated(seed), torch.enable_grad():
                output = self.generate(
                    victim, images.clone(), y, targeted=self.targeted and not decision, seed=seed
                ).detach()
        except OptionError:
            raise
        except Exception as error:
            if victim.spent:  # also where the library made another error of it
                return ball.project(victim.nearest), torch.zeros_like(y, dtype=torch.bool)
            if victim.failure is not None:  # the model's own
                raise victim.failure from None
            raise ModelError(f"{self.title} failed: {message(error)}") from error
        if output.shape != images.shape:
            raise ModelError(f"{self.title} returned {list(output.shape)} for {list(images.shape)}.")
        return self._bring_back(victim, images, output.to(images.device).float())

    def _bring_back(self, victim: Victim, images: Tensor, output: Tensor) -> tuple[Tensor, Tensor]:
        ball = victim.ball
        finite = output.isfinite()
        point = victim.view.move(ball.x, images, torch.where(finite, output, images))
        slack = 1e-5 * victim.view.width  # float32 rounds
        outside = ~finite.flatten(1).all(1)
        outside |= ((output < -1e-5) | (output > 1 + 1e-5)).flatten(1).any(1)
        if self.takes_eps and self.eps is not None:
            outside |= ball.distance(point) > self.eps * (1 + 1e-4) + slack
        return ball.project(point), outside

    @property
    def _least_classes(self) -> int:
        """The classes that the library's losses need: the DLR loss reads the four highest logits."""
        reads_four = self.theirs.__name__ in ("APGDT", "AutoAttack") or any(
            getattr(self, name, None) in ("dlr", "difference_logits_ratio") for name in ("loss", "loss_type")
        )
        return 4 if reads_four else 0

    def construct(self, options: Mapping[str, Any], *first: Any) -> Any:
        """Make the library's attack.

        Raises:
            OptionError: it does not take these options.
        """
        try:
            return self.theirs(*first, **options)
        except (TypeError, ValueError, AssertionError, NotImplementedError) as error:
            raise OptionError(f"{self.title} cannot be made: {message(error)}") from error

    def settings(self, *, eps: float | None, norm: Any) -> dict[str, Any]:
        """Give the library's constructor its options, in its own words and units.

        Args:
            eps: the radius in the library's units; None to leave it its own.
            norm: the norm as the library calls it.
        """
        own = {name: getattr(self, name) for name in self.own}
        changes = {
            name: value for name, value in own.items() if name not in self.defaults or value != self.defaults[name]
        }
        ours: dict[str, Any] = {"verbose": False} if "verbose" in self.takes else {}
        if eps is not None:
            ours |= self._in_ratio(eps) | self._as(eps, EPS)
        ours |= self._as(norm, NORM) | self._as(self.queries, QUERIES)
        for word, names in WORDS.items():
            value = getattr(self, word, None)
            if word not in self.own:
                ours |= self._as(value / self._width if value and word == "step_size" else value, names)
        return ours | changes

    @property
    def _width(self) -> float:
        return self.bounds[1] - self.bounds[0]

    def _as(self, value: Any, names: tuple[str, ...]) -> dict[str, Any]:
        """Call a value as the library does; nothing where it has no such option, or there is no value."""
        name = next((name for name in names if name in self.takes), None)
        return {} if name is None or value is None else {name: value}

    def _in_ratio(self, eps: float) -> dict[str, float]:
        usual = self.defaults.get("eps")
        if not usual:
            return {}
        steps = {name: self.defaults.get(name) for name in WORDS["step_size"]}
        return {name: value / usual * eps for name, value in steps.items() if value}


def message(error: Exception) -> str:
    """Give another library's message as the end of a sentence."""
    text = " ".join(str(error).split()).rstrip(".")
    return f"{type(error).__name__}{': ' if text else ''}{text[:300]}."
