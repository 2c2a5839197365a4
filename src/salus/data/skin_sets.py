"""Where the skin-lesion sets come from, what their folders are known by, and what of them can be verified."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from salus.data.places import find_set, places
from salus.data.skin_tables import GROUND_TRUTH, GROUPINGS, METADATA, SkinTable, read_ham10000, read_isic2018
from salus.errors import DataError


@dataclass(frozen=True, kw_only=True)
class RemoteFile:
    """A file at a set's home.

    Attributes:
        name: that it has on this machine; an archive ends in ``.zip``.
        path: behind the home's address.
        md5: as the home publishes it; "" where it publishes none.
        max_bytes: it is no larger.
    """

    name: str
    path: str
    md5: str = ""
    max_bytes: int

    def right(self, path: Path) -> bool:
        """Tell whether a file is the published one, or might be, where nothing is published to tell."""
        if not self.md5:
            return path.is_file()
        digest = hashlib.md5(usedforsecurity=False)
        with path.open("rb") as file:
            while piece := file.read(2**20):
                digest.update(piece)
        return digest.hexdigest() == self.md5


@dataclass(frozen=True, kw_only=True)
class SkinSet:
    """Images of skin lesions with a table, as their makers publish them.

    Attributes:
        name: of the set, and of the folder that holds it.
        source: its name in words.
        licence: its licence.
        base_url: the address of its home.
        files: what is fetched from there, in this order; the table by which the folder is known is in the last.
        tables: the names of its tables, the one by which the folder is known last.
        read: reads them.
        verified: what is known of the files after they were fetched from home.
        max_bytes: all archives together unpack to no more.
        max_files: nor to more files.
    """

    name: str
    source: str
    licence: str
    base_url: str
    files: tuple[RemoteFile, ...]
    tables: tuple[str, ...]
    read: Callable[[Path], SkinTable]
    verified: str
    max_bytes: int = 2**33
    max_files: int = 50_000

    @property
    def landmarks(self) -> tuple[str, ...]:
        """What the folder is known by: its table, by itself or in the folder that an archive unpacks to."""
        table = self.tables[-1]
        return table, f"{Path(table).stem}/{table}"

    def find(self, data_dir: Path | None) -> Path:
        """The folder of the set on this machine.

        Raises:
            DataError: there is none.
        """
        folder = find_set(self.name, self.landmarks, data_dir)
        if folder is None:
            where = ", ".join(str(place) for place in places(data_dir))
            raise DataError(
                f"Data {self.name!r} is not on this machine (looked in {where}); run: salus data fetch {self.name}."
            )
        return folder


HAM10000 = SkinSet(
    name="ham10000",
    source="HAM10000, Tschandl, Rosendahl and Kittler",
    licence="CC BY-NC 4.0",
    base_url="https://dataverse.harvard.edu/api/access/datafile/",  # doi:10.7910/DVN/DBW86T, version 4
    files=(
        RemoteFile(
            name="HAM10000_images_part_1.zip",
            path="3172585",
            md5="4639bfa73ab251610530a97c898e6e46",
            max_bytes=2**31,
        ),
        RemoteFile(
            name="HAM10000_images_part_2.zip",
            path="3172584",
            md5="da43d6cc50f6613013be07e8986b384b",
            max_bytes=2**31,
        ),
        RemoteFile(
            name=METADATA,
            path="4338392?format=original",  # Dataverse's own form of it has another sum
            md5="8f85fb1aa29d80a2797247e434deb79d",
            max_bytes=2**22,
        ),
    ),
    tables=(METADATA,),
    read=read_ham10000,
    verified="Every file of ham10000 has the MD5 that Harvard Dataverse publishes.",
)

ISIC2018 = SkinSet(
    name="isic2018",
    source="ISIC 2018 task 3, training part (HAM10000)",
    licence="CC BY-NC 4.0",
    base_url="https://isic-challenge-data.s3.amazonaws.com/2018/",
    files=(
        RemoteFile(name="ISIC2018_Task3_Training_Input.zip", path="ISIC2018_Task3_Training_Input.zip", max_bytes=2**32),
        RemoteFile(name=GROUPINGS, path=GROUPINGS, max_bytes=2**22),
        RemoteFile(
            name="ISIC2018_Task3_Training_GroundTruth.zip",
            path="ISIC2018_Task3_Training_GroundTruth.zip",
            max_bytes=2**22,
        ),
    ),
    tables=(GROUPINGS, GROUND_TRUTH),
    read=read_isic2018,
    verified="ISIC publishes no checksums for isic2018: the archives are whole, and every image of the table is there.",
)
