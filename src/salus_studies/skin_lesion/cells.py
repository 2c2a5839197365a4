"""What is attacked, defended and judged: every experiment of the thesis on evasion, and those it leaves out."""

from __future__ import annotations

from dataclasses import dataclass

from salus.attacks import FGSM, PGD, UAP, Attack, AutoAttack
from salus_studies.skin_lesion import published
from salus_studies.skin_lesion.scales import LesionScale

#: Purifiers by their names here: the options of ``low-level``.
PURIFIERS = {
    "low-level": {},
    "webp": {"flip": False},
    "flip": {"webp": False},
}

#: What the attacker has: in the thesis a copy of the plain classifier; who knows, all of what is attacked.
COPY, KNOWS = "copy", "knows"


@dataclass(frozen=True)
class Case:
    """One cell of the experiments.

    Attributes:
        model: ``plain``, ``retrained-fgsm``, ``retrained-uap`` or ``hardened``.
        purifier: a key of ``PURIFIERS``, or None.
        attack: ``none``, ``fgsm``, ``uap``, ``pgd``, ``pgd-4`` (at twice its eps) or ``auto-attack``.
        attacker: ``COPY`` or ``KNOWS``; None without an attack.
    """

    model: str
    purifier: str | None = None
    attack: str = "none"
    attacker: str | None = None

    @property
    def name(self) -> str:
        """Of the step that stores it."""
        parts = (self.model, self.purifier, None if self.attack == "none" else self.attack, self.attacker)
        return "-".join(part for part in parts if part)

    @property
    def threat_model(self) -> str | None:
        """What it is called in audits."""
        if self.attack == "none":
            return None
        if self.attacker == KNOWS:
            return "white-box" if self.purifier is None else "adaptive"
        if self.model != "plain":
            return "transfer"
        return "oblivious"

    @property
    def defence(self) -> str:
        """What the thesis calls it, or one of its own."""
        if self.model == "hardened":
            return "hardened"
        if self.model == "plain":
            return self.purifier or "none"
        return "retraining" if self.purifier is None else "both"

    def record(self) -> dict[str, str | None]:
        """Say what it is, for a record."""
        return {
            "model": self.model,
            "purifier": self.purifier,
            "attack": self.attack,
            "attacker": self.attacker,
            "defence": self.defence,
            "threat_model": self.threat_model,
        }


def cases(*, hardened: bool) -> list[Case]:
    """List all cells of a network, those that the thesis has first."""
    todo = [Case("plain")]
    todo += [Case("plain", None, attack, KNOWS) for attack in ("fgsm", "uap")]
    for attack in ("fgsm", "uap"):
        retrained = f"retrained-{attack}"
        todo += [
            Case(retrained, None, attack, COPY),
            Case("plain", "low-level", attack, COPY),
            Case(retrained, "low-level", attack, COPY),
        ]
    todo += [Case("plain", purifier, attack, COPY) for purifier in ("webp", "flip") for attack in ("fgsm", "uap")]
    # What the thesis did not test: what the defences do to clean images, and the attacker who knows them.
    todo += [Case("plain", purifier) for purifier in PURIFIERS]
    for attack in ("fgsm", "uap"):
        retrained = f"retrained-{attack}"
        todo += [Case(retrained), Case(retrained, "low-level")]
        todo += [Case("plain", purifier, attack, KNOWS) for purifier in PURIFIERS]
        todo += [Case(retrained, None, attack, KNOWS), Case(retrained, "low-level", attack, KNOWS)]
    todo += [Case("plain", None, "pgd", KNOWS), *(Case("plain", "low-level", a, KNOWS) for a in ("pgd", "pgd-4"))]
    for attack in ("fgsm", "uap"):
        todo += [Case(f"retrained-{attack}", purifier, "pgd", KNOWS) for purifier in (None, "low-level")]
    models = ["plain", "retrained-fgsm", "retrained-uap"]
    if hardened:
        models.append("hardened")
        todo += [Case("hardened"), *(Case("hardened", None, attack, KNOWS) for attack in ("fgsm", "uap", "pgd"))]
    return [*todo, *(Case(model, None, "auto-attack", KNOWS) for model in models)]


def engine(case: Case, scale: LesionScale, uap_eps: float, seed: int) -> Attack | None:
    """Make the attack of a cell."""
    if case.attack == "fgsm":
        return FGSM(eps=published.FGSM_EPS, seed=seed)
    if case.attack == "uap":
        return universal(uap_eps, seed)
    if case.attack in ("pgd", "pgd-4"):
        restarts = scale.restarts if case.model == "hardened" else 1
        eps = published.FGSM_EPS if case.attack == "pgd" else 2 * published.FGSM_EPS
        return PGD(eps=eps, steps=scale.steps, schedule="madry", restarts=restarts, seed=seed)
    if case.attack == "auto-attack":
        return AutoAttack(eps=published.FGSM_EPS, seed=seed)
    return None


def universal(eps: float, seed: int) -> UAP:
    """Make the universal attack at an eps, to fool as many as it can."""
    return UAP(eps=eps, fooling_rate=1.0, seed=seed)


def images(case: Case, scale: LesionScale) -> int | None:
    """Say how many test images a cell takes; None for all."""
    if case.attack == "auto-attack":
        return scale.ensemble
    if case.attack in ("pgd", "pgd-4") and case.threat_model == "adaptive":
        return scale.strong
    return None
