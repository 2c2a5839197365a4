"""What a running service consists of, in one worker."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field

from salus.errors import SalusError
from salus.serve.batching import Batcher
from salus.serve.crew import Crew
from salus.serve.database import Database, default_url, folder_of
from salus.serve.guards import GuardSource, Shelf
from salus.serve.keys import Keys
from salus.serve.limits import Rates, Room
from salus.serve.log.writer import LogWriter
from salus.serve.metrics import Metrics
from salus.serve.monitoring import Recorder
from salus.serve.settings import Settings
from salus.serve.tokens import Tokens
from salus.serve.watching.watchers import Watchers


@dataclass(eq=False)
class Service:
    """Everything that answers a request needs.

    Attributes:
        settings: how it runs.
        guards: who judges.
        database: where the log, tokens and counts are.
        keys: sign the log.
        writer: writes the log.
        tokens: know who may do what.
        recorder: counts what was judged.
        batcher: judges.
        metrics: figures for Prometheus.
        rates: how fast each token may ask.
        room: bytes of requests that may be in hand at once.
        crew: this worker, and the others of the service.
        watchers: watch callers, where a guard's bundle holds a monitor.
        login_code: lets whoever started the service into the dashboard.
        worker: names this process.
    """

    settings: Settings
    guards: Shelf
    database: Database
    keys: Keys
    writer: LogWriter
    tokens: Tokens
    recorder: Recorder
    batcher: Batcher
    metrics: Metrics
    rates: Rates
    room: Room
    crew: Crew
    watchers: Watchers
    login_code: str = ""
    worker: str = field(default_factory=lambda: secrets.token_hex(4))

    @classmethod
    def open(
        cls,
        settings: Settings,
        sources: Sequence[GuardSource],
        login_code: str = "",
        *,
        crew: Crew | None = None,
        make_key: bool = True,
    ) -> Service:
        """Load the guards and open the log.

        Args:
            settings: how it runs.
            sources: of the guards.
            login_code: lets whoever started the service into the dashboard.
            crew: the workers that it has; None: this one alone.
            make_key: whether to make a signing key where there is none.

        Raises:
            BundleError: a guard cannot be used.
            StoreError: the database or the key cannot, or the log lacks what was signed.
        """
        guards = Shelf(sources, settings.device)
        url = settings.database or default_url(settings)
        keys = Keys.open(settings.key, data_folder=folder_of(url), create=make_key)
        database = Database.open(url)
        writer = LogWriter(
            database,
            keys,
            wait=settings.log_wait,
            checkpoint_entries=settings.checkpoint_entries,
            checkpoint_seconds=settings.checkpoint_seconds,
            keep_days=settings.keep_days,
        )
        try:
            watchers = Watchers(database, settings)
            for served in guards.values():
                watchers.monitor_of(served)
            writer.start()
        except SalusError:
            database.close()
            raise
        worker, crew = secrets.token_hex(4), crew or Crew()
        rates = Rates(settings.rate, burst=settings.max_inputs)
        rates.workers = crew.size
        return cls(
            settings,
            guards,
            database,
            keys,
            writer,
            Tokens(database),
            Recorder(database, worker, settings, guards),
            Batcher(batch=settings.batch, wait=settings.batch_wait, queue=settings.queue, threads=settings.threads),
            Metrics(),
            rates,
            Room(8 * settings.max_bytes),
            crew,
            watchers,
            login_code,
            worker,
        )

    def take_stock(self) -> None:
        """Let the figures say how things are now."""
        state = self.writer.state
        self.metrics.waiting.set(self.batcher.waiting)
        self.metrics.log_available.set(state.available)
        self.metrics.log_entries.set(state.seq)

    def heard(self) -> Sequence[str]:
        """Name the guards that another worker was told to load again, and share the rate among those there are now."""
        self.take_stock()
        names = self.crew.heard(self.metrics)
        self.rates.workers = self.crew.size
        return names

    def close(self) -> None:
        """Write what is still to be written, and let go of everything."""
        self.watchers.close()
        self.recorder.close()
        self.writer.close(self.settings.drain_seconds)
        self.database.close()
