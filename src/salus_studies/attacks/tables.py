"""The tables of docs/attacks.md."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from salus.attacks import ATTACKS, Attack
from salus.attacks.taxonomy import taxonomy
from salus_studies.attacks.bars import above, bars
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
from salus_studies.attacks.sentences import NO_REASON, REASONS
from salus_studies.frame.markdown import Record, markdown

KNOWLEDGE = {"gradients": "gradients", "logits": "logits", "answers": "answers alone"}
SIGNS = {True: "met", False: "**missed**", None: "not run"}


def attacks_table(results: Record) -> str:
    """List every attack: who knows what, where it stands, what it costs."""
    rows = []
    for cls in ATTACKS.own.values():
        place = taxonomy(cls.knowledge)
        rows.append(
            [
                f"`{cls.__name__}`",
                f"`{cls.name}`",
                KNOWLEDGE.get(cls.knowledge, cls.knowledge),
                "the smallest change" if cls.closest else "a success within eps",
                ", ".join(NORMS[norm] for norm in cls.norms),
                cls.paper,
                place.atlas,
                place.nist,
                cost(cls, results),
            ]
        )
    header = [
        "attack",
        "command line",
        "asks for",
        "finds",
        "norms",
        "paper",
        "ATLAS",
        "NIST AI 100-2",
        "measured cost",
    ]
    return markdown(header, rows, left=9)


def cost(cls: type[Attack], results: Record) -> str:
    """Say what an attack took on heartbeats, where the least was allowed."""
    rows = chosen(attack_rows(results), library=OWN, attack=cls.name, settings=DEFAULTS, model="beats", error="")
    asked = chosen(results["queries"], library=OWN, attack=cls.name)
    if rows:
        row = min(rows, key=lambda each: int(each["budget"]))
        back = f", {row['backward']:.0f} back" if row["backward"] else ""
        return f"{row['forward']:.0f} forward{back}; {row['cpu']:.2g} ms"
    if asked:
        row = min(asked, key=lambda each: int(each["budget"]))
        return f"{row['queries']:.0f} forward; {row['cpu']:.2g} ms"
    return ""


def models_table(results: Record) -> str:
    """List the models that are attacked, and the sizes of change for attacks with a fixed eps.

    The constant is who always answers the commonest class of the samples.
    """
    rows = [
        [
            f"`{model['model']}`",
            model["title"] + (f", against PGD-5 at eps {model['hardened']:g}" if model["hardened"] else ""),
            " × ".join(map(str, model["shape"])),
            str(model["samples"]),
            f"{100 * model['accuracy']:.1f}",
            f"{100 * model['constant']:.1f}",
            *(", ".join(f"{size:g}" for size in model["grid"][norm]) for norm in NORMS),
        ]
        for model in results["models"]
    ]
    sizes = [f"eps, {name}" for name in NORMS.values()]
    return markdown(["model", "what it is", "sample", "samples", "right %", "constant %", *sizes], rows, left=3)


def bars_table(results: Record) -> str:
    """List what attacks must show, and whether they do."""
    rows = [[bar.bar, bar.found, SIGNS[bar.met]] for bar in bars(results)]
    return markdown(["what they must show", "found", ""], rows, left=3)


def above_table(results: Record) -> str | None:
    """Name the peers' attacks that are stronger than ours, and why; None where none is."""
    rows = []
    for peer, own, kind in above(results):
        figures = ("returned", "seen") if kind == "nearest" else ("grid", "grid_seen")
        reason = REASONS.get((peer["library"], peer["attack"], peer["norm"]), NO_REASON)
        place = f"`{peer['model']}`, {NORMS[peer['norm']]}, {peer['budget']:,} passes"
        rows.append([place, title(peer), f"{peer[figures[1]]:.3f}", title(own), f"{own[figures[0]]:.3f}", reason])
    return markdown(["where", "theirs", "", "ours", "", "why"], rows, left=6) if rows else None


def optimality_table(results: Record, goal: str) -> str:
    """Show the best of ours and of the peers', by model, norm and budget, and the means over models."""
    rows = attack_rows(results)
    returned, seen = ("returned", "seen") if goal == "nearest" else ("grid", "grid_seen")
    body = []
    for norm in NORMS:
        for budget in sorted({row["budget"] for row in chosen(rows, norm=norm, goal=goal)}):
            pairs = []
            for model in results["models"]:
                same = chosen(rows, norm=norm, goal=goal, budget=budget, model=model["model"])
                pair = (strongest(same, returned, own=True), strongest(same, seen, own=False))
                body.append(_optimality_row(model["model"], norm, budget, pair, (returned, seen)))
                pairs.append(pair)
            body.append(_global_row(norm, budget, pairs, (returned, seen)))
    body = [row for row in body if row]
    return markdown(["model", "norm", "passes", "best of Salus", "returned", "best peer", "seen"], body, left=2)


def _optimality_row(
    model: str, norm: str, budget: int, pair: tuple[Record | None, Record | None], figures: tuple[str, str]
) -> list[str]:
    if pair == (None, None):
        return []
    cells = [f"`{model}`", NORMS[norm], f"{budget:,}"]
    for row, figure in zip(pair, figures, strict=True):
        cells += ["–", "–"] if row is None else [title(row), f"{row[figure]:.3f}"]
    return cells


def _global_row(
    norm: str, budget: int, pairs: Sequence[tuple[Record | None, Record | None]], figures: tuple[str, str]
) -> list[str]:
    cells = ["**global**", NORMS[norm], f"{budget:,}"]
    for side, figure in zip(zip(*pairs, strict=True), figures, strict=True):
        known = [float(row[figure]) for row in side if row is not None]
        cells += ["", f"**{mean(known):.3f}**" if known else "–"]
    return cells if len(pairs) > 1 else []


def forty_table(results: Record) -> str:
    """Show every attack with a fixed eps at the passes of PGD-40 in L-infinity: global optimality on the grid."""
    rows = chosen(attack_rows(results), norm="linf", budget=FORTY_STEPS, goal="within")
    return _globally(rows, ("grid", "grid_seen"))


def every_attack_table(results: Record, norm: str, budget: int, goal: str) -> str:
    """Show every attack at one budget: global optimality, and what it took."""
    figures = ("returned", "seen") if goal == "nearest" else ("grid", "grid_seen")
    return _globally(chosen(attack_rows(results), norm=norm, budget=budget, goal=goal), figures)


def _globally(rows: Sequence[Record], figures: tuple[str, str]) -> str:
    named: dict[tuple[str, str, str], list[Record]] = {}
    for row in rows:
        named.setdefault((row["library"], row["attack"], row["settings"]), []).append(row)
    lines = []
    for same in named.values():
        usable = [row for row in same if not row["error"]]
        if not usable:
            lines.append((-1.0, [title(same[0]), f"cannot run: `{same[0]['error']}`", "", "", "", "", ""]))
            continue
        values = [mean([float(row[figure]) for row in usable]) for figure in figures]
        took = [f"{mean([float(row[name]) for row in usable]):.0f}" for name in ("forward", "backward")]
        lines.append(
            (
                values[1],
                [
                    f"**{title(same[0])}**" if same[0]["library"] == OWN else title(same[0]),
                    str(len(usable)),
                    *(f"{value:.3f}" for value in values),
                    *took,
                    f"{mean([float(row['cpu']) for row in usable]):.2g}",
                ],
            )
        )
    lines.sort(key=lambda line: -line[0])
    header = ["attack", "models", "returned", "seen", "forward", "backward", "ms"]
    return markdown(header, [cells for _, cells in lines])


def equal_table(results: Record) -> str:
    """Show each of Salus's attacks beside the strongest peer's of its family."""
    pairs: dict[tuple[int, str, str], Record] = {}
    for pair in results["equal"]:
        place = (pair["budget"], pair["norm"], pair["attack"] + pair["family"])
        if place not in pairs or pair["own"] - pair["theirs"] < pairs[place]["own"] - pairs[place]["theirs"]:
            pairs[place] = pair
    rows = [
        [
            f"`{pair['attack']}`",
            NORMS[pair["norm"]],
            str(pair["budget"]),
            str(pair["models"]),
            str(pair["seeds"]),
            f"{pair['own']:.3f}",
            title({**pair, "attack": pair["peer"]}),
            f"{pair['theirs']:.3f}",
            f"{pair['own'] - pair['theirs']:+.3f} ± {pair['error']:.3f}",
            SIGNS[as_strong(pair)],
        ]
        for pair in pairs.values()
    ]
    header = ["attack", "norm", "passes", "models", "seeds", "ours", "strongest peer", "theirs", "apart", ""]
    return markdown(header, rows, left=2)


def ensembles_table(results: Record) -> str:
    """Show what AutoAttack and its like leave, in how many passes."""
    rows = []
    for row in results["ensembles"]:
        name = f"`{row['attack']}`" if row["library"] == OWN else f"{LIBRARIES[row['library']]} {row['attack']}"
        place = [f"`{row['model']}`", NORMS[row["norm"]], f"{row['eps']:g}", name]
        if row["error"]:
            rows.append([*place, f"cannot run: `{row['error']}`", "", "", ""])
            continue
        passes = [row["forward"], row["backward"], row["forward"] + row["backward"]]
        rows.append([*place, f"{100 * row['left']:.1f}", *(f"{count:,.0f}" for count in passes)])
    header = ["model", "norm", "eps", "attack", "right after %", "forward", "backward", "passes a sample"]
    return markdown(header, rows, left=4)


def queries_table(results: Record) -> str:
    """Show how near attacks come that see answers alone."""
    rows = []
    for row in sorted(results["queries"], key=lambda each: (each["budget"], each["median"] or float("inf"))):
        cells = [f"{row['budget']:,}", title(row), str(row["seed"])]
        if row["error"]:
            rows.append([*cells, f"cannot run: `{row['error']}`", "", "", "", ""])
            continue
        nearest = "–" if row["median"] is None else f"{row['median']:.4g}"
        figures = [f"{row['queries']:,.0f}", f"{row['cpu']:.3g}", f"{row['cpu'] / row['bare']:.2f}"]
        rows.append([*cells, nearest, f"{100 * row['fallen']:.0f}", *figures])
    header = ["queries", "attack", "seed", "median L2", "fallen %", "asked", "ms", "of bare"]
    return markdown(header, rows, left=2)


def speed_table(results: Record, model: str = "beats", budget: int = 200) -> str:
    """Show the time of each of Salus's attacks beside the fastest peer of its family, on one model."""
    bare = {each["model"]: each["bare"] for each in results["models"]}.get(model)
    if bare is None:
        return "Not run.\n"
    rows = chosen(attack_rows(results), model=model, budget=budget, error="")
    figures = ["ms a sample", "of bare", "fallen %"]
    return markdown(["attack", "norm", *figures, "fastest peer", *figures, "ratio"], _speeds(rows, bare), left=2)


def _speeds(rows: Sequence[Record], bare: Record) -> Iterator[list[str]]:
    for own in chosen(rows, library=OWN, settings=DEFAULTS):
        family = chosen(rows, family=own["family"], norm=own["norm"], goal=own["goal"])
        peers = [row for row in family if row["library"] != OWN and row["fallen"] >= own["fallen"] - 0.005]
        if not peers:
            continue
        peer = min(peers, key=lambda row: float(row["cpu"]))
        cells = [f"`{own['attack']}`", NORMS[own["norm"]], *_speed(own, bare), title(peer), *_speed(peer, bare)]
        yield [*cells, f"{peer['cpu'] / own['cpu']:.2f}"]


def _speed(row: Record, bare: Record) -> list[str]:
    least = 1e3 * (row["forward"] * bare["forward"] + row["backward"] * bare["backward"])
    return [f"{row['cpu']:.2g}", f"{row['cpu'] / least:.1f}", f"{100 * row['fallen']:.1f}"]


def streaming_table(run: Record) -> str:
    """Show what memory and time attacking from disk to disk took."""
    rows = [[f"{mark['beats']:,}", f"{mark['peak']:.0f}", f"{mark['rate']:.0f}"] for mark in run["marks"]]
    return markdown(["beats", "peak memory, MiB", "beats a second"], rows, left=0)
