"""The log's signing key (Ed25519), and what is derived of it."""

from __future__ import annotations

import hashlib
import hmac
import os
import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from salus.atomic import storage_errors
from salus.errors import StoreError

_PUBLIC = ".pub"


def checkpoints_beside(key_file: Path) -> Path:
    """Name the file beside a key to which every signed head of the log is appended."""
    return key_file.with_suffix(".checkpoints.jsonl")


@dataclass(frozen=True)
class PublicKey:
    """What signatures are checked with; it can be given to anybody.

    Attributes:
        pem: it, as text.
    """

    pem: str

    @classmethod
    def read(cls, path: Path) -> PublicKey:
        """Read a file that holds a public key; of a private one, its public half.

        Raises:
            StoreError: it is missing, or no Ed25519 key.
        """
        content = _content(path)
        if b"PRIVATE KEY" in content:
            return cls(_pem(_private_key(path, content).public_key()))
        try:
            key = serialization.load_pem_public_key(content)
        except (ValueError, UnsupportedAlgorithm):
            key = None
        if not isinstance(key, Ed25519PublicKey):
            raise StoreError(f"The file {path} holds no Ed25519 public key (PEM): give the .pub file of the log's key.")
        return cls(_pem(key))

    @cached_property
    def _key(self) -> Ed25519PublicKey:
        key = serialization.load_pem_public_key(self.pem.encode())
        if not isinstance(key, Ed25519PublicKey):
            raise StoreError("The public key is no Ed25519 key.")
        return key

    @cached_property
    def id(self) -> str:
        """Its short name: the first 16 digits of the SHA-256 of its 32 bytes."""
        return hashlib.sha256(self._key.public_bytes_raw()).hexdigest()[:16]

    def signed(self, content: bytes, signature: str) -> bool:
        """Tell whether a signature, in hexadecimal digits, is this key's on the content."""
        try:
            raw = bytes.fromhex(signature)
            self._key.verify(raw, content)
        except (InvalidSignature, ValueError):
            return False
        return raw.hex() == signature  # there is one way of writing it, so that no letter of it can be changed


class Keys:
    """The key of a log.

    Attributes:
        path: its file.
        public: its public half.
        public_path: a file beside it with that half.
        checkpoints: the file beside it to which every signed head of the log is appended, so that a log whose end was
            cut off, in the database, is found out.
    """

    def __init__(self, path: Path, key: Ed25519PrivateKey) -> None:
        self.path = path
        self.public = PublicKey(_pem(key.public_key()))
        self.public_path = path.with_suffix(_PUBLIC)
        self.checkpoints = checkpoints_beside(path)
        self._key = key
        self._inputs = self.derive("inputs")

    @classmethod
    def open(cls, key_file: Path, *, data_folder: Path | None, create: bool = True) -> Keys:
        """Open a key file.

        Args:
            key_file: PEM, which only its owner may read.
            data_folder: where the log's database lies: who can change it must not find the key there.
            create: make a key where there is none.

        Raises:
            StoreError: it is missing or damaged, others may read it, or it lies in the data folder.
        """
        path = key_file.expanduser().absolute()
        if data_folder is not None and path.resolve().is_relative_to(data_folder.expanduser().resolve()):
            raise StoreError(
                f"The key file {path} lies in the data folder, where whoever changes the log could sign it anew: name "
                "another place with --key-file."
            )
        if create and not path.exists():
            _make(path)
        content = _content(path)
        if os.name == "posix" and path.stat().st_mode & 0o077:
            raise StoreError(f"Others than its owner may read the key file {path}: chmod 600 {path}.")
        return cls(path, _private_key(path, content))

    @property
    def id(self) -> str:
        """The public key's short name."""
        return self.public.id

    def sign(self, content: bytes) -> str:
        """Sign; hexadecimal digits."""
        return self._key.sign(content).hex()

    def derive(self, purpose: str) -> bytes:
        """Give 32 secret bytes for a purpose (HKDF); they tell nothing of the key, nor of those for another purpose."""
        derivation = HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=f"salus {purpose}".encode())
        return derivation.derive(self._key.private_bytes_raw())

    def input_digest(self, x: bytes) -> str:
        """Name a prepared input in the log, by the HMAC of its float32 numbers (little endian).

        Without the key nobody can tell whether an input of his own was judged.
        """
        return hmac.new(self._inputs, x, hashlib.sha256).hexdigest()


def _make(path: Path) -> None:
    """Write a new key, whole or not at all; where another process was faster, its key stays."""
    key = Ed25519PrivateKey.generate()
    content = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # 0600
        place = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            try:
                path.hardlink_to(place)
            except FileExistsError:
                return
        finally:
            place.unlink()
        path.with_suffix(_PUBLIC).write_text(_pem(key.public_key()), encoding="ascii")


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise StoreError(f"There is no key file {path}: put the log's key there, or name it with --key-file.") from None
    except OSError as error:
        raise StoreError(
            f"The key file {path} cannot be read ({error.strerror}): check its owner and rights."
        ) from error


def _private_key(path: Path, content: bytes) -> Ed25519PrivateKey:
    try:
        key = serialization.load_pem_private_key(content, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):  # TypeError: it asks for a password
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise StoreError(f"The key file {path} is damaged, or no Ed25519 key (PEM): put back the log's key.")
    return key


def _pem(key: Ed25519PublicKey) -> str:
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()
