"""The dashboard's pages, put together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter

from salus.serve.dashboard import callers_page, entering, guard_page, log_page, overview, token_page, verdict_page
from salus.serve.dashboard.desk import HOME, Desk

if TYPE_CHECKING:
    from fastapi import FastAPI

    from salus.serve.service import Service


def router(service: Service) -> APIRouter:
    """Give all pages below ``/dashboard``, with the files that they load."""
    desk = Desk(service)
    pages = APIRouter(prefix=HOME, route_class=desk.route_class(), include_in_schema=False)
    for room in (entering, overview, guard_page, verdict_page, log_page, callers_page, token_page):
        room.add_pages(pages, desk)
    return pages


def mount(app: FastAPI, service: Service) -> None:
    """Put the dashboard into an application."""
    app.include_router(router(service))
