"""What stored results hold of one experiment, and how its numbers are written."""

from __future__ import annotations

from dataclasses import dataclass

from salus.metrics.wording import NOTHING, percent, present
from salus_studies.frame.markdown import Record, done, find
from salus_studies.multimagnet.attacked import ARMS, CLOSE, RETUNED, WHITE_BOX
from salus_studies.multimagnet.published import DATASETS, UNDEFENDED, Spread, detection


def row(results: Record, dataset: str, attack: str, arm: str, configuration: str) -> Record | None:
    """Find what the experiments of one configuration came to."""
    place = {"dataset": dataset, "attack": attack, "arm": arm, "configuration": configuration}
    return find(results.get("rows"), **place)


def arms(results: Record, dataset: str, attack: str) -> list[str]:
    """List the arms in which an attack was run, the white-box one in any case."""
    run = {
        one.get("arm")
        for one in results.get("rows") or ()
        if (one.get("dataset"), one.get("attack")) == (dataset, attack)
    }
    return [arm for arm in ARMS if arm == WHITE_BOX or arm in run]


@dataclass(frozen=True)
class Agreement:
    """How near an arm comes to the paper, in points.

    Attributes:
        arm: a key of ``ARMS``.
        undefended: accuracy on attacked test images less Table 6's.
        npv: MultiMagNet's NPV by Table 4's settings less that of Table 2 or 3; None where it was not counted.
    """

    arm: str
    undefended: float
    npv: float | None

    @property
    def close(self) -> bool:
        """Whether it leaves Table 6's accuracy, give or take."""
        return abs(self.undefended) <= CLOSE

    @property
    def verdict(self) -> str:
        """Say with which of the two it agrees."""
        near = self.npv is not None and abs(self.npv) <= CLOSE
        words = {(True, True): "with both", (True, False): "with Table 6", (False, True): "with NPV"}
        return words.get((self.close, near), "with neither")

    @property
    def apart(self) -> float:
        """How far it is from both together."""
        return abs(self.undefended) + abs(self.npv if self.npv is not None else 100.0)


def agreements(results: Record, dataset: str, attack: str) -> list[Agreement]:
    """Compare each arm that was run, but the retuned one, with Table 6 and with the NPV of Table 2 or 3."""
    compared = []
    for arm in arms(results, dataset, attack):
        record = find(results.get("attacks"), dataset=dataset, attack=attack, arm=arm)
        if arm == RETUNED or record is None or not done(record):
            continue
        counted = row(results, dataset, attack, arm, "table-4")
        ours = (counted or {}).get("npv") or {}
        printed = detection(dataset, "multimagnet", attack).npv.mean
        npv = 100 * ours["mean"] - printed if present(ours.get("mean")) else None
        compared.append(Agreement(arm, 100 * record["accuracy_test"] - UNDEFENDED[dataset, attack], npv))
    return compared


def comparable(results: Record, dataset: str, attack: str) -> str:
    """Name the arm to compare with the paper: of those that meet Table 6 the nearest to it and to NPV, else retuned."""
    compared = agreements(results, dataset, attack)
    close = [each for each in compared if each.close]
    if close:
        return min(close, key=lambda each: each.apart).arm
    run = arms(results, dataset, attack)
    if RETUNED in run:
        return RETUNED
    return min(compared, key=lambda each: each.apart).arm if compared else WHITE_BOX


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
