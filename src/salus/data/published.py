"""What a downloadable set looks like at its official home, and how its files are verified."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from salus.errors import DataError
from salus.progress import progress


@dataclass(frozen=True, kw_only=True)
class PublishedSet:
    """A data set in the form in which its makers publish it.

    Attributes:
        name: of the set, and of the folder that holds it.
        version: of the publication.
        base_url: the folder on the web, ending in a slash.
        sums: name of the published list of SHA-256 sums.
        sums_sha256: SHA-256 of that list itself, so that nobody on the way can change it; None where it is not
            known here, so that the list is worth as much as the place it was fetched from.
        landmark: a file by which the folder is known; it is written last, so that it stands for a whole set.
        wanted: regular expression of the files that the loader reads.
        max_file_bytes: no file of the set is larger.
        max_bytes: an archive of the set unpacks to no more.
    """

    name: str
    version: str
    base_url: str
    sums: str
    sums_sha256: str | None
    landmark: str
    wanted: str
    max_file_bytes: int
    max_bytes: int = 2**30

    @property
    def landmarks(self) -> tuple[str, ...]:
        """The file by which the folder is known, as others may have several."""
        return (self.landmark,)

    def wanted_sums(self, listing: bytes, *, where: str) -> dict[str, str]:
        """Read the published list: file name -> SHA-256, for the files that the loader needs.

        Raises:
            DataError: the list is not the published one, or names a file outside its folder.
        """
        digest = hashlib.sha256(listing).hexdigest()
        if self.sums_sha256 not in (None, digest):
            raise DataError(
                f"The list {where} is not the one published with {self.name} {self.version}: its SHA-256 is "
                f"{digest[:12]}..., not {str(self.sums_sha256)[:12]}...; get the set from its official home."
            )
        sums = parse_sums(listing, where=where)
        checksums = {name: sums[name] for name in sorted(sums) if re.fullmatch(self.wanted, name)}
        if self.landmark not in checksums:
            raise DataError(f"The list {where} does not name {self.landmark}; get it again.")
        checksums[self.landmark] = checksums.pop(self.landmark)  # the last of them
        return checksums

    def verify(self, folder: Path, names: Sequence[str]) -> tuple[str, bool]:
        """Compare the files that a loader reads with the published sums, where the folder holds their list.

        Returns:
            SHA-256 over all these files; and whether they are the published ones, none missing.

        Raises:
            DataError: a file is missing, or is not the published one.
        """
        checksums: dict[str, str] = {}
        if (folder / self.sums).is_file():
            listing = (folder / self.sums).read_bytes()
            if self.sums_sha256 in (None, hashlib.sha256(listing).hexdigest()):
                checksums = self.wanted_sums(listing, where=str(folder / self.sums))
        digest = hashlib.sha256()
        with progress(f"Checking {self.name}", len(names)) as advance:
            for name in names:
                if not (folder / name).is_file():
                    raise DataError(f"File {folder / name} is missing; run: salus data fetch {self.name}.")
                checksum = file_sha256(folder / name)
                if checksums.get(name, checksum) != checksum:
                    raise DataError(
                        f"File {folder / name} is truncated or changed: its SHA-256 is not the published one; "
                        f"run: salus data fetch {self.name}."
                    )
                digest.update(f"{checksum}  {name}\n".encode())
                advance()
        whole = {*names, self.landmark} == checksums.keys()
        return digest.hexdigest(), whole


MITDB = PublishedSet(
    name="mitdb",
    version="1.0.0",
    base_url="https://physionet.org/files/mitdb/1.0.0/",
    sums="SHA256SUMS.txt",
    sums_sha256="d0feeffd1276ebb67612948b2519268c7141ad8154c5b518064a4880a5c13a03",
    landmark="RECORDS",
    wanted=r"RECORDS|\d{3}\.(dat|hea|atr)",
    max_file_bytes=8 * 2**20,
)

#: The SHA-256 of its list of sums is not known to us; the .xyz files (the Frank leads) are not read.
PTBDB = PublishedSet(
    name="ptbdb",
    version="1.0.0",
    base_url="https://physionet.org/files/ptbdb/1.0.0/",
    sums="SHA256SUMS.txt",
    sums_sha256=None,
    landmark="RECORDS",
    wanted=r"RECORDS|patient\d{3}/s\w+\.(dat|hea)",
    max_file_bytes=16 * 2**20,
    max_bytes=4 * 2**30,
)


#: Nor are those of the next two; the annotations that an earlier release had (.atr-) are not read.
SVDB = PublishedSet(
    name="svdb",
    version="1.0.0",
    base_url="https://physionet.org/files/svdb/1.0.0/",
    sums="SHA256SUMS.txt",
    sums_sha256=None,
    landmark="RECORDS",
    wanted=r"RECORDS|8\d\d\.(dat|hea|atr)",
    max_file_bytes=8 * 2**20,
)

INCARTDB = PublishedSet(
    name="incartdb",
    version="1.0.0",
    base_url="https://physionet.org/files/incartdb/1.0.0/",
    sums="SHA256SUMS.txt",
    sums_sha256=None,
    landmark="RECORDS",
    wanted=r"RECORDS|files-patients-diagnoses\.txt|I\d\d\.(dat|hea|atr)",
    max_file_bytes=16 * 2**20,
    max_bytes=4 * 2**30,
)


def trust_note(published: PublishedSet, folder: Path, *, verified: bool, records: int, of: int) -> str:
    """Say what the files of a set whose list of sums nobody vouches for were compared with, and how far that goes.

    Args:
        published: the set.
        folder: that holds it.
        verified: whether all of its files are those of the list that lies beside them.
        records: how many were read.
        of: how many there are.
    """
    if not verified:
        return (
            f"not verified against the published sums of {published.name} {published.version} ({records} of {of} "
            "records)"
        )
    return (
        f"verified against the {published.sums} beside the files, whose own SHA-256 "
        f"({file_sha256(folder / published.sums)}) Salus cannot vouch for: it is worth as much as where it came from "
        f"(its home is {published.base_url})"
    )


def parse_sums(listing: bytes, *, where: str) -> dict[str, str]:
    """Read lines of ``SHA-256  name``.

    Raises:
        DataError: a line is neither, or a name would leave the folder.
    """
    sums = {}
    for number, line in enumerate(listing.decode("utf-8", "replace").splitlines(), start=1):
        if not line.strip():
            continue
        match = re.fullmatch(r"([0-9a-fA-F]{64}) [ *]?(\S.*)", line)
        if match is None:
            raise DataError(f"Line {number} of {where} is not a SHA-256 sum and a file name; get the list again.")
        sums[refuse_escape(match[2], where=where)] = match[1].lower()
    return sums


def refuse_escape(name: str, *, where: str) -> str:
    """Return a file name as it is, unless it would lead out of the folder it is meant for.

    Raises:
        DataError: the name is absolute, has a drive letter, a backslash, ``..`` or a control character.
    """
    path = PurePosixPath(name)
    if (
        not path.parts
        or path.is_absolute()
        or ".." in path.parts
        or "\\" in name
        or ":" in name
        or any(ord(letter) < 32 for letter in name)
    ):
        raise DataError(f"{where} names the file {name!r}, which leads out of its folder; it is not trusted.")
    return name


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(2**20):
            digest.update(piece)
    return digest.hexdigest()
