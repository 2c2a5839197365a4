"""Data sets whose makers publish no list of SHA-256 sums: the sums of their files stand here."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from salus.data.places import find_set, places
from salus.data.published import file_sha256
from salus.errors import DataError


@dataclass(frozen=True, kw_only=True)
class PinnedSet:
    """A data set in the form in which its makers publish it.

    Attributes:
        name: of the set, and of the folder that holds it.
        base_url: the folder on the web, ending in a slash.
        files: file name -> SHA-256 of its content, unpacked: not every home packs the same content alike.
        archive: the archive at ``base_url`` that holds the files; "" where each lies there by itself, packed with
            gzip under its name and ``.gz``.
        archive_sha256: of the archive as it is.
        inside: the folder inside the archive.
        also: what else the folder may be known by: the set in another form that its loader reads.
        max_file_bytes: no file is larger, unpacked.
        max_archive_bytes: nor the archive.
    """

    name: str
    base_url: str
    files: Mapping[str, str]
    archive: str = ""
    archive_sha256: str = ""
    inside: str = ""
    also: tuple[str, ...] = ()
    max_file_bytes: int
    max_archive_bytes: int = 0

    @property
    def landmarks(self) -> tuple[str, ...]:
        """What the folder is known by: its last file, which is written last, packed or not."""
        last = list(self.files)[-1]
        return (last, f"{last}.gz", *([f"{self.inside}/{last}"] if self.inside else []), *self.also)

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
        return self.within(folder)

    def within(self, folder: Path) -> Path:
        """The folder of the files: this one, or the one that the makers' archive unpacks to."""
        return folder / self.inside if self.inside and (folder / self.inside).is_dir() else folder

    def file(self, folder: Path, name: str) -> Path | None:
        """The file of that name in a folder, packed or not; None when there is neither."""
        return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)

    def read(self, folder: Path) -> dict[str, bytes]:
        """Read what every file holds, unpacked.

        Raises:
            DataError: a file is missing, broken or too large.
        """
        contents = {}
        for name in self.files:
            path = self.file(folder, name)
            if path is None:
                raise DataError(f"File {folder / name} is missing, packed or not; run: salus data fetch {self.name}.")
            contents[name] = self.content(path)
        return contents

    def content(self, path: Path) -> bytes:
        """What a file holds, unpacked if its name ends in ``.gz`` (``.gz.part`` while it grows).

        Raises:
            DataError: the file is broken or too large.
        """
        gzipped = path.name.removesuffix(".part").endswith(".gz")
        try:
            with gzip.open(path) if gzipped else path.open("rb") as file:
                content: bytes = file.read(self.max_file_bytes + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(
                f"File {path} is truncated or broken ({error}); get it again: salus data fetch {self.name}."
            ) from error
        if len(content) > self.max_file_bytes:
            raise DataError(f"File {path} holds over {self.max_file_bytes} bytes; it is not of {self.name}.")
        return content

    def right(self, path: Path, name: str) -> bool:
        """Tell whether a file holds what the published file of that name holds."""
        try:
            return not self.strangers({name: self.content(path)})
        except DataError:
            return False

    def right_archive(self, path: Path) -> bool:
        """Tell whether a file is the makers' archive."""
        return file_sha256(path) == self.archive_sha256

    def strangers(self, contents: Mapping[str, bytes]) -> list[str]:
        """Name the files that are not the published ones."""
        return [name for name, content in contents.items() if hashlib.sha256(content).hexdigest() != self.files[name]]


MNIST = PinnedSet(
    name="mnist",
    base_url="https://ossci-datasets.s3.amazonaws.com/mnist/",  # yann.lecun.com gives them out no longer
    files={
        "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    },
    max_file_bytes=2**26,
)

FASHION_MNIST = PinnedSet(
    name="fashion-mnist",
    base_url="https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    files={
        "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    },
    max_file_bytes=2**26,
)

CIFAR10 = PinnedSet(
    name="cifar10",
    base_url="https://www.cs.toronto.edu/~kriz/",
    archive="cifar-10-binary.tar.gz",
    archive_sha256="c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
    inside="cifar-10-batches-bin",
    also=("train/airplane",),
    files={
        "data_batch_1.bin": "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
        "data_batch_2.bin": "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
        "data_batch_3.bin": "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
        "data_batch_4.bin": "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
        "data_batch_5.bin": "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
        "test_batch.bin": "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b",
    },
    max_file_bytes=2**25,
    max_archive_bytes=2**28,
)
