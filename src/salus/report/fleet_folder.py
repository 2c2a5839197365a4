"""The folder of a fleet: how its audits ended."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from salus.audit.fleet_run import FLEET_FORM
from salus.errors import BundleError


@dataclass(frozen=True)
class FleetMember:
    """How an audit of a fleet ended.

    Attributes:
        name: of its folder.
        error: why it failed as a whole; None where it did not.
        cells: how many it has; None where it has not ended.
        failed: how many of them failed.
    """

    name: str
    error: str | None
    cells: int | None
    failed: int | None


@dataclass(frozen=True)
class FleetFolder:
    """What a fleet left.

    Attributes:
        folder: where it is.
        command: how to repeat it.
        members: in the plan's order.
    """

    folder: Path
    command: str
    members: tuple[FleetMember, ...]


def read_fleet(folder: Path) -> FleetFolder:
    """Read ``fleet.json``.

    Raises:
        BundleError: it is missing, damaged, or of a newer Salus.
    """
    path = folder / "fleet.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content["form"], int) or content["form"] > FLEET_FORM:
            raise BundleError(f"{path} has the form {content['form']!r}; this Salus reads up to {FLEET_FORM}.")
        members = tuple(
            FleetMember(_one_part(each["name"]), each["error"], each["cells"], each["failed"])
            for each in content["members"]
        )
        return FleetFolder(folder, str(content["command"]), members)
    except FileNotFoundError as error:
        raise BundleError(f"{folder} holds no fleet.json; name the folder (--out) of a fleet.") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BundleError(f"{path} cannot be read ({type(error).__name__}: {error}); run the fleet again.") from error


def _one_part(name: str) -> str:
    if not isinstance(name, str) or Path(name).name != name:
        raise ValueError(f"{name!r} is no folder within it")
    return name
