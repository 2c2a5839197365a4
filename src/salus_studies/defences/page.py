"""docs/defences.md: every defence, what it needs and costs, what it holds against, and who breaks it."""

from __future__ import annotations

from collections.abc import Iterator

from salus.metrics.wording import rate
from salus_studies.defences import tables
from salus_studies.defences.measured import attack_title, by_data, find_cell, measured_cells
from salus_studies.defences.sentences import ATTEMPTS, EARLIER, HARDENING, HEAD, MEANINGS, REMARKS, VARIANTS
from salus_studies.frame.markdown import Record
from salus_studies.frame.page import Page, Show, compose
from salus_studies.frame.results import Results


def page(results: Results, heartbeats: Results) -> Page:
    """Put the page together; it has no figures.

    Args:
        results: what is stored of the audits, of earlier ones with defences that the present ones leave out, and of the
            attempts to break purifiers.
        heartbeats: what is stored of the hardened heartbeat classifiers.
    """
    values = results.values

    def parts(_: Show) -> Iterator[str]:
        yield HEAD
        yield "## What there is\n"
        yield tables.catalogue_table()
        yield "## What was measured\n"
        yield MEANINGS
        for audits in by_data(values["audits"]).values():
            yield from data_section(audits[0], max(audits, key=lambda audit: int(audit["samples"])))
            for earlier in values.get("earlier", []):
                if earlier["data"] == audits[0]["data"]:
                    yield from data_section(earlier, earlier, plan=", an earlier plan")
        yield "## Purifiers that seemed to hold\n"
        yield ATTEMPTS
        yield from (attempts_section(attempts) for attempts in values["attempts"])
        yield "## Hardened classifiers\n"
        yield HARDENING
        yield tables.hardened_table(heartbeats.values)

    return compose({}, "", parts)


def data_section(audit: Record, wider: Record, plan: str = "") -> Iterator[str]:
    """Write the section of one data set; detection is shown as the wider audit found it."""
    cells = measured_cells(audit)
    yield f"### {audit['data']}, `{audit['model']}`{plan}\n"
    if plan:
        yield EARLIER
    yield (
        f"{audit['split'].capitalize()}. {audit['samples']} test samples, seed {audit['seed']}, one run, "
        f"{audit['device']}, {audit['threads']} thread(s), torch {audit['versions']['torch']}, "
        f"{audit['created'][:10]}.\n"
    )
    yield f"```\n{audit['command']}\n```\n"
    if wider is not audit:
        yield f"AUC and false alarms on {wider['samples']} test samples:\n\n```\n{wider['command']}\n```\n"
    if audit["data"] in REMARKS:
        yield f"{REMARKS[audit['data']]}\n"
    bare = find_cell(cells, guard="none", attack=None) or {}
    for attack in (cell for cell in cells if cell.get("threat_model") == "white-box"):
        yield (
            f"**{attack_title(attack)}.** Without a defence the classifier is right on {rate(bare, 'clean_accuracy')}% "
            f"as they are and on {rate(attack, 'robust_accuracy')}% under this attack.\n"
        )
        yield tables.attack_table(audit, wider, attack)
        variants = tables.variants_table(audit, attack)
        if variants is not None:
            yield VARIANTS
            yield variants
    alarms = tables.false_alarms_table(wider)
    if alarms is not None:
        yield "False alarms, in percent:\n"
        yield alarms


def attempts_section(attempts: Record) -> str:
    """Show what stronger attacks leave of the purifiers of which the adaptive attack left most."""
    return (
        f"`{attempts['data']}`, {attempts['samples']} test samples, PGD-{attempts['steps']}:\n\n"
        f"```\n{attempts['command']}\n```\n\n{tables.attempts_table(attempts['rows'])}"
    )
