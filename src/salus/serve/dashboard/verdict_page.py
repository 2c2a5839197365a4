"""Verdicts: a list to look through, and each one with its scores, its place in the log, and its input if it is kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from fastapi import APIRouter
from sqlalchemy import select
from starlette.requests import Request
from starlette.responses import Response

from salus.serve.dashboard.desk import HOME, SAFE, Desk
from salus.serve.dashboard.drawing import Drawn, ScoreBar, draw, png, score_bar, values_of
from salus.serve.dashboard.entries import Entry, entry, latest
from salus.serve.dashboard.refusals import Refused
from salus.serve.log.chain import link
from salus.serve.log.checkpoints import read_start
from salus.serve.schema import checkpoints, inputs

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from salus.serve.service import Service

#: Verdicts of a page of the list.
_PAGE = 50

#: The largest number of an entry that a database holds.
_MOST = 2**63 - 1

OUTCOMES = ("accepted", "rejected", "not judged")


@dataclass(frozen=True)
class Kept:
    """The input of a verdict.

    Attributes:
        name: what its source called it.
        drawn: it, for people; None where it cannot be drawn.
        fault: why not.
        note: what has changed since.
    """

    name: str
    drawn: Drawn | None
    fault: str = ""
    note: str = ""


def add_pages(pages: APIRouter, desk: Desk) -> None:
    """Add the list, the page of each verdict, and the pictures of kept images."""
    service = desk.service

    @pages.get("/verdicts")
    def verdicts(request: Request, guard: str = "", outcome: str = "", asked: str = "", before: str = "") -> Response:
        desk.enter(request)
        wanted = {
            "guard": guard[:128],
            "outcome": outcome if outcome in OUTCOMES else "",
            "request": asked.strip()[:64],
        }
        with service.database.reading() as connection:
            rows = latest(connection, _PAGE + 1, before=_number(before) if before else None, **wanted)
        more = len(rows) > _PAGE
        query = {"guard": wanted["guard"], "outcome": wanted["outcome"], "asked": wanted["request"]}
        older = {**query, "before": str(rows[_PAGE - 1].seq)} if more else {}
        return desk.page(
            request,
            "verdicts.html.j2",
            rows=rows[:_PAGE],
            wanted=wanted,
            guards=list(service.guards),
            outcomes=OUTCOMES,
            older=urlencode(older),
            first=not before,
            newest=urlencode(query),
        )

    @pages.get("/verdicts/{seq}")
    def verdict(request: Request, seq: str) -> Response:
        desk.enter(request)
        number = _number(seq)
        with service.database.reading() as connection:
            found = entry(connection, number)
            if found is None or found.kind != "verdict":
                raise _missing(number)
            previous, following = entry(connection, number - 1), entry(connection, number + 1)
            before = previous.hash if previous is not None else _before_first(connection, number)
            covered = connection.execute(
                select(checkpoints.c.seq).where(checkpoints.c.seq >= number).order_by(checkpoints.c.seq).limit(1)
            ).scalar()
            kept = _kept(connection, service, found)
        return desk.page(
            request,
            "verdict.html.j2",
            entry=found,
            bars=_bars(found),
            previous=previous,
            following=following,
            links=None if before is None else link(before, found.text) == found.hash,
            covered=covered,
            kept=kept,
            keeping=service.settings.keep_inputs,
            keep_days=service.settings.keep_days,
            served=service.guards.get(str(found["guard"])),
        )

    @pages.get("/verdicts/{seq}/input.png")
    def picture(request: Request, seq: str) -> Response:
        desk.enter(request)
        number = _number(seq)
        with service.database.reading() as connection:
            found = entry(connection, number)
            content = connection.execute(select(inputs.c.x).where(inputs.c.seq == number)).scalar()
        served = None if found is None else service.guards.get(str(found["guard"]))
        x = None if served is None or content is None else values_of(content, served.guard)
        if served is None or x is None or x.ndim != 3:
            raise _missing(number)
        return Response(png(x, served.guard.bounds), media_type="image/png", headers=SAFE)


def _number(word: str) -> int:
    """Read the number of an entry.

    Raises:
        Refused: it is none.
    """
    if not (word.isascii() and word.isdigit() and int(word[:20]) <= _MOST and len(word) < 20):
        raise Refused(404, "There is no such verdict", "Verdicts have numbers; choose one on the page of verdicts.")
    return int(word)


def _missing(number: int) -> Refused:
    return Refused(
        404, "There is no such verdict", f"Entry {number} of the log is no verdict, does not exist yet, or was pruned."
    )


def _before_first(connection: Connection, number: int) -> str | None:
    """Give the hash that the first entry continues; None where the one before it is missing without a reason."""
    start = read_start(connection)
    return start.hash if start.seq == number - 1 else None


def _bars(found: Entry) -> list[ScoreBar]:
    scores: dict[str, Any] = found["scores"] or {}
    thresholds: dict[str, Any] = found["thresholds"] or {}
    rejecting = found["rejected_by"] or ()
    return [
        score_bar(str(name), scores.get(name), float(threshold or 0.0), rejects=name in rejecting)
        for name, threshold in thresholds.items()
    ]


def _kept(connection: Connection, service: Service, found: Entry) -> Kept | None:
    row = connection.execute(select(inputs.c.name, inputs.c.x).where(inputs.c.seq == found.seq)).first()
    if row is None:
        return None
    served = service.guards.get(str(found["guard"]))
    if served is None:
        return Kept(
            row.name, None, f"The guard {found['guard']!r} is not served here, so that its input cannot be drawn."
        )
    x = values_of(row.x, served.guard)
    if x is None:
        return Kept(row.name, None, "The input has another shape than those of the guard that is served now.")
    note = ""
    if served.fingerprint != found["bundle"]:
        note = "The bundle was exchanged since: units and names below are those of the one that is served now."
    return Kept(row.name, draw(x, served.guard), note=note)


def picture_address(seq: int) -> str:
    """Give the address of a kept image."""
    return f"{HOME}/verdicts/{seq}/input.png"
