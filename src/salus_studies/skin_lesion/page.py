"""The page of the skin-lesion thesis: what it prints beside what stored results hold."""

from __future__ import annotations

from salus_studies.frame.markdown import Record, bullets, circumstances
from salus_studies.frame.page import Page, Show, compose
from salus_studies.frame.results import Results
from salus_studies.skin_lesion import figures, tables, tables_effort
from salus_studies.skin_lesion.published import ATTACKS, AUTHORS, DEFENCES, EXPERIMENTS, REMARKS, TITLE, VENUE
from salus_studies.skin_lesion.sentences import summary

HEAD = """\
# The skin-lesion thesis beside Salus

*Written from stored results by the command below; do not edit by hand.*

{authors}: *{title}*, {venue}.

Images of {size} pixels a side, dealt by {split}. Figures are in percent, in parentheses the
95% interval over resampled lesions. “thesis” is what it prints; “ours, attacker with a copy” is counted as there: the
attack is computed on the plain classifier, before any retraining and without WebP and flip. “who knows” has all of what
is attacked: gradients of the retrained weights, the flip differentiated exactly, WebP as what it smooths of
small changes (BPDA), every class tried, and then, but not by FGSM and UAP, Square with 1,000 queries.
“Answers changed” is the usual fooling rate, beside the thesis's, which is 1 − accuracy.
"""


def page(results: Results, folder: str) -> Page:
    """Make the page, whose figures lie in ``folder``, from results alone."""
    values = results.values

    def parts(show: Show) -> list[str]:
        return [*head(values), *measured(values, show), *about(values)]

    return compose(figures.draw(values, results.arrays), folder, parts)


def head(results: Record) -> list[str]:
    """What this is, how it was made, and what it comes to."""
    meta = results.get("meta") or {}
    sizes = " and ".join(meta.get("data") or ()) or "unknown"
    split = {"lesions": "lesion (no lesion on two sides)", "images": "image, as in the thesis"}
    return [
        HEAD.format(
            authors=AUTHORS, title=TITLE, venue=VENUE, size=sizes, split=split.get(str(meta.get("split")), "?")
        ),
        circumstances(meta),
        "## In short\n",
        bullets(summary(results)),
    ]


def measured(results: Record, show: Show) -> list[str]:
    """All tables, in the thesis's order, and what stands beside them."""
    parts = ["## Tables 4.1 to 4.18\n"]
    for experiment in EXPERIMENTS:
        defence = "" if experiment.defence == "none" else f", {DEFENCES[experiment.defence]}"
        parts.append(
            f"### {ATTACKS[experiment.attack].capitalize().replace('Fgsm', 'FGSM').replace('Uap', 'UAP')}{defence}\n"
        )
        for number, caption, table in zip(
            experiment.tables, experiment.captions, (tables.performance_table, tables.health_table), strict=True
        ):
            parts += [f"**Table {number}**: {caption}\n", table(results, experiment)]
        if (experiment.attack, experiment.defence) == ("none", "none"):
            parts += [
                "Dealt by image, as in the thesis, the same classifiers reach:\n",
                tables_effort.split_table(results),
            ]
        if (experiment.attack, experiment.defence) == ("uap", "none"):
            parts += [
                "The eps of UAP is the smallest that changes at least 60% of the answers on validation images:\n",
                tables.sweep_table(results),
                show("perturbation", "The universal perturbations, their largest value drawn as full colour"),
                show("confusion", "Answers to each true class in percent, without attack, under FGSM and under UAP"),
            ]
    return [
        *parts,
        "## Recap\n",
        show("recap-fgsm", "Figure 5.1: from stage to stage under FGSM"),
        show("recap-uap", "Figure 5.2: from stage to stage under UAP"),
        show("lesions", "Lesions clean and attacked, and the change; below each what the plain classifier says"),
        "## Poisoning (Experiment 1)\n",
        "NV labelled BKL in the training part; validation labels, which decide when training stops, stay right, as "
        "they may not for a victim. The thesis draws curves without numbers. “cleaned”: flips are looked "
        "for by confident learning (Northcutt et al., 2021) on classifiers that never saw the image, and what is found "
        "is dropped before training. Each line is one training, and nothing was repeated: how far trainings differ by "
        "themselves is not known, and a poisoned classifier above the plain one shows that it is far.\n",
        tables.poisoning_table(results),
        show("poisoning", "Figure 4.6: figures on clean test images against the share of flipped labels"),
        "## What the thesis did not test\n",
        "### Clean images, and attackers who know what they attack\n",
        tables.strong_table(results),
        "### WebP and flip, each alone\n",
        "Accuracy; “unaware” computes the attack on the bare classifier.\n",
        tables.purifier_table(results),
        "### A hardened model\n",
        "Adversarial training from the start, beside the plain model. Here the attacker knows the threshold too, and "
        "attacks the question “malignant or not” itself (MEL, BCC, AKIEC). Thresholds were chosen on validation "
        "images, to miss so many of the malignant ones.\n",
        tables.thresholds_table(results),
        show("thresholds", "Malignant lesions missed, clean and attacked"),
        "## The thesis's sentences, tried\n",
        "The same rule is put to its tables and to ours; where two networks are meant, it must hold for both.\n",
        tables.claims_table(results),
    ]


def about(results: Record) -> list[str]:
    """What differs and why, whether the health tables can be, and what was trained."""
    return [
        "## What differs and why\n",
        "What the thesis leaves out, gets wrong, or says twice:\n",
        bullets(REMARKS),
        "What this run does otherwise:\n",
        tables_effort.settings_table(results),
        "## Whether its health tables can be\n",
        "If 1,085 of 1,256 test images are cancerous (12.5% of each class, rounded up, by the thesis's map), accuracy "
        "and sensitivity leave one specificity, and so do NPV and sensitivity; by rounding each lies in the range in "
        "parentheses, and the two must meet. The last column but one is the share of cancerous images at which they "
        "are one. The thesis does not give the number of its test images.\n",
        tables.arithmetic_table(),
        "## What was trained\n",
        tables_effort.classifiers_table(results),
    ]
