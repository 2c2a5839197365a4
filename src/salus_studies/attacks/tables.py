"""The tables of docs/attacks.md: the attacks, the bars they must clear, and each row of the benchmark."""

from __future__ import annotations

from collections.abc import Sequence

from salus.attacks import ATTACKS, Attack
from salus.attacks.taxonomy import taxonomy
from salus_studies.attacks.measured import (
    LIBRARIES,
    NORMS,
    Result,
    median_distance,
    milliseconds,
    of_data,
    own_result,
    success_rate,
    title,
)
from salus_studies.frame.markdown import Record, ruled_table

KNOWLEDGE = {"gradients": "gradients", "logits": "logits", "answers": "answers alone"}
SIGNS = {True: "met", False: "**missed**", None: "–"}


def attacks_table(results: Record) -> str:
    """List every attack: who knows what, where it stands, what it costs."""
    rows = []
    for cls in classes():
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
                cost(cls.__name__, results),
            ]
        )
    header = (
        "attack | command line | asks for | finds | norms | paper | ATLAS | NIST AI 100-2 | measured cost a sample |"
    )
    return ruled_table(header, "---|" * 9, rows)


def classes() -> list[type[Attack]]:
    """List Salus's own attacks."""
    return list(ATTACKS.own.values())


def cost(attack: str, results: Record) -> str:
    """Say what an attack took on heartbeats, from its first stored row."""
    for record in of_data(results, "beats"):
        own = own_result(record)
        if record["attack"] == attack and own is not None:
            backward = f", {own['backward']:.0f} back" if own["backward"] else ""
            return f"{own['queries']:.0f} forward{backward}; {milliseconds(own):.3g} ms"
    return ""


def bars_table(records: Sequence[Record]) -> str:
    """List what Salus must show beside its peers, and whether it does."""
    rows = [
        [title(record), bar["bar"], bar["found"], SIGNS[bar["met"]]] for record in records for bar in record["bars"]
    ]
    return ruled_table("attack | what it must show | found | |", "---|" * 4, rows)


def record_table(record: Record) -> str:
    """Show a row of the benchmark."""
    header = (
        f"library | settings | samples | success % | median {NORMS[record['norm']]} | queries | backward | ms | CPU ms "
        "| of bare | of Salus |"
    )
    own = own_result(record)
    return ruled_table(header, "---|---|" + "---:|" * 9, [_cells(result, own) for result in record["results"]])


def _cells(result: Result, own: Result | None) -> list[str]:
    name = f"{LIBRARIES[result['library']]} {result['version']}"
    if result["error"]:
        return [name, result["settings"], f"cannot run: `{result['error'].replace('|', '/')}`"]
    return [
        f"**{name}**" if result is own else name,
        result["settings"],
        str(result["attacked"]),
        f"{100 * success_rate(result):.1f}",
        f"{median_distance(result):.4g}" if success_rate(result) else "",
        f"{result['queries']:.0f}",
        f"{result['backward']:.0f}",
        f"{milliseconds(result):.3g}",
        f"{1e3 * result['cpu'] / result['attacked']:.3g}",
        f"{result['of_bare']:.2f}",
        "" if own is None else f"{milliseconds(result) / milliseconds(own):.2f}",
    ]


def streaming_table(run: Record) -> str:
    """Show what memory and time attacking from disk to disk took."""
    rows = [[f"{mark['beats']:,}", f"{mark['peak']:.0f}", f"{mark['rate']:.0f}"] for mark in run["marks"]]
    return ruled_table("beats | peak memory, MiB | beats a second |", "---:|" * 3, rows)
