"""What is odd about the numbers that the two ECG-ATK-GAN papers print: what a reader has to know beside them."""

from __future__ import annotations

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
    "scaling": (
        "Neither paper says by what the amplitude is normalised. The root of MSE over NRMSE in their tables on the "
        "generator is the root mean square of their beats, .455 to .463 on MIT-BIH in all rows but one whose MSE has "
        "more than one digit: so large are beats scaled by the lowest and highest value of their record, not beats "
        "scaled by their own."
    ),
    "seeds": (
        "The released script draws the weights of the network that it attacks anew for DBB and anew for HSJ, and never "
        "trains it: which beats it leaves alone is decided by those draws."
    ),
    "comparable networks": (
        "Of Shaker et al. neither paper gives the layers, and the open-access text of their own paper is not on this "
        "machine: that network is our reading of an abstract, and no place of it is counted as reached or missed."
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
