"""The templates of pages, and their style sheet."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from salus.figures.style import plain


def template(name: str) -> Template:
    """Return a template of this room; what it is filled with is escaped."""
    return _environment().get_template(name)


@cache
def stylesheet() -> str:
    """Return the rules that all pages share."""
    return (Path(__file__).parent / "report.css").read_text(encoding="utf-8")


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,  # names come from users
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: plain(value) if type(value) is str and not value.isprintable() else value,
    )
