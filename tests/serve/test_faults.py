"""What a service does when something breaks: no answered request is missing from the log, and it comes back."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from salus.data import load
from salus.serve import schema
from salus.serve.database import Database
from salus.serve.keys import Keys
from salus.serve.log.verifying import verify


class _Started:
    """``salus serve`` in a process of its own."""

    def __init__(self, bundle: Path, folder: Path, *options: str) -> None:
        self.folder, self.output = folder, folder / "output.txt"
        folder.mkdir(exist_ok=True)
        command = [sys.executable, "-m", "salus.cli", "serve", f"patients={bundle}", "--port", "0"]
        places = ["--data-folder", str(folder / "data"), "--key-file", str(folder / "keys" / "key.pem")]
        with self.output.open("wb") as output:
            self.process = subprocess.Popen([*command, *places, *options], stdout=output, stderr=output)
        self.address = ""

    def __enter__(self) -> _Started:
        for _ in range(1200):
            found = re.search(r"Listening on (\S+) ", self.output.read_text())
            if found:
                self.address = found[1]
                break
            if self.process.poll() is not None:
                raise AssertionError(self.output.read_text())
            time.sleep(0.05)
        for _ in range(600):
            try:
                if httpx.get(f"{self.address}/health/ready", timeout=20).status_code == 200:
                    return self
            except httpx.HTTPError:
                pass
            time.sleep(0.05)
        raise AssertionError(self.output.read_text())

    def __exit__(self, *error: object) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(60)

    def workers(self) -> list[int]:
        """Processes that judge, whose own children are none."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [int(pid) for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def _body(count: int = 2) -> bytes:
    return json.dumps({"inputs": load("breast-cancer").test.x[:count].tolist(), "prepared": True}).encode()


def _ask(address: str, body: bytes, **headers: str) -> httpx.Response:
    where = f"{address}/v1/guards/patients/verdicts"
    return httpx.post(where, content=body, headers={"content-type": "application/json", **headers}, timeout=60)


def _logged(database: Database) -> set[str]:
    with database.reading() as connection:
        return {request for (request,) in connection.execute(select(schema.entries.c.request)) if request}


@pytest.mark.soak  # half a minute beside other tests
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="children of a process are read from /proc")
def test_a_worker_killed_under_load_takes_no_answered_request_with_it(table_bundle: Path, tmp_path: Path) -> None:
    answered: list[str] = []
    body, stop = _body(), threading.Event()

    def caller(address: str) -> None:
        while not stop.is_set():
            try:
                answer = _ask(address, body)
            except httpx.HTTPError:
                continue  # the connection died with its worker
            if answer.status_code == 200:
                answered.append(answer.json()["request_id"])

    with _Started(table_bundle, tmp_path / "service", "--workers", "2") as service:
        callers = [threading.Thread(target=caller, args=(service.address,)) for _ in range(4)]
        for thread in callers:
            thread.start()
        time.sleep(1)
        workers = service.workers()
        os.kill(workers[0], signal.SIGKILL)
        before = len(answered)
        for _ in range(200):
            if len(answered) > before + 50:
                break
            time.sleep(0.05)
        stop.set()
        for thread in callers:
            thread.join()
    assert len(workers) == 2
    assert len(answered) > before + 50
    keys = Keys.open(service.folder / "keys" / "key.pem", data_folder=service.folder / "data", create=False)
    database = Database.open(f"sqlite:///{service.folder / 'data' / 'service.sqlite'}", migrate=False)
    assert set(answered) <= _logged(database)
    assert verify(database, keys.public, checkpoints=keys.checkpoints).ok
    database.close()


def test_stopping_under_load_answers_what_was_accepted(table_bundle: Path, tmp_path: Path) -> None:
    statuses: list[int] = []
    with _Started(table_bundle, tmp_path / "service") as service, httpx.Client(timeout=60) as client:
        body = _body(200)

        def ask() -> None:
            headers = {"content-type": "application/json"}
            try:
                where = f"{service.address}/v1/guards/patients/verdicts"
                statuses.append(client.post(where, content=body, headers=headers).status_code)
            except httpx.ConnectError:
                statuses.append(0)  # it came too late

        threads = [threading.Thread(target=ask) for _ in range(12)]
        for thread in threads:
            thread.start()
        time.sleep(0.05)
        service.process.send_signal(signal.SIGTERM)
        code = service.process.wait(60)
        for thread in threads:
            thread.join()
    assert code in (0, -signal.SIGTERM)  # uvicorn raises the signal again once it has ended
    assert set(statuses) <= {200, 0}, service.output.read_text()
    assert "Traceback" not in service.output.read_text()


def test_an_address_that_is_taken_ends_in_one_sentence(table_bundle: Path, tmp_path: Path) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-m", "salus.cli", "serve", str(table_bundle), "--port", port]
        places = ["--data-folder", str(tmp_path / "d"), "--key-file", str(tmp_path / "k" / "key.pem")]
        ended = subprocess.run([*command, *places], capture_output=True, text=True, timeout=120)
    assert ended.returncode == 2
    assert ended.stderr.startswith(f"Error: Address 127.0.0.1:{port} cannot be taken")
    assert not (tmp_path / "d").exists()


def test_without_its_database_it_says_so_and_it_comes_back(table_bundle: Path, tmp_path: Path, postgres: Any) -> None:
    from fastapi.testclient import TestClient

    from salus.serve.app import create_app
    from salus.serve.guards import sources_of
    from salus.serve.service import Service
    from salus.serve.settings import Settings

    settings = Settings(database=postgres.new_database(), key_file=tmp_path / "key.pem", timeout=5.0)
    service = Service.open(settings, sources_of([f"patients={table_bundle}"]))
    request = {"inputs": load("breast-cancer").test.x[:2].tolist(), "prepared": True}
    with TestClient(create_app(service), base_url="http://localhost") as client:
        first = client.post("/v1/guards/patients/verdicts", json=request)
        postgres.stop()
        gone = client.post("/v1/guards/patients/verdicts", json=request)
        unready = client.get("/health/ready")
        postgres.start()
        statuses = []
        for _ in range(60):
            back = client.post("/v1/guards/patients/verdicts", json=request)
            statuses.append(back.status_code)
            if back.status_code == 200:
                break
            time.sleep(0.1)
        answered = {first.json()["request_id"], back.json().get("request_id")}
        logged = _logged(service.database)
        good = verify(service.database, service.keys.public, checkpoints=service.keys.checkpoints).ok
    assert (first.status_code, gone.status_code, unready.status_code, statuses[-1]) == (200, 503, 503, 200)
    assert gone.headers["content-type"] == "application/problem+json"
    assert int(gone.headers["Retry-After"]) >= 1
    assert set(statuses) <= {503, 200}
    assert answered <= logged
    assert good
