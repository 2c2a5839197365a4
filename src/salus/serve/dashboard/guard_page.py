"""A guard: what it is made of, where it came from, and what an audit says of it."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from salus.errors import StoreError
from salus.serve.dashboard.audits import FIGURES, audit_beside
from salus.serve.dashboard.desk import Desk
from salus.serve.dashboard.refusals import Refused
from salus.serve.monitoring.windows import Baseline, baseline_of

if TYPE_CHECKING:
    from salus.serve.guards import LoadedGuard


def add_pages(pages: APIRouter, desk: Desk) -> None:
    """Add the page of each guard."""
    service = desk.service

    @pages.get("/guards/{name}")
    def guard(request: Request, name: str) -> Response:
        desk.enter(request)
        if name not in service.guards:
            raise Refused(
                404, "There is no such guard", f"No guard is called {name!r} here; choose one on the overview."
            )
        served = service.guards[name]
        described = _described(served)
        baseline: Baseline | None = None
        fault = ""
        try:
            with service.database.reading() as connection:
                baseline = baseline_of(connection, name, served.fingerprint)
        except StoreError as error:
            fault = str(error)
        return desk.page(
            request,
            "guard.html.j2",
            served=served,
            card=served.card,
            described=described,
            baseline=baseline,
            baseline_fault=fault,
            wanted=service.settings.baseline,
            figures=FIGURES,
            audit=audit_beside(served.files, str(described["fingerprint"])),
        )


@lru_cache(maxsize=64)
def _described(served: LoadedGuard) -> dict[str, Any]:
    """Say what a guard is made of; its fingerprint is a hash of all its weights, which takes a while."""
    return served.guard.describe()
