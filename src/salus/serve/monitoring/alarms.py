"""Alarms: raised when a guard rejects more than its calibration allows, or when what it judges has changed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import and_, insert, or_, select, update

from salus.errors import OptionError, SalusError
from salus.metrics.wording import interval, percentage
from salus.serve.monitoring.drift import SMALLEST_DISTANCE, Drift
from salus.serve.monitoring.look import Look, Served, look_at
from salus.serve.monitoring.webhook import AlarmMessage, Webhook
from salus.serve.monitoring.windows import first_inputs, forget_old, keep_baseline
from salus.serve.schema import alarms

if TYPE_CHECKING:
    from sqlalchemy import Connection, Row

    from salus.serve.database import Database
    from salus.serve.settings import Settings

Kind = Literal["rejections", "scores", "inputs"]

#: Seconds between two looks.
_EVERY = 60.0

#: Seconds after which the delivery of an alarm that a process began is taken to be lost with it.
_STALE = 900.0

#: Alarms older than this are not told any more.
_OLD = 86400.0

#: Figures that a sentence names.
_NAMED = 3


@dataclass(frozen=True)
class AlarmFinding:
    """What a look says of one kind of alarm.

    Attributes:
        kind: of the alarm.
        raises: whether it is to be raised where it is not yet.
        holds: whether it goes on where it was raised; None where too little was judged to tell.
        text: the reason in words.
    """

    kind: Kind
    raises: bool
    holds: bool | None
    text: str


def findings(look: Look) -> list[AlarmFinding]:
    """Judge what a look showed, one finding for each kind of alarm."""
    rate = look.rate
    return [
        AlarmFinding("rejections", rate.alarming, rate.above if rate.enough else None, _rejections(look)),
        *(
            _moved(look, kind, [drift for drift in look.drifts if drift.kind == of])
            for kind, of in (("scores", "score"), ("inputs", "input"))
        ),
    ]


def _rejections(look: Look) -> str:
    rate = look.rate
    return (
        f"Guard {look.guard!r} rejected {rate.rejected} of {rate.rate.n} inputs in the last {look.minutes} minutes, "
        f"{percentage(rate.rate.value)} (95% interval {interval(rate.rate.low, rate.rate.high)}%), and its calibration "
        f"allows {percentage(rate.calibrated)} of clean ones. Among clean inputs a rejection is a false alarm; the "
        "service cannot know which inputs are attacks. Look at the rejected inputs: either somebody attacks, or the "
        "inputs are no longer like those of the calibration, and the guard must be calibrated anew."
    )


def _moved(look: Look, kind: Any, drifts: Sequence[Drift]) -> AlarmFinding:
    moved = [drift for drift in drifts if drift.alarming] or list(drifts[:1])
    named = ", ".join(f"{drift.name} (distance {drift.distance:.2f}, p {_chance(drift.p)})" for drift in moved[:_NAMED])
    more = f" and {len(moved) - _NAMED} more" if len(moved) > _NAMED else ""
    what = "Scores of the detectors" if kind == "scores" else "Inputs"
    wanted = 0 if look.baseline is None else look.baseline.counts.judged
    return AlarmFinding(
        kind,
        raises=any(drift.alarming for drift in drifts),
        holds=any(drift.distance >= 0.8 * SMALLEST_DISTANCE and drift.p <= 0.05 for drift in drifts)
        if drifts
        else None,
        text=f"{what} of guard {look.guard!r} in the last {look.minutes} minutes do not look like its first {wanted}: "
        f"{named}{more}. The distance is Kolmogorov and Smirnov's, 0 to 1; p takes inputs as independent and is "
        "corrected for the number of figures. Find out what has changed: the device, the patients, how inputs are "
        "made, or an attack.",
    )


def _chance(p: float) -> str:
    return f"{p:.3f}" if p >= 0.001 else "below 0.001"


class Watch:
    """Looks at every guard each minute, raises alarms, keeps them while they hold, clears them, and tells the webhook.

    Every worker may run one: an alarm is raised once, under the lock of the database, and told by whoever claims it.

    Args:
        database: of the service.
        settings: of the service; its ``webhook`` is told, where there is one.
        guards: gives those that are served at the moment, by name.
        clock: tells the time, in seconds since 1970; it may jump.
        webhook: instead of the one that the settings name.

    Attributes:
        fault: why the last look failed; None where it did not.

    Raises:
        OptionError: the webhook is no address, or the file with its secret cannot be read.
    """

    def __init__(
        self,
        database: Database,
        settings: Settings,
        guards: Callable[[], Mapping[str, Served]],
        *,
        clock: Callable[[], float] = time.time,
        webhook: Webhook | None = None,
    ) -> None:
        self._database = database
        self._settings = settings
        self._guards = guards
        self._clock = clock
        if webhook is None and settings.webhook is not None:
            webhook = Webhook(settings.webhook, _secret(settings), self.delivered)
        self._webhook = webhook
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None
        self._looks = 0
        self.fault: str | None = None

    def start(self) -> None:
        """Look each minute from now on."""
        if self._webhook is not None:
            self._webhook.start()
        self._thread = threading.Thread(target=self._run, name="salus-watch", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._ending.wait(_EVERY):
            self.evaluate()

    def close(self) -> None:
        """End the thread, and the webhook's."""
        self._ending.set()
        if self._thread is not None:
            self._thread.join()
        if self._webhook is not None:
            self._webhook.close()

    def evaluate(self) -> None:
        """Look at every guard once; a database that is away is no reason to stop, and :attr:`fault` says so."""
        try:
            guards = self._guards()
            for name, served in guards.items():
                self._evaluate(name, served)
            with self._database.writing() as connection:
                self._clear_unserved(connection, guards)
                if self._looks % 60 == 0:
                    forget_old(connection, int(self._clock() // 60))
            if self._webhook is not None:
                self._tell()
            self._looks += 1
            self.fault = None
        except Exception as error:  # whatever it is, the next look may succeed
            self.fault = f"The guards' counts could not be looked at: {error}"

    def _evaluate(self, name: str, served: Served) -> None:
        now = self._clock()
        minute = int(now // 60)
        with self._database.reading() as connection:
            look = look_at(connection, name, served, round(self._settings.window) or 1, minute)
            first = None
            if look.baseline is None:
                first = first_inputs(connection, name, look.bundle, self._settings.baseline, minute)
        with self._database.writing() as connection:
            if first is not None:
                keep_baseline(connection, name, look.bundle, first, now)
            for finding in findings(look):
                self._settle(connection, look, finding, now)

    def _settle(self, connection: Connection, look: Look, finding: AlarmFinding, now: float) -> None:
        """Bring the table of alarms in line with one finding."""
        open_alarm = and_(alarms.c.guard == look.guard, alarms.c.kind == finding.kind, alarms.c.cleared.is_(None))
        row = connection.execute(select(alarms).where(open_alarm)).first()
        if row is not None and (row.bundle != look.bundle or finding.holds is False):
            self._clear(connection, row, now)
            row = None
        if row is None and finding.raises:
            connection.execute(
                insert(alarms).values(
                    time=now, guard=look.guard, bundle=look.bundle, kind=finding.kind, text=finding.text
                )
            )

    def _clear_unserved(self, connection: Connection, guards: Mapping[str, Served]) -> None:
        for row in connection.execute(select(alarms).where(alarms.c.cleared.is_(None))).all():
            if row.guard not in guards:
                self._clear(connection, row, self._clock())

    def _clear(self, connection: Connection, row: Row[Any], now: float) -> None:
        connection.execute(update(alarms).where(alarms.c.id == row.id).values(cleared=now))
        if self._webhook is not None:
            self._webhook.tell(AlarmMessage(row.id, content_of(row, cleared=now)))

    def _tell(self) -> None:
        """Claim the alarms that nobody has told, and tell them.

        The claim is the negative time at which it was made, in the place of the time of delivery.
        """
        now = self._clock()
        claimable = or_(
            alarms.c.delivered.is_(None),
            and_(
                alarms.c.delivered < 0,
                or_(alarms.c.delivered > _STALE - now, alarms.c.delivered < -_STALE - now),  # or the clock jumped
            ),
        )
        with self._database.writing() as connection:
            untold = alarms.c.time > now - _OLD
            rows = connection.execute(select(alarms).where(claimable, untold).order_by(alarms.c.id).limit(20)).all()
            for row in rows:
                connection.execute(update(alarms).where(alarms.c.id == row.id).values(delivered=-now))
        for row in rows:
            if self._webhook is not None:
                self._webhook.tell(AlarmMessage(row.id, content_of(row)))

    def delivered(self, alarm: int) -> None:
        """Note that the webhook has taken an alarm."""
        from sqlalchemy.exc import SQLAlchemyError

        try:
            with self._database.writing() as connection:
                connection.execute(update(alarms).where(alarms.c.id == alarm).values(delivered=self._clock()))
        except (SQLAlchemyError, SalusError, OSError) as error:  # it will be told twice, with the same number
            self.fault = f"That alarm {alarm} was delivered could not be noted: {error}"


def open_alarms(connection: Connection) -> Sequence[Row[Any]]:
    """Read the alarms that go on, the latest first."""
    return connection.execute(
        select(alarms).where(alarms.c.cleared.is_(None)).order_by(alarms.c.time.desc(), alarms.c.id.desc())
    ).all()


def recent_alarms(connection: Connection, since: float, count: int) -> Sequence[Row[Any]]:
    """Read alarms that are over, raised since then, the latest first."""
    over = select(alarms).where(alarms.c.cleared.is_not(None), alarms.c.time >= since)
    return connection.execute(over.order_by(alarms.c.time.desc(), alarms.c.id.desc()).limit(count)).all()


def content_of(row: Row[Any], cleared: float | None = None) -> dict[str, Any]:
    """Write an alarm as the webhook tells it."""
    ended = row.cleared if cleared is None else cleared
    return {
        "alarm": row.id,
        "state": "raised" if ended is None else "cleared",
        "kind": row.kind,
        "guard": row.guard,
        "bundle": row.bundle,
        "text": row.text,
        "raised": _utc(row.time),
        "cleared": None if ended is None else _utc(ended),
    }


def _utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="seconds")


def _secret(settings: Settings) -> bytes | None:
    file = settings.webhook_secret_file
    if file is None:
        return None
    try:
        return file.read_bytes().strip()
    except OSError as error:
        raise OptionError(f"The file {file} with the webhook's secret cannot be read: {error.strerror}.") from error
