"""Training a repository of autoencoders into a folder: checked first, and resumed after a kill."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from salus.data import Dataset
from salus.data import load as load_data
from salus.generative import Repository, RepositoryOptions, train_repository
from salus.options import build
from salus.progress import console
from salus.storage import Store, find_device


@dataclass(frozen=True, eq=False)
class TrainedRepository:
    """A repository as saved, and the samples that its errors were measured on."""

    repository: Repository
    held_out: Dataset


def run_autoencoders(
    data: str,
    out: Path | str,
    *,
    members: str | None = None,
    training: Mapping[str, Any] | None = None,
    data_options: Mapping[str, Any] | None = None,
    seed: int = 0,
    device: str = "cpu",
) -> TrainedRepository:
    """Train autoencoders on the training part of data and save them.

    A run that was stopped goes on where it was; asked for more members, it trains those that are missing.

    Args:
        data: a known data set, or a file or folder of the user's own.
        out: the folder, new, empty, or of the same training.
        members: how many of the ten for this kind of data, or their names, comma-separated; all by default.
        training: fields of :class:`salus.generative.RepositoryOptions`.
        data_options: how the data are loaded, see ``salus.data.LoadOptions``.
        seed: of the split and of the training.
        device: where to train.

    Raises:
        SalusError: the data, an option or the folder cannot be used.
    """
    store = Store(Path(out), "training")
    store.check_free()
    which: dict[str, Any] = {}
    if members is not None:
        which = {"size": int(members)} if members.isdigit() else {"members": tuple(members.split(","))}
    words = {"seed": seed, **(training or {}), **which}
    options = build(RepositoryOptions, words, "training")
    splits = load_data(data, seed=seed, **(data_options or {}))
    splits.need_training("a repository of autoencoders")
    options.specs(splits.train.kind)  # refuses names that there are not
    place = find_device(device)
    how = {name: value for name, value in asdict(options).items() if name not in ("size", "members")}
    prints = [splits.train.fingerprint(), splits.validation.fingerprint()]
    with store.locked():
        store.claim({"data": splits.name, "samples": prints, "setup": how}, {"device": device})
        repository = train_repository(
            splits.train, splits.validation, options, folder=store.folder, device=place, log=console.print
        )
    return TrainedRepository(repository, splits.validation)
