"""docs/ecg.md: two hardened heartbeat classifiers, and what attacks leave of them."""

from __future__ import annotations

from collections.abc import Iterator

from salus_studies.frame.markdown import Record, bullets
from salus_studies.frame.page import Page, Show, compose
from salus_studies.frame.results import Results
from salus_studies.heartbeats import beside, figures, models, people, sentences, tables
from salus_studies.heartbeats.measured import CLASSES, SPLITS, curves, measured_splits, trained_eps


def page(results: Results, folder: str) -> Page:
    """Put the page together; see :class:`~salus_studies.frame.study.Study`."""
    values = results.values

    def parts(show: Show) -> Iterator[str]:
        yield sentences.HEAD
        yield bullets(sentences.summary(values))
        yield from inputs(values)
        yield sentences.MEANINGS
        yield models.size(values)
        yield "## Two ways of splitting, two different questions\n"
        yield bullets(models.protocols(values))
        yield people.WHY
        yield from both_models(values)
        yield from accuracy(values)
        yield from goals(values)
        yield from people.luck(values.get("patients"))
        yield from beside.rivals(values.get("patients"))
        yield from over_eps(values, show)
        yield from people.millivolts(values.get("patients"), show)
        yield from people.published()
        yield from beside.sequences(values.get("sequences") or [])
        yield from people.openings()
        yield from settings(values, show)
        yield "## A second opinion\n"
        yield bullets(sentences.second_opinions(values))
        yield from by_record(values)
        yield from pictures(values, show)
        yield sentences.LIMITS
        if measured_splits(values):
            yield "## How it was measured\n"
            yield sentences.conditions(values)

    return compose(figures.draw(values), folder, parts)


def inputs(results: Record) -> Iterator[str]:
    """Say what goes in and what comes out."""
    yield "## What goes in, what comes out\n"
    yield (
        "In goes one beat: 280 samples (0.78 s) of lead MLII (V5 where a record has none) around its R\n"
        "peak, between patients of a second lead too, shown as channels, each of 280 values from 0 to 1:\n"
    )
    yield tables.channels_table(results)
    yield "Out comes one class:\n"
    yield bullets(f"**{name}**: {words}" for name, words in CLASSES.items())


def both_models(results: Record) -> Iterator[str]:
    """Describe the two models."""
    yield "## The two models\n"
    for split, words in SPLITS.items():
        yield f"### Split {words}\n"
        yield models.model(results[split]) if split in results else "not run\n"


def accuracy(results: Record) -> Iterator[str]:
    """Show accuracy, then classes."""
    yield "## Results\n"
    yield tables.results_table(results)
    yield sentences.auto_attack(results)
    for split, words in SPLITS.items():
        if split in results:
            yield f"Classes, split {words} (sensitivity and positive predictivity in percent):\n"
            yield tables.classes_table(results[split])
        else:
            yield f"Classes, split {words}: not run.\n"


def goals(results: Record) -> Iterator[str]:
    """Compare the goals with what was measured."""
    yield "## The goals, set beforehand\n"
    yield tables.goals_table(results)
    yield sentences.UNDER_ATTACK
    missed = list(sentences.missed_goals(results))
    if missed:
        yield "What binds where a goal is missed:\n"
        yield bullets(missed)


def over_eps(results: Record, show: Show) -> Iterator[str]:
    """Show accuracy over eps."""
    yield "## Larger changes\n"
    if not curves(results):
        yield "The curve over eps: not run.\n"
        return
    yield show("ecg-curve", "Accuracy and macro-F1 over eps")
    yield tables.curve_table(results)
    sizes = {words: trained_eps(results[split]) for split, words in SPLITS.items() if split in results}
    trained = ", ".join(f"{eps:g} (split {words})" for words, eps in sizes.items() if eps)
    note = "PGD-40x5, on beats drawn as they come where not on all; eps 0 is no attack."
    yield f"{note} Training attacked within {trained}.\n" if trained else f"{note}\n"


def settings(results: Record, show: Show) -> Iterator[str]:
    """Show the settings that were tried on validation data, and why one was chosen."""
    compared = results.get("frontier") or []
    if not compared:
        yield "## How the settings were chosen\n"
        yield "not run\n"
        return
    yield sentences.SETTINGS
    yield show("ecg-frontier", "What each setting reached")
    for split, words in SPLITS.items():
        of_split = [setting for setting in compared if setting["split"] == split]
        if not of_split:
            yield f"Split {words}: not run.\n"
            continue
        judged_on = "; ".join(dict.fromkeys(setting["judged_on"] for setting in of_split))
        yield f"Split {words}, judged on: {judged_on}.\n"
        yield tables.settings_table(of_split)
        remarks = (sentences.chosen_setting(split, of_split), sentences.judged_setting(of_split))
        yield "\n".join(remark for remark in remarks if remark is not None) + "\n"


def by_record(results: Record) -> Iterator[str]:
    """Show the tables of each record in the manner of EC57."""
    yield sentences.EC57
    for split, words in SPLITS.items():
        rows = (results.get(split) or {}).get("ec57")
        yield f"### Split {words}, records\n"
        if not rows:
            yield "not run\n"
            continue
        records = [row for row in rows if row["kind"] == "record"]
        yield tables.ec57_table([row for row in rows if row["kind"] != "record"])
        yield f"<details><summary>All {len(records)} records</summary>\n"
        yield tables.ec57_table(records)
        yield "</details>\n"


def pictures(results: Record, show: Show) -> Iterator[str]:
    """Show beats before and after."""
    yield "## What an attacked beat looks like\n"
    examples = results.get("examples")
    if not examples:
        yield "not run\n"
        return
    yield (
        f"The first test beat of each class, moved by at most {examples['eps']:g}; below it the change, ten times\n"
        "as large. `noise` is as large as the attacks, but blind. CW looks for the smallest change that succeeds.\n"
    )
    networks = {
        "hardened": "the hardened network of the split by beats",
        "plain": "an `ecg-cnn` trained as usual, on the beat alone",
    }
    for name, words in networks.items():
        if name in examples["attacked"]:
            yield f"Against {words}; {sentences.wrong_answers(examples, name)}.\n"
            yield show(f"ecg-beats-{name}", f"Clean and attacked beats, {name}")
        else:
            yield f"Against {words}: not run.\n"
