"""Running a fleet: each member an ordinary audit in a folder of its own, and one that fails stops no other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from salus.atomic import write_json
from salus.audit.fleet import Fleet, FleetAudit
from salus.audit.plan import Plan
from salus.audit.run import Outcome, run_audit
from salus.audit.setup import Setup, Workbench
from salus.client.endpoint import is_endpoint
from salus.engines import Engine, Task
from salus.engines.folders import Files, filled, offered, take_in
from salus.errors import EngineError, SalusError
from salus.progress import console, progress
from salus.storage import Store

#: Of ``fleet.json``; it rises when a field changes its meaning.
FLEET_FORM = 1

#: What a task leaves in its folder and its owner writes anew.
_OWNERS = frozenset({".lock", "run.json"})


@dataclass(frozen=True)
class Finish:
    """How a member ended.

    Attributes:
        member: which.
        outcome: what its audit came to; None where it failed as a whole.
        error: why it failed, in a sentence; None where it did not.
    """

    member: FleetAudit
    outcome: Outcome | None
    error: str | None = None

    @property
    def whole(self) -> bool:
        """Whether all of its cells were computed."""
        return self.outcome is not None and not self.outcome.failed


@dataclass(frozen=True)
class FleetOutcome:
    """What a fleet came to.

    Attributes:
        finishes: how each member ended, in the fleet's order.
    """

    finishes: tuple[Finish, ...]

    @property
    def whole(self) -> bool:
        """Whether nothing failed."""
        return all(finish.whole for finish in self.finishes)


def run_fleet(
    fleet: Fleet,
    out: Path | str,
    *,
    command: str = "",
    engine: Engine | None = None,
    finished: Callable[[Finish, Path], None] | None = None,
) -> FleetOutcome:
    """Run every audit of a fleet, each into ``OUT/NAME``, and keep in ``OUT/fleet.json`` how they ended.

    What was computed before stays. A member whose data or model cannot be used is said and left out; the others go on.
    Where tasks run side by side, the members' networks and guards are trained so first, then the cells of one member
    after the other are computed so.

    Args:
        fleet: what to do.
        out: the fleet's folder, new, empty, or of a fleet.
        command: how to repeat it, for the reports.
        engine: where to train and to compute; None for this process.
        finished: called with each member as it ends, and its folder.

    Raises:
        SalusError: a member asks for data or a model that do not exist, or the folder cannot be used.
        EngineError: no task can be run any more.
    """
    for member in fleet.members:
        member.check()
    store = Store(Path(out), kind="fleet")
    store.check_free()
    finishes: list[Finish] = []
    with store.locked():
        store.claim({}, {"members": {member.name: member.plan.model_dump(mode="json") for member in fleet.members}})
        failed = {} if engine is None else _prepare_all(fleet.members, store.folder, engine)
        with progress("Fleet, audits", len(fleet.members)) as advance:
            for member in fleet.members:
                folder = store.folder / member.name
                finish = (
                    Finish(member, None, failed[member.name])
                    if member.name in failed
                    else _finish(member, folder, command, engine)
                )
                if finish.error is not None:
                    console.print(f"Audit {member.name!r} failed: {finish.error}")
                finishes.append(finish)
                _write(store.folder, fleet, finishes, command)
                if finished is not None:
                    finished(finish, folder)
                advance(1)
    return FleetOutcome(tuple(finishes))


def _finish(member: FleetAudit, folder: Path, command: str, engine: Engine | None) -> Finish:
    try:
        remote = is_endpoint(str(member.plan.model or ""))  # which is asked from one process, at its rate
        outcome = run_audit(member.plan, folder, command=command, engine=None if remote else engine)
        return Finish(member, outcome)
    except EngineError:
        raise
    except Exception as error:  # whatever data or a user's model raise fails their audit, and no other
        return Finish(member, None, _sentence(error))


def _sentence(error: Exception) -> str:
    return str(error) if isinstance(error, SalusError) else f"{type(error).__name__}: {error}"


def _write(folder: Path, fleet: Fleet, finishes: Sequence[Finish], command: str) -> None:
    """Keep how the members ended; those that are still to come have neither an error nor cells."""
    ended = {finish.member.name: finish for finish in finishes}
    members = []
    for member in fleet.members:
        finish = ended.get(member.name)
        outcome = None if finish is None else finish.outcome
        members.append(
            {
                "name": member.name,
                "error": None if finish is None else finish.error,
                "cells": None if outcome is None else len(outcome.cells),
                "failed": None if outcome is None else outcome.failed,
            }
        )
    write_json(folder / "fleet.json", {"form": FLEET_FORM, "command": command, "members": members})


def _prepare_all(members: Sequence[FleetAudit], folder: Path, engine: Engine) -> dict[str, str]:
    """Train what the members' cells stand on, side by side; return why it failed, by the member's name.

    Nothing is done where that has no use: with one member, one task at a time, an endpoint, or an audit that ended.
    """
    waiting = [
        member
        for member in members
        if not is_endpoint(str(member.plan.model or "")) and not (folder / member.name / "results.json").exists()
    ]
    if engine.slots < 2 or len(waiting) < 2:
        return {}
    failed: dict[str, str] = {}
    by_name = {member.name: member for member in waiting}

    def tasks() -> Iterator[Task]:
        for member in waiting:
            yield Task(member.name, prepare, (member.plan, offered(engine, folder / member.name)))

    with progress("Fleet, networks and guards", len(waiting)) as advance:
        for done in engine.run(tasks()):
            error = done.error
            if error is None:
                error = _bring(by_name[done.task.key], folder / done.task.key, *done.value)
            if error is not None:
                failed[done.task.key] = error
            advance(1)
    return failed


def _bring(member: FleetAudit, folder: Path, identity: dict[str, Any], files: Files) -> str | None:
    """Write the files that came back from a task that did not see the folder; return why that failed."""
    if not files:
        return None
    try:
        store = Store(folder)
        store.check_free()
        with store.locked():
            store.claim(identity, member.plan.model_dump(mode="json"))
            take_in({name: content for name, content in files.items() if name not in _OWNERS}, folder)
    except Exception as error:  # a disk that is full fails this member
        return _sentence(error)
    return None


def prepare(plan: Plan, folder: Path | None) -> tuple[dict[str, Any], Files]:
    """As a task: train the network of an audit, its guards and what its attackers train, into its folder.

    Args:
        plan: of the audit.
        folder: of the audit; None where this process does not see it.

    Returns:
        What makes the folder this audit's own, and the files that were made where it is not seen.

    Raises:
        SalusError: the plan, the data, the model or the folder cannot be used.
    """

    def fill(place: Path) -> dict[str, Any]:
        store = Store(place)
        store.check_free()
        setup = Setup.of(plan)
        identity = setup.subject.identity()
        with store.locked():
            store.claim(identity, plan.model_dump(mode="json"))
            with closing(Workbench(setup, place)) as bench:
                for threat in setup.threats:
                    threat.equip(bench)
        return identity

    return filled(folder, fill)
