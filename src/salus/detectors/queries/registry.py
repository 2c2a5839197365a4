"""Monitors by the name that the command line and plans use; how one is written to a folder and read back."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file

from salus.atomic import write_json, write_tensors
from salus.classifier import Classifier
from salus.detectors.queries.base import Monitor
from salus.detectors.queries.blacklight import Blacklight
from salus.detectors.queries.lifelike import Lifelike
from salus.detectors.queries.nearest import Nearest
from salus.detectors.queries.perceptual import Perceptual
from salus.detectors.queries.updates import Updates
from salus.errors import BundleError, OptionError
from salus.registry import Registry

MONITORS: Registry[type[Monitor]] = Registry(
    "monitor",
    "salus.monitors",
    {each.name: each for each in (Lifelike, Nearest, Blacklight, Perceptual, Updates)},
    Monitor,
)

_FORMAT = "salus-monitor-1"
_CARD, _LEARNT = "monitor.json", "monitor.safetensors"


def save_monitor(monitor: Monitor, folder: Path | str) -> None:
    """Write a fitted monitor: ``monitor.json`` and ``monitor.safetensors``; neither its memory nor its salt.

    Raises:
        CalibrationError: it is not fitted.
        StoreError: the folder cannot be written.
    """
    folder = Path(folder)
    write_tensors(folder / _LEARNT, {name: tensor.contiguous() for name, tensor in monitor.tensors().items()})
    write_json(folder / _CARD, {"format": _FORMAT, "name": monitor.name, "settings": monitor.settings()})


def load_monitor(folder: Path | str, classifier: Classifier | None = None) -> Monitor:
    """Read a monitor back, with an empty memory.

    Args:
        folder: where :func:`save_monitor` wrote.
        classifier: whose hidden states it reads, where it reads any.

    Raises:
        BundleError: something is missing, damaged, or of another format.
    """
    folder = Path(folder)
    try:
        card = json.loads((folder / _CARD).read_text(encoding="utf-8"))
        if card["format"] != _FORMAT:
            raise BundleError(f"{folder / _CARD} is no monitor of this version of Salus ({_FORMAT}); fit it again.")
        kind = MONITORS.find(str(card["name"]))
        return kind.restore(card["settings"], load_file(folder / _LEARNT), classifier)
    except FileNotFoundError as error:
        raise BundleError(f"{folder} holds no monitor: {Path(error.filename or _CARD).name} is missing.") from error
    except OptionError as error:
        raise BundleError(f"The monitor in {folder} cannot be used: {error}") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        raise BundleError(f"The monitor in {folder} is damaged ({error}); fit it again.") from error
