"""What stored results hold of one experiment, and how its numbers are written."""

from __future__ import annotations

from salus.metrics.wording import NOTHING, percent, present
from salus_studies.frame.markdown import Record, find
from salus_studies.multimagnet.attacked import AS_PRINTED, STRENGTHS
from salus_studies.multimagnet.published import (
    DATASETS,
    Spread,
)


def row(results: Record, dataset: str, attack: str, strength: str, configuration: str) -> Record | None:
    """Find what the experiments of one configuration came to."""
    place = {"dataset": dataset, "attack": attack, "strength": strength, "configuration": configuration}
    return find(results.get("rows"), **place)


def strengths(results: Record, dataset: str, attack: str) -> list[str]:
    """List how strong an attack was run, Table 1's strength in any case."""
    run = {
        one.get("strength")
        for one in results.get("rows") or ()
        if (one.get("dataset"), one.get("attack")) == (dataset, attack)
    }
    return [strength for strength in STRENGTHS if strength == AS_PRINTED or strength in run]


def comparable(results: Record, dataset: str, attack: str) -> str:
    """Name the strength that meets Table 6: retuned where Table 1's does not."""
    return strengths(results, dataset, attack)[-1]


def data_name(results: Record, dataset: str) -> str:
    """Name the set of data as it was loaded: JPEG images are not the original ones."""
    name = ((results.get("meta") or {}).get("data") or {}).get(dataset, {}).get("name", dataset)
    return f"{DATASETS[dataset]} (JPEG)" if name.endswith("-jpeg") else DATASETS[dataset]


def written(spread: Spread) -> str:
    """Write a mean of the paper's and its deviation."""
    return f"{spread.mean:.2f} ± {spread.deviation:.2f}"


def spread(record: Record, name: str) -> str:
    """Print a mean, its deviation over batches of 100 and, in parentheses, over experiments on all images."""
    figure = record.get(name) or {}
    if not present(figure.get("mean")):
        return NOTHING
    return f"{percent(figure['mean'], 2)} ± {percent(figure['batches'], 2)} ({percent(figure['experiments'], 2)})"
