"""Where a service is: its URL checked, whether it is this machine, and who asks."""

from __future__ import annotations

import ipaddress
import os
import ssl
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from salus.errors import OptionError

#: The environment variable that holds the token.
TOKEN = "SALUS_TOKEN"  # noqa: S105 - its name, not its value


@dataclass(frozen=True)
class Address:
    """The URL of a service.

    Attributes:
        scheme: ``http`` or ``https``.
        host: name or number.
        port: None for the scheme's own.
        path: without a slash at its end.
    """

    scheme: str
    host: str
    port: int | None
    path: str

    @classmethod
    def parse(cls, url: str) -> Address:
        """Read a URL.

        Raises:
            OptionError: it is none of a service, or holds a password or a query, which logs would show.
        """
        try:
            parts = urlsplit(url.strip())
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise OptionError(f"{url!r} is no URL of a service ({error}); write http://HOST:PORT.") from error
        if parts.scheme not in ("http", "https") or not host or not url.strip().isprintable():
            raise OptionError(f"{url!r} is no URL of a service; write http://HOST:PORT or https://HOST.")
        if parts.username is not None or parts.query or parts.fragment:
            raise OptionError(
                f"The URL of {host} must have no user, password, query or fragment, as reports and logs show it; give "
                f"a token by {TOKEN}."
            )
        return cls(parts.scheme, host, port, parts.path.rstrip("/"))

    @property
    def url(self) -> str:
        """The URL, written in one way."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}{'' if self.port is None else f':{self.port}'}{self.path}"

    @property
    def loopback(self) -> bool:
        """Whether it is this machine."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def check_token(self, token: str | None, *, allow_plain_http: bool = False) -> str | None:
        """Return the token that may be sent there, from the environment where none is given; None without one.

        Raises:
            OptionError: others on the way could read it, or it is none.
        """
        token = (os.environ.get(TOKEN) if token is None else token) or None
        if token is None:
            return None
        token = token.strip()
        if not token.isascii() or not token.isprintable() or " " in token or not token:
            raise OptionError(
                "The token must be one word of ASCII letters, digits and signs; look at where it is from."
            )
        if self.scheme == "http" and not self.loopback and not allow_plain_http:
            raise OptionError(
                f"A token is not sent to {self.host} over plain http, where others on the way could read it; "
                "use https, or allow it (allow_plain_http) where the way is your own."
            )
        return token


def read_token(path: Path) -> str:
    """Read a token from the first line of a file.

    Raises:
        OptionError: the file cannot be read, or is empty.
    """
    try:
        lines = path.read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        raise OptionError(f"The token file {path} cannot be read ({error}).") from error
    if not lines:
        raise OptionError(f"The token file {path} is empty; write the token into it.")
    return lines[0]


def trusting(authorities: Path | str | None) -> ssl.SSLContext | bool:
    """Return what checks a server's certificate: the usual authorities, or those of a file (PEM).

    Raises:
        OptionError: the file is missing or holds no certificates.
    """
    if authorities is None:
        return True
    try:
        return ssl.create_default_context(cafile=str(authorities))
    except (OSError, ssl.SSLError) as error:
        raise OptionError(f"The certificates in {authorities} cannot be read ({error}); give a PEM file.") from error
