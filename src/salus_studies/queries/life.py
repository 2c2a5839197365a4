"""What honest callers send: recordings beat by beat, alone, in a row, in turn, twice, and with noise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from salus.data.annotated import annotated_beats
from salus.data.mitdb import DS1
from salus.data.places import find_set
from salus.data.published import MITDB
from salus.detectors.queries import InProcess, Monitor, Stream, interleaved
from salus.errors import DataError
from salus.guard import Guard
from salus.preprocessing import beats
from salus.preprocessing.wfdb_files import SAMPLE_RATE, by_name, read_lead
from salus.progress import progress
from salus_studies.frame.steps import Steps

#: The way on which the frontier stands.
LIFE = "records outside DS1, one caller each"
#: Patients behind one account.
TOGETHER = 10
#: Standard deviation of the noise that is added, as a share of a beat's height.
NOISE = 0.02
#: Beats of a request.
_PART = 512


@dataclass(frozen=True, eq=False)
class Recording:
    """A record as a caller sends it.

    Attributes:
        stream: its beats in order, what the guard answers, and when each came.
        labels: of the beats, -1 where they are of no class ``[N]``.
    """

    stream: Stream
    labels: Tensor


def recordings(guard: Guard, data_dir: Path | None, steps: Steps) -> dict[int, Recording]:
    """Read all 48 records of mitdb and let the guard judge every beat; its answers are stored.

    Raises:
        DataError: the database is not on this machine.
    """
    folder = find_set("mitdb", MITDB.landmarks, data_dir)
    if folder is None:
        raise DataError("Data 'mitdb' is not on this machine; run: salus data fetch mitdb.")
    numbers = sorted(int(number) for number in (folder / MITDB.landmark).read_text(encoding="utf-8").split())
    found = {}
    with progress("Judging every beat of mitdb, records", len(numbers)) as advance:
        for number in numbers:
            lead = read_lead(folder / str(number), by_name("MLII", "V5"))
            cut, classes, places = annotated_beats(folder / str(number), lead, ("beat",))
            labels = [classes[row] for row in cut.rows]
            times = torch.from_numpy(np.asarray(places)[cut.rows] / SAMPLE_RATE)
            judged = steps.do(
                f"answers-{number}",
                "answers",
                [guard.fingerprint(), number],
                partial(_judged, guard, cut.x),
                always=True,
            )
            stream = Stream(f"record {number}", cut.x, torch.tensor(judged["answers"]), times)
            known = torch.tensor([beats.CLASSES.index(name) if name in beats.CLASSES else -1 for name in labels])
            found[number] = Recording(stream, known)
            advance()
    return found


def _judged(guard: Guard, x: Tensor) -> dict[str, Any]:
    return {"answers": guard(x).answers.tolist()}


def fitted_to(monitor: Monitor, records: Mapping[int, Recording]) -> Monitor:
    """Fit a monitor to DS1, a record a caller."""
    return monitor.fit([records[number].stream for number in DS1])


@dataclass(frozen=True, eq=False)
class Way:
    """A way in which life is sent.

    Attributes:
        words: what pages call it.
        streams: a caller each.
        times: how often each stream is sent.
    """

    words: str
    streams: list[Stream]
    times: int = 1


def ways(records: Mapping[int, Recording], *, fitted: Sequence[int]) -> list[Way]:
    """List the ways; no monitor reads the time but to forget, so natural speed and all at once are one and the same.

    Args:
        records: all.
        fitted: the records that monitors are fitted to, which the first way leaves out.
    """
    streams = [recording.stream for recording in records.values()]
    others = [recording.stream for number, recording in records.items() if number not in fitted]
    groups = [streams[first : first + TOGETHER] for first in range(0, len(streams), TOGETHER)]
    turns = [interleaved(group, f"clinic {number}") for number, group in enumerate(groups)]
    return [
        Way(LIFE, others),
        Way("the 48, one caller each, sent twice", streams, 2),
        Way("the 48, one caller for all", [_joined(streams)]),
        Way(f"the 48, {TOGETHER} patients in turn behind one caller", turns),
        Way(f"the 48, one caller each, noise of {NOISE:g} added", [_noisy(each) for each in streams]),
    ]


def sent(monitor: Monitor, way: Way) -> dict[str, Any]:
    """Send streams, each by a caller of its own with an empty memory; count alarms and the beats that come after."""
    alarmed, refused, beats_sent, tops = [], 0, 0, dict[str, float]()
    for stream in way.streams:
        monitor.memory = InProcess()
        first, top = None, 0.0
        for turn in range(way.times):
            for start, (x, clock, answers) in enumerate(
                zip(stream.x.split(_PART), stream.clock.split(_PART), stream.answers.split(_PART), strict=True)
            ):
                found = monitor.observe(stream.caller, x, clock, answers)
                top = max(top, float(found.score.max()))
                if first is None and found.first is not None:
                    first = turn * len(stream.x) + start * _PART + found.first
        beats_sent += way.times * len(stream.x)
        tops[stream.caller] = top
        if first is not None:
            alarmed.append(stream.caller)
            refused += way.times * len(stream.x) - first
    return {
        "callers": len(way.streams),
        "beats": beats_sent,
        "alarmed": alarmed,
        "refused": refused / beats_sent,
        "tops": tops,
    }


def _joined(streams: list[Stream]) -> Stream:
    return Stream("all", torch.cat([each.x for each in streams]), torch.cat([each.answers for each in streams]))


def _noisy(stream: Stream) -> Stream:
    """Add sensor noise; the answers stay, as judging all beats again would change few."""
    noise = torch.randn(stream.x.shape, generator=torch.Generator().manual_seed(0))
    return Stream(stream.caller, (stream.x + NOISE * noise).clamp(0, 1), stream.answers, stream.times)
