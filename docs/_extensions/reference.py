"""The reference: a page for each room of the package, made from what the room hands on, and one of the command line.

Nobody lists names by hand: a room's page shows its `__all__` or, of a module that has none, what it defines itself.
"""

from __future__ import annotations

import inspect
import pkgutil
import sys
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import click
from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.pycode import ModuleAnalyzer

import salus
from salus.cli import main

FOLDER = Path(__file__).parents[1] / "reference"
HEADINGS = {"class": "Classes", "exception": "Errors", "function": "Functions", "data": "Values"}


def setup(app: Sphinx) -> dict[str, bool]:
    """Write the pages before Sphinx reads them, and tell it about the house's docstrings and names."""
    app.connect("config-inited", lambda *_: write_pages())
    app.connect("autodoc-process-docstring", adapt_docstring, priority=100)  # before Napoleon reads it
    app.connect("autodoc-process-signature", shorten_signature)
    app.connect("autodoc-process-bases", keep_public_bases)
    app.connect("doctree-read", join_by_dashes)
    app.connect("missing-reference", find_by_home)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def write_pages() -> None:
    """Write one page a room and one of the command line, and remove those of rooms that are gone."""
    pages = {f"{name}.md": room_page(name) for name in rooms()} | {"salus.md": command_page()}
    for path in FOLDER.glob("salus*.md"):
        if path.name not in pages:
            path.unlink()
    for name, text in pages.items():
        (FOLDER / name).write_text(text, encoding="utf-8")


def rooms() -> list[str]:
    """Name the public modules of the package; the command line has a page of another kind."""
    names = [module.name for module in pkgutil.iter_modules(salus.__path__)]
    return [f"salus.{name}" for name in names if not name.startswith("_") and name != "cli"]


def public_names(room: ModuleType) -> list[str]:
    """Name what a room hands on."""
    if hasattr(room, "__all__"):
        return list(room.__all__)
    own = (name for name, value in vars(room).items() if getattr(value, "__module__", None) == room.__name__)
    return [name for name in own if not name.startswith("_")]


def kind_of(value: Any) -> str:
    """Say which of the headings a value belongs under."""
    if inspect.isclass(value):
        return "exception" if issubclass(value, BaseException) else "class"
    return "function" if inspect.isroutine(value) else "data"


def room_page(name: str) -> str:
    """Write a room's page: its docstring, and a directive for each name, sorted by kind."""
    room = import_module(name)
    kinds: dict[str, list[str]] = {kind: [] for kind in HEADINGS}
    for public in sorted(public_names(room), key=str.lower):
        kinds[kind_of(getattr(room, public))].append(public)
    blocks = [f"# {name}", rst(f".. automodule:: {name}")]
    for kind, heading in HEADINGS.items():
        if kinds[kind]:
            blocks += [f"## {heading}", *(directive(kind, room, public) for public in kinds[kind])]
    return "\n\n".join(blocks) + "\n"


def directive(kind: str, room: ModuleType, name: str) -> str:
    """Write the directive that shows one name."""
    full = f"{room.__name__}.{name}"
    if kind == "data":
        return rst(f".. py:data:: {full}", "", *(f"   {line}" for line in comment_of(room, name)))
    if kind == "function":
        return rst(f".. autofunction:: {full}")
    value = getattr(room, name)
    options = [":members:"]
    if public_bases(value):
        options.append(":show-inheritance:")
    if told := values_told_above(value):
        options.append(f":exclude-members: {', '.join(told)}")
    return rst(f".. auto{kind}:: {full}", *(f"   {option}" for option in options))


def rst(*lines: str) -> str:
    """Fence reStructuredText for MyST."""
    return "\n".join(["```{eval-rst}", *lines, "```"])


def comment_of(room: ModuleType, name: str) -> list[str]:
    """Find the `#:` comment above a value in the room's files."""
    for file in (room.__name__, *(name for name in sys.modules if name.startswith(f"{room.__name__}."))):
        if hasattr(sys.modules[file], name):
            comments = ModuleAnalyzer.for_module(file).find_attr_docs()
            if ("", name) in comments:
                return list(comments["", name])
    return []


def values_told_above(cls: type) -> list[str]:
    """Name the class's plain values that a base has too and says the meaning of."""
    plain = [name for name, value in vars(cls).items() if not callable(value) and not hasattr(value, "__get__")]
    above = {name for base in cls.__mro__[1:] for name in vars(base)}
    return sorted(name for name in plain if name in above and not name.startswith("_"))


def public_bases(cls: type) -> list[type]:
    """Find the nearest bases that a reader can look up, in place of those that begin with an underscore."""
    bases: list[type] = []
    for base in cls.__bases__:
        bases += public_bases(base) if base.__name__.startswith("_") else [base]
    return [base for base in dict.fromkeys(bases) if base.__module__ not in ("abc", "builtins", "typing")]


def command_page() -> str:
    """Write the help of every command."""
    blocks = ["# The command line"]
    for words, command in commands(["salus"], main):
        context = click.Context(command, info_name=" ".join(words), max_content_width=88, terminal_width=88)
        blocks += [f"## {' '.join(words)}", f"```text\n{command.get_help(context)}\n```"]
    return "\n\n".join(blocks) + "\n"


def commands(words: list[str], command: click.Command) -> Iterator[tuple[list[str], click.Command]]:
    """Walk through the commands and the words that call them."""
    yield words, command
    if isinstance(command, click.Group):
        for name, part in sorted(command.commands.items()):
            yield from commands([*words, name], part)


def adapt_docstring(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Keep Napoleon from taking what stands before a colon for a type, and add the options of hidden bases."""
    if what in ("attribute", "data", "property"):
        lines[0] = f": {lines[0]}"
    for i, line in enumerate(lines[:-1]):
        if line in ("Returns:", "Yields:"):
            lines[i + 1] = f"    : {lines[i + 1].strip()}"
    if what in ("class", "exception"):
        for base in obj.__mro__[1:]:
            if base.__name__.startswith("_") and base.__module__.startswith("salus."):
                lines += ["", *section("Attributes:", inspect.getdoc(base) or "")]


def section(heading: str, docstring: str) -> list[str]:
    """Cut a section out of a docstring; empty where it has none."""
    lines = docstring.splitlines()
    if heading not in lines:
        return []
    start = lines.index(heading)
    end = next((i for i in range(start + 1, len(lines)) if lines[i] and not lines[i].startswith(" ")), len(lines))
    return lines[start:end]


def shorten_signature(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, signature: str | None, returns: str | None
) -> tuple[str | None, str | None]:
    """Leave out pydantic's signatures, which spell out its validators; the docstring names the fields."""
    return ("(**fields)", None) if hasattr(obj, "model_fields") else (signature, returns)


def keep_public_bases(app: Sphinx, name: str, obj: Any, options: Any, bases: list[Any]) -> None:
    """Show the nearest public bases."""
    bases[:] = public_bases(obj)


def join_by_dashes(app: Sphinx, page: nodes.document) -> None:
    """Put a dash where Sphinx puts two hyphens, between an option and what it means."""
    for text in [node for node in page.findall(nodes.Text) if node.startswith(" -- ")]:
        text.parent.replace(text, nodes.Text(text.replace(" -- ", " – ", 1)))


def find_by_home(app: Sphinx, env: BuildEnvironment, node: pending_xref, text: nodes.TextElement) -> nodes.Node | None:
    """Lead a reference to where something is written to the page of the room that hands it on.

    What no room hands on is shown without a link. What a docstring refers to and does not exist is left for Sphinx to
    refuse; types in signatures are mypy's business.
    """
    if node.get("refdomain") != "py":
        return None
    target = node["reftarget"]
    for name in (target, *(f"{place}.{target}" for place in places(node))):
        if exists(name):
            domain, public = env.domains.python_domain, public_name(name)
            return domain.resolve_xref(env, node["refdoc"], app.builder, "obj", public, node, text) or text
    return None if isinstance(text, nodes.literal) else text


def places(node: pending_xref) -> list[str]:
    """Name where a short name may be written: the class around it, and the files of its room."""
    room = node.get("py:module") or "salus"
    homes = {public: home for home, public in public_homes().items() if public.startswith(f"{room}.")}
    around = [home for public, home in homes.items() if public == f"{room}.{node.get('py:class')}"]
    return [*around, *sorted({home.rpartition(".")[0] for home in homes.values()})]


@cache
def exists(name: str) -> bool:
    """Tell whether there is something of this name, in Salus or in a library."""
    try:
        pkgutil.resolve_name(name)
    except (ImportError, AttributeError, ValueError):
        return False
    return True


@cache
def public_name(name: str) -> str:
    """Turn the name of where something is written into the one under which its page shows it, if one does."""
    for home, public in public_homes().items():
        if name == home or name.startswith(f"{home}."):
            return public + name.removeprefix(home)
    return name


@cache
def public_homes() -> dict[str, str]:
    """Map where each class and function is written to the name under which a room hands it on."""
    homes: dict[str, str] = {}
    for name in rooms():
        room = import_module(name)
        for public in public_names(room):
            value = getattr(room, public)
            if kind_of(value) != "data":
                homes.setdefault(f"{value.__module__}.{value.__qualname__}", f"{name}.{public}")
    return homes
