"""What is attacked, defended and judged: every experiment of the thesis on evasion, and those it leaves out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from salus.attacks import FGSM, PGD, UAP, Attack, AutoAttack
from salus.classifier import Classifier
from salus.purifiers import AlternateGenerator, LowLevel, Purifier
from salus_studies.skin_lesion import published
from salus_studies.skin_lesion.scales import LesionScale

#: Purifiers by their names here: the options of ``low-level``; ``webp-50`` and the like are WebP alone at a quality.
PURIFIERS: dict[str, dict[str, Any]] = {
    "low-level": {},
    "webp": {"flip": False},
    "flip": {"webp": False},
}
WEBP, ALTERNATE = "webp-", "alternate"

#: What the attacker has: in the thesis a copy of the plain classifier; who knows, all of what is attacked.
COPY, KNOWS = "copy", "knows"

#: Attacks that want the ill called healthy, and the healthy ill.
HARM = ("fgsm-harm", "pgd-harm", "uap-benign", "uap-malignant")

#: Attacks that no cell of an audit has: those, ART's universal perturbation, and PGD over jittered copies.
OWN = (*HARM, "uap-art", "pgd-eot")

#: Models that the thesis does not have, by the names of their defences.
MODELS = {
    "retrained-clean": "control",
    "hardened": "hardened",
    "distilled": "distilled",
    "regularised": "regularised",
}


@dataclass(frozen=True)
class Case:
    """One cell of the experiments.

    Attributes:
        model: ``plain``, ``retrained-fgsm``, ``retrained-uap``, ``retrained-clean`` (the control, which goes on as
            long on clean images), ``hardened``, ``distilled`` or ``regularised``.
        purifier: a key of ``PURIFIERS``, WebP at a quality, ``ALTERNATE``, or None.
        attack: ``none``, ``fgsm``, ``uap``, ``pgd``, ``pgd-4`` (at twice its eps), ``auto-attack``, or one of ``OWN``.
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
    def part(self) -> str:
        """Which part of the work it is of."""
        if self.purifier == ALTERNATE or self.model in list(MODELS)[1:]:
            return "defences"
        searched = self.purifier is not None and self.attack.startswith("pgd")
        if searched or str(self.purifier).startswith(WEBP):
            return "webp"
        thesis = self.attacker == COPY or (self.model, self.purifier) == ("plain", None)
        return "tables" if self.attack == "none" or (thesis and self.attack in ("fgsm", "uap")) else "knows"

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
    def own(self) -> bool:
        """Whether it is counted here, not as an audit does."""
        through = self.purifier == ALTERNATE and self.threat_model == "adaptive"
        return self.attack in OWN or through

    @property
    def defence(self) -> str:
        """What the thesis calls it, or one of its own."""
        if self.model in MODELS:
            return MODELS[self.model]
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


def cases(scale: LesionScale, *, main: bool) -> list[Case]:
    """List all cells of a network, those that the thesis has first.

    Args:
        scale: says at which qualities WebP is tried.
        main: whether the network is the one on which more is done.
    """
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
    # The control of retraining, and attackers who want harm.
    todo += [Case("retrained-clean"), *(Case("retrained-clean", None, attack, COPY) for attack in ("fgsm", "uap"))]
    retrained_models = ("retrained-fgsm", "retrained-uap", "retrained-clean")
    todo += [Case(model, None, "pgd", KNOWS) for model in ("plain", *retrained_models)]
    todo += [Case("plain", None, attack, KNOWS) for attack in (*HARM, "uap-art")]
    todo += [Case(model, None, "pgd-harm", KNOWS) for model in retrained_models]
    todo += [Case(model, None, "auto-attack", KNOWS) for model in ("plain", *retrained_models)]
    return [*todo, *_of_main(scale)] if main else todo


def _of_main(scale: LesionScale) -> list[Case]:
    todo = [Case("plain", "low-level", attack, KNOWS) for attack in ("pgd", "pgd-4", "pgd-harm")]
    todo += [Case("retrained-fgsm", "low-level", attack, KNOWS) for attack in ("pgd", "pgd-harm")]
    for quality in scale.qualities:
        todo += [Case("plain", f"{WEBP}{quality}")]
        todo += [Case("plain", f"{WEBP}{quality}", attack, KNOWS) for attack in ("pgd", "pgd-eot")]
    for model in list(MODELS)[1:]:
        todo += [Case(model), *(Case(model, None, a, KNOWS) for a in ("pgd", "pgd-harm", "auto-attack"))]
    todo += [Case("hardened", None, attack, KNOWS) for attack in ("fgsm", "uap")]
    todo += [Case("plain", ALTERNATE), Case("plain", ALTERNATE, "fgsm", COPY)]
    return [*todo, *(Case("plain", ALTERNATE, attack, KNOWS) for attack in ("pgd", "pgd-harm"))]


def purifier(case: Case, classifier: Classifier, scale: LesionScale) -> Purifier | None:
    """Make the purifier of a cell; None where it has none."""
    name = case.purifier
    if name is None:
        return None
    if name == ALTERNATE:
        return AlternateGenerator(bounds=classifier.bounds, **scale.others.generator)
    if name in PURIFIERS:
        return LowLevel(bounds=classifier.bounds, **PURIFIERS[name])
    return LowLevel(bounds=classifier.bounds, quality=int(name.removeprefix(WEBP)), flip=False)


def engine(case: Case, scale: LesionScale, uap_eps: float, seed: int) -> Attack | None:
    """Make the attack of a cell."""
    name, eps = case.attack, published.FGSM_EPS
    if name in ("fgsm", "fgsm-harm"):
        return FGSM(eps=eps, seed=seed)
    if name in ("uap", "uap-benign", "uap-malignant", "uap-art"):
        return universal(uap_eps, scale, seed)
    if name == "auto-attack":
        return AutoAttack(eps=eps, seed=seed)
    if name.startswith("pgd"):
        restarts = scale.restarts if (case.model, name) == ("hardened", "pgd") else 1
        steps = scale.others.steps if case.purifier == ALTERNATE else scale.steps
        return PGD(eps=2 * eps if name == "pgd-4" else eps, steps=steps, restarts=restarts, seed=seed)
    return None


def universal(eps: float, scale: LesionScale, seed: int) -> UAP:
    """Make the universal attack at an eps, to fool as many as it can."""
    return UAP(eps=eps, fooling_rate=1.0, epochs=scale.uap_epochs, seed=seed)


def images(case: Case, scale: LesionScale) -> int | None:
    """Say how many test images a cell takes; None for all, or where so many are drawn of each class."""
    if case.purifier == ALTERNATE:
        return scale.others.images
    searched = case.threat_model == "adaptive" or case.part == "webp"
    return scale.strong if searched else None
