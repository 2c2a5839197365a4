"""What attacks must show, and whether they do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from salus_studies.attacks.contenders import DEFAULTS
from salus_studies.attacks.measured import (
    FORTY_STEPS,
    LIBRARIES,
    NORMS,
    OWN,
    as_strong,
    attack_rows,
    chosen,
    mean,
    strongest,
    title,
)
from salus_studies.frame.markdown import Record

#: Optimality that the best of Salus must reach, that of PGD-40, and by how much a peer may be above.
BEST, FORTY, ABOVE = 0.99, 0.95, 0.005
#: Passes at which the first is judged.
MOST = 2000


@dataclass(frozen=True)
class Bar:
    """One bar; ``met`` is None where it was not measured."""

    bar: str
    found: str
    met: bool | None


def bars(results: Record) -> Iterator[Bar]:
    """Hold the results against each bar."""
    rows = attack_rows(results)
    yield from _best(results, rows)
    yield _forty(rows)
    yield _nobody_above(results)
    yield _equal(results)
    yield from _ensembles(results)
    yield from _queries(results)
    yield _square(results, rows)


def above(results: Record) -> list[tuple[Record, Record, str]]:
    """List peers' attacks that come more than .005 nearer than the best of ours: theirs, ours, and the figure.

    Of a peer counts the nearest point that it showed the network, of Salus what it returned.
    """
    found = []
    rows = attack_rows(results)
    for kind, figures in (("nearest", ("returned", "seen")), ("within", ("grid", "grid_seen"))):
        for place in sorted({(row["model"], row["norm"], row["budget"]) for row in rows}):
            same = chosen(rows, **dict(zip(("model", "norm", "budget"), place, strict=True)))
            if kind == "nearest":
                same = chosen(same, goal=kind)
            own = strongest(same, figures[0], own=True)
            for row in same:
                if row["library"] == OWN or row["error"] or own is None:
                    continue
                if row[figures[1]] > own[figures[0]] + ABOVE and (kind == "nearest" or row["goal"] == kind):
                    found.append((row, own, kind))
    return found


def _best(results: Record, rows: list[dict[str, object]]) -> Iterator[Bar]:
    for norm, name in NORMS.items():
        bar = f"best Salus attack in {name} at {MOST:,} passes: optimality at least {BEST:g} on every model"
        tops = {
            model["model"]: strongest(
                chosen(rows, model=model["model"], norm=norm, budget=MOST, goal="nearest"), "returned", own=True
            )
            for model in results["models"]
        }
        known = {model: top for model, top in tops.items() if top is not None}
        if not known:
            yield Bar(bar, "not run", None)
            continue
        worst = min(known, key=lambda model: float(known[model]["returned"]))
        value = known[worst]["returned"]
        globally = mean([float(top["returned"]) for top in known.values()])
        found = f"{value:.3f} at worst ({worst}, {title(known[worst])}), {globally:.3f} on average"
        yield Bar(bar, found, value >= BEST and len(known) == len(results["models"]))


def _forty(rows: list[dict[str, object]]) -> Bar:
    bar = f"the default PGD-40 in L∞: global optimality at least {FORTY:g} at its passes"
    found = chosen(rows, library=OWN, attack="pgd", settings=DEFAULTS, norm="linf", budget=FORTY_STEPS)
    if not found:
        return Bar(bar, "not run", None)
    worst = min(found, key=lambda row: float(row["grid"]))
    value = mean([float(row["grid"]) for row in found])
    return Bar(bar, f"{value:.3f}; {worst['grid']:.3f} at worst ({worst['model']})", value >= FORTY)


def _nobody_above(results: Record) -> Bar:
    bar = f"no library's attack above ours by more than {ABOVE:g} at the same passes"
    if not results["attacks"]:
        return Bar(bar, "not run", None)
    found = above(results)
    names = sorted({title(row) for row, _, _ in found})
    return Bar(bar, f"{len(found)} are: {', '.join(names)}" if found else "none is", not found)


def _equal(results: Record) -> Bar:
    bar = "each default at least as strong as every peer's default and other settings at equal passes, within one error"
    pairs = results["equal"]
    if not pairs:
        return Bar(bar, "not run", None)
    weaker = [pair for pair in pairs if not as_strong(pair)]
    names = sorted({f"`{pair['attack']}` in {NORMS[pair['norm']]}" for pair in weaker})
    words = f"{len(pairs) - len(weaker)} of {len(pairs)} pairs"
    return Bar(bar, f"{words}; weaker: {', '.join(names)}" if weaker else words, not weaker)


def _ensembles(results: Record) -> Iterator[Bar]:
    bar = "`auto-attack-plus`: nothing left that AutoAttack fools, on any model, in at most a fifth of its passes"
    pairs = []
    for row in chosen(results["ensembles"], library=OWN, attack="auto-attack-plus"):
        same = {name: row[name] for name in ("model", "norm", "eps")}
        pairs += [(row, other) for other in chosen(results["ensembles"], library=OWN, attack="auto-attack", **same)]
    if not pairs:
        yield Bar(bar, "not run", None)
        return
    weaker = [mine["model"] for mine, other in pairs if mine["left"] > other["left"]]
    shares = [(mine["forward"] + mine["backward"]) / (other["forward"] + other["backward"]) for mine, other in pairs]
    words = f"weaker on {', '.join(sorted(set(weaker)))}" if weaker else f"on {len(pairs)} of {len(pairs)} as strong"
    yield Bar(bar, f"{words}; {max(shares):.2f} of the passes at most", not weaker and max(shares) <= 0.2)


def _queries(results: Record) -> Iterator[Bar]:
    rows, before = results["queries"], results.get("before") or {}
    budgets = sorted({row["budget"] for row in rows})
    for budget in budgets:
        mine = _nearest(chosen(rows, library=OWN, budget=budget))
        first = (before.get("median") or {}).get(str(budget))
        bar = f"decision-based, {budget:,} queries: median L2 at most 0.7 times that of HopSkipJump before"
        if mine is None or first is None:
            yield Bar(bar, "not run", None)
        else:
            ratio = mine["median"] / first
            found = f"{ratio:.2f} (`{mine['attack']}`, {mine['median']:.3g}; {first:.3g} before)"
            if (floor := results.get("floor")) is not None:
                found += f"; white-box attacks come to {floor['median']:.3g}, {floor['median'] / first:.2f} times"
            yield Bar(bar, found, ratio <= 0.7)
    for name, peer, factor in (("hop-skip-jump", "HopSkipJump", 3.0), ("boundary", "BoundaryAttack", 0.0)):
        bar = (
            f"HopSkipJump: {factor:g} times ART's speed at equal or nearer distance"
            if factor
            else "Boundary: no farther than ART's at equal queries"
        )
        pairs = [
            (mine, theirs)
            for budget in budgets
            if (mine := _median_of(chosen(rows, library=OWN, attack=name, budget=budget))) is not None
            and (theirs := _median_of(chosen(rows, attack=peer, budget=budget), ("ART",))) is not None
        ]
        if not pairs:
            yield Bar(bar, "not run", None)
            continue
        nearer = all(mine["median"] <= theirs["median"] for mine, theirs in pairs)
        distances = ", ".join(f"{mine['median']:.3g} to {theirs['median']:.3g}" for mine, theirs in pairs)
        if not factor:
            yield Bar(bar, distances, nearer)
            continue
        speeds = [theirs["cpu"] / mine["cpu"] for mine, theirs in pairs]
        most = [theirs["cpu"] / mine["bare"] for mine, theirs in pairs]
        found = f"{min(speeds):.1f} times; its passes alone would make it {min(most):.1f} times; {distances}"
        yield Bar(bar, found, nearer and min(speeds) >= factor)


def _square(results: Record, rows: list[dict[str, object]]) -> Bar:
    bar = "Square: 1.5 times torchattacks' speed, no fewer fallen"
    pairs = []
    for mine in chosen(rows, library=OWN, attack="square", model="beats"):
        same = {name: mine[name] for name in ("model", "norm", "budget")}
        pairs += [(mine, other) for other in chosen(rows, library="torchattacks", attack="Square", **same)]
    pairs = [(mine, other) for mine, other in pairs if not other["error"]]
    if not pairs:
        return Bar(bar, "not run", None)
    pass_ = 1e3 * float(next(model for model in results["models"] if model["model"] == "beats")["bare"]["forward"])
    slowest, mine, other = min(
        ((float(other["cpu"]) / float(mine["cpu"]), mine, other) for mine, other in pairs), key=lambda pair: pair[0]
    )
    alone = float(mine["forward"]) * pass_
    weaker = [mine for mine, other in pairs if mine["fallen"] < other["fallen"]]
    found = (
        f"{slowest:.2f} times at least on heartbeats: {mine['cpu']:.2g} to {other['cpu']:.2g} ms "
        f"in {NORMS[str(mine['norm'])]} at {mine['budget']} passes, which alone take {alone:.2g} ms"
    )
    return Bar(bar, found, slowest >= 1.5 and not weaker)


def _nearest(rows: list[Record]) -> Record | None:
    """Find whose median is the lowest, over the seeds of each."""
    names = sorted({row["attack"] for row in rows})
    found = [each for name in names if (each := _median_of(chosen(rows, attack=name))) is not None]
    return min(found, key=lambda row: float(row["median"]), default=None)


def _median_of(rows: list[Record], libraries: tuple[str, ...] = ()) -> Record | None:
    """Put several seeds of one attack together: means of their figures; None where one found nothing."""
    rows = [row for row in rows if not libraries or LIBRARIES[row["library"]] in libraries]
    if not rows or any(row["median"] is None or row["error"] for row in rows):
        return None
    figures = {name: mean([float(row[name]) for row in rows]) for name in ("median", "cpu", "bare", "queries")}
    return {**rows[0], **figures}
