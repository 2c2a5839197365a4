"""What a service can be told, declared once: the command line and its help come from here."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

from platformdirs import user_config_path, user_data_path
from pydantic import Field

from salus.engines.options import EngineOptions
from salus.errors import OptionError
from salus.options import Repeated, check_fields

#: Replicas of a service.
_MOST_REPLICAS = 10_000


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a service runs."""

    host: Annotated[str, Field(description="address to listen on")] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535, description="port to listen on; 0 takes any that is free")] = 8000
    workers: Annotated[int, Field(ge=1, le=64, description="processes that judge side by side")] = 1
    threads: Annotated[int, Field(ge=1, le=256, description="threads of a forward pass, in each worker")] = 1
    device: Annotated[str, Field(description="where networks run: cpu, cuda, cuda:1")] = "cpu"

    engine: Annotated[
        str, Field(description="where guards judge: local, ray, or ray:HOST:PORT for a cluster's head")
    ] = "local"
    replicas: Annotated[
        str | None,
        Field(description="processes that judge in Ray: 4, or 1..8 as load asks; by default up to all its cores"),
    ] = None
    replica_load: Annotated[
        int, Field(ge=1, description="requests in hand of each, on average, beyond which Ray starts another")
    ] = 16
    replica_gpus: Annotated[
        float | None, Field(gt=0, description="share of a GPU of each; 1 where the device is one")
    ] = None
    trusted_network: Annotated[
        bool, Field(description="Ray's machines may talk without TLS, inputs and verdicts in the clear")
    ] = False

    data_folder: Annotated[
        Path | None, Field(description="folder of the log's database, your own data folder if not given")
    ] = None
    database: Annotated[
        str | None, Field(description="URL of a database (postgresql://...), SQLite in the data folder if not given")
    ] = None
    key_file: Annotated[
        Path | None,
        Field(description="the log's signing key, outside the data folder; in your configuration folder if not given"),
    ] = None
    log: Annotated[
        Literal["durable", "queued"],
        Field(description="durable: an answer leaves when its entry is on disk; queued: at once, and entries follow"),
    ] = "durable"
    log_wait: Annotated[
        float, Field(ge=0, le=1, description="seconds between commits, at least, in which entries gather")
    ] = 0.012
    checkpoint_entries: Annotated[int, Field(ge=1, description="entries after which the log is signed")] = 1000
    checkpoint_seconds: Annotated[float, Field(gt=0, description="seconds after which it is signed at the latest")] = (
        60.0
    )
    keep_inputs: Annotated[bool, Field(description="keep what was judged, prepared, beside its entry")] = False
    keep_days: Annotated[float, Field(gt=0, description="days after which kept inputs are deleted")] = 30.0

    batch: Annotated[int, Field(ge=1, le=65536, description="inputs of one forward pass, at most")] = 256
    batch_wait: Annotated[
        float, Field(ge=0, le=1, description="seconds between forward passes, at least, in which requests gather")
    ] = 0.02
    queue: Annotated[
        int, Field(ge=1, description="inputs that may wait in each worker; beyond that the answer is 429")
    ] = 4096
    max_inputs: Annotated[int, Field(ge=1, description="inputs of one request, at most")] = 1024
    max_bytes: Annotated[int, Field(ge=1, description="bytes of one request, at most, also when unpacked")] = 32 * 2**20
    timeout: Annotated[float, Field(gt=0, description="seconds for a request to arrive, and again to be judged")] = 30.0
    rate: Annotated[float | None, Field(gt=0, description="inputs a second that one token may ask about")] = None
    reload_seconds: Annotated[
        float, Field(ge=0, description="seconds between looks for a changed bundle; 0 never looks")
    ] = 2.0
    monitor: Annotated[
        str,
        Field(
            description="what follows when the monitor of a bundle suspects a caller: review, labels, slow:delay=2, "
            "refuse; off watches nobody"
        ),
    ] = "review"
    monitor_window: Annotated[
        int, Field(ge=2, le=100_000, description="queries of each caller that new ones are compared with")
    ] = 2000
    monitor_callers: Annotated[int, Field(ge=1, description="callers of each guard that are remembered")] = 500
    monitor_days: Annotated[float, Field(gt=0, description="days after which queries and suspicions are forgotten")] = (
        30.0
    )
    drain_seconds: Annotated[float, Field(gt=0, description="seconds that open requests have when it is stopped")] = (
        20.0
    )

    tls_certificate: Annotated[Path | None, Field(description="certificate chain (PEM), for https")] = None
    tls_key: Annotated[Path | None, Field(description="its private key (PEM)")] = None
    behind_proxy: Annotated[bool, Field(description="TLS ends in a proxy before this service; tokens are required")] = (
        False
    )
    allow_host: Annotated[
        tuple[str, ...], Repeated(), Field(description="a name by which requests may call it, beside its address")
    ] = ()

    webhook: Annotated[str | None, Field(description="URL to which alarms are posted")] = None
    webhook_secret_file: Annotated[
        Path | None, Field(description="file with the secret that signs them (HMAC-SHA256)")
    ] = None
    baseline: Annotated[int, Field(ge=50, description="first inputs of a bundle, against which drift is measured")] = (
        1000
    )
    window: Annotated[float, Field(gt=0, description="minutes over which rates and drift are judged")] = 60.0

    def __post_init__(self) -> None:
        check_fields(self, "The service")
        self._check_engine()
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise OptionError(
                "TLS needs both a certificate (--tls-certificate) and its key (--tls-key); give both or none."
            )
        if not self.local and not self.encrypted and not self.behind_proxy:
            raise OptionError(
                f"Address {self.host} can be reached from other machines: give --tls-certificate and --tls-key, or say "
                "--behind-proxy where a proxy before it speaks TLS."
            )

    def _check_engine(self) -> None:
        """Refuse options that do not go with the engine.

        Raises:
            OptionError: one does not.
        """
        if self.ray_address is not None:
            _ = self.replica_range
            if self.workers > 1:
                raise OptionError("Workers are processes of this machine alone: with Ray, say --replicas instead.")
            return
        given = {"replicas": self.replicas, "replica-gpus": self.replica_gpus, "trusted-network": self.trusted_network}
        for option, value in given.items():
            if value:
                remedy = "; on this machine alone, say --workers" if option == "replicas" else ""
                raise OptionError(f"The option --{option} belongs to Ray: give --engine ray too{remedy}.")

    @cached_property
    def ray_address(self) -> str | None:
        """Where the head of a Ray cluster is; ``auto`` where nobody says; None without Ray.

        Raises:
            OptionError: the engine is none of Salus's.
        """
        return EngineOptions(engine=self.engine).ray_address

    @cached_property
    def replica_range(self) -> tuple[int, int | None]:
        """How many replicas there are, at least and at most; None: as many as there is room for.

        Raises:
            OptionError: that is no number and no range.
        """
        if self.replicas is None:
            return 1, None
        least, dots, most = self.replicas.partition("..")
        words = [least, most] if dots else [least, least]
        if all(word.strip().isdecimal() for word in words):
            low, high = map(int, words)
            if 1 <= low <= high <= _MOST_REPLICAS:
                return low, high
        raise OptionError(
            f"The option --replicas is {self.replicas!r}: write a number such as 4, or a range such as 1..8, from 1 to "
            f"{_MOST_REPLICAS}."
        )

    @cached_property
    def local(self) -> bool:
        """Whether only this machine can reach it."""
        return is_loopback(self.host)

    @cached_property
    def open(self) -> bool:
        """Whether it may be asked for verdicts without a token."""
        return self.local and not self.behind_proxy

    @property
    def encrypted(self) -> bool:
        """Whether it speaks TLS itself."""
        return self.tls_certificate is not None

    @property
    def secure(self) -> bool:
        """Whether browsers reach it by https."""
        return self.encrypted or self.behind_proxy

    @property
    def folder(self) -> Path:
        """Where the database lies, unless it is a server's."""
        return self.data_folder if self.data_folder is not None else user_data_path("salus") / "service"

    @property
    def key(self) -> Path:
        """Where the signing key lies."""
        return self.key_file if self.key_file is not None else user_config_path("salus") / "service-key.pem"


def is_loopback(host: str) -> bool:
    """Tell whether an address reaches this machine alone."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.casefold() == "localhost"
