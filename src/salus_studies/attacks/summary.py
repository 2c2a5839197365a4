"""What the page shows of all runs in a folder: optimality, equal passes, curves, and what each run cost."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from salus.metrics import on_grid, optimality, robust_accuracy_curve, union
from salus_studies.attacks.contenders import DEFAULTS
from salus_studies.attacks.peers.own import LIBRARY as OWN
from salus_studies.frame.markdown import Record
from salus_studies.frame.rounding import rounded

Floats = NDArray[np.float64]

#: What tells a row from all others: the runs of one attack from several seeds.
KEYS = ("model", "norm", "budget", "library", "attack", "family", "settings", "goal")
#: And what is told of it.
FIGURES = (
    "returned",
    "seen",
    "grid",
    "grid_seen",
    "fallen",
    "forward",
    "backward",
    "most",
    "cpu",
    "seeds",
    "stopped",
    "error",
)

#: Budgets at which attacks of one family are compared, over several seeds.
EQUAL = (80, 200)
#: Draws of the bootstrap over samples.
_DRAWS = 400
#: Points of a drawn curve.
_POINTS = 60


def summary(contents: Mapping[str, Record], meta: Record) -> dict[str, Any]:
    """Sum up stored steps, by their names."""
    steps = [content for _, content in sorted(contents.items()) if content["status"] == "done"]
    models = {step["model"]: step for step in steps if step["part"] == "model"}
    runs = [_read(step) for step in steps if step["part"] == "attack" and step["model"] in models]
    best = unions(runs)
    rows = [_row(same, best, models) for same in _by(runs, KEYS).values()]
    rows.sort(key=lambda row: [row[key] for key in KEYS])
    values: dict[str, Any] = rounded(
        {
            "models": [_model(model) for model in models.values()],
            "columns": [*KEYS, *FIGURES],
            "attacks": [[row[name] for name in (*KEYS, *FIGURES)] for row in rows],
            "equal": list(equal_passes(runs, best, models)),
            "curves": list(_curves(rows, runs, best)),
            "ensembles": [_without_state(step) for step in steps if step["part"] == "ensemble"],
            "queries": [_without_state(step) for step in steps if step["part"] == "queries"],
            "floor": next((_without_state(step) for step in steps if step["part"] == "floor"), None),
        },
        4,
    )
    return {"meta": dict(meta), **values}


def unions(runs: Sequence[Record]) -> dict[tuple[str, str, int], Floats]:
    """Join all that any attack reached on a model in a norm within a budget, runs within smaller ones among them."""
    joined: dict[tuple[str, str, int], Floats] = {}
    for (model, norm), same in _by(runs, ("model", "norm")).items():
        for budget in sorted({run["budget"] for run in same}):
            within = [run for run in same if run["budget"] <= budget]
            joined[model, norm, budget] = union([run[kind] for run in within for kind in ("returned", "seen")])
    return joined


def equal_passes(
    runs: Sequence[Record], best: Mapping[tuple[str, str, int], Floats], models: Mapping[str, Record]
) -> Iterable[dict[str, Any]]:
    """Compare each of Salus's attacks at its defaults with every peer's attack of the same family.

    Of Salus counts what it returns, of a peer the nearest adversarial point that it showed the network too. Optimality
    is the mean over models and seeds; its standard error comes from drawing samples anew, the same for both.
    """
    for (budget, norm, family, goal), same in sorted(_by(runs, ("budget", "norm", "family", "goal")).items()):
        own = [run for run in same if run["library"] == OWN and run["settings"] == DEFAULTS]
        peers = [run for run in same if run["library"] != OWN and not run["error"]]
        if budget not in EQUAL:
            continue
        for (attack,), ours in _by(own, ("attack",)).items():
            for (library, name, settings), theirs in sorted(_by(peers, ("library", "attack", "settings")).items()):
                shared = {run["model"] for run in ours} & {run["model"] for run in theirs}
                if not shared:
                    continue
                mine = [run for run in ours if run["model"] in shared]
                other = [run for run in theirs if run["model"] in shared]
                drawn_own = _drawn(mine, "returned", best, models)
                drawn_peer = _drawn(other, "seen", best, models)
                apart = drawn_own - drawn_peer
                yield {
                    "budget": budget,
                    "norm": norm,
                    "family": family,
                    "goal": goal,
                    "attack": attack,
                    "library": library,
                    "peer": name,
                    "settings": settings,
                    "models": len(shared),
                    "seeds": len({run["seed"] for run in mine}),
                    "own": float(drawn_own[0]),
                    "theirs": float(drawn_peer[0]),
                    "error": float(apart[1:].std()),
                }


def _drawn(
    runs: Sequence[Record], kind: str, best: Mapping[tuple[str, str, int], Floats], models: Mapping[str, Record]
) -> Floats:
    """Compute the mean optimality over models and seeds: of the samples as they are, then of each draw of them."""
    by_model = []
    for same in _by(runs, ("model",)).values():
        values = []
        for run in same:
            own, least = _comparable(run, kind, best, models)
            values.append(_redrawn(own, least))
        by_model.append(np.mean(values, axis=0))
    return np.asarray(np.mean(by_model, axis=0), dtype=np.float64)


def _redrawn(own: Floats, least: Floats) -> Floats:
    """Compute the optimality of the samples as they are, and of samples drawn anew, against one end of the curve."""
    finite = least[np.isfinite(least)]
    end = float(finite.max()) if len(finite) else 0.0
    lost = np.minimum(own, end) - np.minimum(least, end)
    room = np.where(least > 0, end, 0.0) - np.minimum(least, end)
    weights = _weights(len(own))
    whole = weights @ room
    return np.asarray(1 - np.divide(weights @ lost, whole, out=np.zeros_like(whole), where=whole > 0))


@lru_cache(maxsize=4)
def _weights(count: int) -> Floats:
    """Say how often each sample counts, ``[1 + draws, N]``: once, and then as often as it was drawn."""
    draws = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), size=_DRAWS)
    return np.concatenate([np.ones((1, count)), draws])


def _comparable(
    run: Record, kind: str, best: Mapping[tuple[str, str, int], Floats], models: Mapping[str, Record]
) -> tuple[Floats, Floats]:
    """Give an attack's distances and the best: whole, or with a fixed eps at the sizes of the grid alone."""
    own, least = run[kind], best[run["model"], run["norm"], run["budget"]]
    if run["goal"] == "nearest":
        return own, least
    grid = models[run["model"]]["grid"][run["norm"]]
    return on_grid(own, grid), on_grid(least, grid)


def _row(
    runs: Sequence[Record], best: Mapping[tuple[str, str, int], Floats], models: Mapping[str, Record]
) -> dict[str, Any]:
    first = runs[0]
    least = best[first["model"], first["norm"], first["budget"]]
    grid = models[first["model"]]["grid"][first["norm"]]
    on_it = {
        kind: [optimality(on_grid(run[kind], grid), on_grid(least, grid)) for run in runs]
        for kind in ("returned", "seen")
    }
    whole = {kind: [optimality(run[kind], least) for run in runs] for kind in ("returned", "seen")}
    nearest = first["goal"] == "nearest"
    attacked = max(sum(run["attacked"] for run in runs), 1)
    return {
        **{key: first[key] for key in KEYS},
        "returned": _mean(whole["returned"]) if nearest else None,
        "seen": _mean(whole["seen"]) if nearest else None,
        "grid": _mean(on_it["returned"]),
        "grid_seen": _mean(on_it["seen"]),
        "fallen": _mean([float(np.isfinite(run["returned"]).mean()) for run in runs]),
        **{name: sum(run[name] for run in runs) / attacked for name in ("forward", "backward")},
        "most": max(run["most"] for run in runs),
        "cpu": 1e3 * sum(run["cpu"] for run in runs) / attacked,
        "seeds": len(runs),
        "stopped": next((run["stopped"] for run in runs if run["stopped"]), ""),
        "error": next((run["error"] for run in runs if run["error"]), ""),
    }


def _curves(
    rows: Sequence[Record], runs: Sequence[Record], best: Mapping[tuple[str, str, int], Floats]
) -> Iterable[dict[str, Any]]:
    """Read the curves to be drawn: of each model and norm at the largest budget, the best of all and of each side."""
    for (model, norm), same in sorted(_by(rows, ("model", "norm")).items()):
        budget = max(row["budget"] for row in same)
        least = best[model, norm, budget]
        finite = least[np.isfinite(least)]
        if len(finite) == 0 or finite.max() == 0:
            continue
        sizes = np.linspace(0, float(finite.max()), _POINTS)
        lines = {"best of all": robust_accuracy_curve(least, sizes).tolist()}
        for side in (True, False):
            ranked = [
                row
                for row in same
                if (row["library"] == OWN) is side and row["budget"] == budget and row["returned"] is not None
            ]
            if not ranked:
                continue
            top = max(ranked, key=lambda row: float(row["returned"] if side else row["seen"]))
            run = next(run for run in runs if all(run[key] == top[key] for key in KEYS))
            lines[f"{top['library']} {top['attack']}"] = robust_accuracy_curve(
                run["returned" if side else "seen"], sizes
            ).tolist()
        yield {"model": model, "norm": norm, "budget": budget, "end": float(finite.max()), "lines": lines}


def _read(step: Record) -> dict[str, Any]:
    return {**step, **{kind: _distances(step[kind]) for kind in ("returned", "seen")}}


def _distances(stored: Sequence[float]) -> Floats:
    return np.array([math.inf if value < 0 else value for value in stored])


def _model(step: Record) -> dict[str, Any]:
    return {name: value for name, value in step.items() if name not in ("part", "status", "reason", "seconds")}


def _without_state(step: Record) -> dict[str, Any]:
    return {name: value for name, value in step.items() if name not in ("part", "status", "reason")}


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _by(records: Sequence[Record], keys: Sequence[str]) -> dict[tuple[Any, ...], list[Any]]:
    groups: dict[tuple[Any, ...], list[Any]] = defaultdict(list)
    for record in records:
        groups[tuple(record[key] for key in keys)].append(record)
    return groups
