"""docs/attacks.md: what attacks there are, and how near each comes to the best that is known."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from salus_studies.attacks import figures, tables
from salus_studies.attacks.measured import LIBRARIES, NORMS, attack_rows
from salus_studies.attacks.plan import EFFORTS
from salus_studies.attacks.sentences import (
    ABOVE,
    ANYTHING,
    BEFORE,
    COST,
    ENSEMBLES,
    EQUAL,
    FLOOR,
    FORTY,
    HEAD,
    LEFT_OUT,
    MEASURE,
    NEAREST,
    QUERIES,
    SPEED,
    STREAMING,
    WITHIN,
)
from salus_studies.attacks.subjects import RECIPES
from salus_studies.frame.markdown import Record
from salus_studies.frame.page import Page, Show, compose
from salus_studies.frame.results import Results

#: What other commands left: memory and time from disk to disk, and HopSkipJump as it was.
_STREAMING, _BEFORE = "streaming.json", "before.json"


def page(results: Results, folder: str) -> Page:
    """Put the page together; see :class:`~salus_studies.frame.study.Study`."""
    values = {**results.values, "before": _beside(_BEFORE)}

    def parts(show: Show) -> Iterator[str]:
        yield HEAD
        yield tables.attacks_table(values)
        yield COST
        yield "## What they must show\n"
        yield tables.bars_table(values)
        yield unmeasured(values)
        yield MEASURE
        yield circumstances(values["meta"])
        yield tables.models_table(values)
        yield LEFT_OUT
        for model in values["models"]:
            yield show(figures.name(model["model"]), f"Robust accuracy over the size of change, {model['title']}")
        yield from optimality(values)
        yield FORTY
        yield tables.forty_table(values)
        yield EQUAL
        yield tables.equal_table(values)
        yield ENSEMBLES
        yield tables.ensembles_table(values)
        yield from queries(values)
        yield SPEED
        yield tables.speed_table(values)
        yield from every_attack(values)
        yield from streaming(_beside(_STREAMING))
        yield ANYTHING

    return compose(figures.draw(values), folder, parts)


def circumstances(meta: Record) -> str:
    """Say what ran where, and by which command."""
    versions = ", ".join(f"{LIBRARIES.get(name, name)} {number}" for name, number in meta["versions"].items())
    absent = "".join(f" {LIBRARIES[none['library']]} cannot be used here: {none['error']}." for none in meta["absent"])
    return (
        f"{versions}; {meta['machine']}, {meta['threads']} thread(s), {meta['created'][:10]}, "
        f"{meta['seconds'] / 60:.0f} minutes in all. Several commands wrote into one folder, each a part of "
        f"`salus reproduce attacks --out runs/attacks`; the last:{absent}\n\n```\n{meta['command']}\n```\n"
    )


def unmeasured(results: Record) -> str:
    """Say what of the plan has not been run; nothing where all has."""
    models = {model["model"] for model in results["models"]}
    budgets = {row["budget"] for row in attack_rows(results)}
    missing = [f"`{name}`" for name in RECIPES if name not in models]
    missing += [f"{budget:,} passes" for budget in EFFORTS if budget not in budgets]
    fewer = any(row["seeds"] < len(EFFORTS[row["budget"]].nearest) for row in attack_rows(results))
    missing += ["further seeds of some runs"] if fewer else []
    return f"**Of the plan not run yet:** {', '.join(missing)}.\n" if missing else ""


def optimality(results: Record) -> Iterator[str]:
    """Show the best of each side, and who is above ours."""
    yield NEAREST
    yield tables.optimality_table(results, "nearest")
    yield WITHIN
    yield tables.optimality_table(results, "within")
    named = tables.above_table(results)
    if named is not None:
        yield ABOVE
        yield named


def queries(results: Record) -> Iterator[str]:
    """Show the attacks that see answers alone."""
    if not results["queries"]:
        return
    first = results["queries"][0]
    yield QUERIES.format(samples=first["samples"], model=first["model"])
    before = results["before"]
    medians = ", ".join(f"{median:.4g} in {int(budget):,}" for budget, median in before["median"].items())
    seeds = ", ".join(map(str, before["seeds"]))
    yield BEFORE.format(commit=before["commit"], seeds=seeds, medians=f"{medians} queries")
    if (floor := results.get("floor")) is not None:
        each = ", ".join(f"`{name}` {median:.4g}" for name, median in floor["each"].items())
        yield FLOOR.format(passes=f"{floor['passes']:,}", each=each, median=f"{floor['median']:.4g}")
    yield tables.queries_table(results)


def every_attack(results: Record) -> Iterator[str]:
    """Show every attack at the largest budget of its kind, norm by norm."""
    yield "## Every attack\n"
    yield "Global optimality, passes and processor time a sample, each at the most passes that its kind was run with.\n"
    for norm, name in NORMS.items():
        for goal, words in (("nearest", "the smallest change"), ("within", "within eps")):
            budgets = {row["budget"] for row in attack_rows(results) if row["norm"] == norm and row["goal"] == goal}
            if budgets:
                yield f"### {name}, {words}, {max(budgets):,} passes\n"
                yield tables.every_attack_table(results, norm, max(budgets), goal)


def streaming(run: Record) -> Iterator[str]:
    """Show what memory attacking from disk to disk took."""
    yield STREAMING
    yield f"```\n{run['command']}\n```\n"
    yield tables.streaming_table(run)
    yield f"`{run['attack']}`, {run['threads']} threads.\n"


def _beside(name: str) -> Record:
    stored: Record = json.loads(Path(__file__).with_name(name).read_text(encoding="utf-8"))
    return stored
