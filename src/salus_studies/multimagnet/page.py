"""The page of MultiMagNet: what the paper prints beside what stored results hold."""

from __future__ import annotations

from salus_studies.frame.markdown import Record, bullets, circumstances
from salus_studies.frame.page import Page, Show, compose
from salus_studies.frame.results import Results
from salus_studies.multimagnet import figures, tables, tables_effort, tables_protection
from salus_studies.multimagnet.attacked import CLOSE
from salus_studies.multimagnet.judging import FALSE_ALARM_RATE
from salus_studies.multimagnet.measured import data_name
from salus_studies.multimagnet.published import AUTHORS, DATASETS, REMARKS, TITLE, VENUE
from salus_studies.multimagnet.sentences import summary

HEAD = """\
# MultiMagNet, the paper beside Salus

*Written from stored results by the command below; do not edit by hand.*

{authors}: *{title}*, {venue}.

Shares are in percent. As in the paper's tables, PPV is the share of legitimate images that are accepted, NPV the share
of attacked images that are rejected, and ACC the share of both together that is judged rightly. The paper's deviations
stand after “±”. After ours “±” is the deviation over batches of 100 images, which is what the paper's must be, and in
parentheses that over experiments on all images. “–” stands where a number is undefined or the paper has none, “not run”
and its reason where this run has none.
"""

WHY = """\
What the paper leaves out, gets wrong, or says twice:

{remarks}

Where this reproduction differs:

- **Attacks.** ART's as in the paper, version {art} where the paper has 0.3, by way of Salus's adapter, with Table 1's
  settings; the labels are the attacked network's own answers, as the released code hands ART none. What each cell came
  to, and how long it took, stands in “Table 6”.
- **Retuned.** Where no arm of Table 1's settings leaves an accuracy within {close:g} points of Table 6's on validation
  images, the white-box attack is made to: FGSM and BIM get another eps (BIM's step in proportion), found by halving on
  validation images; CW is held to a length of change, and an image that needs a longer one stays clean; DeepFool, which
  puts no image back (“Table 6” counts those unchanged), goes a share of its way.
- **Classifiers.** On MNIST the released code's network; on CIFAR-10 the paper's All Convolutional Net with batch
  normalisation, narrower, on images that begin small and grow. “What was trained” has both.
- **Autoencoders.** The ten of the released list for each set of data, in our own code; a penalty of 1e-9 on squared
  activations is left out. They are trained until their error on training images that they do not learn from stops
  falling, at a higher rate than Keras's own. “What was trained” has every member's error and epochs.
- **The calibration stage** counts exact means over all the ensembles that could be drawn, where the paper mounts one.
- **RE** is the mean of the absolute differences, where Eq. 1 has their sum: votes do not change.
- **The reformer** is a member of the drawn ensemble, as Section 4.2.5 says; the released code draws one anew out of all
  ten, and out of those that voted or not.
- **One configuration for all** is the combination that, rejecting at most {rate:g}% of clean images, rejects the most
  blends of clean images of two classes. It sees no attack.
"""


def page(results: Results, folder: str) -> Page:
    """Make the page, whose figures lie in ``folder``, from results alone."""
    values = results.values

    def parts(show: Show) -> list[str]:
        return [*head(values), *measured(values, show), *about(values)]

    return compose(figures.draw(values, results.arrays), folder, parts)


def head(results: Record) -> list[str]:
    """What this is, how it was made, and what it comes to."""
    return [
        HEAD.format(authors=AUTHORS, title=TITLE, venue=VENUE),
        circumstances(results.get("meta") or {}),
        "## In short\n",
        bullets(summary(results)),
    ]


def measured(results: Record, show: Show) -> list[str]:
    """The six tables, and what stands beside them."""
    parts = [
        "## The attacks\n",
        "### Table 1: their parameters\n",
        tables.attacks_table(results),
        "### Table 6: accuracy on attacked images, without a defence\n",
        tables.undefended_table(results),
        "### Which arm the paper ran\n",
        "Points apart from the paper: accuracy on attacked test images (Table 6), and MultiMagNet's share of attacked "
        f"images rejected (NPV of Tables 2 and 3). An arm agrees where it is within {CLOSE:g}.\n",
        tables.agreement_table(results),
    ]
    parts += [
        show(
            f"images-{dataset}", f"Test images of {name}: clean, attacked, their difference, and reformed by one member"
        )
        for dataset, name in DATASETS.items()
    ]
    parts.append("## Detection\n")
    for table, (dataset, name) in enumerate(DATASETS.items(), 2):
        data = data_name(results, dataset)
        parts += [
            f"### Table {table}: MagNet and MultiMagNet on {data}\n",
            "By Table 4's own settings, which the paper's numbers are of, and as the calibration stage chose here for "
            "each attack; MagNet is the same with n = 1.\n",
            tables.detection_table(results, dataset),
            show(f"detection-{dataset}", f"ACC, PPV and NPV on {name}: the paper's and ours"),
        ]
    parts += [
        "### Eq. 9\n",
        tables.eq9_table(results),
        "### Table 4: what the calibration stage chose\n",
        tables.chosen_table(results),
    ]
    for dataset, name in DATASETS.items():
        parts += [
            f"### Other configurations on {data_name(results, dataset)}\n",
            tables.configurations_table(results, dataset),
            show(f"grid-{dataset}", f"Every combination of the grid on {name}, and those chosen"),
        ]
    parts.append("## Protection\n")
    for dataset in DATASETS:
        parts += [
            f"### Table 5: right answers among accepted images, {data_name(results, dataset)}\n",
            tables_protection.scenarios_table(results, dataset),
            "What it leaves out:\n",
            tables_protection.cost_table(results, dataset),
        ]
    return [
        *parts,
        "### An attacker who knows the defence\n",
        "PGD against the deployment as one object: the one configuration for all, an ensemble drawn for each image, "
        "its vote, and a member of that same ensemble as reformer. An input counts as held where it is right and "
        "accepted clean, and not accepted and wrong attacked, in expectation over all draws. “adaptive” is the worst "
        "over several attacks on classifier, detector and reformer together, each with its exact gradient, in "
        "expectation over the draws, and over what “oblivious” finds, which knows the classifier alone.\n",
        tables_protection.adaptive_table(results),
    ]


def about(results: Record) -> list[str]:
    """What differs and why, and what was trained."""
    remarks = bullets(f"**{subject}.** {remark}" for subject, remark in REMARKS.items())
    parts = [
        "## What differs and why\n",
        WHY.format(
            remarks=remarks,
            rate=100 * FALSE_ALARM_RATE,
            close=CLOSE,
            art=(results.get("meta") or {}).get("art", "not stored"),
        ),
        tables_effort.settings_table(results),
        "## What was trained\n",
        "### Classifiers\n",
        tables_effort.classifiers_table(results),
    ]
    for dataset in DATASETS:
        parts += [
            f"### Autoencoders, {data_name(results, dataset)}\n",
            "Mean squared errors; the paper's are below 1e-3 on training images.\n",
            tables_effort.repository_table(results, dataset),
        ]
    return parts
