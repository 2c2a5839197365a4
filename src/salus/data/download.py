"""Downloading one file: resumed where it broke off, tried again, never larger than expected."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urljoin, urlsplit

from salus.atomic import storage_errors
from salus.errors import DataError

if TYPE_CHECKING:
    import requests

MAX_REDIRECTS = 5

#: What a server answers when it may do better in a moment.
PASSING = (408, 425, 429, 500, 502, 503, 504)


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long a download waits and how often it tries again.

    Attributes:
        tries: attempts in a row that bring nothing before it gives up.
        backoff: seconds before the second attempt; doubled before each further one.
        connect: seconds to wait for a connection.
        read: seconds to wait for the next bytes.
    """

    tries: int = 5
    backoff: float = 1.0
    connect: float = 10.0
    read: float = 30.0


class _BrokenError(Exception):
    """A failure that may pass: a broken connection, a server that is busy."""


def download(
    url: str,
    part: Path,
    *,
    session: requests.Session,
    max_bytes: int,
    patience: Patience | None = None,
    sleep: Callable[[float], object] = time.sleep,
) -> None:
    """Bring a file to ``part``; what already lies there is its beginning.

    Raises:
        DataError: the server refuses, redirects to where we do not follow, sends too much, or stays silent.
        StoreError: the disk is full or not writable.
    """
    patience = patience or Patience()
    failures = 0
    while True:
        before = part.stat().st_size if part.is_file() else 0
        try:
            _attempt(url, part, session, max_bytes, patience)
            return
        except _BrokenError as error:
            after = part.stat().st_size if part.is_file() else 0
            failures = 0 if after > before else failures + 1
            if failures >= patience.tries:
                raise DataError(
                    f"Cannot download {url}: {error}; run the same command again later, it goes on where it broke off."
                ) from error
            sleep(patience.backoff * 2 ** max(failures - 1, 0))


def download_verified(
    url: str,
    target: Path,
    right: Callable[[Path], bool],
    *,
    session: requests.Session,
    max_bytes: int,
    patience: Patience | None = None,
) -> None:
    """Bring a file to ``target`` once it is right; try once more from its beginning if it came out wrong.

    Raises:
        DataError: it came out wrong twice, or cannot be downloaded.
        StoreError: the disk is full or not writable.
    """
    part = part_of(target)
    with storage_errors(part):
        part.parent.mkdir(parents=True, exist_ok=True)
    for _ in range(2):
        download(url, part, session=session, max_bytes=max_bytes, patience=patience)
        if right(part):
            with storage_errors(target):
                part.replace(target)
            return
        part.unlink()
    home, _, name = url.rpartition("/")
    raise DataError(
        f"File {unquote(name)} from {home}/ is not the published one: its checksum is wrong, twice; try again "
        "later, or bring the set from elsewhere (--from FOLDER)."
    )


def part_of(target: Path) -> Path:
    """Where a file grows; a link that lies there is not followed."""
    part = target.with_name(f"{target.name}.part")
    if part.is_symlink():
        part.unlink()
    return part


def _attempt(url: str, part: Path, session: requests.Session, max_bytes: int, patience: Patience) -> None:
    """Ask once for what is missing, and append what comes."""
    import requests

    start = part.stat().st_size if part.is_file() else 0
    try:
        with _get(url, start, session, patience) as response:
            status = response.status_code
            if status == 416:  # there is nothing from here on: the part is no beginning of the file
                part.unlink()
                raise _BrokenError("the part on disk does not fit the file")
            if status in PASSING:
                raise _BrokenError(f"the server answers {status}")
            if status not in (200, 206):
                raise DataError(f"Cannot download {url}: the server answers {status} {response.reason}.")
            if status == 206 and not _continues(response, start):
                part.unlink(missing_ok=True)
                raise _BrokenError("the server sends another piece than was asked for")
            begin = start if status == 206 else 0  # 200: the server ignores Range and sends the whole file
            _append(response, part, begin, max_bytes, url)
    except requests.RequestException as error:
        raise _BrokenError(_reason(error)) from error


def _get(url: str, start: int, session: requests.Session, patience: Patience) -> requests.Response:
    """Send the request; follow redirects by hand, each one looked at."""
    headers = {"Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    at = url
    for _ in range(MAX_REDIRECTS + 1):
        response = session.get(
            at, headers=headers, stream=True, allow_redirects=False, timeout=(patience.connect, patience.read)
        )
        if not response.is_redirect:
            return response
        response.close()
        at = _follow(at, response.headers["Location"])
    raise DataError(f"Cannot download {url}: the server redirects more than {MAX_REDIRECTS} times.")


def _follow(at: str, location: str) -> str:
    """Where a redirect leads, if it is to https, or to the same server without leaving https."""
    target = urljoin(at, location)
    old, new = urlsplit(at), urlsplit(target)
    same = (old.scheme, old.netloc) == (new.scheme, new.netloc)
    if new.scheme != "https" and not same:
        raise DataError(
            f"Cannot download {at}: the server redirects to {target}, which is neither https nor the same "
            "server; this is not followed."
        )
    return target


def _continues(response: requests.Response, start: int) -> bool:
    match = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return match is not None and int(match[1]) == start


def _append(response: requests.Response, part: Path, begin: int, max_bytes: int, url: str) -> None:
    """Write what comes, piece by piece, so that a broken connection loses nothing."""
    size = begin
    length = response.headers.get("Content-Length", "")
    with storage_errors(part):
        file = part.open("r+b" if begin else "wb")
    with file:
        file.seek(begin)
        for piece in response.iter_content(2**16):
            size += len(piece)
            if size > max_bytes:
                file.close()
                part.unlink()
                raise DataError(f"Cannot download {url}: the server sends more than the {max_bytes} bytes expected.")
            with storage_errors(part):
                file.write(piece)
                file.flush()
    if length.isdigit() and size < begin + int(length):
        raise _BrokenError("the connection broke off")


def _reason(error: Exception) -> str:
    """The innermost cause in a few words: requests wraps the same failure three times."""
    import requests

    if isinstance(error, requests.Timeout):
        return "the server does not answer in time"
    if isinstance(error, requests.exceptions.SSLError):
        return "the server's certificate is not trusted"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection broke off"
    if isinstance(error, requests.ConnectionError):
        return "no connection to the server"
    return type(error).__name__
