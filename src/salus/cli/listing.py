"""What there is to name: attacks, defences, data sets, networks, studies; Salus's own and other packages'."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import click

from salus.errors import OptionError, nearest
from salus.options import REQUIRED, Option
from salus.registry import Registry, summary

#: Where the registry of each kind lies, by the word that users write.
_REGISTRIES = {
    "attacks": "salus.attacks:ATTACKS",
    "controls": "salus.attacks.controls:CONTROLS",
    "poisons": "salus.attacks.poisoning:POISONS",
    "detectors": "salus.detectors:DETECTORS",
    "purifiers": "salus.purifiers:PURIFIERS",
    "monitors": "salus.detectors.queries:MONITORS",
    "hardening": "salus.hardening:METHODS",
    "cleaning": "salus.hardening.label_cleaning:CLEANINGS",
    "sources": "salus.data:SOURCES",
    "models": "salus.models:MODELS",
    "studies": "salus.cli.reproduce:STUDIES",
}


@click.command("list")
@click.argument("kind", required=False)
@click.argument("names", nargs=-1)
def listing(kind: str | None, names: tuple[str, ...]) -> None:
    """List what can be named on the command line, with its options.

    KIND is attacks, controls, poisons, detectors, purifiers, monitors, hardening, cleaning, sources, models or
    studies; without it all kinds are counted. NAMES are those to list; all by default. Each line says what it is and,
    where it is not Salus's own, which package brings it.

    \b
    salus list attacks
    salus list detectors i-defender multimagnet
    """
    if kind is None:
        for word in _REGISTRIES:
            registry = _registry(word)
            more = len(registry) - len(registry.own)
            click.echo(f"{word}: {len(registry)}" + (f", {more} of other packages" if more else ""))
        return
    registry = _registry(kind)
    for name in names:
        registry.find(name)
    for name in names or registry:
        _show(registry, name)


def _registry(kind: str) -> Registry[Any]:
    """Import a registry.

    Raises:
        OptionError: there is no such kind.
    """
    if kind not in _REGISTRIES:
        raise OptionError(f"There is no kind {kind!r} to list; {nearest(kind, _REGISTRIES)}")
    module, _, name = _REGISTRIES[kind].partition(":")
    registry: Registry[Any] = getattr(import_module(module), name)
    return registry


def _show(registry: Registry[Any], name: str) -> None:
    """Print one thing: its name, whose it is, what it is, and its options."""
    origin = registry.origin(name)
    whose = "" if origin == "salus" else f" ({origin})"
    click.echo(f"{name}{whose}: {summary(registry[name])}")
    if codes := _codes(registry[name]):
        click.echo(f"    {codes}")
    for option in registry.options(name):
        if option.help:
            click.echo(f"    {_signature(option)}: {option.words}; {option.help}")


def _codes(thing: Any) -> str:
    """Say where an attack or a poisoning stands in NIST AI 100-2 and MITRE ATLAS, or which mitigation a defence is."""
    from salus.attacks.editions import in_words
    from salus.attacks.taxonomy import taxonomy

    if hasattr(thing, "mitigations"):
        return in_words(thing.mitigations)
    if hasattr(thing, "place"):
        return in_words(thing.place.ids)
    return in_words(taxonomy(thing.knowledge).ids) if hasattr(thing, "knowledge") else ""


def _signature(option: Option) -> str:
    """Write an option as it is written, with what holds where it is not given."""
    default = option.default
    if default is REQUIRED:
        return f"{option.name} (required)"
    if isinstance(default, bool):
        return f"{option.name}={str(default).lower()}"
    if default is None or default == ():
        return option.name
    return f"{option.name}={'+'.join(map(str, default)) if isinstance(default, tuple) else default}"
