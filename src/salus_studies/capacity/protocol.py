"""Measures what a verdict and an entry cost, checks the simulation against what was measured, and asks it."""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from salus.errors import OptionError
from salus.guard import Guard
from salus.storage import versions
from salus_studies.capacity import audits
from salus_studies.capacity.measuring import log_times, verdict_times, wire
from salus_studies.capacity.service import Service, saturation, simulate
from salus_studies.frame.folder import Folder
from salus_studies.frame.results import Results
from salus_studies.frame.rounding import rounded

if TYPE_CHECKING:
    from salus_studies.capacity.study import CapacityOptions

#: Millions of beats a day; a patient has 0.1 million.
MILLIONS = (1, 10, 100, 1_000, 10_000, 100_000)

#: The busiest second beside the mean of the day, and how much of a core may be busy then.
PEAK, BUSY = 3.0, 0.7

_GUARDED = "salus, guarded"
_WORKERS = (1, 2, 8, 32, 128, 512)


def run(options: CapacityOptions, folder: Folder) -> Results:
    """Do it; seconds of measuring, and a minute of simulation."""
    service, engines = _read(options.service, ("load",)), _read(options.engines, ("seconds", "tiny"))
    guard = Guard.load(options.bundle)
    folder.claim({"seed": options.seed, "bundle": guard.fingerprint()}, {})
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        measured = {"verdict": verdict_times(guard, options.seed), "log": log_times(guard), "wire": wire(guard, 0)}
    finally:
        torch.set_num_threads(threads)
    loaded = service["load"]["medians"][_GUARDED]
    model = _service(measured, loaded)
    values = {
        "command": folder.command,
        "machine": f"{platform.platform()}, one thread",
        "versions": versions(),
        "seed": options.seed,
        "measured": measured,
        "http": model.http,
        "checks": _checks(model, loaded, engines),
        "days": [_day(millions, model, measured) for millions in MILLIONS],
        "workers": [
            {"workers": count, "saturation": saturation(model, workers=count, seconds=4.0)} for count in (1, 2, 4, 8)
        ],
        "audits": _audits(engines, options.seed),
    }
    return Results(rounded(values))


def _read(place: Path, parts: tuple[str, ...]) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(place.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise OptionError(f"{place} cannot be read ({error}): measure it by benchmarks/{place.stem}.py.") from error
    for part in parts:
        if part not in content:
            raise OptionError(f"{place} has no part {part!r}: measure it by benchmarks/{place.stem}.py.")
    return content


def _service(measured: dict[str, Any], loaded: dict[str, Any]) -> Service:
    """Take the time of the event loop for a request from the processor time of the measured load, less the rest."""
    fixed, each = measured["verdict"]["fixed"], measured["verdict"]["each"]
    of_log, of_entry = measured["log"]["fixed"], measured["log"]["each"]
    rate, waits = loaded["single_a_second"], Service(0, (0, 0), (0, 0))
    in_pass = max(1.0, rate * waits.batch_wait)
    spent = loaded["cpu_share"] / rate - (fixed / in_pass + each) - of_entry
    return Service(max(spent, 1e-4), (fixed, each), (of_log, of_entry))


def _checks(model: Service, loaded: dict[str, Any], engines: dict[str, Any]) -> dict[str, Any]:
    """Put what is simulated beside what was measured."""
    single = simulate(model, loaded["single_a_second"])
    fixed, each = model.judge
    batched = 64 / (model.http + fixed + 64 * each + 64 * model.log[1])
    seconds = engines["seconds"]
    found = {}
    for name in ("2 processes", "Ray, 2 workers"):
        tiny, long = engines["tiny"][name], seconds[name]
        owner = _owner(engines, name)
        work = [long["seconds_a_cell"]] * seconds["cells"]
        small = [tiny["work_ms_a_cell"] / 1e3] * engines["tiny"]["cells"]
        found[name] = {
            # The owner shares the two cores with the workers: what it does is counted as theirs.
            "seconds": {"measured": long["seconds"], "simulated": audits.simulate(work, 2, 0.0, way=2 * owner)},
            "tiny": {"measured": tiny["seconds"], "simulated": audits.simulate(small, 2, 0.0, way=2 * owner)},
        }
    return {
        "single": {name: {"measured": loaded[name], "simulated": single[name]} for name in ("p50_ms", "p99_ms")},
        "batched": {"measured": loaded["batched_beats_a_second"], "simulated": batched},
        "audits": found,
    }


def _owner(engines: dict[str, Any], name: str) -> float:
    """Say what a cell costs its owner, as cells of next to nothing show."""
    return max(float(engines["tiny"][name]["beside_ms_a_cell"]) / 1e3, 1e-4)


def _day(millions: float, model: Service, measured: dict[str, Any]) -> dict[str, Any]:
    """Say what so many million beats a day need, sent 64 together."""
    peak = PEAK * millions * 1e6 / 86_400
    fixed, each = model.judge
    # Recordings are sent in parts of 64: a core reads, judges and logs each in so many seconds.
    beat = (model.http + fixed) / 64 + each + model.log[1]
    group = 4096
    entries = group / (model.log[0] + group * model.log[1])
    return {
        "millions": millions,
        "peak": peak,
        "cores": peak * beat / BUSY,
        "logs": peak / (BUSY * entries),
        "wire_bits": 8 * peak * measured["wire"]["array"],
        "disk_day": millions * 1e6 * measured["log"]["bytes_an_entry"],
        "entries": entries,
    }


def _audits(engines: dict[str, Any], seed: int) -> list[dict[str, Any]]:
    """Say how long 10,000 cells take on so many workers, and how much of these is work."""
    rows = []
    owner = _owner(engines, "Ray, 2 workers")
    for mean in (1.0, 60.0):
        work = audits.cells(10_000, mean, seed)
        for workers in _WORKERS:
            took = audits.simulate(work, workers, owner)
            rows.append({"mean": mean, "workers": workers, "seconds": took, "efficiency": sum(work) / (workers * took)})
    return rows
