"""What goes on now: alarms, every guard's rates, and one guard's charts, drift and latest verdicts."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from salus.errors import StoreError
from salus.serve.dashboard.charts import charts
from salus.serve.dashboard.desk import HOME, Desk
from salus.serve.dashboard.entries import latest
from salus.serve.dashboard.refusals import Refused
from salus.serve.monitoring.alarms import open_alarms, recent_alarms
from salus.serve.monitoring.look import Look, look_at
from salus.serve.monitoring.rates import over_time
from salus.serve.monitoring.windows import counted

if TYPE_CHECKING:
    from salus.serve.service import Service

#: Times that charts can show: the word in the address, how people call it, minutes.
SPANS = (("1h", "1 hour", 60), ("6h", "6 hours", 360), ("24h", "24 hours", 1440))

#: Points of a chart, verdicts of the live table, rows of drift that are not folded away, alarms that are over.
_POINTS, _LIVE, _DRIFTS, _OVER = 60, 15, 8, 10


@dataclass(frozen=True)
class _Choice:
    """What the page shows.

    Attributes:
        guard: whose charts.
        span: the word for their time.
        minutes: that time.
    """

    guard: str
    span: str
    minutes: int

    @property
    def query(self) -> str:
        """It in an address."""
        return f"guard={self.guard}&span={self.span}"


def add_pages(pages: APIRouter, desk: Desk) -> None:
    """Add the overview, and its parts that are loaded again and again."""
    service = desk.service

    @pages.get("")
    @pages.get("/")
    def overview(request: Request, guard: str = "", span: str = "1h") -> Response:
        desk.enter(request)
        choice = _choice(service, guard, span)
        parts: dict[str, Any] = {}
        faults = {}
        for name, content in (("now", _now), ("charts", _charts), ("verdicts", _verdicts)):
            try:
                parts[name] = content(service, choice)
            except StoreError as error:
                faults[name] = str(error)
        return desk.page(
            request,
            "overview.html.j2",
            choice=choice,
            spans=SPANS,
            guards=list(service.guards),
            parts=parts,
            faults=faults,
            status=503 if faults else 200,
        )

    @pages.get("/part/now")
    def now(request: Request, guard: str = "", span: str = "1h") -> Response:
        desk.enter(request)
        choice = _choice(service, guard, span)
        return desk.page(request, "part_now.html.j2", choice=choice, now=_now(service, choice))

    @pages.get("/part/charts")
    def drawn(request: Request, guard: str = "", span: str = "1h") -> Response:
        desk.enter(request)
        choice = _choice(service, guard, span)
        return desk.page(request, "part_charts.html.j2", choice=choice, charts=_charts(service, choice))

    @pages.get("/part/verdicts")
    def verdicts(request: Request, guard: str = "", span: str = "1h") -> Response:
        desk.enter(request)
        choice = _choice(service, guard, span)
        return desk.page(request, "part_verdicts.html.j2", choice=choice, verdicts=_verdicts(service, choice))


def _choice(service: Service, guard: str, span: str) -> _Choice:
    minutes = {word: length for word, _, length in SPANS}
    if guard and guard not in service.guards:
        raise Refused(404, "There is no such guard", f"No guard is called {guard!r} here; choose one on the overview.")
    if span not in minutes:
        raise Refused(404, "There is no such time", f"Charts show {', '.join(minutes)}; choose one of these.")
    return _Choice(guard or next(iter(service.guards)), span, minutes[span])


def _now(service: Service, choice: _Choice) -> Mapping[str, Any]:
    """Read the alarms, and look at every guard."""
    moment = time.time()
    minutes = round(service.settings.window) or 1
    with service.database.reading() as connection:
        looks: Sequence[Look] = [
            look_at(connection, name, served, minutes, int(moment // 60)) for name, served in service.guards.items()
        ]
        going_on, over = open_alarms(connection), recent_alarms(connection, moment - 7 * 86400, _OVER)
    writer = service.writer.state
    return {
        "time": moment,
        "minutes": minutes,
        "looks": looks,
        "alarms": going_on,
        "over": over,
        "guards": service.guards,
        "wanted": service.settings.baseline,
        "writer": writer,
        "counting_fault": service.recorder.fault,
    }


def _charts(service: Service, choice: _Choice) -> Mapping[str, Any]:
    """Read what a guard's charts show, whichever bundle it judged with, and how it drifts."""
    served = service.guards[choice.guard]
    now = int(time.time() // 60)
    first = now - choice.minutes + 1
    with service.database.reading() as connection:
        minutes = counted(connection, choice.guard, None, first, now)
        look = look_at(connection, choice.guard, served, round(service.settings.window) or 1, now)
    spans = over_time(minutes, first, now, _POINTS)
    return {
        "charts": charts(spans, served.guard.false_alarm_rate, served.card.detectors),
        "judged": sum(span.counts.judged for span in spans),
        "look": look,
        "drifts": look.drifts[:_DRIFTS],
        "more_drifts": look.drifts[_DRIFTS:],
        "wanted": service.settings.baseline,
    }


def _verdicts(service: Service, choice: _Choice) -> Mapping[str, Any]:
    with service.database.reading() as connection:
        return {"rows": latest(connection, _LIVE), "time": time.time(), "all": f"{HOME}/verdicts"}
