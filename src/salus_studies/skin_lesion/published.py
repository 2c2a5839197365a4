"""What the thesis prints: Tables 4.1 to 4.18, in percent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from salus_studies.frame.published import read_tables

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
        figures: by network, a key of ``NETWORKS``.
    """

    attack: str
    defence: str
    tables: tuple[str, str]
    captions: tuple[str, str]
    figures: Mapping[str, Figures]


EXPERIMENTS = tuple(
    Experiment(
        line["attack"],
        line["defence"],
        tuple(line["tables"]),
        tuple(line["captions"]),
        {network: Figures(*line[network]) for network in NETWORKS},
    )
    for line in read_tables(__file__)["experiments"]
)


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
