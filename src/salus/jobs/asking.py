"""A served guard's verdicts on a file or folder, as the same table that a bundle at hand gives."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from salus.errors import DataError
from salus.jobs.judging import JudgingTally, heading, not_judged, verdict_line

if TYPE_CHECKING:
    from salus.client.client import Client


def ask_about(client: Client, thing: Path, tally: JudgingTally, *, guard: str | None = None) -> Iterator[str]:
    """Ask about a file or folder, in one request, and yield lines of CSV, the header first.

    Args:
        client: of the service.
        thing: raw inputs, or an ``.npz`` or ``.npy`` file of prepared ones.
        tally: counts what comes of it.
        guard: who judges; by default the only guard that the service has.

    Raises:
        DataError: the thing cannot be read, or nothing in it be judged.
        EndpointError: the service cannot be reached, or refuses.
        OptionError: it has several guards, and none is named.
    """
    answer = client.judge(thing, guard=guard)
    first = next((each for each in answer.verdicts), None)
    if all(each.outcome == "not judged" for each in answer.verdicts):
        reason = f": the first, {first.name}, {first.reason}" if first is not None else ""
        raise DataError(f"Nothing in {thing} could be judged{reason}.")
    card = client.guard(answer.guard)
    yield heading(card.detectors)
    for verdict in answer.verdicts:
        if verdict.outcome == "not judged":
            tally.refused += 1
            yield not_judged(verdict.name, verdict.reason or "", card.detectors)
            continue
        scores = verdict.detectors or {}
        probability = None if verdict.label is None else (verdict.probabilities or {}).get(verdict.label)
        yield verdict_line(
            tally.judged,
            verdict.name,
            verdict.label,
            probability,
            [scores[name].score if name in scores else None for name in card.detectors],
        )
        tally.judged += 1
        tally.rejected += verdict.outcome == "rejected"
    tally.notes.update(dict.fromkeys(answer.notes))
    tally.clipped += answer.clipped
    tally.values += tally.judged * math.prod(card.shape)
