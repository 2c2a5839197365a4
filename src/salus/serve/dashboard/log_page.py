"""The log: where it ends, how far it is signed, what happened, and a check of all of it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter
from sqlalchemy import func, select
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from salus.serve.dashboard.desk import HOME, SAFE, Desk
from salus.serve.dashboard.entering import Form
from salus.serve.dashboard.entries import latest
from salus.serve.dashboard.refusals import Refused
from salus.serve.dashboard.verifying import Checks
from salus.serve.log.checkpoints import read_head
from salus.serve.schema import anchors, checkpoints, entries

if TYPE_CHECKING:
    from salus.serve.service import Service

#: Checkpoints and events that are listed.
_LISTED = 10

#: Entries that are checked from the page; more take minutes, and belong to the command line.
MOST_CHECKED = 2_000_000


def add_pages(pages: APIRouter, desk: Desk) -> None:
    """Add the page of the log, and its check."""
    service = desk.service
    checks = Checks(lambda: _verify(service))

    @pages.get("/log")
    def log(request: Request) -> Response:
        desk.enter(request)
        return desk.page(
            request,
            "log.html.j2",
            log=_log(service),
            state_of=service.writer.state,
            keys=service.keys,
            place=service.database.place,
            check=checks.last,
            counting_fault=service.recorder.fault,
            lost=service.recorder.lost,
            most=MOST_CHECKED,
        )

    @pages.post("/log/verify")
    def verify(request: Request, form: Form) -> Response:
        session = desk.enter(request)
        desk.sessions.check_form(request, session, form)
        with service.database.reading() as connection:
            count = connection.execute(select(func.count()).select_from(entries)).scalar() or 0
        if count > MOST_CHECKED:
            raise Refused(
                413,
                "The log is too long for this page",
                f"It has {count:,} entries, and at most {MOST_CHECKED:,} are checked here; run: salus log verify.",
            )
        checks.start()
        return RedirectResponse(f"{HOME}/log#check", 303, SAFE)

    @pages.get("/log/check")
    def check(request: Request) -> Response:
        desk.enter(request)
        return desk.page(request, "part_check.html.j2", check=checks.last)


def _log(service: Service) -> dict[str, Any]:
    """Read where the log ends, and how far it is signed."""
    with service.database.reading() as connection:
        head = read_head(connection)
        first = connection.execute(select(func.min(entries.c.seq))).scalar()
        anchor = connection.execute(select(func.max(anchors.c.seq))).scalar()
        signed = connection.execute(select(checkpoints).order_by(checkpoints.c.seq.desc()).limit(_LISTED)).all()
        return {
            "head": head,
            "first": first,
            "pruned": anchor,
            "signed": signed,
            "uncovered": head.seq - (signed[0].seq if signed else anchor or 0),
            "events": latest(connection, _LISTED, kind="event"),
            "time": time.time(),
        }


def _verify(service: Service) -> tuple[bool, str]:
    from salus.serve.log.verifying import verify

    keys = service.keys
    result = verify(service.database, keys.public, checkpoints=keys.checkpoints, keys=keys)
    return result.ok, " ".join([result.sentence(), *result.notes])
