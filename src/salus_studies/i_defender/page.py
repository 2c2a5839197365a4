"""The page of I-defender: what the paper prints beside what stored results hold."""

from __future__ import annotations

from salus_studies.frame.markdown import NOT_STORED, Record, bullets, circumstances, markdown
from salus_studies.frame.page import Page, Show, compose
from salus_studies.frame.results import Results
from salus_studies.i_defender import figures, reasons, tables, tables_effort, tables_gray, tables_why
from salus_studies.i_defender.black_box import RELEASED, SETTINGS, SUBSTITUTE
from salus_studies.i_defender.published import AUTHORS, BLACK_BOX, REMARKS, STRONGEST, TITLE, VENUE
from salus_studies.i_defender.sentences import summary

HEAD = f"""\
# I-defender, the paper beside Salus

*Written from stored results by the command below; do not edit by hand.*

{AUTHORS}: *{TITLE}*, {VENUE}.

I-defender rejects an image whose hidden state is unlikely under the class that the classifier gives it. Tables 2 to 5
have areas under the ROC curve (AUC) as fractions, Tables 6 to 9 percent, as in the paper; 95% intervals stand in
parentheses. “All images” compares all attacked test images with all clean ones; “fooled images alone” takes of the
attacked ones those that are answered wrongly and were right before. “–” stands where a number is undefined, the paper
has none, or fewer than 50 attacked images would carry an AUC; “not run” and its reason where this run has none.
"""

CHOICE = """\
The choice is made on clean images alone, and never on detection. The paper names neither the layer, nor how many
Gaussians, nor their covariance, so three readings stand side by side. When each was fixed matters:

- **By likelihood** was fixed first, before any attack was run. *Within a layer* every candidate sees the same principal
  components of the layer's states (32, or as many as vary), each scaled to unit variance over the training images.
  Mixtures are fitted to training images of each class; the mean log-likelihood, in nats, of clean validation images
  under their true class decides. *Between layers* likelihoods are of different numbers, and only a convention can rank
  them: the log-likelihood per component of the states so scaled. It does not change when a layer's states are rotated
  or scaled; one Gaussian for all classes would have −1.419 in every layer, so what lies above it is what the classes
  and their shapes tell. It favours layers where the classes lie apart.
- **By blends** came after the fact: the likelihood's results had been seen, and which layer the attacks disturb most
  was known. Each validation image is blended with another, half and half. No attack is looked at; the candidate that
  tells blends best from validation images, by AUC of the score that detection uses, is chosen, within layers and
  between them.
- **All layers jointly** was added last, when the others' results had been seen and none of its own: one mixture a class
  over the components of all layers of the table side by side, which leaves no layer to choose. Gaussians and covariance
  by likelihood, as in the first reading.
"""

ALONE = """\
Iterative-L∞ at 0.013 on the source. The control follows the plain cross-entropy and stops as soon as the source accepts
a wrong label; Eq. 6 is the paper's, with each α; the class-consistent attack raises a class's logit and its likelihood
together, towards every class with four weights; the union takes for each image whichever of all these lies deepest in
the region that the source accepts. In percent of the test images, at ID-95's thresholds; nothing is tried on the
target.
"""

OWN = """\
No attacker of the paper knows the very guard that is judged. Beside its tables stand three of Salus's: the oblivious
one knows the classifier and not the defence; the gray-box one has a twin and takes, beside Eq. 6, attacks that raise a
class's logit and its likelihood together; the adaptive one does all of that on the guard itself. An image counts as
robust when it is accepted and right before, and not accepted and wrong after.
"""

TREND = """\
Tables 2 and 4 fall with fewer runs. Each line below changes one thing in descents of 100 steps towards the same images,
clean and attacked by FGSM at 0.3; the distances are means of the squared distance to the nearest image that was made.
The released code scores by the mean over pixels and Salus by the sum: one is the other times 784, so no AUC differs.
"""

READS = """\
Each supervised detector reads what tells held-out pairs of training images best. The pairs are clean images and copies
made by the first column's attack; a quarter of them is held out. “NAME/flat” keeps the positions of a layer's maps,
without it they are averaged over; Subnetwork on maps is Metzen et al.'s convolutional branch, otherwise fully
connected layers.
"""

CAVEATS = """\
- AUC over all attacked images counts images that fool nobody: a detector that tells any change from none does well
  there, also where the change does no harm. Over fooled images alone it says how attacks that matter are told.
- Scores are compared within the predicted class, as the paper's thresholds for each class have it: the score is the
  place of an image's likelihood among those of natural training images of that class, and one threshold on it keeps the
  same share of every class.
- Classifiers saw the training images whose likelihoods set ID-95 and ID-99, so on new clean images more than 5% and 1%
  are rejected; how many, the tables say. Salus's own calibration uses held-out images.
- Intervals tell what other test images would change, not what another seed or another training would.
"""

DIFFERS = """\
- **Defense-GAN** descends as its released code does (momentum 0.7, a rate of 10), but for a tenth of the rate in the
  last fifth, which the code means to take and never does; each number of iterations is a descent of its own, because
  the last fifth of a shorter one is no part of a longer one. Runs are shared: the first R of ten descents are what R
  descents would have come to.
- **E as a substitute** learns from what model F answers to 150 validation images and points around them, six rounds of
  Jacobian augmentation with λ = 0.1 whose sign stays. The released code takes the first 150 test images, asks model F
  behind Defense-GAN's projection, and goes on with one network for 10 epochs a round; here model F is asked directly,
  and each round trains afresh.
- **The supervised detectors** are Salus's: SafetyNet's SVM reads quaternary codes, mSVM adds those of three layers,
  Subnetwork has Metzen et al.'s convolutional branch, with the widths of the table of settings. They learn from images
  that the attack of the first column fools, and are judged at their own decision.
- **Adv Acc** is matched by bisection of the attack's size on validation images, not on those it is judged on. DeepFool
  gets a ball to stay in, whose radius is what is matched.
- **Training images** on CIFAR-10 are mirrored and shifted by up to four pixels, and grow from 24 to 32 pixels; the
  paper does not say.
- **The deeper network's I-defender** has the layer and mixture chosen for the shallower one.
"""


def page(results: Results, folder: str) -> Page:
    """Make the page, whose figures lie in ``folder``, from results alone."""
    values = results.values

    def parts(show: Show) -> list[str]:
        return [
            HEAD,
            circumstances(values.get("meta") or {}),
            "## In short\n",
            bullets(summary(values)),
            *black_box(values, show),
            *cifar(values),
            *about(values),
        ]

    return compose(figures.draw(values), folder, parts)


def black_box(results: Record, show: Show) -> list[str]:
    """Tables 2 to 5, Figures 2 to 5, and the layers."""
    networks = markdown(
        ["model E", "model F"],
        [
            ["FC(200)", "Conv(64, 8×8, 2)"],
            ["ReLU", "ReLU"],
            ["FC(200)", "Conv(128, 6×6, 2)"],
            ["ReLU", "ReLU"],
            ["FC(10) + Softmax", "FC(10) + Softmax"],
        ],
        left=2,
    )
    parts = [
        "## Black-box: attacks on model E, judged on model F\n",
        "### Table 1\n",
        "The same here; Salus pads model F's first convolution, as Defense-GAN's released code does. That code has a "
        "third convolution in model F, Conv(128, 5×5, 1), whose output is a vector of 128 values, and trains E as a "
        f"substitute. Beside Table 1's networks stand two settings: {RELEASED.title}; and {SUBSTITUTE.title}.\n",
        networks,
    ]
    for data, paper in BLACK_BOX.items():
        by_setting, by_eps = paper.tables
        strength, kind = paper.figures
        parts += [
            f"### Three readings of I-defender on {paper.title}\n",
            f"AUC over all images (95%), FGSM; the farthest of the five from the paper, in bold where all lie within "
            f"{tables.AGREES:g}. In the middle of each line: layer; Gaussians a class, covariance.\n",
            tables.readings_table(results, data),
            f"### Table {by_setting}: {paper.title}, FGSM at eps {STRONGEST:g}\n",
            tables.descents_table(results, data),
            f"### Table {by_eps}: {paper.title}, FGSM at every eps, Defense-GAN {paper.setting[0]} × "
            f"{paper.setting[1]}\n",
            tables.strengths_table(results, data),
            f"### Figures {strength} and {kind}: ROC curves of I-defender on {paper.title}\n",
            show(f"figure-{strength}", f"Figure {strength}, {paper.title}: FGSM with different eps"),
            show(f"figure-{kind}", f"Figure {kind}, {paper.title}: various attacks"),
            tables.attacks_table(results, data),
            f"### What each layer gives on {paper.title}\n",
            "AUC over all images / over fooled images alone. “By likelihood” and “by blends” are the best mixtures of "
            "that layer by these rules; “fixed” settings stand beside them, whatever was chosen: “bic” chooses one to "
            "five Gaussians for each class by the Bayesian information criterion of training images.\n",
            *[
                part
                for setting in SETTINGS
                for part in (f"{setting.title}:\n", tables.layers_table(results, data, setting))
            ],
            show(f"layers-{data}", f"AUC on {paper.title} by layer, Table 1's networks; dashed: fixed settings"),
            f"### What Defense-GAN's trend hangs on, {paper.title}\n",
            TREND,
            tables_why.trend_table(results, data),
        ]
    parts += [
        "### Time\n",
        "For an image, in one run on one machine.\n",
        tables.speed_table(results),
        "## How layer, Gaussians and covariance were chosen\n",
        CHOICE,
    ]
    compared = [
        (data, network, f"{paper.title}, {words}")
        for data, paper in BLACK_BOX.items()
        for network, words in (("model-f", "Table 1's model F"), ("model-f3", "model F with its third convolution"))
    ]
    for data, network, title in (*compared, (_cifar_name(results), "wrn", "CIFAR-10")):
        parts += [
            f"{title}, mean log-likelihood of clean validation images in nats / AUC against blends:\n",
            tables.choice_table(results, data, network),
        ]
    parts += ["## Figure 1\n", *figure_1(results, show)]
    return parts


def figure_1(results: Record, show: Show) -> list[str]:
    """Figure 1 on each data set."""
    parts = [
        "Left: hidden states of two classes' clean test images, in the two directions in which training images vary "
        "most. Right: those of one class, and of attacked images that are wrongly taken for it. Lines: levels of "
        "the mixtures' density there. The paper draws it for CIFAR-10.\n"
    ]
    titles = {data: paper.title for data, paper in BLACK_BOX.items()} | {_cifar_name(results): "CIFAR-10"}
    return parts + [show(f"figure-1-{data}", f"Figure 1 on {title}") for data, title in titles.items()]


def _cifar_name(results: Record) -> str:
    """Find what the photographs are called: ``cifar10``, or ``cifar10-jpeg`` where they were encoded again."""
    names = [str(row["data"]) for row in results.get("choices") or () if str(row["data"]).startswith("cifar10")]
    return names[0] if names else "cifar10"


def cifar(results: Record) -> list[str]:
    """Tables 6 to 9, and Salus's own attackers."""
    data = (results.get("meta") or {}).get("data") or {}
    again = str((data.get("cifar10") or {}).get("name", "")).endswith("jpeg")
    note = ["The images are CIFAR-10 encoded again as JPEG: close to the original, not equal.\n"] if again else []
    return [
        "## Semi-white-box: Table 6, CIFAR-10\n",
        *note,
        "Accuracy of detection on as many clean as attacked images, in percent: the mean of the share of clean images "
        "accepted and the share of attacked images rejected. SafetyNet and Subnetwork are trained on the first column's"
        " attack; the other columns are new to them.\n",
        tables_gray.detection_table(results),
        "What the attacks were tuned to:\n",
        tables_gray.strengths_of_attacks_table(results),
        "### What the supervised detectors read\n",
        READS,
        tables_why.reads_table(results),
        "### What each layer gives on CIFAR-10\n",
        "I-defender's AUC over all images / accuracy of detection of ID-95, in percent:\n",
        tables_gray.wide_layers_table(results),
        "### AUC and false alarms\n",
        "AUC in percent, over all images / over fooled images alone:\n",
        tables_gray.area_table(results),
        "False alarms at the same thresholds:\n",
        tables_gray.alarms_table(results),
        "## Gray-box: Tables 7 and 8, CIFAR-10\n",
        "Eq. 6 is followed on the source; source and target are trained apart, with another seed. AUC in percent.\n",
        "### Table 7: target and source\n",
        tables_gray.target_and_source_table(results),
        "### Table 8: the size of the network\n",
        tables_gray.shallow_and_deep_table(results),
        "### What Eq. 6 leaves\n",
        "In percent of the test images; “accepted and wrong” at ID-95's thresholds.\n",
        tables_gray.gray_accuracy_table(results),
        "### Each attacker alone\n",
        ALONE,
        tables_why.alone_table(results),
        "### Attackers who know more\n",
        OWN,
        tables_gray.own_table(results),
        "## Gray-box: Table 9, ImageNet\n",
        tables_gray.imagenet_table(results),
    ]


def about(results: Record) -> list[str]:
    """What to mind, what differs and why, and what was trained."""
    meta = results.get("meta") or {}
    remarks = bullets(f"**{subject[0].upper()}{subject[1:]}.** {remark}" for subject, remark in REMARKS.items())
    missing = meta.get("missing") or {}
    absent = bullets(f"{name}: {reason}" for name, reason in missing.items())
    return [
        "## What to mind when reading these numbers\n",
        CAVEATS,
        "## What differs and why\n",
        reasons.text(results),
        "### What the paper leaves out, or says twice\n",
        remarks,
        "### What else is not as in the paper, or is not said there\n",
        DIFFERS,
        *([f"Data that were not there:\n\n{absent}"] if absent else []),
        tables_effort.settings_table(meta) if meta else f"Settings: {NOT_STORED}.\n",
        "### What was trained\n",
        tables_effort.trainings_table(results),
    ]
