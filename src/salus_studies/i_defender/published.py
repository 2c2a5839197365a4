"""What the I-defender paper prints: every number of its tables that our copy holds, and what is odd about them.

Tables 2 to 5 give areas under the ROC curve as fractions, Tables 6 to 9 in percent, as printed. Nothing here is
measured by Salus.
"""

from __future__ import annotations

from dataclasses import dataclass

from salus_studies.frame.published import read_tables

TITLE = "Robust detection of adversarial attacks by modeling the intrinsic properties of deep neural networks"
AUTHORS = "Zhihao Zheng, Pengyu Hong"
VENUE = "NeurIPS 2018"

#: The black-box attack's strengths, Tables 3 and 5.
EPSILONS = (0.1, 0.15, 0.2, 0.25, 0.3)

#: That of Tables 2 and 4.
STRONGEST = 0.3

#: The weights of Eq. 6.
ALPHAS = (1e-3, 1e-2, 1e-1, 1.0)


@dataclass(frozen=True, kw_only=True)
class Descents:
    """A line of Table 2 or 4: Defense-GAN's detection AUC under FGSM at 0.3.

    Attributes:
        auc: as printed.
        restarts: "Number of GD runs", R.
        iterations: "Iteration number in each GD run", L.
    """

    auc: float
    restarts: int
    iterations: int


@dataclass(frozen=True, kw_only=True)
class Strength:
    """A line of Table 3 or 5: both detectors' AUC under FGSM."""

    eps: float
    defense_gan: float
    i_defender: float


@dataclass(frozen=True, kw_only=True)
class BlackBox:
    """What the paper prints of one data set in section 4.1.

    Attributes:
        title: of the data.
        tables: numbers of its two tables.
        figures: numbers of its two figures.
        i_defender: AUC at eps 0.3, Table 2 or 4.
        descents: Defense-GAN's lines of that table.
        setting: R and L of Defense-GAN in Table 3 or 5.
        strengths: the lines of that table.
    """

    title: str
    tables: tuple[int, int]
    figures: tuple[int, int]
    i_defender: float
    descents: tuple[Descents, ...]
    setting: tuple[int, int]
    strengths: tuple[Strength, ...]


_TABLES = read_tables(__file__)


def _descents(data: str) -> tuple[Descents, ...]:
    rows = _TABLES[data]["descents"]
    return tuple(Descents(auc=auc, restarts=restarts, iterations=iterations) for auc, restarts, iterations in rows)


def _strengths(data: str) -> tuple[Strength, ...]:
    rows = _TABLES[data]["strengths"]
    return tuple(Strength(eps=eps, defense_gan=other, i_defender=own) for eps, other, own in rows)


BLACK_BOX: dict[str, BlackBox] = {
    "mnist": BlackBox(
        title="MNIST",
        tables=(2, 3),
        figures=(2, 4),
        i_defender=0.993,
        descents=_descents("mnist"),
        setting=(10, 400),
        strengths=_strengths("mnist"),
    ),
    "fashion-mnist": BlackBox(
        title="Fashion-MNIST",
        tables=(4, 5),
        figures=(3, 5),
        i_defender=0.985,
        descents=_descents("fashion-mnist"),
        setting=(10, 200),
        strengths=_strengths("fashion-mnist"),
    ),
}

#: How many times as long Defense-GAN takes, by the paper's estimate.
TIME_RATIO = 1e5


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of an attack.

    Attributes:
        attack: ``iter-linf``, ``iter-l2``, ``fgsm`` or ``deepfool``.
        eps: its size; None where the paper gives an accuracy instead.
        adversarial_accuracy: what the attack leaves of the classifier's accuracy, in percent; None where the paper
            gives a size instead.
        in_our_copy: whether our copy of the paper has the numbers under it.
    """

    attack: str
    eps: float | None = None
    adversarial_accuracy: float | None = None
    in_our_copy: bool = True

    @property
    def key(self) -> str:
        """Name the column in stored results."""
        return f"{self.attack}-{self.eps if self.eps is not None else self.adversarial_accuracy:g}"

    @property
    def title(self) -> str:
        """Name the attack as the paper does."""
        return ATTACK_NAMES[self.attack]


@dataclass(frozen=True, kw_only=True)
class SizedColumn(Column):
    """A column of which the paper gives the attack's size."""

    eps: float


@dataclass(frozen=True, kw_only=True)
class TunedColumn(Column):
    """A column of which the paper gives what the attack leaves of accuracy."""

    adversarial_accuracy: float


ATTACK_NAMES = {"fgsm": "FGSM", "iter-linf": "Iterative-L∞", "iter-l2": "Iterative-L2", "deepfool": "DeepFool"}

#: Table 6. The supervised detectors are trained on the attack of the first column.
SEMI_WHITE_BOX = (
    TunedColumn(attack="iter-linf", adversarial_accuracy=13.14),
    TunedColumn(attack="iter-l2", adversarial_accuracy=10.80),
    TunedColumn(attack="fgsm", adversarial_accuracy=27.84),
    TunedColumn(attack="deepfool", adversarial_accuracy=24.53),
    TunedColumn(attack="iter-linf", adversarial_accuracy=29.56),
    TunedColumn(attack="fgsm", adversarial_accuracy=45.68),
)

#: Table 6: method -> what it prints under each column.
DETECTION = {
    "svm": (83.6, 84.840, 75.545, 78.305, 76.330, 61.755),
    "msvm": (92.52, 93.915, 74.480, 86.635, 76.670, 60.895),
    "subnet": (98.235, 98.660, 68.980, 49.270, 49.295, 49.27),
    "id-95": (81.28, 79.398, 87.464, 87.636, 78.730, 85.024),
    "id-99": (79.04, 74.173, 90.485, 90.709, 74.580, 87.596),
}

#: How Table 6 calls them.
METHOD_NAMES = {
    "svm": "SafetyNet, SVM",
    "msvm": "SafetyNet, mSVM",
    "subnet": "Subnetwork",
    "id-95": "I-defender, ID-95",
    "id-99": "I-defender, ID-99",
}

#: Tables 7 and 8.
GRAY_BOX = (
    SizedColumn(attack="iter-linf", eps=0.013),
    SizedColumn(attack="iter-l2", eps=0.47),
    SizedColumn(attack="iter-linf", eps=0.0085, in_our_copy=False),
    SizedColumn(attack="fgsm", eps=0.075, in_our_copy=False),
)

#: The alphas that our copy prints beside the four lines of Tables 7 and 8.
ALPHAS_IN_OUR_COPY = (1e-3, 1e-2, 1e-1)

#: Table 7: column -> its four lines in the order printed, AUC on the target and on the source.
TARGET_AND_SOURCE = {
    "iter-linf-0.013": ((85.203, 76.450), (83.261, 58.967), (83.875, 59.459), (83.945, 59.554)),
    "iter-l2-0.47": ((86.249, 75.786), (84.740, 69.243), (85.406, 71.179), (85.576, 72.027)),
}

#: Table 8: column -> its four lines in the order printed, AUC on the target of WRN-34-8 and of WRN-46-8.
SHALLOW_AND_DEEP = {
    "iter-linf-0.013": ((85.203, 87.549), (83.261, 87.555), (83.875, 87.637), (83.945, 87.553)),
    "iter-l2-0.47": ((86.249, 86.23), (84.740, 86.215), (85.406, 85.844), (85.576, 85.528)),
}

#: Table 9.
IMAGENET = (
    SizedColumn(attack="fgsm", eps=0.3),
    SizedColumn(attack="iter-linf", eps=0.019),
    SizedColumn(attack="iter-l2", eps=12.5),
)
IMAGENET_ACCURACY = 71.028

#: Table 9: alpha -> the target's adversarial accuracy and the AUC under each column.
IMAGENET_LINES = {
    1e-2: ((70.892, 62.685), (62.636, 97.201), (59.032, 93.832)),
    1e-1: ((70.892, 62.801), (62.646, 97.211), (59.016, 93.837)),
    1.0: ((70.892, 62.612), (62.648, 97.215), (59.010, 93.834)),
}

#: What is odd, unclear or missing, and what is done about it here.
REMARKS = {
    "the layer": (
        "“We choose to only model the state of the fully connected hidden layers”, but model F has one fully connected "
        "layer, its output, and so has a wide residual network. Which states were modelled is not said, nor how many "
        "Gaussians, nor their covariance. Here three rules that see clean images alone stand side by side, and a table "
        "shows what each layer would have given."
    ),
    "Table 6's unit": (
        "The caption says detection AUC, but ID-95 and ID-99 are two thresholds on one score and would have one AUC. "
        "The text speaks of “balanced data for evaluate detection accuracy”: the mean of the share of clean images "
        "accepted and the share of attacked images rejected. That is printed here beside the paper's numbers, and the "
        "AUC apart."
    ),
    "Defense-GAN's numbers": (
        "They are copied from Defense-GAN's paper. With 10 runs of 400 steps at eps 0.3 on MNIST Table 2 prints 1.0 "
        "and Table 3 0.999; on Fashion-MNIST 200 steps (Table 5, 0.985) come out above 400 (Table 4, 0.983)."
    ),
    "the attacks of Figures 4 and 5": (
        "No sizes are given. Here Iterative-L∞ has FGSM's largest eps, 0.3, Iterative-L2 an eps of 3, and DeepFool "
        "takes the smallest change that it finds."
    ),
    "the step of the iterative attacks": (
        "“Usually α is set to 1”, of 255 levels, “and the number of iterations is set to 10”: such an attack never "
        "gets further than 10/255. Here ten steps of a quarter of eps are taken, which reach the rim."
    ),
    "Tables 7 and 8": (
        "In our copy their second halves, Iterative-L∞ at 0.0085 and FGSM at 0.075, have no numbers, and beside four "
        "lines stand three alphas. What is missing is printed as “not in our copy”, and the four lines stand in the "
        "order printed, matched to no alpha."
    ),
    "Table 8": (
        "That the attacks on WRN-46-8 come from a second WRN-46-8 is not said; here they do. Its WRN-34-8 numbers are "
        "those of Table 7's targets."
    ),
    "Table 9": (
        "Under FGSM at “0.3” the target keeps 70.892% of 71.028%: the size cannot be in units where images span 0 to "
        "1, and the paper does not say which units it is in. The headers write 12,5 for 12.5."
    ),
    "Reject of Eq. 6": "Which threshold the attacker's detector has is not said; here it is ID-95's.",
}
