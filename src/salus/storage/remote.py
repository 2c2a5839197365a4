"""Run folders in object storage: worked on in a folder of this machine, and stored as the work goes on."""

from __future__ import annotations

import json
import os
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from salus.errors import StoreError
from salus.progress import console, progress

#: Seconds between two times that what is new is stored.
EVERY = 15.0

#: Says who works on the folder; who has not said so for some times ``EVERY`` is taken for dead.
_OWNER, _DEAD = ".salus-owner.json", 8.0


@contextmanager
def run_folder(out: str | Path) -> Iterator[Path]:
    """Give the folder in which work goes on.

    A folder of this machine is given as it is. Of a URL that ``fsspec`` knows (``s3://bucket/run``, ``gs://``,
    ``abfs://``, ``sftp://``, ``memory://``) all files are fetched into a temporary folder; what is new there is stored
    every 15 seconds and at the end, arrays before the records that vouch for them. One owner works on it at a time.

    Args:
        out: the folder, or the URL of one.

    Raises:
        StoreError: the URL cannot be read or written, or another owner works there.
    """
    text = os.fspath(out)
    if "://" not in text:
        yield Path(text)
        return
    files, root = _opened(text)
    if "file" in files.protocol:
        yield Path(root)
        return
    folder = Path(tempfile.mkdtemp(prefix="salus-run-"))
    mirror = _Mirror(files, root, text, folder)
    try:
        mirror.begin()
        try:
            yield folder
        finally:
            mirror.end()
    except BaseException:
        if not mirror.unsaved:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)


class _Mirror:
    """Keeps a folder and a URL alike.

    Args:
        files: the file system of the URL.
        root: the folder there.
        url: as it was written.
        folder: here.
    """

    def __init__(self, files: Any, root: str, url: str, folder: Path) -> None:
        self._files, self._root, self._url, self._folder = files, root.rstrip("/"), url, folder
        self._stored: dict[str, tuple[int, int]] = {}  # name -> when it was changed, and its size
        self._me = {"host": socket.gethostname(), "process": os.getpid()}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="salus-store", daemon=True)
        self._complained = False
        self.unsaved = False

    def begin(self) -> None:
        """Claim the URL, and fetch what is there."""
        with self._words("read"):
            self._refuse_another()
            self._sign()
            names = [name for name in self._names() if not _hidden(name)]
            with progress(f"Fetching {self._url}", len(names)) as advance:
                for name in names:
                    place = self._folder.joinpath(*PurePosixPath(name).parts)
                    place.parent.mkdir(parents=True, exist_ok=True)
                    self._files.get_file(f"{self._root}/{name}", str(place))
                    self._stored[name] = _state(place)
                    advance()
        self._thread.start()

    def end(self) -> None:
        """Store what is new, and give the URL up.

        Raises:
            StoreError: it cannot be written; the files stay here.
        """
        self._ended.set()
        self._thread.join()
        try:
            with self._words("written"):
                self._store()
                self._files.rm_file(f"{self._root}/{_OWNER}")
        except StoreError as error:
            self.unsaved = True
            raise StoreError(f"{error} What it lacks lies in {self._folder}.") from error

    def _keep(self) -> None:
        while not self._ended.wait(EVERY):
            try:
                with self._words("written"):
                    self._sign()
                    self._store()
                self._complained = False
            except StoreError as error:
                if not self._complained:
                    console.print(f"Warning: {error} It is tried again every {EVERY:g} seconds.")
                self._complained = True

    def _store(self) -> None:
        """Store files that are new or were changed; records, which are listed first, after all others."""
        states = {name: _state(place) for name, place in self._here()}
        changed = [name for name, state in states.items() if self._stored.get(name) != state]
        records = [name for name in changed if name.endswith(".json")]
        others = {name: _state(place) for name, place in self._here() if not name.endswith(".json")}
        for name in [*(each for each, state in others.items() if self._stored.get(each) != state), *records]:
            state = others.get(name) or states[name]
            try:
                self._files.makedirs(str(PurePosixPath(f"{self._root}/{name}").parent), exist_ok=True)
                self._files.put_file(str(self._folder.joinpath(*PurePosixPath(name).parts)), f"{self._root}/{name}")
            except FileNotFoundError:  # deleted meanwhile
                continue
            self._stored[name] = state
        for name in [each for each in self._stored if each not in others and each not in states]:
            self._files.rm_file(f"{self._root}/{name}")
            del self._stored[name]

    def _here(self) -> Iterator[tuple[str, Path]]:
        for place in sorted(self._folder.rglob("*")):
            name = place.relative_to(self._folder).as_posix()
            if not _hidden(name) and place.is_file():
                yield name, place

    def _names(self) -> list[str]:
        """List what is stored, by names below the root."""
        names = []
        if self._files.exists(self._root):
            for path in self._files.find(self._root):
                name = path.removeprefix(self._root.lstrip("/") if not path.startswith("/") else self._root).lstrip("/")
                if ".." in PurePosixPath(name).parts:
                    raise StoreError(f"{self._url} holds a file named {name!r}, which would land outside: delete it.")
                names.append(name)
        return names

    def _refuse_another(self) -> None:
        place = f"{self._root}/{_OWNER}"
        if not self._files.exists(place):
            return
        try:
            owner = json.loads(self._files.cat_file(place))
            age = time.time() - float(owner.pop("time"))
        except (ValueError, TypeError, KeyError, AttributeError):
            return
        if owner != self._me and age < _DEAD * EVERY:
            raise StoreError(
                f"Another process works on {self._url} ({owner.get('host')}, process {owner.get('process')}, "
                f"{max(age, 0):.0f} s ago): wait for it to end; of one that died it is free after "
                f"{_DEAD * EVERY / 60:g} minutes."
            )

    def _sign(self) -> None:
        self._files.makedirs(self._root, exist_ok=True)
        self._files.pipe_file(f"{self._root}/{_OWNER}", json.dumps({**self._me, "time": time.time()}).encode())

    @contextmanager
    def _words(self, what: str) -> Iterator[None]:
        """Turn whatever a file system raises into a sentence."""
        try:
            yield
        except StoreError:
            raise
        except Exception as error:
            reason = (str(error).strip().splitlines() or [""])[0] or type(error).__name__
            raise StoreError(
                f"{self._url} cannot be {what} ({reason}): check the name, your rights, the net."
            ) from error


def _opened(url: str) -> tuple[Any, str]:
    from fsspec.core import url_to_fs

    try:
        files, root = url_to_fs(url)
    except ImportError as error:
        raise StoreError(f"Results cannot go to {url}: {str(error).strip().rstrip('.')}.") from error
    except Exception as error:  # each file system raises its own
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise StoreError(f"Results cannot go to {url} ({reason}): check the URL.") from error
    return files, str(root)


def _hidden(name: str) -> bool:
    """Tell locks and what is half written."""
    return any(part.startswith(".") for part in PurePosixPath(name).parts)


def _state(place: Path) -> tuple[int, int]:
    try:
        stat = place.stat()
    except FileNotFoundError:
        return (0, 0)
    return (stat.st_mtime_ns, stat.st_size)
