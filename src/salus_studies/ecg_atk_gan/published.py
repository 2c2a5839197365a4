"""What the two ECG-ATK-GAN papers print: every number of their tables; what is odd about them stands in ``remarks``.

Percentages stay percentages, as printed. Nothing here is measured by Salus.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from salus_studies.frame.published import read_tables

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
class PrintedAttack:
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
class ClassesRow:
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
class PaperTraining:
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

ATTACKS: dict[str, PrintedAttack] = {
    attack.name: attack
    for attack in (
        PrintedAttack(name="FGSM", salus="fgsm", eps=0.01),
        PrintedAttack(name="BIM", salus="bim", eps=0.01),
        PrintedAttack(name="PGD", salus="pgd", eps=0.01),
        PrintedAttack(name="CW", salus="carlini-wagner-linf", eps=0.1),
        PrintedAttack(name="DBB", salus="boundary", eps=0.01),
        PrintedAttack(name="HSJ", salus="hop-skip-jump", eps=None),
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

TRAINING: dict[PaperName, PaperTraining] = {
    FOUR: PaperTraining(
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
    SIX: PaperTraining(
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

_TABLES = read_tables(__file__)


def _rows(paper: PaperName, table: Sequence[Sequence[Any]], per_class: int) -> tuple[ClassesRow, ...]:
    rows = []
    for attack, architecture, accuracy, *figures in table:
        # Every figure in turn: sensitivity of each class, specificity of each, AUC of each.
        by_class = [dict(zip(CLASSES, figures[first::per_class], strict=True)) for first in range(per_class)]
        rows.append(
            ClassesRow(
                paper=paper,
                attack=attack,
                architecture=architecture,
                accuracy=accuracy,
                sensitivity=by_class[0],
                specificity=by_class[1],
                auc=by_class[2] if per_class == 3 else None,
            )
        )
    return tuple(rows)


def _binary_rows(table: Sequence[Sequence[Any]]) -> tuple[BinaryRow, ...]:
    printed = {(figure, architecture): row for figure, architecture, *row in table}
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


def _similarity_rows(paper: PaperName, table: Sequence[Sequence[Any]]) -> tuple[SimilarityRow, ...]:
    return tuple(
        SimilarityRow(
            paper=paper,
            dataset=dataset,
            attack=attack,
            mse=mse,
            ssim=ssim,
            cross_correlation=cross_correlation,
            nrmse=nrmse,
            swapped=mark == ["swapped"],
        )
        for attack, dataset, mse, ssim, cross_correlation, nrmse, *mark in table
    )


#: Table 1 of the four-attack paper and Table 1 of the six-attack paper, MIT-BIH.
CLASSIFICATION: tuple[ClassesRow, ...] = (
    *_rows(FOUR, _TABLES["four attacks, table 1"], 3),
    *_rows(SIX, _TABLES["six attacks, table 1"], 2),
)

#: Table 2 of the six-attack paper, PTB.
PTB: tuple[BinaryRow, ...] = _binary_rows(_TABLES["six attacks, table 2"])

#: Table 2 of the four-attack paper and Table 3 of the six-attack paper, as printed.
GENERATOR: tuple[SimilarityRow, ...] = (
    *_similarity_rows(FOUR, _TABLES["four attacks, table 2"]),
    *_similarity_rows(SIX, _TABLES["six attacks, table 3"]),
)


_BY_PLACE = {(row.paper, row.attack, row.architecture): row for row in CLASSIFICATION}
_GENERATOR_BY_PLACE = {(row.paper, row.attack, row.dataset): row for row in GENERATOR}


def classification(paper: PaperName, attack: str | None, architecture: str = "proposed") -> ClassesRow | None:
    """The row of a paper's MIT-BIH table, ``attack`` None for clean beats; None where the paper has no such row."""
    return _BY_PLACE.get((paper, attack, architecture))


def six_row(attack: str | None, architecture: str) -> ClassesRow:
    """The row of the six-attack paper's MIT-BIH table, which has one of every attack and architecture."""
    return _BY_PLACE[SIX, attack, architecture]


def generator(paper: PaperName, attack: str | None, dataset: str = "MIT-BIH") -> SimilarityRow | None:
    """The row of a paper's table on the generator, as printed; None where the paper has no such row."""
    return _GENERATOR_BY_PLACE.get((paper, attack, dataset))


def six_generator(attack: str | None, dataset: str) -> SimilarityRow:
    """The row of the six-attack paper's table on the generator, which has one of every attack and data."""
    return _GENERATOR_BY_PLACE[SIX, attack, dataset]
