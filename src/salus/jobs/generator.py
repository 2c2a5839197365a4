"""Training a generator into a folder: checked first, resumed after a kill, and ready for Defense-GAN."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from salus.data import load as load_data
from salus.generative.generator import SampleGenerator
from salus.generative.wgan import WGANHistory, WGANOptions, train_generator
from salus.options import build
from salus.progress import console, spaced
from salus.storage import Store, find_device


@dataclass(frozen=True, eq=False)
class TrainedGenerator:
    """A generator as saved, and what training came to."""

    generator: SampleGenerator
    history: WGANHistory
    samples: int


def run_generator(
    data: str,
    out: Path | str,
    *,
    training: Mapping[str, Any] | None = None,
    data_options: Mapping[str, Any] | None = None,
    seed: int = 0,
    device: str = "cpu",
) -> TrainedGenerator:
    """Train a generator on the training part of data and save it.

    A run that was stopped goes on where it was, and so does one that is asked for more epochs; asked for fewer, it
    leaves the generator as it is.

    Args:
        data: a known data set, or a file or folder of the user's own.
        out: the folder, new, empty, or of the same training.
        training: fields of :class:`salus.generative.wgan.WGANOptions`.
        data_options: how the data are loaded, see ``salus.data.LoadOptions``.
        seed: of the split and of the training.
        device: where to train.

    Raises:
        SalusError: the data, an option or the folder cannot be used.
    """
    store = Store(Path(out), "training")
    store.check_free()
    words = {"seed": seed, **(training or {})}
    options = build(WGANOptions, words, "training")
    splits = load_data(data, seed=seed, **(data_options or {}))
    splits.need_training("a generator")
    find_device(device)
    train = splits.train
    identity = {
        "data": splits.name,
        "samples": train.fingerprint(),
        "setup": asdict(replace(options, epochs=1)),  # however long
    }
    with store.locked():
        store.claim(identity, {"epochs": options.epochs, "device": device})
        generator, history = train_generator(
            train.x,
            options,
            bounds=train.bounds,
            facts={"data": splits.name, "split": train.provenance.split},
            folder=store.folder,
            device=device,
            log=spaced(console.print),
        )
    return TrainedGenerator(generator, history, len(train))
