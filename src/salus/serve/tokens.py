"""Tokens: who may ask the service for what. A secret is shown once; the database keeps its hash."""

from __future__ import annotations

import hmac
import secrets
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256

from sqlalchemy import insert, select, update

from salus.client.messages import SCOPES
from salus.errors import OptionError, nearest
from salus.serve import schema
from salus.serve.database import Database
from salus.serve.log.chain import extend
from salus.serve.log.checkpoints import read_head
from salus.serve.log.entry import EventEntry

#: Seconds for which what was read is good: a token that was revoked ends within them.
_FRESH = 5.0

#: Seconds between looks for a token that is not known, which may just have been made.
_LOOK = 0.25

_LONGEST_NAME = 128


@dataclass(frozen=True)
class Principal:
    """Who asks.

    Attributes:
        token: the token's id, or "local".
        name: whose it is.
        scopes: what it may do.
    """

    token: str
    name: str
    scopes: frozenset[str]


@dataclass(frozen=True)
class Token:
    """A token, without its secret.

    Attributes:
        id: names it.
        name: whose it is.
        hash: SHA-256 of its secret.
        scopes: what it may do.
        created: when it was made, in seconds since 1970.
        expires: when it ends; None: never.
        revoked: when it was revoked; None: it was not.
    """

    id: str
    name: str
    hash: str
    scopes: frozenset[str]
    created: float
    expires: float | None
    revoked: float | None

    def valid(self, now: float) -> bool:
        """Tell whether it may be used."""
        return self.revoked is None and (self.expires is None or now < self.expires)

    def principal(self) -> Principal:
        """Give who uses it."""
        return Principal(self.id, self.name, self.scopes)


class Tokens:
    """The tokens of a service."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._known: dict[str, Token] = {}
        self._read_at = -float("inf")  # on the monotonic clock

    def add(self, name: str, scopes: Iterable[str], expires: float | None = None) -> str:
        """Make a token, and note it in the log.

        Args:
            name: whose it is.
            scopes: some of ``SCOPES``.
            expires: when it ends, in seconds since 1970; None: never.

        Returns:
            The secret, which is kept nowhere.

        Raises:
            OptionError: the name or a scope makes no sense.
            StoreError: the database cannot be written.
        """
        granted = _check(name, scopes)
        token, now = secrets.token_hex(6), time.time()
        secret = f"salus_{token}_{secrets.token_urlsafe(32)}"
        words = " ".join(granted)
        row = {"id": token, "name": name, "hash": _hash(secret), "scopes": words, "created": now, "expires": expires}
        event = EventEntry("token made", {"token": token, "name": name, "scopes": granted, "expires": expires})
        with self._database.writing() as connection:
            connection.execute(insert(schema.tokens), [row])
            extend(connection, read_head(connection), [event], now)
        self._forget()
        return secret

    def list(self) -> tuple[Token, ...]:
        """List all tokens, the oldest first."""
        table = schema.tokens.c
        columns = (table.id, table.name, table.hash, table.scopes, table.created, table.expires, table.revoked)
        with self._database.reading() as connection:
            rows = connection.execute(select(*columns).order_by(table.created, table.id)).all()
        return tuple(
            Token(id_, name, hash_, frozenset(scopes.split()), *times) for id_, name, hash_, scopes, *times in rows
        )

    def revoke(self, token: str) -> None:
        """End a token, and note it in the log; one that was revoked before stays so.

        Raises:
            OptionError: there is none with this id.
            StoreError: the database cannot be written.
        """
        known = {each.id: each for each in self.list()}
        if token not in known:
            raise OptionError(f"There is no token {token!r}: {nearest(token, known)}")
        table, now = schema.tokens, time.time()
        event = EventEntry("token revoked", {"token": token, "name": known[token].name})
        with self._database.writing() as connection:
            ended = connection.execute(
                update(table).where(table.c.id == token, table.c.revoked.is_(None)).values(revoked=now)
            )
            if ended.rowcount:
                extend(connection, read_head(connection), [event], now)
        self._forget()

    def check(self, secret: str) -> Principal | None:
        """Tell whose a secret is; None where it is nobody's, or its token has ended.

        Raises:
            StoreError: the database cannot be read.
        """
        id_ = secret.split("_", 2)[1] if secret.count("_") >= 2 else ""
        token = self._find(id_)
        right = hmac.compare_digest(_hash(secret), token.hash if token is not None else _hash(""))
        return token.principal() if token is not None and right and token.valid(time.time()) else None

    def current(self, token: str) -> Principal | None:
        """Tell whose a token is that has shown its secret before, as of a session; None where it has ended.

        Raises:
            StoreError: the database cannot be read.
        """
        known = self._find(token)
        return known.principal() if known is not None and known.valid(time.time()) else None

    def _find(self, token: str) -> Token | None:
        """Look a token up among those read a moment ago."""
        with self._lock:
            age = time.monotonic() - self._read_at
            if age > _FRESH or (token not in self._known and age > _LOOK):
                self._known = {each.id: each for each in self.list()}
                self._read_at = time.monotonic()
            return self._known.get(token)

    def _forget(self) -> None:
        with self._lock:
            self._read_at = -float("inf")


def _hash(secret: str) -> str:
    """Hash a secret; it is 32 random bytes, which no slow hash would make harder to guess."""
    return sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def _check(name: str, scopes: Iterable[str]) -> list[str]:
    """Check what a token is to be; return its scopes in order."""
    if not name.strip() or not name.isprintable() or len(name) > _LONGEST_NAME:
        raise OptionError(f"A token's name has 1 to {_LONGEST_NAME} printable characters, not {name!r}.")
    wanted = set(scopes)
    for scope in sorted(wanted.difference(SCOPES)):
        raise OptionError(f"Scope {scope!r} of token {name!r} is unknown: {nearest(scope, SCOPES)}")
    if not wanted:
        raise OptionError(f"Token {name!r} may do nothing: give it a scope, of {', '.join(SCOPES)}.")
    return [scope for scope in SCOPES if scope in wanted]
