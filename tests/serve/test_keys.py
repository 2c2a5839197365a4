"""The signing key: made once, kept to its owner, refused where it would be no use."""

from __future__ import annotations

import stat
import threading
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from salus.errors import StoreError
from salus.serve.keys import Keys, PublicKey


def _open(path: Path, **settings: bool) -> Keys:
    return Keys.open(path, data_folder=path.parent.parent / "data", **settings)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "conf" / "service-key.pem"


def test_a_key_is_made_at_first_and_kept(path: Path) -> None:
    keys = _open(path)
    assert _open(path, create=False).id == keys.id
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert sorted(each.name for each in path.parent.iterdir()) == ["service-key.pem", "service-key.pub"]


def test_all_who_make_a_key_at_once_get_the_same(path: Path) -> None:
    ids: set[str] = set()
    start = threading.Barrier(8)

    def open_() -> None:
        start.wait()
        ids.add(_open(path).id)

    threads = [threading.Thread(target=open_) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids) == 1


def test_signatures_are_checked_with_the_public_half_alone(path: Path) -> None:
    keys = _open(path)
    public = PublicKey.read(keys.public_path)
    signature = keys.sign(b"content")
    assert public.id == keys.id
    assert public.signed(b"content", signature)
    assert not public.signed(b"contents", signature)
    for changed in (signature.upper(), signature[:-2], f"{signature} ", "no digits", signature[2:] + signature[:2]):
        assert not public.signed(b"content", changed)


def test_the_public_half_is_read_from_the_private_file_too(path: Path) -> None:
    assert PublicKey.read(path).pem == keys.public.pem if (keys := _open(path)) else False


def test_secrets_for_different_purposes_differ_and_stay(path: Path) -> None:
    keys = _open(path)
    assert keys.derive("inputs") == _open(path).derive("inputs")
    assert len({keys.derive("inputs"), keys.derive("sessions"), b""}) == 3
    assert len(keys.derive("inputs")) == 32


def test_an_input_is_named_by_a_digest_that_only_the_key_gives(path: Path, tmp_path: Path) -> None:
    keys, others = _open(path), _open(tmp_path / "other" / "key.pem")
    assert keys.input_digest(b"x") == keys.input_digest(b"x") != keys.input_digest(b"y")
    assert keys.input_digest(b"x") != others.input_digest(b"x")


def test_a_key_in_the_data_folder_is_refused_by_whatever_way_it_got_there(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (tmp_path / "linked").symlink_to(data)
    for folder in (data, data / "deeper", tmp_path / "linked", tmp_path / "data" / ".." / "data"):
        with pytest.raises(StoreError, match="lies in the data folder"):
            Keys.open(folder / "key.pem", data_folder=data)
    assert list(data.iterdir()) == []


def test_a_missing_key_is_said(path: Path) -> None:
    with pytest.raises(StoreError, match="There is no key file"):
        _open(path, create=False)
    with pytest.raises(StoreError, match="There is no key file"):
        PublicKey.read(path)


@pytest.mark.parametrize(
    "content", [b"", b"not a key", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"]
)
def test_a_damaged_key_is_said(path: Path, content: bytes) -> None:
    _open(path)
    path.write_bytes(content)
    with pytest.raises(StoreError, match="is damaged, or no Ed25519 key"):
        _open(path)


def test_keys_of_another_kind_or_behind_a_password_are_refused(path: Path) -> None:
    _open(path)
    key = ec.generate_private_key(ec.SECP256R1())
    for encryption in (serialization.NoEncryption(), serialization.BestAvailableEncryption(b"word")):
        path.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption))
        with pytest.raises(StoreError, match="no Ed25519 key"):
            _open(path)
    path.write_bytes(
        key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    with pytest.raises(StoreError, match="holds no Ed25519 public key"):
        PublicKey.read(path)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660])
def test_a_key_that_others_may_read_is_refused(path: Path, mode: int) -> None:
    _open(path)
    path.chmod(mode)
    with pytest.raises(StoreError, match="chmod 600"):
        _open(path)


def test_a_place_where_no_key_can_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("This is no folder.")
    with pytest.raises(StoreError, match="Choose a folder"):
        Keys.open(tmp_path / "file" / "key.pem", data_folder=None)
