"""What the thesis prints: Tables 4.1 to 4.18, in percent."""

from __future__ import annotations

from dataclasses import dataclass

AUTHORS = "Maël Nédellec and Quentin Mouret"
TITLE = "Deep Learning Algorithms in Health Area: Adversarial Attacks and Countermeasures"
VENUE = "Master's thesis, Norwegian University of Science and Technology, June 2021"

#: The networks, in the order of the tables.
NETWORKS = {"inception-v3": "Inception V3", "resnet50": "ResNet 50"}

ATTACKS = {"none": "no attack", "fgsm": "FGSM", "uap": "UAP"}
DEFENCES = {
    "none": "none",
    "retraining": "adversarial retraining",
    "low-level": "low-level transformation",
    "both": "both",
}

#: Classes that the thesis calls cancerous, and those that are.
POSITIVE = {"thesis": ("NV", "MEL", "BCC", "AKIEC"), "medical": ("MEL", "BCC", "AKIEC")}

#: Shares of NV that Experiment 1 labels BKL.
POISONED = (0.05, 0.10, 0.15, 0.20, 0.30, 0.45, 0.60)
POISONED_SOURCE, POISONED_TARGET = "NV", "BKL"

#: Of FGSM (section 4.3.1). The eps of UAP is not given.
FGSM_EPS = 2 / 255

#: Adversarial retraining (section 4.4.1): rounds, epochs of each, and the share of images that is attacked.
ROUNDS, ROUND_EPOCHS, ROUND_SHARE = 5, 5, 0.5

#: Training (section 4.1).
EPOCHS, BATCH_SIZE = 50, 32


@dataclass(frozen=True)
class Figures:
    """One network's line of both tables of an experiment.

    Attributes:
        accuracy: of the seven classes.
        recall: mean over the classes; Tables 4.1 and 4.3 call it sensitivity.
        specificity: mean over the classes, one against the rest.
        fooling: the thesis's fooling rate, 1 - accuracy; None where it has none.
        health_accuracy: of cancerous or not, NV taken for cancerous; so are those below.
        health_sensitivity: of the cancerous.
        npv: share of the answers "not cancerous" that are right.
        fnr: share of the cancerous that are called healthy.
    """

    accuracy: float
    recall: float
    specificity: float
    fooling: float | None
    health_accuracy: float
    health_sensitivity: float
    npv: float
    fnr: float


@dataclass(frozen=True)
class Experiment:
    """An experiment, and the two tables that hold it.

    Attributes:
        attack: a key of ``ATTACKS``.
        defence: a key of ``DEFENCES``.
        tables: the numbers of the tables of performance and of health.
        captions: of these tables.
        inception: of Inception V3.
        resnet: of ResNet 50.
    """

    attack: str
    defence: str
    tables: tuple[str, str]
    captions: tuple[str, str]
    inception: Figures
    resnet: Figures

    def of(self, network: str) -> Figures:
        """The line of one network, a key of ``NETWORKS``."""
        return {"inception-v3": self.inception, "resnet50": self.resnet}[network]


def _experiment(attack: str, defence: str, first: int, captions: tuple[str, str], *lines: Figures) -> Experiment:
    return Experiment(attack, defence, (f"4.{first}", f"4.{first + 1}"), captions, *lines)


EXPERIMENTS = (
    _experiment(
        "none", "none", 1, ("Skin lesion classifier performance", "Skin lesion classifier health performances"),
        Figures(79.6, 77.8, 96.2, None, 90.4, 91.2, 60.3, 8.8),
        Figures(84.3, 79.7, 97.0, None, 93.4, 94.9, 72.3, 5.1),
    ),
    _experiment(
        "fgsm", "none", 3, ("Performance after FGSM", "Health performances after FGSM"),
        Figures(10.0, 8.4, 83.6, 90.0, 40.8, 43.1, 6.7, 56.9),
        Figures(18.9, 13.5, 84.4, 81.1, 58.8, 65.5, 9.4, 34.5),
    ),
    _experiment(
        "uap", "none", 5, ("Performance after UAP", "Health performances after UAP"),
        Figures(0.0, 0.0, 85.2, 100.0, 36.8, 30.7, 14.7, 69.3),
        Figures(0.7, 1.3, 84.8, 99.3, 64.4, 72.3, 6.8, 27.7),
    ),
    _experiment(
        "fgsm", "retraining", 7,
        ("Performance after adversarial training, FGSM", "Health performances after FGSM with adversarial training"),
        Figures(65.8, 57.8, 93.8, 34.2, 81.2, 83.9, 38.5, 16.1),
        Figures(47.1, 35.7, 90.3, 53.0, 74.0, 78.7, 24.7, 21.3),
    ),
    _experiment(
        "uap", "retraining", 9,
        ("Performance after adversarial training, UAP", "Health performances after UAP with adversarial training"),
        Figures(72.5, 43.8, 92.7, 27.5, 87.6, 92.7, 54.5, 7.3),
        Figures(72.3, 56.1, 93.1, 27.6, 88.8, 96.3, 63.5, 3.7),
    ),
    _experiment(
        "fgsm", "low-level", 11,
        ("Performance after low-level transformation, FGSM",
         "Health performances after FGSM with low-level transformation"),
        Figures(41.1, 25.4, 88.4, 58.9, 69.1, 75.1, 16.5, 24.9),
        Figures(51.3, 38.2, 90.0, 48.7, 80.2, 89.6, 23.9, 10.4),
    ),
    _experiment(
        "uap", "low-level", 13,
        ("Performance after low-level transformation, UAP",
         "Health performances after UAP with low-level transformation"),
        Figures(31.0, 22.1, 88.2, 69.0, 34.5, 26.1, 15.8, 73.9),
        Figures(55.5, 28.3, 92.1, 44.5, 78.3, 84.1, 29.1, 15.9),
    ),
    _experiment(
        "fgsm", "both", 15,
        ("Performance after both mitigation methods, FGSM",
         "Health performances after FGSM with both mitigation methods"),
        Figures(64.9, 54.6, 93.2, 35.1, 80.6, 85.3, 35.2, 14.7),
        Figures(64.1, 53.3, 92.9, 35.9, 86.2, 95.9, 48.7, 4.0),
    ),
    _experiment(
        "uap", "both", 17,
        ("Performance after both mitigation methods, UAP",
         "Health performances after UAP with both mitigation methods"),
        Figures(73.8, 38.6, 91.8, 26.2, 87.5, 93.8, 54.9, 6.2),
        Figures(74.8, 51.7, 93.0, 25.2, 88.1, 94.7, 58.0, 5.3),
    ),
)  # fmt: skip


def experiment(attack: str, defence: str) -> Experiment:
    """Find an experiment."""
    return next(one for one in EXPERIMENTS if (one.attack, one.defence) == (attack, defence))


#: What the thesis leaves out, gets wrong, or says twice.
REMARKS = (
    "Its map of cancerous classes is NV, MEL, BCC and AKIEC, 8,659 of 10,015 images; moles (NV) are not cancer. Its "
    "health tables are given with its map; beside them stand ours with the medically right one, MEL, BCC and AKIEC.",
    'Its "fooling rate" is 1 − accuracy. The usual fooling rate is the share of answers that the attack changes; it '
    "stands beside it.",
    "The eps of UAP is not given, and not how many images it was fitted to, nor the WebP quality.",
    "Images were dealt at random, though 10,015 images show 7,470 lesions: most lesions that are photographed twice "
    "stand on both sides of such a split.",
    'Its abstract gives the health accuracy as "accuracy": 40% after FGSM for Inception V3 is Table 4.4, where '
    "Table 4.3 has 10.0%.",
)
