"""The page of the skin-lesion thesis: what it prints beside what stored results hold."""

from __future__ import annotations

from salus_studies.frame.markdown import Record, bullets, circumstances
from salus_studies.frame.page import Page, Show, compose
from salus_studies.frame.results import Results
from salus_studies.skin_lesion import (
    baselines,
    claims,
    figures,
    research,
    tables,
    tables_attacks,
    tables_defences,
    tables_effort,
    tables_poisoning,
)
from salus_studies.skin_lesion.measured import as_published, title
from salus_studies.skin_lesion.published import (
    ATTACKS,
    AUTHORS,
    DEFENCES,
    EXPERIMENTS,
    NETWORKS,
    REMARKS,
    TITLE,
    VENUE,
)
from salus_studies.skin_lesion.sentences import summary

HEAD = """\
# The skin-lesion thesis beside Salus

*Written from stored results by the command below; do not edit by hand.*

{authors}: *{title}*, {venue}.

Images of {sizes} pixels, dealt by {split}. {places} Figures are in percent, in parentheses the
95% interval over resampled lesions. “thesis” is what it prints; “attacker with a copy” is counted as there: the
attack is computed on the plain classifier, before any retraining and without WebP and flip. “who knows” has all of what
is attacked: gradients of the retrained weights, the flip differentiated exactly, WebP as what it smooths of
small changes (BPDA), every class tried, and then, but not by FGSM and UAP, Square with 1,000 queries.
“Recall” is the mean over the seven classes, “malignant missed” the share of MEL, BCC and AKIEC that is called something
else, “answers changed” the usual fooling rate, beside the thesis's, which is 1 − accuracy. Whether a defence holds is
judged by recall and by the malignant that are missed: always answering {always} finds nobody who is ill, however often
it is right. It stands in every table, and chance with it.
"""

POISONING = """\
NV labelled BKL in the training part; validation labels stay right, as they may not for a victim. The thesis draws
curves without numbers. **Last layer**: over the features of the network as it begins (the table of settings says with
what weights), so that neither the right labels nor the flipped ones are in them; seconds for each, and so every share
with several draws of the flips (mean; lowest to highest). **Whole network**: trained as the plain one, at two shares,
to see whether the shortcut tells the same. Classes count in the loss as often as they are, or all the same, by the
labels as they are or, as a control that no victim has, by the right ones: flips also change the weights. “NV answered
BKL” is what the attack is for.
“cleaned”: flips are looked for by confident learning (Northcutt et al., 2021) with last layers that never saw the
lesion; what is dropped is what cleanlab's usual rule finds, a more sparing one, or nothing, whichever answers the
validation images best. How many flips were found, and how many finds are flips, is told of the usual rule.
"""


def page(results: Results, folder: str) -> Page:
    """Make the page, whose figures lie in ``folder``, from results alone."""
    values = results.values

    def parts(show: Show) -> list[str]:
        return [*head(values), *measured(values, show), *more(values, show), *about(values, show)]

    return compose(figures.draw(values, results.arrays), folder, parts)


def head(results: Record) -> list[str]:
    """What this is, how it was made, what it comes to, and the answers to the thesis's questions."""
    meta = results.get("meta") or {}
    networks = (meta.get("settings") or {}).get("networks") or {}
    sizes = " and ".join(dict.fromkeys(str(each["size"]) for each in networks.values())) or "unknown"
    split = {"lesions": "lesion (no lesion on two sides)", "images": "image, as in the thesis"}
    others = [title(results, network) for network, name in NETWORKS.items() if title(results, network) != name]
    places = f"Networks stand in others' places: {'; '.join(others)}." if others else "The networks are the thesis's."
    if not others and not as_published(results):
        places = "The networks are of the thesis's kinds, smaller than there or not from ImageNet's weights."
    return [
        HEAD.format(
            authors=AUTHORS,
            title=TITLE,
            venue=VENUE,
            sizes=sizes,
            places=places if networks else "",
            split=split.get(str(meta.get("split")), "?"),
            always=baselines.ALWAYS,
        ),
        circumstances(meta),
        "## In short\n",
        bullets(summary(results)),
        "## Its three questions\n",
        *research.answers(results),
    ]


def measured(results: Record, show: Show) -> list[str]:
    """All tables, in the thesis's order, and what stands beside them."""
    parts = ["## Tables 4.1 to 4.18\n", show("training", "Figure 4.1: accuracy and loss, epoch by epoch")]
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
                "Universal perturbations of growing eps. The tables take the smallest that changes at least 60% of "
                "the answers on validation images; where eps is large, answers collapse into a class or two, and "
                "whether the malignant are missed is a question of which:\n",
                tables_attacks.curve_table(results),
                show("uap-curve", "What universal perturbations do, and how answers collapse"),
                show("perturbation", "The universal perturbations, their largest value drawn as full colour"),
            ]
    parts += ["### Confusion and health matrices of all of them\n"]
    parts += [
        show(f"confusion-{network}", f"{title(results, network)}: answers to each true class in percent, as the thesis")
        for network in NETWORKS
    ]
    return [
        *parts,
        tables.matrices_table(results),
        "## Recap\n",
        show("recap-fgsm", "Figure 5.1: from stage to stage under FGSM"),
        show("recap-uap", "Figure 5.2: from stage to stage under UAP"),
        show("lesions", "Lesions clean and attacked, and the change; below each what the plain classifier says"),
        "## Poisoning (Experiment 1)\n",
        POISONING,
        tables_poisoning.poisoning_table(results),
        show("poisoning", "Figure 4.6: figures on clean test images against the share of flipped labels"),
    ]


def more(results: Record, show: Show) -> list[str]:
    """What the thesis did not test."""
    others = ((results.get("meta") or {}).get("settings") or {}).get("others") or {}
    return [
        "## What the thesis did not test\n",
        "### Attackers who want harm\n",
        "Any wrong answer is what attacks are usually after, and most wrong answers about a malignant lesion name "
        "another malignant one, or cost a harmless lesion nothing but a visit. Here the attacker raises the log-odds "
        "of all benign classes together for a malignant lesion, and of all malignant ones for the others.\n",
        tables_attacks.harm_table(results),
        "### Retraining and its control\n",
        "Retraining adds epochs; the control goes on as long, on as many images, without an attack. Augmentation is "
        "the same in both.\n",
        tables_defences.control_table(results),
        "What retraining has over its control, on the same images:\n",
        tables_defences.gains_table(results),
        "### Clean images, and attackers who know what they attack\n",
        tables_attacks.strong_table(results),
        "### WebP and flip, each alone\n",
        "Accuracy / malignant missed, and how many images where not all; “unaware” computes the attack on the bare "
        "classifier.\n",
        tables_attacks.purifier_table(results),
        "### WebP under the strongest attackers there are\n",
        tables_defences.webp_table(results),
        "### Defences that its related work names, and a hardened network\n",
        "Each under the attacker who knows it, at 2/255. Distillation at temperature "
        f"{others.get('temperature', 20):g} (Papernot et al., 2016); input gradients priced at "
        f"{others.get('weight', 0.01):g} (Ross and Doshi-Velez, 2018); the online alternate generator (Li et al., "
        "2020) in the nearest form that a processor can run, smaller and shorter than the paper's, passed by attackers "
        "as if it changed nothing.\n",
        tables_defences.defences_table(results),
        "### Thresholds\n",
        "The attacker knows the threshold too, and attacks the question “malignant or not” itself (MEL, BCC, AKIEC): "
        "all malignant images, and as many others. Thresholds were chosen on validation images, to miss so many of the "
        "malignant ones.\n",
        tables_attacks.thresholds_table(results),
        show("thresholds", "Malignant lesions missed, clean and attacked"),
        "### Resolution\n",
        "The same network, trained on images of several sizes, under FGSM at 2/255.\n",
        tables_attacks.resolution_table(results),
    ]


def _one(results: Record) -> str:
    alone = claims.alone(results)
    return f"; here they are tried{alone}, the other was not run" if alone else ""


def about(results: Record, show: Show) -> list[str]:
    """The thesis's sentences, what differs and why, whether the health tables can be, and what was trained."""
    return [
        "## The thesis's sentences, tried\n",
        "Its tables have no intervals: there a sentence is confirmed or contradicted by the numbers as they are. Ours "
        "are compared on the same images, over resampled lesions: confirmed where the interval of every difference "
        "that a sentence speaks of is on its side, contradicted where that of one is on the other, undecided "
        f"otherwise. Where two networks are meant, it must hold for both{_one(results)}. Sentences on how good the "
        "thesis's own networks are cannot be told from others in their places. Where patients are meant, both health "
        "maps are tried.\n",
        tables.claims_table(results),
        "## What differs and why\n",
        "What the thesis leaves out, gets wrong, or says twice:\n",
        bullets(REMARKS),
        "Its settings, what of them is inferred, and what this run does:\n",
        tables_effort.settings_table(results),
        "## Classes\n",
        tables_effort.classes_table(results),
        show("classes", "Figures 3.6, 3.7 and 4.5: classes, health maps, and what flips make of the labels"),
        "## Whether its health tables can be\n",
        "If 1,085 of 1,256 test images are cancerous (12.5% of each class, rounded up, by the thesis's map), accuracy "
        "and sensitivity leave one specificity, and so do NPV and sensitivity; by rounding each lies in the range in "
        "parentheses, and the two must meet. The last column but one is the share of cancerous images at which they "
        "are one. The thesis does not give the number of its test images.\n",
        tables.arithmetic_table(),
        "## What was trained\n",
        tables_effort.classifiers_table(results),
    ]
