"""Results of several runs of one study, each of which did a part of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from salus.errors import StoreError
from salus_studies.frame.markdown import Record, done
from salus_studies.frame.results import Results

#: What decides every number of a run: runs that differ in one are not put together.
SAME = ("scale", "seed", "split", "protocols")

#: What is told of each run; its command and time name it in the records that are taken from it.
TOLD = ("command", "created", "machine", "seconds")


def join(new: Results, old: Results, keys: Mapping[str, Sequence[str]]) -> Results:
    """Complete the results of a run by those stored before.

    Of each section of records stays what the new run did; what it left out is taken from the stored ones, where they
    have it. Records are the same one if they agree in the fields that ``keys`` names for their section; of sections
    without keys the new run's are taken. ``meta.runs`` lists the runs whose records are here, the new one
    first, with how many of which section; a record from an earlier run has the command and time of it in ``run``.

    Args:
        new: of the run that was done now.
        old: stored before.
        keys: section -> the fields that tell its records apart.

    Raises:
        StoreError: the runs differ in scale, seed, split or protocols.
    """
    meta, before = new.values.get("meta", {}), old.values.get("meta", {})
    for name in SAME:
        if meta.get(name) != before.get(name):
            raise StoreError(
                f"The new results have {name} {meta.get(name)!r} and the stored ones {before.get(name)!r}: only runs "
                "that agree in it are put together."
            )
    values, whose = dict(new.values), Counter[tuple[str, str]]()
    for section, fields in keys.items():
        if section not in new.values and section not in old.values:
            continue
        rows = list(new.values.get(section) or [])
        stored = {_key(row, fields): _from(row, before) for row in old.values.get(section) or []}
        rows = [row if done(row) else stored.get(_key(row, fields), row) for row in rows]
        names = {_key(row, fields) for row in rows}
        values[section] = rows + [row for key, row in stored.items() if key not in names]
        whose.update((row.get("run", _name(meta)), section) for row in values[section] if done(row))
    runs = []
    for one in (meta, *(before.get("runs") or [before])):
        records = {section: count for (run, section), count in whose.items() if run == _name(one)}
        runs.append({**{name: one.get(name) for name in TOLD}, "records": records})
    kept = [run for place, run in enumerate(runs) if run["records"] or not place]
    values["meta"] = {**meta, "runs": kept} if len(kept) > 1 else meta
    return Results(values, {**old.arrays, **new.arrays})


def _key(row: Record, fields: Sequence[str]) -> str:
    return repr([row.get(field) for field in fields])


def _from(row: Record, meta: Mapping[str, Any]) -> Record:
    return row if "run" in row or not done(row) else {**row, "run": _name(meta)}


def _name(meta: Mapping[str, Any]) -> str:
    return f"{meta.get('created')} {meta.get('command')}"
