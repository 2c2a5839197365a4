"""What every threat model says: which attacks go with it, what its attacker needs, and how they attack."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from torch import Tensor

from salus.attacks import Attack, AttackResult
from salus.attacks.taxonomy import Knowledge, Taxonomy, taxonomy
from salus.attacks.universal import UAP
from salus.classifier import Classifier
from salus.data import Dataset
from salus.guard import Guard


@dataclass(frozen=True, eq=False)
class Alone:
    """What one way to attack a guard came to by itself, on each of n samples.

    Attributes:
        chances: float64 ``[n]``, how likely what it found is to be accepted and wrong, over the guard's draws.
        queries: int64 ``[n]``, beside those of the oblivious attack where it starts there.
        passes: int64 ``[n]``.
    """

    chances: Tensor
    queries: Tensor
    passes: Tensor


@dataclass(frozen=True, eq=False)
class AttackedSamples:
    """What an attacker made of n samples.

    Attributes:
        x_adv: ``[n, ...]``.
        queries: int64 ``[n]``, forward passes; None for a universal perturbation, which asks nothing about a sample.
        passes: int64 ``[n]``, those with a backward pass.
        variants: int64 ``[n]``, which of the variants each is of, -1 for none; None where there are no variants.
        names: of the variants.
        zero: int64 ``[n]``, passes that gave no direction.
        nonfinite: int64 ``[n]``, passes whose gradient held infinities or NaN.
        alone: what each of them came to by itself, and their union; nothing where they were not run so.
        noticed: float64 ``[n]``, the query at which a monitor of callers first raised the alarm, infinite where it
            never did; None where nobody watched.
    """

    x_adv: Tensor
    queries: Tensor | None = None
    passes: Tensor | None = None
    variants: Tensor | None = None
    names: tuple[str, ...] = ()
    zero: Tensor | None = None
    nonfinite: Tensor | None = None
    alone: Mapping[str, Alone] = field(default_factory=dict)
    noticed: Tensor | None = None


@dataclass(frozen=True, eq=False)
class StandIn:
    """A classifier of an attacker's own, in place of the audited one.

    Attributes:
        classifier: the classifier.
        samples: what the attacker has to fit universal perturbations to.
        facts: what a report says of it.
    """

    classifier: Classifier
    samples: Dataset
    facts: Mapping[str, object]


class Workshop(Protocol):
    """Trains what attackers need beforehand, or reads it where it was trained before."""

    def substitute(self) -> StandIn:
        """Return the classifier that an attacker has who is not given the audited one."""

    def twins(self) -> Mapping[str, Guard]:
        """Return a guard like each of the audited ones, by their names, trained apart with another seed."""


@dataclass(frozen=True, eq=False)
class Samples:
    """Some of the samples under attack.

    Attributes:
        x: clean, ``[n, ...]``.
        aim: their labels, or what the attack aims for ``[n]``.
        truth: their labels where ``aim`` are targets.
        rows: int64 ``[n]``, which they are of all.
        shown: clean samples ``[M, ...]`` that show an attacker what hidden states each class has; x where None.
        bare: what the attack makes of the attacker's classifier at full strength, defences aside; None where it is not
            at hand, and run when it is needed.
    """

    x: Tensor
    aim: Tensor
    truth: Tensor | None
    rows: Tensor
    shown: Tensor | None = None
    bare: AttackResult | None = None


@dataclass(frozen=True, eq=False)
class Turn:
    """One of the attacks that an attacker runs on the same samples, one after another.

    Attributes:
        engine: the attack.
        whole: it asks the whole guard, defences included, not its classifier alone.
        shared: whoever attacks the same classifier takes the same turn, so that it can be taken once for all.
    """

    engine: Attack
    whole: bool
    shared: bool = False


class ThreatModel(ABC):
    """What an attacker knows.

    The class says what holds of all such attackers; an instance is one who has what they need. Audits make it by
    :meth:`equip`.
    """

    name: ClassVar[str]
    #: One sentence for reports and help.
    summary: ClassVar[str]
    #: What its attacker trains needs training samples; they are asked for in these words.
    trains: ClassVar[str | None] = None
    #: Its attacker may be dealt training samples of their own, which the audited model then does not see.
    deals: ClassVar[bool] = False
    #: Why attacks are left out that do not go with it.
    unsuited: ClassVar[str] = ""
    #: There is an attacker.
    attacks: ClassVar[bool] = True
    #: The attacker is content with passing the guard's threshold, and drives no score further down.
    stops_at_threshold: ClassVar[bool] = False
    #: The attacker knows the whole guard.
    knows_guard: ClassVar[bool] = False
    #: What the attacker sees that no endpoint shows; None where answers are enough.
    sees_inside: ClassVar[str | None] = None

    @classmethod
    def refusal(cls, attack: Attack) -> str | None:
        """Say why an attack does not go with it; None where it does."""
        return None

    @classmethod
    def faces(cls, guard: Guard) -> bool:
        """Tell whether such an attacker is tried on this guard, which may be a bare classifier."""
        return True

    @classmethod
    def shut_out(cls, guard: Guard) -> str | None:
        """Say why such an attacker cannot be tried on this guard behind HTTP; None where they can."""
        if cls.sees_inside is None:
            return None
        return f"its attacker sees {cls.sees_inside}, and an endpoint gives answers alone"

    @classmethod
    def taxonomy(cls, knowledge: Knowledge) -> Taxonomy:
        """Place an attack that asks for this of its victim, by such an attacker."""
        return taxonomy(knowledge)

    def placed(self, knowledge: Knowledge) -> Taxonomy:
        """Place an attack by this attacker, who has what they have."""
        return self.taxonomy(knowledge)

    @classmethod
    def equip(cls, workshop: Workshop) -> ThreatModel:
        """Make an attacker who has what they need."""
        return cls()

    @classmethod
    def revision(cls, guard: Guard) -> int | None:
        """Number what such an attack on this guard comes to, where that changed apart from the other threat models'."""
        return None

    @classmethod
    def caveat(cls, guard: str, files: Collection[str]) -> str | None:
        """Say what such an attacker has beyond what they should, of a guard whose options name these files."""
        return None

    def identity(self, guard: Guard) -> dict[str, str]:
        """Return fingerprints of what the attacker has, as far as it decides what comes of an attack on this guard."""
        return {}

    @property
    def watcher(self) -> str | None:
        """The monitor of callers that watches the attacker, as it was asked for; None where nobody watches."""
        return None

    @property
    def accounts(self) -> int | None:
        """How many accounts the attacker asks with, where somebody watches."""
        return None

    @property
    def words(self) -> str:
        """Its name, and who watches."""
        return self.name if self.watcher is None else f"{self.name}, watched by {self.watcher}"

    def beside(self, guard: Guard) -> Mapping[str, Any]:
        """Give figures that stand beside those of each such attack on this guard."""
        return {}

    def samples(self, own: Dataset) -> Dataset:
        """Return what the attacker fits universal perturbations to: ``own``, those that trained the audited model."""
        return own

    def begins_with(self, attack: Attack, guard: Guard) -> Classifier | None:
        """Name the classifier on which the attack is run first, at full strength and defences aside.

        What comes of it is the same for all who begin so, and may be handed to :meth:`attack` in ``samples.bare``. None
        for those who begin otherwise.
        """
        return None

    def turns(self, attack: Attack, guard: Guard, samples: Samples) -> list[Turn]:
        """List what such an attacker runs, one after another; here the attack alone."""
        return [Turn(attack, whole=False)]

    @abstractmethod
    def attack(
        self,
        attack: Attack,
        guard: Guard,
        samples: Samples,
        *,
        tried: Callable[[str, int], None],
        done: Callable[[int], None],
    ) -> AttackedSamples:
        """Attack some samples of a guard's.

        Args:
            attack: the engine.
            guard: the guard that will judge.
            samples: what is attacked.
            tried: called with each variant's name and how many samples are still standing.
            done: called with the number of samples done after each batch, by attacks without variants.
        """

    @abstractmethod
    def fit(self, attack: UAP, guard: Guard, x: Tensor, y: Tensor) -> Callable[[Samples], AttackedSamples]:
        """Fit universal perturbations to samples x ``[M, ...]`` with labels or targets y ``[M]``.

        Returns:
            What puts them on samples.
        """
