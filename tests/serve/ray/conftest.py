"""A service on a Ray cluster of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta, timezone
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from salus.serve.database import Database
from salus.serve.keys import Keys
from salus.serve.tokens import Tokens


class OnRay:
    """``salus serve --engine ray`` in a process of its own, with a cluster that ends with it."""

    def __init__(self, bundle: Path, folder: Path, *options: str, **environment: str) -> None:
        self.folder, self.output = folder, folder / "output.txt"
        self.bundle = bundle
        folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "salus.cli", "serve", f"patients={bundle}", "--engine", "ray", "--port", "0"]
        if "--database" not in options:
            options = (*options, "--data-folder", str(folder / "data"))
        # Never a cluster that something else on this machine has started.
        variables = {**os.environ, "RAY_ADDRESS": "local", "OMP_NUM_THREADS": "1", **environment}
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [*command, "--key-file", str(folder / "keys" / "key.pem"), *options],
                stdout=output,
                stderr=output,
                env=variables,
            )
        self.database_url = f"sqlite:///{folder / 'data' / 'service.sqlite'}"

    @property
    def address(self) -> str:
        """Where it listens, once it does."""
        for _ in range(3600):
            found = re.search(r"Listening on (\S+) ", self.output.read_text())
            if found:
                return found[1]
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        raise AssertionError(self.output.read_text())

    @property
    def code(self) -> str:
        """Lets into the dashboard."""
        found = re.search(r"code=(\S+)", self.output.read_text())
        assert found is not None
        return found[1]

    def replicas(self) -> list[int]:
        """Processes that judge, among those that were started here."""
        return [pid for pid in _below(self.process.pid) if _named(pid).startswith(b"ray::ServeReplica:salus:")]

    def database(self) -> Database:
        """Open its log."""
        return Database.open(self.database_url, migrate=False)

    def keys(self) -> Keys:
        """Open its key."""
        return Keys.open(self.folder / "keys" / "key.pem", data_folder=self.folder / "data", create=False)

    def token(self, *scopes: str) -> str:
        """Make a token."""
        database = self.database()
        secret = Tokens(database).add("test", scopes)
        database.close()
        return secret

    def stop(self) -> int:
        """Tell it to stop, and wait until it has."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(120)


def _named(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _below(pid: int) -> Iterator[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return
    for child in map(int, children):
        yield child
        yield from _below(child)


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate of this machine's address, its own authority, and its key."""
    now, key = datetime.now(timezone.utc), ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    chain, secret = tmp_path / "cert.pem", tmp_path / "key.pem"
    chain.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return chain, secret


@pytest.fixture(scope="module")
def on_ray(table_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., OnRay]]:
    """Start services on Ray, one after another; they are ended with the module."""
    pytest.importorskip("ray")
    if not Path("/proc/self/task").exists():
        pytest.skip("children of a process are read from /proc")

    @contextmanager
    def ended(service: OnRay) -> Iterator[OnRay]:
        try:
            yield service
        finally:
            if service.process.poll() is None:
                service.process.send_signal(signal.SIGTERM)
                try:
                    service.process.wait(60)
                except subprocess.TimeoutExpired:
                    service.process.kill()
                    service.process.wait(30)

    with ExitStack() as stack:

        def start(*options: str, bundle: Path = table_bundle, **environment: str) -> OnRay:
            folder = tmp_path_factory.mktemp("on-ray")
            return stack.enter_context(ended(OnRay(bundle, folder, *options, **environment)))

        yield start
