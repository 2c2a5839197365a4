"""The page of ECG-ATK-GAN: what both papers print beside what stored results hold."""

from __future__ import annotations

from salus.metrics.wording import number, percent
from salus_studies.ecg_atk_gan import (
    earlier,
    figures,
    tables,
    tables_effort,
    tables_generator,
    tables_honest,
    tables_ptb,
    tables_seeds,
)
from salus_studies.ecg_atk_gan.differences import differences
from salus_studies.ecg_atk_gan.naming import SPLITS
from salus_studies.ecg_atk_gan.published import (
    PAPERS,
)
from salus_studies.ecg_atk_gan.remarks import REMARKS
from salus_studies.ecg_atk_gan.sentences import summary
from salus_studies.ecg_atk_gan.sentences_data import few_patients, honest_beats, prevalence, smaller
from salus_studies.ecg_atk_gan.sentences_honest import head_alone
from salus_studies.ecg_atk_gan.sentences_published import explained, noise_between_runs, splits_of
from salus_studies.frame.markdown import NOT_STORED, Record, bullets, circumstances, not_run
from salus_studies.frame.page import Page, Show, compose
from salus_studies.frame.results import Results

HEAD = """\
# ECG-ATK-GAN, the papers beside Salus

*Written from stored results by the command below; do not edit by hand.*

{papers}

Shares, accuracies, AUC, SSIM and correlations are in percent, 95% intervals in parentheses. “–” stands where a number
is undefined, too few samples carry it, or a paper has none; “not run” where this run has none, for the reason that
stands in short below. “As published” follows the released code where it makes the attacked beats, flaws included, and
the papers' text elsewhere; beats are scaled by their record there. “Honest” attacks the trained network itself, at full
strength; each beat is scaled by itself there. † marks a network that is our own reading, with which nothing is
comparable.
"""

WHY = """\
What the papers leave out, get wrong, or say twice:

{remarks}

Where the released code is not what the text says, and what is followed here:

- **Scaling.** Beats are scaled by the lowest and highest value of their record under “as published”, as the papers'
  tables imply, and dealt 80 to 20; baselines hold out one fifth of the 80 to stop their training by.
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
- **The attention.** The six-attack paper gives no formula for its skip-dilated attention; its figure and the released
  code have a convolution (kernel 2, dilation 2), batch normalisation and leaky ReLU, the four-attack paper's block.
  That is the default here; a gate of our own, which an earlier run had, is the option `skip=gated`.
- **The discriminator's own losses.** In the text its three losses are weighted 1, 10 and 10 and the attacked head's by
  kappa; the released discriminator has neither weights nor kappa (only the generator's losses are weighted), and drops
  values at three places of which the text says nothing. The text is followed; the option `follow=code` does what the
  code does.
- **The noise's way in.** A channel in the text; in the code a dense layer makes 32 channels of it. The text is
  followed, `follow=code` has the layer.
- **The generator's error.** The released generator learns through the discriminator by the three heads' losses alone;
  the squared error stands in a compiled model of its own, whose use no released script shows. The text's sum of all
  four is followed.
- **The label's way in.** The released generator embeds the label in two channels, which fits two classes (PTB) alone;
  here it is one channel a class.
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
- A scale takes fewer beats, epochs and folds than the papers; their learning rates and the weights of their losses it
  leaves alone. With few steps at a small rate a training is not over: the section on what remains says where.
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
            "## Which differences remain, and why\n",
            "From the papers, as far as this run goes; each with what shows its reason.\n",
            bullets(differences(values)),
            *honest(values, show),
            *about(values),
            *before(values),
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
            "“Accuracy” of the papers is the mean of four one-against-the-rest accuracies; ours is counted alike. The "
            "proposed model is trained under each paper's settings; the other networks once for both.\n",
            tables.accuracy_table(results, split),
            show(f"accuracy-{split}", f"Accuracy as the papers count it, theirs and ours, split {title}"),
            "Right answers: of the papers those that their printed accuracies stand for.\n",
            tables.right_table(results, split),
            noise_between_runs(results, split) + "\n",
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
    parts += seeds(results)
    overlays = show(
        "attacked", "Clean beats (red) under attacked ones (blue), each attack on each class, as in the papers"
    )
    return [
        *parts,
        overlays,
        "### The generator: Table 2 of four attacks, Table 3 of six attacks\n",
        "MIT-BIH. Ours stand beside theirs where beats are scaled alike, by the record, for all four figures depend on "
        "it. Ours are compared both with the beat that the generator was given, clean or attacked, and with the clean "
        "beat; the papers do not say which of the two they mean. Records span 0 to 1, so the range of SSIM is 1; "
        "“range 2” is what the usual library, scikit-image, took for floating-point numbers unless told otherwise "
        "when the papers were written, and says more. Nor do the papers say which of those they used.\n",
        tables_generator.generator_table(results),
        show("generated", "Originals (red) under what the generator makes of them (blue)"),
        "### PTB: Table 2 of six attacks\n",
        "Where the database is (`salus data fetch ptbdb`), both tables are made on a page of their own by "
        "`salus reproduce ecg-atk-gan --data ptbdb --out FOLDER`.\n",
        tables_ptb.ptb_table(results),
        "The generator on PTB, Table 3 of six attacks:\n",
        tables_ptb.generator_table(results),
    ]


def seeds(results: Record) -> list[str]:
    """What the seed of the untrained network decides, and what the released copies do to clean training."""
    return [
        "### The seed of the network that is attacked\n",
        "DBB and HSJ are one random point, or a search among some, that the untrained network answers otherwise than "
        "the beat; where there is none, the beat comes back unchanged. Which beats these are, the network's draw "
        "decides.\n",
        tables_seeds.unchanged_table(results),
        "Lowest to highest over the seeds, of networks trained on clean beats, and on the copies of one seed:\n",
        tables_seeds.lottery_table(results),
        "### What the released copies do to networks trained on clean beats\n",
        "Points that accuracy, as the papers count it, is lower on attacked than on clean beats. The papers' networks "
        "were trained on attacked copies too, ours here were not.\n",
        tables_seeds.clean_training_table(results),
    ]


def before(results: Record) -> list[str]:
    """The run that stood here before, scaled by the beat."""
    return [
        "## The run before, scaled by the beat\n",
        earlier.WHAT + "\n",
        earlier.earlier_table(results),
        "Its generator, against its input, on beats scaled by themselves, which the papers' are not:\n",
        earlier.earlier_generator(),
        "Its networks at full strength, eps 0.01 of a beat's height; beats at natural prevalence:\n",
        earlier.earlier_honest(),
    ]


def honest(results: Record, show: Show) -> list[str]:
    """Attacks at full strength on the trained networks."""
    parts = [
        "## Honest\n",
        "Each attack runs at full strength on the very network that is judged; a beat counts only where its answer is "
        "right clean and attacked. " + honest_beats(results.get("meta") or {}) + "\n",
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
    for split, title in {
        "record": "by beats, as published",
        **{key: f"{of}, honest" for key, of in SPLITS.items()},
    }.items():
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
