"""Things are found by name, other packages' too; what a package brings wrongly is said and left out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import pytest
from pydantic import Field

from salus.errors import OptionError
from salus.options import checked
from salus.registry import PluginWarning, Registry, plugin_names, summary

Install = Callable[[str, str, str], None]


class Tool(ABC):
    @abstractmethod
    def use(self) -> str: ...


class Hammer(Tool):
    """Drives nails."""

    name = "hammer"

    @checked
    def __init__(self, *, weight: Annotated[float, Field(gt=0)] = 1.0, seed: int = 0) -> None:
        self.weight, self.seed = weight, seed

    def use(self) -> str:
        return "bang"


MODULE = '''
from test_registry_base import Hammer, Tool

class Saw(Hammer):
    """Cuts wood."""
    name = "saw"

class Misnamed(Hammer):
    name = "axe"

class Abstract(Tool):
    """Does nothing."""
'''


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Put a package with entry points where Python finds it."""
    import sys

    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(sys.modules, "test_registry_base", sys.modules[__name__])

    def put(package: str, version: str, points: str) -> None:
        (tmp_path / f"{package}.py").write_text(MODULE)
        folder = tmp_path / f"{package}-{version}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
        (folder / "entry_points.txt").write_text(f"[salus.tools]\n{points}\n")

    yield put
    for package in ("salus_saws", "salus_more_saws"):
        sys.modules.pop(package, None)


def tools() -> Registry[type[Tool]]:
    return Registry("tool", "salus.tools", {"hammer": Hammer}, Tool)


def test_its_own_things_are_built_from_specs_with_defaults_where_they_have_them() -> None:
    made = tools().parse("hammer:weight=2", seed=7, bounds=(0, 1))
    assert (made.weight, made.seed) == (2.0, 7)
    assert tools().parse("hammer:seed=3", seed=7).seed == 3
    with pytest.raises(OptionError, match="Tool 'hammer' has no option 'wight'; did you mean 'weight'"):
        tools().parse("hammer:wight=2")
    with pytest.raises(OptionError, match="Tool 'hammer': weight must be a number above 0, not -1"):
        tools().parse("hammer:weight=-1")
    with pytest.raises(OptionError, match="Unknown tool 'hamer'; did you mean 'hammer'"):
        tools().find("hamer")


def test_an_installed_package_adds_to_it_with_its_name_and_version(install: Install) -> None:
    install("salus_saws", "1.2", "saw = salus_saws:Saw")
    registry = tools()
    assert list(registry) == ["hammer", "saw"] and len(registry) == 2 and "saw" in registry
    assert registry.origin("saw") == "salus_saws 1.2" and registry.origin("hammer") == "salus"
    assert summary(registry["saw"]) == "Cuts wood." and registry.parse("saw:weight=3").weight == 3.0
    assert plugin_names("salus.tools") == {"saw": "salus_saws 1.2"} and list(registry.own) == ["hammer"]


@pytest.mark.parametrize(
    ("points", "sentence"),
    [
        ("saw = salus_nowhere:Saw", "cannot be imported and is left out: ModuleNotFoundError"),
        ("saw = salus_saws:Nothing", "cannot be imported and is left out: AttributeError"),
        ("saw = salus_saws:__name__", "is left out: salus_saws:__name__ is no class derived from"),
        ("saw = salus_saws:Abstract", "is left out: salus_saws:Abstract is no class derived from"),
        ("saw = salus_saws:Misnamed", "is left out: salus_saws:Misnamed calls itself 'axe'"),
        ("hammer = salus_saws:Saw", "salus_saws 1.2 would bring the tool 'hammer', which Salus has; it is left out."),
    ],
)
def test_what_a_package_brings_wrongly_is_named_and_left_out(install: Install, points: str, sentence: str) -> None:
    install("salus_saws", "1.2", points)
    with pytest.warns(PluginWarning) as warned:
        assert list(tools()) == ["hammer"] and tools()["hammer"] is Hammer
    assert sentence in str(warned[0].message) and "salus_saws 1.2" in str(warned[0].message)


def test_a_name_that_two_packages_bring_is_neithers(install: Install) -> None:
    install("salus_saws", "1.2", "saw = salus_saws:Saw")
    install("salus_more_saws", "0.1", "saw = salus_more_saws:Saw")
    registry = tools()
    with pytest.warns(PluginWarning, match="both bring the tool 'saw'; neither is used"):
        assert "saw" not in registry
    with pytest.raises(OptionError, match=r"'saw' is brought by salus_more_saws 0.1 and salus_saws 1.2; uninstall"):
        registry.find("saw")
