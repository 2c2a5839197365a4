"""docs/imaging.md: what attacks on a skin-lesion classifier do to patients, and what helps."""

from __future__ import annotations

from collections.abc import Iterator

from salus_studies.frame.markdown import Record, bullets
from salus_studies.frame.page import Page, Show, compose
from salus_studies.frame.results import Results
from salus_studies.lesions import figures, sentences, tables
from salus_studies.lesions.measured import poisonings, thresholds

#: The thesis's page draws it.
THRESHOLDS = "![Malignant lesions missed, without attack and under it](papers/skin-lesion/thresholds.png)\n"


def page(results: Results, folder: str) -> Page:
    """Put the page together; see :class:`~salus_studies.frame.study.Study`."""
    values = results.values

    def parts(show: Show) -> Iterator[str]:
        yield sentences.HEAD
        yield "## In short\n"
        yield bullets(sentences.summary(values))
        yield sentences.WHAT_IT_DOES
        yield tables.harm_table(values)
        yield show(
            "imaging-lesions", "Lesions as they are and attacked, what the classifier answers, and the change enlarged"
        )
        yield sentences.WHAT_HELPS
        yield tables.defences_table(values)
        yield show("imaging-missed", "Malignant lesions called harmless, by defence and attacker")
        yield from choosing_a_threshold(values)
        yield from wrong_labels(values)
        yield sentences.ASK
        yield sentences.LIMITS
        yield sentences.conditions(values)
        yield f"```\n{values['meta']['command']}\n{values['command']}\n```\n"

    return compose(figures.draw(values), folder, parts)


def choosing_a_threshold(results: Record) -> Iterator[str]:
    """Say what thresholds do."""
    yield "## Choosing a threshold\n"
    if not thresholds(results):
        yield "Not run.\n"
        return
    yield sentences.THRESHOLDS
    yield tables.thresholds_table(results)
    yield from sentences.at_thresholds(results)
    yield THRESHOLDS


def wrong_labels(results: Record) -> Iterator[str]:
    """Say what wrong labels do."""
    yield "## Wrong labels in the training data\n"
    if not poisonings(results):
        yield "Not run.\n"
        return
    yield sentences.LABELS
    yield tables.labels_table(results)
