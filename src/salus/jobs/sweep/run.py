"""A sweep: trainings as tasks, compared on samples that are not the test's, and the best of them kept."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import salus
from salus.atomic import storage_errors, write_bytes, write_json, write_text
from salus.audit.plan import Plan
from salus.audit.subject import Loaded
from salus.classifier import Classifier
from salus.engines import Engine, Shared, Task
from salus.engines.folders import offered, take_in
from salus.engines.here import Here
from salus.errors import ModelError, StoreError
from salus.hardening.base import WORKING
from salus.jobs.harden import HARDENING, Hardened, attack_facts, finished_hardening, tested
from salus.jobs.sweep.asked import Sweep, SweepMember
from salus.jobs.sweep.member import HITS, FinishedTraining, Parts, finished_member, train_member, train_plain
from salus.jobs.sweep.options import SweepOptions
from salus.jobs.sweep.scores import RULE, Score, SweepRun, as_csv, choose, records
from salus.metrics import commonest
from salus.progress import console, progress
from salus.storage import Store, TrainingFolder, digest, find_device, versions
from salus.training.trivial import learnt_nothing

_FORMAT = "salus-sweep-1"

#: Says what a sweep found.
GRID = "grid.json"

#: What lies in the folder of a training and is no part of its model.
_OWN = {HARDENING, HITS, "run.json", ".lock"}


@dataclass(frozen=True, eq=False)
class Swept:
    """A finished sweep.

    Attributes:
        grid: what ``grid.json`` holds.
        hardened: the network of the setting that was chosen, as saved.
    """

    grid: dict[str, Any]
    hardened: Hardened


def run_sweep(
    spec: str,
    plan: Plan,
    out: Path | str,
    options: SweepOptions | None = None,
    *,
    attack: str | None = None,
    engine: Engine | None = None,
    command: str = "",
) -> Swept:
    """Train every setting by every seed, and without every fold; choose one, and keep its network.

    The choice is made on samples that no training learnt from and that are not the test's, by
    ``salus.jobs.sweep.scores.RULE``. The network that is kept is the chosen setting's, trained by the first seed on all
    training samples, and the test part is opened for this one alone. Stopped at any moment, the next run goes on where
    it was; as long as the test part is closed, values and seeds may be added and left out.

    Args:
        spec: the method and the options that all settings share, ``madry:steps=5``.
        plan: data, model, training, seed and device; its seed deals the data, whatever trains.
        out: the folder, new, empty, or of the same sweep; each training lies in its ``runs``, and the model itself,
            as :func:`salus.jobs.run_hardening` leaves one, beside ``grid.json``, ``grid.csv`` and ``grid.png``.
        options: what is tried.
        attack: what makes attacked copies, for methods that train on them.
        engine: where trainings run; None for this process. It stays open.
        command: how to repeat it.

    Raises:
        ModelError: a training failed; nothing is chosen then, and the test part stays closed.
        SalusError: the method, a setting, the data, the model or the folder cannot be used.
    """
    store = Store(Path(out), "hardening")
    store.check_free()
    sweep = Sweep(spec, plan, options or SweepOptions(), attack)
    engine = engine or Here()
    if engine.shares_disk:
        find_device(plan.device)
    with store.locked():
        store.claim(sweep.identity(), sweep.base.plan.model_dump(mode="json"))
        swept = _opened(sweep, store.folder)
        if swept is None:
            swept = _Desk(sweep, store.folder, engine, command).choose()
        shutil.rmtree(store.folder / WORKING, ignore_errors=True)
    grid, classifier, facts = swept
    chosen = next(place for place, row in enumerate(grid["settings"]) if row["chosen"])
    return Swept(grid, Hardened(classifier, facts, sweep.asked[chosen, 0].audit_command(Path(out))))


_Outcome = tuple[dict[str, Any], Classifier, dict[str, Any]]  # grid.json, the network, hardening.json


def _opened(sweep: Sweep, folder: Path) -> _Outcome | None:
    """Read what a sweep came to whose test part was opened; None where it was not.

    Raises:
        StoreError: it was opened for what was chosen among other trainings.
    """
    finished = finished_hardening(folder)
    if finished is None:
        return None
    classifier, facts = finished
    if facts["sweep"]["runs"] != sorted(member.name for member in sweep.members):
        raise StoreError(
            f"The test part was opened in {folder} for {facts['spec']!r}, chosen among other trainings than these; to "
            "choose again, name another --out."
        )
    try:
        grid: dict[str, Any] = json.loads((folder / GRID).read_text(encoding="utf-8"))
        grid["settings"], grid["test"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if grid["test"] is None:  # the last of all was not written
        grid["test"] = facts["test"]
        write_json(folder / GRID, grid)
    return grid, classifier, facts


class _Desk:
    """The owner of a sweep: hands out trainings, takes in what they left, and chooses.

    Args:
        sweep: what is asked.
        folder: where it is kept.
        engine: where trainings run.
        command: how to repeat it.
    """

    def __init__(self, sweep: Sweep, folder: Path, engine: Engine, command: str) -> None:
        self.sweep, self.folder, self.engine, self.command = sweep, folder, engine, command
        self._parts: Shared[Parts] | None = None
        self._victims: dict[Path | None, Shared[Classifier]] = {}

    def choose(self) -> _Outcome:
        """Train what is not trained yet, choose, and open the test part for what was chosen."""
        sweep = self.sweep
        scores = self._scores(self._trained(sweep.members))
        best = choose(scores)
        winner = sweep.member(scores.index(best), 0, None)
        grid = self._grid(scores, winner)
        self._write(grid)
        facts = self._trained([winner])[winner.name].facts
        classifier = self._keep(winner)
        chosen = {"grid": GRID, "run": winner.name, "runs": sorted(member.name for member in sweep.members)}
        facts = {**facts, "command": self.command, "sweep": chosen, "test": tested(classifier, sweep.splits)}
        write_json(self.folder / HARDENING, facts)
        grid["test"] = facts["test"]
        write_json(self.folder / GRID, grid)
        return grid, classifier, facts

    # Trainings.

    def _place(self, member: SweepMember) -> Path:
        return self.folder / "runs" / member.name

    def _trained(self, members: Sequence[SweepMember]) -> dict[str, FinishedTraining]:
        """Train those that are not trained yet; return what all came to, by name."""
        known = {member.name: finished_member(self._place(member), member.training.identity) for member in members}
        left = [member for member in members if known[member.name] is None]
        if left:
            victims = {member.name: self._victim(member) for member in left} if self._plain(left) else {}
            tasks = [self._task(member, victims.get(member.name)) for member in left]
            title = f"Hardening {len(members)} times" if len(members) > 1 else f"Hardening by {members[0].name}"
            self._run(title, tasks, {member.name: self._place(member) for member in left}, len(members))
        judged = {}
        for member in members:
            done = known[member.name] or finished_member(self._place(member), member.training.identity)
            if done is None:
                raise StoreError(f"What was trained into {self._place(member)} cannot be read; is the disk full?")
            judged[member.name] = done
        return judged

    def _task(self, member: SweepMember, victim: Shared[Classifier] | None) -> Task:
        place = offered(self.engine, self._place(member))
        return Task(member.name, train_member, (place, member.training, self._shared_parts(), victim))

    def _shared_parts(self) -> Shared[Parts]:
        if self._parts is None:
            self._parts = self.engine.share(self.sweep.parts)
        return self._parts

    def _run(self, title: str, tasks: Iterable[Task], places: dict[str, Path], total: int) -> None:
        """Run tasks, and take in what they leave.

        Raises:
            ModelError: one failed; the others have ended.
        """
        failed: dict[str, str] = {}
        with progress(title, total, done=total - len(places)) as advance:
            for done in self.engine.run(tasks):
                if done.error is None:
                    take_in(done.value[1], places[done.task.key])
                else:
                    failed[done.task.key] = done.error
                    console.print(f"{done.task.key} failed: {done.error}")
                advance(1, note=done.task.key)
        if failed:
            first = next(iter(failed))
            raise ModelError(
                f"{len(failed)} of {total} trainings failed, so that nothing is chosen and the test part stays closed "
                f"({first}: {failed[first].rstrip('.')}); run it again, which goes on from the others, or leave that "
                "setting out."
            )

    # The plain classifiers on which attacked copies are computed.

    def _plain(self, members: Sequence[SweepMember]) -> bool:
        """Train the plain classifiers that trainings need, each once; tell whether they need any."""
        wanted = {self._plain_place(member): member for member in members if member.asked.method.copies}
        missing = {
            place: member
            for place, member in wanted.items()
            if place is not None and TrainingFolder(place, "plain classifier").read() is None
        }
        if missing:
            tasks = [
                Task(
                    f"plain {place.name}",
                    train_plain,
                    (
                        offered(self.engine, place),
                        member.asked.subject.network,
                        member.asked.subject.training,
                        self.sweep.plan.device,
                        self._shared_parts(),
                        member.fold,
                    ),
                )
                for place, member in missing.items()
            ]
            self._run(
                "Training plain classifiers", tasks, {f"plain {place.name}": place for place in missing}, len(tasks)
            )
        return bool(wanted)

    def _plain_place(self, member: SweepMember) -> Path | None:
        """Say where the plain classifier of a training is kept; None where it came trained."""
        if isinstance(member.asked.subject.model, Loaded):
            return None
        seed, fold = member.training.seed, member.fold
        name = f"{digest(member.asked.plan.model)[:8]}-seed-{seed}-{'whole' if fold is None else f'fold-{fold + 1}'}"
        return self.folder / WORKING / "plain" / name

    def _victim(self, member: SweepMember) -> Shared[Classifier]:
        place = self._plain_place(member)
        if place not in self._victims:
            model = member.asked.subject.model
            classifier = model.classifier if isinstance(model, Loaded) else None
            if place is not None:
                classifier = TrainingFolder(place, "plain classifier").read()
            if not isinstance(classifier, Classifier):
                raise StoreError(f"The plain classifier in {place} cannot be read; run it again.")
            if place is not None and (remark := learnt_nothing(classifier, self.sweep.splits.validation)) is not None:
                console.print(f"Warning: {remark}")
            self._victims[place] = self.engine.share(classifier)
        return self._victims[place]

    # What they came to.

    def _scores(self, judged: dict[str, FinishedTraining]) -> list[Score]:
        data = self.sweep.judged
        groups = None if data.groups is None else data.groups.cpu().numpy()
        scores = []
        for place, setting in enumerate(self.sweep.settings):
            members = [member for member in self.sweep.members if member.setting == place]
            runs = [SweepRun(each.name, each.seed, each.fold or 0, judged[each.name]) for each in members]
            scores.append(Score.of(setting, members[0].asked.method.settings(), runs, groups))
        return scores

    def _grid(self, scores: Sequence[Score], winner: SweepMember) -> dict[str, Any]:
        """Put together what ``grid.json`` holds, but for the test part."""
        sweep, data = self.sweep, self.sweep.judged
        folds = sweep.options.folds
        groups = None if data.groups is None else data.groups.cpu().numpy()
        return {
            "format": _FORMAT,
            "salus": salus.__version__,
            "versions": versions(),
            "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "command": self.command,
            "data": {"name": sweep.splits.name, "fingerprint": sweep.splits.test.fingerprint()},
            "method": sweep.base.method.name,
            "seed": sweep.plan.seed,
            "seeds": list(sweep.options.seeds),
            "folds": folds,
            "engine": self.engine.words,
            "judge": {"title": judge_words(sweep), **attack_facts(sweep.judge)},
            "judged_on": "the validation part"
            if folds is None
            else f"{folds} folds of the training part, each held out",
            "commonest": commonest(data.y, data.classes)._asdict(),
            "rule": RULE,
            "settings": json.loads(json.dumps(records(scores, groups), default=str)),
            "run": winner.name,
            "test": None,
        }

    def _write(self, grid: dict[str, Any]) -> None:
        from salus.figures.frontier import frontier_picture

        write_json(self.folder / GRID, grid)
        write_text(self.folder / "grid.csv", as_csv(grid["settings"]))
        write_bytes(self.folder / "grid.png", frontier_picture(grid))

    def _keep(self, winner: SweepMember) -> Classifier:
        """Copy what was chosen, model and all, into the folder of the sweep."""
        place = self._place(winner)
        with storage_errors(self.folder):
            files = [file for file in sorted(place.rglob("*")) if file.is_file()]
        for file in files:
            name = file.relative_to(place)
            if name.as_posix() not in _OWN:
                write_bytes(self.folder / name, file.read_bytes())
        return Classifier.load(self.folder)


def judge_words(sweep: Sweep) -> str:
    """Name the attack that judges: ``PGD, eps 0.02, 40 steps``."""
    judge = sweep.judge
    steps = getattr(judge, "steps", None)
    return f"{judge.title}, eps {judge.eps:g}" + (f", {steps} steps" if steps is not None else "")
