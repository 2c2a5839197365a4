"""``salus reproduce multimagnet``: the two sets of data one after the other, within a budget of time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from salus import atomic
from salus.data import load as load_data
from salus.detectors.multimagnet_grid import Calibration
from salus.errors import DataError, OptionError, nearest
from salus.progress import console
from salus.storage import Store, find_device
from salus_studies.frame.steps import Outcome, Steps
from salus_studies.multimagnet.attacked import AS_PRINTED, RETUNED, STRENGTHS
from salus_studies.multimagnet.judging import CONFIGURATIONS
from salus_studies.multimagnet.protocol import Protocol
from salus_studies.multimagnet.published import ATTACKS, DATASETS
from salus_studies.multimagnet.scales import SCALES, Scale, deal

#: Changes whenever a step's content would: stored steps of older versions are then done again.
VERSION = 1


def reproduce(
    out: Path,
    *,
    scale: str = "small",
    minutes: float | None = None,
    page: Path | None = None,
    seed: int = 0,
    device: str = "cpu",
    data_dir: Path | None = None,
    command: str = "",
) -> Outcome:
    """Train, attack, calibrate, draw and count what the paper did on MNIST and CIFAR-10, and write the page.

    Every step is stored; run again, with more time, it goes on where it was. A set of data that is not on this
    machine is listed as not run.

    Args:
        out: folder of this reproduction, new, empty, or of the same one.
        scale: ``smoke``, ``small`` (two cores) or ``full`` (a GPU).
        minutes: begin no step that is not likely to end within so many; what is left is listed as not run.
        page: the Markdown page; ``multimagnet.md`` in the folder when not given.
        seed: of every draw.
        device: where to train and attack.
        data_dir: the first place where downloaded data are looked for.
        command: how to repeat it, for the page.

    Raises:
        SalusError: an option or the folder cannot be used, or there is neither of the two sets of data.
    """
    if scale not in SCALES:
        raise OptionError(f"There is no {scale!r} here; {nearest(scale, SCALES)}")
    find_device(device)
    store = Store(out, "reproduction")
    store.check_free()
    with store.locked():
        store.claim({"paper": "multimagnet", "scale": scale, "seed": seed}, {"device": device})
        steps = Steps(store.folder, VERSION, minutes)
        found, data, arrays = _run(SCALES[scale], steps, seed=seed, device=device, data_dir=data_dir)
        results: dict[str, Any] = {
            "meta": {
                **steps.meta(command=command, scale=scale, seed=seed, device=device),
                "protocols": list(STRENGTHS.values()),
                "settings": _settings(SCALES[scale]),
                "data": data,
            },
            **found,
        }
        atomic.write_json(out / "results.json", results)
        page = page or out / "multimagnet.md"
        from salus_studies.multimagnet.page import write_page

        write_page(results, arrays | _grids(store.folder), page)
    return steps.outcome(page)


def _run(
    scale: Scale, steps: Steps, *, seed: int, device: str, data_dir: Path | None
) -> tuple[dict[str, list[dict[str, Any]]], dict[str, Any], dict[str, Any]]:
    """Do what there is data and time for; returns all records, what the data are, and example images."""
    found: dict[str, list[dict[str, Any]]] = {}
    data: dict[str, Any] = {}
    arrays: dict[str, Any] = {}
    missing: list[DataError] = []
    for name in DATASETS:
        console.print(f"MultiMagNet on {DATASETS[name]}. What does not fit the time is listed as not run.")
        try:
            splits = load_data(name, seed=seed, **({} if data_dir is None else {"data_dir": data_dir}))
        except DataError as error:
            console.print(f"{DATASETS[name]} is left out: {error}")
            missing.append(error)
            parts = _absent(name, str(error).rstrip("."))
        else:
            dealt = deal(splits, scale, scale.settings[name], seed)
            counts = {part: len(getattr(dealt, part)) for part in ("train", "legitimate", "test", "drawn")}
            data[name] = {**splits.describe(), "dealt": counts}
            del splits  # held once, not twice
            protocol = Protocol(name, dealt, scale, steps, seed=seed, device=device)
            parts = protocol.run()
            arrays |= {key: values.numpy() for key, values in protocol.arrays.items()}
        for kind, records in parts.items():
            found.setdefault(kind, []).extend(records)
    if len(missing) == len(DATASETS):
        raise missing[0]
    return found, data, arrays


def _absent(name: str, reason: str) -> dict[str, list[dict[str, Any]]]:
    base = {"dataset": name, "status": "not run", "reason": reason}
    rows = [
        {**base, "attack": attack, "strength": AS_PRINTED, "configuration": each}
        for attack in ATTACKS
        for each in CONFIGURATIONS
    ]
    return {"classifiers": [base], "repositories": [base], "rows": rows, "adaptive": [base]}


def _settings(scale: Scale) -> dict[str, Any]:
    """What of the scale the page tells."""
    return {
        "legitimate": scale.legitimate,
        "tested": scale.tested,
        "experiments": scale.experiments,
        "tried": scale.tried,
        "combinations": len(list(scale.grid.combinations())),
        "datasets": {
            name: {"attacked": setting.attacked, "iterations": setting.iterations, "images": setting.images,
                   "autoencoder_epochs": setting.repository.epochs}
            for name, setting in scale.settings.items()
        },
    }  # fmt: skip


def _grids(folder: Path) -> dict[str, Any]:
    """Read how every combination of each grid scored: PPV, NPV and whether by divergence, ``[R, 3]``."""
    arrays = {}
    for name in (f"{data}-{attack}-{strength}" for data in DATASETS for attack in ATTACKS
                 for strength in (AS_PRINTED, RETUNED)):  # fmt: skip
        path = folder / "calibrations" / f"{name}.json"
        if path.exists():
            rows = Calibration.load(path).grid
            arrays[f"grid|{name}"] = np.array(
                [[row.outcome.ppv, row.outcome.npv, row.combination.metric == "jsd"] for row in rows]
            )
    return arrays
