"""What the two ECG-ATK-GAN papers print: every number of their tables, and what is odd about them.

Percentages stay percentages, as printed. Nothing here is measured by Salus.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

PaperName = Literal["four-attacks", "six-attacks"]
FOUR: PaperName = "four-attacks"
SIX: PaperName = "six-attacks"

#: The AAMI classes in the order of the tables' columns.
CLASSES = ("N", "S", "V", "F")


@dataclass(frozen=True, kw_only=True)
class Paper:
    """Where the numbers come from.

    Attributes:
        name: by which rows refer to it.
        title: of the paper.
        authors: of the paper.
        attacked: attacks in the order of its tables.
        datasets: sets of data in the order of its tables.
    """

    name: PaperName
    title: str
    authors: str
    attacked: tuple[str, ...]
    datasets: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Attacked:
    """An attack of the papers.

    Attributes:
        name: in the papers.
        salus: the name of the attack in ``salus.attacks``.
        eps: what the six-attack paper gives; None for HSJ, which it leaves out. The four-attack paper gives none.
    """

    name: str
    salus: str
    eps: float | None


@dataclass(frozen=True, kw_only=True)
class Row:
    """A line of a classification table on MIT-BIH beats; every number in percent.

    Attributes:
        paper: which of the two.
        attack: as the paper names it, None where beats are clean.
        architecture: a key of ``ARCHITECTURES``.
        accuracy: as printed, which is the mean of four one-against-the-rest accuracies.
        sensitivity: by class.
        specificity: by class.
        auc: by class, None in the six-attack paper, which has none.
    """

    paper: PaperName
    attack: str | None
    architecture: str
    accuracy: float
    sensitivity: Mapping[str, float]
    specificity: Mapping[str, float]
    auc: Mapping[str, float] | None

    @property
    def true_accuracy(self) -> float:
        """The share of right answers that the printed accuracy stands for: 100 - (100 - accuracy) * K / 2."""
        return 100 - (100 - self.accuracy) * len(self.sensitivity) / 2

    def recomputed_accuracy(self, counts: Mapping[str, int]) -> float:
        """The share of right answers by the printed sensitivities, on a test side with these counts."""
        return sum(self.sensitivity[name] * counts[name] for name in counts) / sum(counts.values())


@dataclass(frozen=True, kw_only=True)
class BinaryRow:
    """A column of Table 2 of the six-attack paper, PTB: normal or infarction; every number in percent.

    Attributes:
        attack: as the paper names it, None where beats are clean.
        architecture: a key of ``ARCHITECTURES``.
        accuracy: with two classes, ordinary accuracy.
        sensitivity: of which class the paper does not say.
        specificity: of the same.
    """

    attack: str | None
    architecture: str
    accuracy: float
    sensitivity: float
    specificity: float


@dataclass(frozen=True, kw_only=True)
class SimilarityRow:
    """A line of a table on the generator: how alike its signals are to those it was given.

    Attributes:
        paper: which of the two.
        dataset: ``MIT-BIH`` or ``PTB``.
        attack: as the paper names it, None where beats are clean.
        mse: mean squared error.
        ssim: structural similarity in percent.
        cross_correlation: in percent.
        nrmse: root mean squared error over the root mean square of the original.
        swapped: whether ``mse`` and ``nrmse`` stand in each other's column, as printed.
        correction: what ``corrected`` changed; None where numbers are as printed.
    """

    paper: PaperName
    dataset: str
    attack: str | None
    mse: float
    ssim: float
    cross_correlation: float
    nrmse: float
    swapped: bool = False
    correction: str | None = None

    @property
    def corrected(self) -> SimilarityRow:
        """The row with both errors in their own columns, saying so; itself where nothing is wrong."""
        if not self.swapped:
            return self
        return replace(
            self,
            mse=self.nrmse,
            nrmse=self.mse,
            swapped=False,
            correction="MSE and NRMSE exchanged: as printed, each stands in the column of the other.",
        )


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Beats by class, before any oversampling.

    Attributes:
        train: by class.
        test: by class.
    """

    train: Mapping[str, int]
    test: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class Training:
    """Hyper-parameters of one paper, under the names of the six-attack one.

    Attributes:
        paper: which of the two.
        lambda_ary: weight of the loss on the beat's class (lambda_class in the four-attack paper).
        lambda_atk: weight of the loss on attacked or not (lambda_mae in the four-attack paper).
        lambda_mse: weight of the generator's error against the clean beat.
        attack_loss: on attacked or not.
        kappa: class weights of that loss, not attacked and attacked; None where it has none.
        learning_rate: of Adam.
        betas: of Adam.
        batch_size: beats.
        epochs: of training.
        folds: of cross-validation; None where there is none.
        beats_per_class: after SMOTE, and after the four-attack paper's cut of N.
        cuts_normal: whether N is cut to that number; the six-attack paper does not say.
        widths: of the discriminator's stages; None where the text gives none.
        hours: of training on one NVIDIA P100.
    """

    paper: PaperName
    lambda_ary: float
    lambda_atk: float
    lambda_mse: float
    attack_loss: str
    kappa: tuple[float, float] | None
    learning_rate: float
    betas: tuple[float, float]
    batch_size: int
    epochs: int
    folds: int | None
    beats_per_class: int
    cuts_normal: bool | None
    widths: tuple[int, ...] | None
    hours: float


#: Citations of what the tables compare.
ARCHITECTURES: dict[str, str] = {
    "proposed": "ECG-ATK-GAN",
    "shaker": "Shaker et al., IEEE Access 8, 2020",
    "kachuee": "Kachuee et al., ICHI 2018",
    "acharya": "Acharya et al., Computers in Biology and Medicine 89, 2017",
}

ATTACKS: dict[str, Attacked] = {
    attack.name: attack
    for attack in (
        Attacked(name="FGSM", salus="fgsm", eps=0.01),
        Attacked(name="BIM", salus="bim", eps=0.01),
        Attacked(name="PGD", salus="pgd", eps=0.01),
        Attacked(name="CW", salus="carlini-wagner-linf", eps=0.1),
        Attacked(name="DBB", salus="boundary", eps=0.01),
        Attacked(name="HSJ", salus="hop-skip-jump", eps=None),
    )
}

PAPERS: dict[PaperName, Paper] = {
    FOUR: Paper(
        name=FOUR,
        title=(
            "ECG-ATK-GAN: Robustness against adversarial attacks on ECG using conditional generative adversarial "
            "networks"
        ),
        authors="Khondker Fariha Hossain, Sharif Amit Kamran, Xingjun Ma, Alireza Tavakkoli",
        attacked=("FGSM", "BIM", "PGD", "CW"),
        datasets=("MIT-BIH",),
    ),
    SIX: Paper(
        name=SIX,
        title=(
            "ECG-ATK-GAN: Robustness against Adversarial Attacks on ECGs using Conditional Generative Adversarial "
            "Networks"
        ),
        authors="Khondker Fariha Hossain, Sharif Amit Kamran, Alireza Tavakkoli, Xingjun Ma",
        attacked=("FGSM", "BIM", "PGD", "CW", "DBB", "HSJ"),
        datasets=("MIT-BIH", "PTB"),
    ),
}

TRAINING: dict[PaperName, Training] = {
    FOUR: Training(
        paper=FOUR,
        lambda_ary=10,
        lambda_atk=10,
        lambda_mse=1,
        attack_loss="mean absolute error",
        kappa=None,
        learning_rate=2e-4,
        betas=(0.5, 0.999),
        batch_size=64,
        epochs=100,
        folds=None,
        beats_per_class=10_000,
        cuts_normal=True,
        widths=(16, 32, 128),
        hours=6,
    ),
    SIX: Training(
        paper=SIX,
        lambda_ary=10,
        lambda_atk=10,
        lambda_mse=1,
        attack_loss="class-weighted cross-entropy",
        kappa=(1, 1.05),
        learning_rate=1e-4,
        betas=(0.5, 0.999),
        batch_size=128,
        epochs=100,
        folds=5,
        beats_per_class=10_000,
        cuts_normal=None,
        widths=None,
        hours=4,
    ),
}

#: Both papers' text.
COUNTS_AS_THE_TEXT_HAS_THEM = Counts(
    train={"N": 69_958, "S": 4_766, "V": 1_965, "F": 617},
    test={"N": 17_571, "S": 1_126, "V": 473, "F": 157},
)

#: With S and V exchanged: the counts with which the printed sensitivities give the printed accuracies.
COUNTS_AS_THE_TABLES_HAVE_THEM = Counts(
    train={"N": 69_958, "S": 1_965, "V": 4_766, "F": 617},
    test={"N": 17_571, "S": 473, "V": 1_126, "F": 157},
)

#: Beats in the MIT-BIH Arrhythmia Database, by the papers' own classes.
DATABASE_COUNTS = {"N": 90_631, "S": 2_781, "V": 7_236, "F": 803}

#: What a reader has to know beside the numbers, by subject.
REMARKS: dict[str, str] = {
    "accuracy": (
        "The accuracy in the papers' tables is the mean of four one-against-the-rest accuracies, 1 - (1 - accuracy) / "
        "2: 71.9% under HSJ stands for 43.9% right answers, 77.2% of Acharya et al. under FGSM for 54.4%."
    ),
    "auc": (
        "The AUC of the four-attack paper is (sensitivity + specificity) / 2 in 76 of 80 places, up to rounding; the "
        "other four are the row of Shaker et al. under FGSM."
    ),
    "inconsistent row": (
        "In the row of Shaker et al. under FGSM the AUCs do not follow from the sensitivities and specificities, nor "
        "do false alarms and misses add up; at least one of these figures is misprinted."
    ),
    "swapped classes": (
        "The papers print 5,892 beats of class S and 2,438 of V; the database has 2,781 and 7,236. With S and V "
        "exchanged, the printed sensitivities give the printed accuracies of 47 of 48 rows within 0.1 points, as "
        "printed of 18: the counts stand in each other's place, the columns of the tables do not."
    ),
    "missing beats": (
        "Even with S and V exchanged the papers have fewer beats of each class than the database; they do not say "
        "which are missing."
    ),
    "split": "Beats of one patient are in training and in test data: the split is one of beats, not of patients.",
    "comparators": (
        "On MIT-BIH, clean and under FGSM, BIM, PGD and CW, the rows of the three other architectures are the same in "
        "both papers, although learning rate, batch size and cross-validation differ; only the proposed one is new."
    ),
    "swapped errors": (
        "Table 3 of the six-attack paper has MSE and NRMSE in each other's column on MIT-BIH from no attack to CW, and "
        "on PTB for no attack, BIM, PGD and CW: the MSE of a signal in [0, 1] is never above its NRMSE."
    ),
    "generator, PGD": (
        "In Table 2 of the four-attack paper MSE and NRMSE of the row PGD do not fit each other: with the ratio of all "
        "other rows an NRMSE of 0.0136 belongs to an MSE near 3.8e-5, not 1.3e-4."
    ),
    "generator, text": (
        "Text and tables differ: SSIM under PGD 99.62 in the text and 99.77 in the table, under CW 99.73 and 99.83 "
        "(four attacks); under HSJ 99.43 and 99.42, on PTB under PGD 99.84 and 99.88 (six attacks)."
    ),
}

# Accuracy, then sensitivity, specificity and AUC of N, of S, of V, of F.
_FOUR_TABLE_1 = """\
none proposed  98.8  97.7 98.2 98.0  93.0 99.0 96.0  98.9 99.2 99.1  91.7 99.4 95.7
none shaker    98.6  97.4 98.1 97.7  93.0 98.7 95.8  99.2 99.0 99.1  87.2 99.6 93.4
none kachuee   98.1  96.8 94.5 95.7  88.7 97.6 93.2  92.5 99.6 96.1  90.4 99.3 94.9
none acharya   96.4  92.8 96.2 94.5  86.2 97.0 91.6  95.9 98.8 97.4  94.2 97.1 95.7
FGSM proposed  98.6  97.6 94.3 96.0  82.0 99.0 90.5  98.2 99.0 98.6  78.9 99.5 89.3
FGSM shaker    92.6  84.7 93.3 90.0  81.8 89.9 87.8  96.5 95.6 97.1  57.9 98.7 78.8
FGSM kachuee   86.5  73.1 82.8 77.9  68.9 83.4 76.1  73.7 97.3 85.5  82.8 93.2 88.0
FGSM acharya   77.2  53.3 87.9 70.6  65.7 74.1 69.9  66.2 92.3 79.2  65.6 87.9 76.7
BIM  proposed  97.0  94.4 93.9 94.2  82.2 97.2 89.8  96.5 98.5 97.5  77.7 98.7 88.2
BIM  shaker    96.2  93.1 90.1 91.6  69.1 98.2 83.6  97.6 94.9 96.2  55.4 99.8 77.6
BIM  kachuee   85.6  70.6 90.4 80.5  67.4 90.5 78.9  83.6 92.3 88.0  82.1 88.5 85.3
BIM  acharya   76.9  54.4 87.5 70.9  49.0 88.2 68.6  42.1 91.9 67.0  87.8 73.8 80.8
PGD  proposed  98.6  97.9 93.6 95.7  80.7 99.1 89.9  97.5 99.4 98.4  80.9 99.4 90.1
PGD  shaker    96.5  93.4 92.8 93.1  81.3 97.9 89.6  94.5 98.2 96.3  82.8 97.4 90.1
PGD  kachuee   87.2  74.0 86.9 80.4  66.3 87.6 77.0  84.7 91.8 88.2  65.6 95.2 80.4
PGD  acharya   77.2  54.0 88.8 71.4  54.1 91.3 72.7  57.8 82.0 69.9  66.2 80.6 73.4
CW   proposed  98.4  97.3 95.4 96.4  87.7 98.2 93.0  96.9 99.5 98.2  87.3 99.6 93.4
CW   shaker    95.4  90.8 96.0 93.4  84.7 97.0 90.9  97.8 94.1 96.0  72.6 99.7 86.1
CW   kachuee   91.9  84.5 83.3 83.9  74.4 89.3 81.8  79.7 99.3 89.5  61.1 96.3 78.7
CW   acharya   81.2  61.8 89.1 75.5  64.6 81.5 73.1  67.7 94.1 80.9  83.4 86.8 85.1
"""

# Accuracy, then sensitivity and specificity of N, of S, of V, of F.
_SIX_TABLE_1 = """\
none proposed  99.2  98.8 95.2  83.7 99.8  97.9 99.7  92.4 99.3
none shaker    98.6  97.4 98.1  93.0 98.7  99.2 99.0  87.2 99.6
none kachuee   98.1  96.8 94.5  88.7 97.6  92.5 99.6  90.4 99.3
none acharya   96.4  92.8 96.2  86.2 97.0  95.9 98.8  94.2 97.1
FGSM proposed  98.7  97.9 95.0  82.6 99.2  99.2 98.7  73.2 99.8
FGSM shaker    92.6  84.7 93.3  81.8 89.9  96.5 95.6  57.9 98.7
FGSM kachuee   86.5  73.1 82.8  68.9 83.4  73.7 97.3  82.8 93.2
FGSM acharya   77.2  53.3 87.9  65.7 74.1  66.2 92.3  65.6 87.9
BIM  proposed  98.1  97.1 91.2  76.1 98.6  95.0 99.4  84.1 98.9
BIM  shaker    96.2  93.1 90.1  69.1 98.2  97.6 94.9  55.4 99.8
BIM  kachuee   85.6  70.6 90.4  67.4 90.5  83.6 92.3  82.1 88.5
BIM  acharya   76.9  54.4 87.5  49.0 88.2  42.1 91.9  87.8 73.8
PGD  proposed  98.4  97.0 96.1  89.0 98.0  97.5 99.3  88.5 99.6
PGD  shaker    96.5  93.4 92.8  81.3 97.9  94.5 98.2  82.8 97.4
PGD  kachuee   87.2  74.0 86.9  66.3 87.6  84.7 91.8  65.6 95.2
PGD  acharya   77.2  54.0 88.8  54.1 91.3  57.8 82.0  66.2 80.6
CW   proposed  98.8  97.8 97.0  91.1 98.8  98.3 99.5  91.0 99.5
CW   shaker    95.4  90.8 96.0  84.7 97.0  97.8 94.1  72.6 99.7
CW   kachuee   91.9  84.5 83.3  74.4 89.3  79.7 99.3  61.1 96.3
CW   acharya   81.2  61.8 89.1  64.6 81.5  67.7 94.1  83.4 86.8
DBB  proposed  93.0  85.8 94.9  84.4 96.1  91.3 96.2  84.1 93.9
DBB  shaker    90.1  80.6 86.7  65.1 94.2  79.4 94.9  83.4 91.7
DBB  kachuee   79.7  57.9 86.4  78.0 69.3  70.9 96.6  82.1 93.6
DBB  acharya   81.9  62.6 85.8  68.1 75.6  77.0 95.8  82.8 92.7
HSJ  proposed  71.9  44.8 68.2  34.6 78.6  35.7 82.6  32.4 83.8
HSJ  shaker    70.5  41.2 67.4  33.0 77.1  40.4 81.1  37.5 83.4
HSJ  kachuee   68.6  39.3 65.8  21.3 82.5  10.3 94.5  43.9 62.2
HSJ  acharya   68.4  37.6 70.0  32.3 57.4  23.6 90.4  20.3 90.0
"""

# No attack, FGSM, BIM, PGD, CW, DBB, HSJ.
_SIX_TABLE_2 = """\
accuracy    proposed  99.5 99.4 99.6 99.6 99.5 93.1 71.8
accuracy    shaker    98.0 98.6 95.8 96.4 98.3 91.4 70.2
accuracy    kachuee   95.2 97.1 94.4 92.2 91.3 88.6 56.5
accuracy    acharya   79.8 84.1 83.2 84.1 80.9 77.4 54.7
sensitivity proposed  99.3 99.2 99.6 99.7 99.2 92.6 79.8
sensitivity shaker    96.7 98.3 92.1 94.8 98.0 91.5 83.7
sensitivity kachuee   98.3 96.0 95.9 92.1 95.4 86.7 85.5
sensitivity acharya   82.1 93.1 93.4 90.6 90.3 88.5 90.7
specificity proposed  99.7 99.5 99.7 99.5 99.7 93.7 64.0
specificity shaker    99.3 98.9 99.4 98.0 98.7 91.2 56.8
specificity kachuee   92.1 98.2 93.0 92.2 87.3 90.3 28.1
specificity acharya   77.7 75.3 73.2 77.8 71.6 66.5 19.4
"""

# MSE, SSIM, cross-correlation, NRMSE: as printed, with a mark where the first and the last are exchanged.
_FOUR_TABLE_2 = """\
none MIT-BIH 2.9e-5 99.88 99.90 0.0118
FGSM MIT-BIH 8.9e-5 99.62 99.75 0.0207
BIM  MIT-BIH 6.4e-5 99.62 99.72 0.0176
PGD  MIT-BIH 1.3e-4 99.77 99.85 0.0136
CW   MIT-BIH 3.2e-5 99.83 99.86 0.0123
"""
_SIX_TABLE_3 = """\
none MIT-BIH 0.0129 99.90 99.86 3.487e-5 swapped
FGSM MIT-BIH 0.0117 99.81 99.89 2.890e-5 swapped
BIM  MIT-BIH 0.0134 99.80 99.86 3.737e-5 swapped
PGD  MIT-BIH 0.0122 99.84 99.89 3.115e-5 swapped
CW   MIT-BIH 0.0065 99.95 99.97 9.038e-6 swapped
DBB  MIT-BIH 0.0002 99.00 99.39 0.03159
HSJ  MIT-BIH 0.0003 99.42 99.45 0.0393
none PTB     0.0184 99.87 99.93 8.152e-5 swapped
FGSM PTB     0.0001 99.84 99.89 0.02391
BIM  PTB     0.0155 99.91 99.95 5.769e-5 swapped
PGD  PTB     0.0179 99.88 99.92 7.722e-5 swapped
CW   PTB     0.0188 99.87 99.92 8.498e-5 swapped
DBB  PTB     0.0007 99.19 99.29 0.05532
HSJ  PTB     0.0003 99.51 99.60 0.03872
"""


def _attack(printed: str) -> str | None:
    return None if printed == "none" else printed


def _rows(paper: PaperName, table: str, per_class: int) -> tuple[Row, ...]:
    rows = []
    for line in table.splitlines():
        attack, architecture, *printed = line.split()
        accuracy, *figures = map(float, printed)
        # Every figure in turn: sensitivity of each class, specificity of each, AUC of each.
        by_class = [dict(zip(CLASSES, figures[first::per_class], strict=True)) for first in range(per_class)]
        rows.append(
            Row(
                paper=paper,
                attack=_attack(attack),
                architecture=architecture,
                accuracy=accuracy,
                sensitivity=by_class[0],
                specificity=by_class[1],
                auc=by_class[2] if per_class == 3 else None,
            )
        )
    return tuple(rows)


def _binary_rows(table: str) -> tuple[BinaryRow, ...]:
    printed = {(figure, name): [*map(float, row)] for figure, name, *row in map(str.split, table.splitlines())}
    return tuple(
        BinaryRow(
            attack=attack,
            architecture=architecture,
            accuracy=printed["accuracy", architecture][column],
            sensitivity=printed["sensitivity", architecture][column],
            specificity=printed["specificity", architecture][column],
        )
        for column, attack in enumerate((None, *PAPERS[SIX].attacked))
        for architecture in ARCHITECTURES
    )


def _similarity_rows(paper: PaperName, table: str) -> tuple[SimilarityRow, ...]:
    rows = []
    for line in table.splitlines():
        attack, dataset, mse, ssim, cross_correlation, nrmse, *mark = line.split()
        rows.append(
            SimilarityRow(
                paper=paper,
                dataset=dataset,
                attack=_attack(attack),
                mse=float(mse),
                ssim=float(ssim),
                cross_correlation=float(cross_correlation),
                nrmse=float(nrmse),
                swapped=mark == ["swapped"],
            )
        )
    return tuple(rows)


#: Table 1 of the four-attack paper and Table 1 of the six-attack paper, MIT-BIH.
CLASSIFICATION: tuple[Row, ...] = (*_rows(FOUR, _FOUR_TABLE_1, 3), *_rows(SIX, _SIX_TABLE_1, 2))

#: Table 2 of the six-attack paper, PTB.
PTB: tuple[BinaryRow, ...] = _binary_rows(_SIX_TABLE_2)

#: Table 2 of the four-attack paper and Table 3 of the six-attack paper, as printed.
GENERATOR: tuple[SimilarityRow, ...] = (
    *_similarity_rows(FOUR, _FOUR_TABLE_2),
    *_similarity_rows(SIX, _SIX_TABLE_3),
)


def classification(paper: PaperName, attack: str | None, architecture: str = "proposed") -> Row | None:
    """The row of a paper's MIT-BIH table, ``attack`` None for clean beats; None where the paper has no such row."""
    asked = (paper, attack, architecture)
    return next((row for row in CLASSIFICATION if (row.paper, row.attack, row.architecture) == asked), None)


def generator(paper: PaperName, attack: str | None, dataset: str = "MIT-BIH") -> SimilarityRow | None:
    """The row of a paper's table on the generator, as printed; None where the paper has no such row."""
    asked = (paper, attack, dataset)
    return next((row for row in GENERATOR if (row.paper, row.attack, row.dataset) == asked), None)
