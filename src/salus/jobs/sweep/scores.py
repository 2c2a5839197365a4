"""What the trainings of a sweep came to, setting by setting, and which setting is chosen."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from salus.jobs.sweep.grid import Setting
from salus.jobs.sweep.member import FinishedTraining
from salus.metrics import Rate, mean_value, proportion

#: The rule of choice, in words, for help, pages and ``grid.json``.
RULE = (
    "the setting with the highest robust accuracy under the judge, over all seeds and folds together; of equals the "
    "one with the higher clean accuracy, then the first of the grid"
)


@dataclass(frozen=True, eq=False)
class SweepRun:
    """A finished training of a setting.

    Attributes:
        name: of its folder.
        seed: place among the sweep's seeds.
        fold: that judged it; 0 where there are no folds.
        judged: what it came to.
    """

    name: str
    seed: int
    fold: int
    judged: FinishedTraining


@dataclass(frozen=True, eq=False)
class Score:
    """What the trainings of a setting came to together.

    Attributes:
        setting: which.
        options: all options of the method, as plain values.
        runs: its trainings, one for each seed and fold.
        clean: accuracy on clean samples, the mean over seeds.
        robust: the same under attack.
        hits: right answers of all runs to clean and to attacked samples, which decide the choice without rounding.
        right: how often each sample is answered rightly under attack, over the seeds, float64 ``[N]``.
    """

    setting: Setting
    options: dict[str, Any]
    runs: tuple[SweepRun, ...]
    clean: Rate
    robust: Rate
    hits: tuple[int, int]
    right: NDArray[np.float64]

    @classmethod
    def of(
        cls, setting: Setting, options: dict[str, Any], runs: Sequence[SweepRun], groups: NDArray[np.int64] | None
    ) -> Score:
        """Put runs together: folds one after another, seeds by their mean.

        Args:
            setting: which.
            options: all options of the method.
            runs: one for each seed and fold.
            groups: the patient of each sample that judges, folds one after another, ``[N]``.
        """
        ordered = sorted(runs, key=lambda run: (run.seed, run.fold))
        clean, robust = (_by_seed(ordered, name) for name in ("clean", "robust"))  # [seeds, N] each
        return cls(
            setting,
            options,
            tuple(ordered),
            proportion(clean.mean(0), groups=groups),
            proportion(robust.mean(0), groups=groups),
            (int(clean.sum()), int(robust.sum())),
            robust.mean(0, dtype=np.float64),
        )

    @property
    def spread(self) -> tuple[float, float]:
        """The lowest and the highest robust accuracy of one training."""
        values = [float(run.judged.robust.double().mean()) for run in self.runs]
        return min(values), max(values)

    @property
    def seconds(self) -> float:
        """What its trainings took together."""
        return float(sum(run.judged.facts["seconds"] for run in self.runs))


def _by_seed(runs: Sequence[SweepRun], name: str) -> NDArray[np.bool_]:
    """Put the right answers of runs together, ``[seeds, N]``: folds one after another."""
    seeds = sorted({run.seed for run in runs})
    return np.stack(
        [np.concatenate([getattr(run.judged, name).numpy() for run in runs if run.seed == seed]) for seed in seeds]
    )


def choose(scores: Sequence[Score]) -> Score:
    """Choose a setting; see ``RULE``."""
    return max(scores, key=lambda score: (score.hits[1], score.hits[0]))  # of equals the first


def records(scores: Sequence[Score], groups: NDArray[np.int64] | None) -> list[dict[str, Any]]:
    """Write scores as plain values, one a setting, in the order of the grid.

    Each is set against the one that was chosen, sample by sample: where the interval of the difference holds 0, these
    samples cannot tell the two apart.
    """
    chosen, rows = choose(scores), []
    for score in scores:
        low, high = (None, None) if score is chosen else _behind(chosen.right - score.right, groups)
        lowest, highest = score.spread
        rows.append(
            {
                "setting": score.setting.name,
                "spec": score.setting.spec,
                "varied": dict(score.setting.varied),
                "options": score.options,
                "chosen": score is chosen,
                "n": score.robust.n,
                **score.clean.named("clean_accuracy"),
                **score.robust.named("robust_accuracy"),
                "lowest_run": lowest,
                "highest_run": highest,
                "behind_low": low,
                "behind_high": high,
                "told_apart": None if low is None else low > 0,
                "seconds": round(score.seconds, 1),
                "runs": [_run(run) for run in score.runs],
            }
        )
    return rows


def _behind(difference: NDArray[np.float64], groups: NDArray[np.int64] | None) -> tuple[float, float]:
    """Give the 95% interval of a mean of differences ``[N]`` from -1 to 1, of resampled samples or patients."""
    if not difference.any():
        return 0.0, 0.0  # the same answers
    mean = mean_value((difference + 1) / 2, 1.0, groups)
    low, high = (0.0 if end is None else 2 * end - 1 for end in (mean.low, mean.high))
    return low, high


def _run(run: SweepRun) -> dict[str, Any]:
    facts = run.judged.facts
    judged = facts["judged"]
    kept = {name: value for name, value in judged.items() if name not in ("attack", "training_seed", "fold")}
    return {
        "name": run.name,
        "seed": judged["training_seed"],
        "fold": judged["fold"],
        **kept,
        "fingerprint": facts["model"]["fingerprint"],
        "seconds": facts["seconds"],
    }


def as_csv(rows: Sequence[dict[str, Any]]) -> str:
    """Write one line a setting: the options that vary in columns of their own, then its figures."""
    varied = list(rows[0]["varied"])
    figures = [name for name in rows[0] if name not in ("varied", "options", "runs")]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*varied, *figures, "runs"])
    for row in rows:
        values = [_cell(row[name]) for name in figures]
        writer.writerow([*row["varied"].values(), *values, len(row["runs"])])
    return text.getvalue()


def _cell(value: Any) -> Any:
    return "" if value is None else str(value).lower() if isinstance(value, bool) else value
