"""A ranking as a CSV file: a row for each that is ranked, and one for each of its seeds."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from salus.atomic import write_text
from salus.metrics import Rate
from salus.report.leaderboard.board import Board, Leaderboard
from salus.report.leaderboard.standing import SeedFigures, Standing, attack_words

FIELDS = (
    "data", "fingerprint", "n", "norm", "eps", "threat_model", "place_best", "place_last", "audit", "guard", "seed",
    "seeds", "clean_accuracy", "clean_accuracy_low", "clean_accuracy_high", "commonest_accuracy", "robust_accuracy",
    "robust_accuracy_low", "robust_accuracy_high", "robust_accuracy_spread", "rejected_clean", "rejected_clean_low",
    "rejected_clean_high", "worst_attack", "attacks", "seconds", "queries", "passes", "device", "folder", "tied_with",
)  # fmt: skip


def write_csv(path: Path, leaderboards: Sequence[Leaderboard]) -> None:
    """Write rankings: shares from 0 to 1, eps in the units of the inputs, queries and passes a sample.

    A row without a seed is the mean over all of them, or the only one's figures.

    Raises:
        StoreError: the file cannot be written.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, FIELDS, restval="", lineterminator="\n")
    writer.writeheader()
    for leaderboard in leaderboards:
        for board in leaderboard.boards:
            for standing in board.standings:
                writer.writerow(_row(leaderboard, board, standing))
                if len(standing.seeds) > 1:
                    writer.writerows(_seed_rows(leaderboard, board, standing))
    write_text(path, text.getvalue())


def _row(leaderboard: Leaderboard, board: Board, standing: Standing) -> dict[str, Any]:
    one = standing.seeds[0] if len(standing.seeds) == 1 else None
    return {
        **_about(leaderboard, board, standing),
        "fingerprint": _only([each.audit.trial.fingerprint for each in standing.seeds]),
        "n": standing.robust.n,
        "place_best": standing.best,
        "place_last": standing.last,
        "seeds": len(standing.seeds),
        **_named("clean_accuracy", standing.clean),
        "commonest_accuracy": standing.constant,
        **_named("robust_accuracy", standing.robust),
        "robust_accuracy_spread": standing.spread,
        **_named("rejected_clean", standing.rejected),
        "worst_attack": attack_words(one.worst) if one else "",
        "attacks": len(standing.attacks),
        "seconds": standing.seconds,
        "queries": standing.forward,
        "passes": standing.backward,
        "device": "; ".join(standing.devices),
        "folder": str(one.audit.folder) if one else "",
        "tied_with": "; ".join(standing.tied),
    }


def _seed_rows(leaderboard: Leaderboard, board: Board, standing: Standing) -> Iterator[dict[str, Any]]:
    for each in standing.seeds:
        yield {
            **_about(leaderboard, board, standing),
            "fingerprint": each.audit.trial.fingerprint,
            "n": each.robust.n,
            "seed": each.audit.seed,
            **_named("clean_accuracy", each.clean),
            "commonest_accuracy": each.constant,
            **_named("robust_accuracy", each.robust),
            **_named("rejected_clean", each.rejected),
            "worst_attack": attack_words(each.worst),
            "attacks": len(each.attacks),
            "seconds": each.seconds,
            "queries": each.forward,
            "passes": each.backward,
            "device": _device(each),
            "folder": str(each.audit.folder),
        }


def _about(leaderboard: Leaderboard, board: Board, standing: Standing) -> dict[str, Any]:
    return {
        "data": leaderboard.data,
        "norm": board.pair.norm,
        "eps": board.pair.eps,
        "threat_model": board.level.of(standing.guard),
        "audit": standing.contender.name,
        "guard": standing.guard,
    }


def _named(name: str, rate: Rate | None) -> dict[str, float | None]:
    return {} if rate is None else rate.named(name)


def _only(values: Sequence[str]) -> str:
    return values[0] if len(set(values)) == 1 else ""


def _device(each: SeedFigures) -> str:
    return str(each.audit.run.meta.get("device"))
