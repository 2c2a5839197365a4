"""What the page reads of the benchmark's stored results."""

from __future__ import annotations

from statistics import median

from salus_studies.frame.markdown import Record

#: What one contender reached, and in what time; a record is a row of the benchmark, with the results of all.
Result = Record

#: The data of the benchmark, in our order.
TITLES = {"beats": "MIT-BIH heartbeats", "fashion": "Fashion-MNIST"}
LIBRARIES = {
    "salus": "Salus",
    "adv-lib": "adv-lib",
    "adversarial-robustness-toolbox": "ART",
    "foolbox": "Foolbox",
    "pyautoattack": "pyautoattack",
    "torchattacks": "torchattacks",
}
NORMS = {"linf": "L∞", "l2": "L2", "l0": "L0"}


def datasets(results: Record) -> list[str]:
    """List the data of the stored records, in our order."""
    return [name for name in TITLES if any(record["data"] == name for record in results["records"])]


def of_data(results: Record, data: str) -> list[Record]:
    """List the records of these data."""
    return [record for record in results["records"] if record["data"] == data]


def smallest_ball(results: Record, data: str) -> list[Record]:
    """Choose one record of each attack for the figure: the smallest eps, where attacks differ."""
    chosen: dict[str, Record] = {}
    for record in of_data(results, data):
        if own_result(record) is not None:
            chosen[record["row"]] = record  # records of a row are sorted by eps, the largest first
    return list(chosen.values())


def own_result(record: Record) -> Result | None:
    """Find Salus's first result of a record; None where it has none."""
    return next((result for result in record["results"] if result["library"] == "salus" and not result["error"]), None)


def title(record: Record) -> str:
    """Name a record with its eps."""
    if record["eps"] is None:
        return str(record["title"])
    steps = record["eps"] * 255  # images have 255 steps
    whole = record["data"] == "fashion" and abs(steps - round(steps)) < 1e-9
    return f"{record['title']}, eps {f'{round(steps)}/255' if whole else format(record['eps'], 'g')}"


def success_rate(result: Result) -> float:
    """Compute the share of samples that fell."""
    return float(result["success"].count("1") / result["samples"])


def median_distance(result: Result, first: int | None = None) -> float:
    """Compute the median distance of those that fell, or of those of the first samples."""
    pairs = list(zip(result["distance"], result["success"], strict=True))[:first]
    return float(median(distance for distance, fell in pairs if fell == "1"))


def milliseconds(result: Result) -> float:
    """Compute the time a sample."""
    return float(1e3 * result["seconds"] / result["attacked"])
