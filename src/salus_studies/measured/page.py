"""docs/results.md: measured figures, and the commands that make them."""

from __future__ import annotations

from collections.abc import Iterator

from salus.metrics.wording import rate
from salus_studies.frame.markdown import Record, bullets
from salus_studies.frame.page import Page, Show, compose
from salus_studies.frame.results import Results
from salus_studies.measured.sentences import HEAD, REST
from salus_studies.measured.tables import audit_table


def page(results: Results) -> Page:
    """Put the page together; it has no figures."""

    def parts(_: Show) -> Iterator[str]:
        yield HEAD
        for audit in results.values["audits"]:
            yield from audit_section(audit)
        yield ""
        yield REST

    return compose({}, "", parts)


def audit_section(audit: Record) -> Iterator[str]:
    """Show an audit: its command and conditions, every cell, and what it came to."""
    yield f"```\n{audit['command']}\n```\n"
    yield (
        f"{audit['data']}, {audit['split']}. {audit['samples']} attacked samples, seed {audit['seed']}, one run, "
        f"{audit['device']}, {audit['threads']} thread(s), torch {audit['versions']['torch']}. "
        f"Clean accuracy on the whole test side {rate(audit['whole_test'], 'clean_accuracy')}.\n"
    )
    yield audit_table(audit)
    yield bullets((*audit["verdict"], *(f"Warning: {warning}" for warning in audit["warnings"])))
