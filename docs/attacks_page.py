"""Write docs/attacks.md and its figures: what attacks there are, and how they stand beside their peers.

Run: python docs/attacks_page.py [--check]

The first table comes from the attacks themselves, the figures from docs/attacks-benchmark.json, which
benchmarks/attacks.py wrote. With --check nothing is written: it ends with 1 where the page or a figure is stale.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from statistics import median
from typing import Any

from stamps import check, described

from salus.attacks import ATTACKS, Attack
from salus.attacks.taxonomy import taxonomy

DOCS = Path(__file__).parent
STORED, PAGE = DOCS / "attacks-benchmark.json", DOCS / "attacks.md"
Record = dict[str, Any]
Result = dict[str, Any]

TITLES = {"beats": "MIT-BIH heartbeats", "fashion": "Fashion-MNIST"}
LIBRARIES = {
    "salus": "Salus",
    "adv-lib": "adv-lib",
    "adversarial-robustness-toolbox": "ART",
    "foolbox": "Foolbox",
    "pyautoattack": "pyautoattack",
    "torchattacks": "torchattacks",
}
COLOURS = {
    "salus": "#c8102e",
    "adv-lib": "#0072b2",
    "adversarial-robustness-toolbox": "#e69f00",
    "foolbox": "#009e73",
    "pyautoattack": "#56b4e9",
    "torchattacks": "#7f5fa8",
}
NORMS = {"linf": "L∞", "l2": "L2", "l0": "L0"}
KNOWLEDGE = {"gradients": "gradients", "logits": "logits", "answers": "answers alone"}

HEAD = """\
# Attacks

*Written by `python docs/attacks_page.py`; do not edit by hand.*

Every attack takes `(model, x, y)` and returns inputs of the same shape inside the bounds and its own norm ball:
signals `[N, C, L]`, images `[N, C, H, W]` and tables `[N, F]`, any number of classes from two up. On the command line
options stand behind a colon: `pgd:eps=0.01,steps=40`.
"""

ANYTHING = """\
## Any callable can be attacked

A Salus attack asks for a function from a batch to logits, and a decision-based one for a function from a batch to
labels. So it needs no adapter to attack what another library has wrapped, a model that is no network, or a service
behind a wire. Here is a random forest, which has no gradients and knows nothing of PyTorch:

```python
import torch
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import RandomForestClassifier

from salus.attacks import HopSkipJump

x, y = load_breast_cancer(return_X_y=True)
x = (x - x.min(0)) / (x.max(0) - x.min(0))
forest = RandomForestClassifier(n_estimators=20, random_state=0).fit(x[:500], y[:500])


def answer(batch: torch.Tensor) -> torch.Tensor:  # [N, 30] to labels [N]
    return torch.from_numpy(forest.predict(batch.numpy()))


patients, truth = torch.from_numpy(x[500:]).float(), torch.from_numpy(y[500:])
found = HopSkipJump(queries=400).run(answer, patients, truth)
print(f"fooled: {found.success.float().mean():.0%}, median L2 distance {found.distance.median():.2f}")
```

Other libraries' models are such functions already. Foolbox's wrapper is called as it is, and so is the module inside
an estimator of the Adversarial Robustness Toolbox:

```python
import torch
from art.estimators.classification import PyTorchClassifier
from foolbox.models.pytorch import PyTorchModel

from salus.attacks import PGD

net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 3)).eval()
x, y = torch.rand(8, 1, 12), torch.zeros(8, dtype=torch.int64)
wrapped = PyTorchModel(net, bounds=(0, 1))
estimator = PyTorchClassifier(net, torch.nn.CrossEntropyLoss(), (1, 12), 3, clip_values=(0, 1))
attack = PGD(eps=0.1)
assert torch.equal(attack(wrapped, x, y), attack(net, x, y))
assert torch.equal(attack(estimator.model, x, y), attack(net, x, y))
```
"""


def main() -> int:
    """Write the page, or check it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; end with 1 where something is stale")
    parser.add_argument("--stored", type=Path, default=STORED, help="the benchmark's results (default %(default)s)")
    parser.add_argument("--page", type=Path, default=PAGE, help="where to write (default %(default)s)")
    options = parser.parse_args()
    stored = json.loads(options.stored.read_text(encoding="utf-8")) if options.stored.exists() else None
    text = page(stored)
    figures = (
        {} if stored is None else {name: image(options.page, name) for name in datasets(stored) if shown(stored, name)}
    )
    if options.check:
        paths = {path: drawn_from(stored, name) for name, path in figures.items()}
        return check(options.page, text, paths, "attacks_page.py")
    options.page.write_text(text, encoding="utf-8")
    for name, path in figures.items():
        path.parent.mkdir(exist_ok=True)
        draw(stored, name, path)
    return 0


def page(stored: Record | None) -> str:
    """Put the page together."""
    parts = [HEAD, overview(stored)]
    if stored is None:
        parts.append("No benchmark is stored yet: `python benchmarks/attacks.py` makes one.\n")
    else:
        parts.append(benchmark(stored))
        if "streaming" in stored:
            parts.append(streaming(stored["streaming"]))
    return "\n".join((*parts, ANYTHING))


def overview(stored: Record | None) -> str:
    """List every attack: who knows what, where it stands, what it costs."""
    lines = [
        "| attack | command line | asks for | finds | norms | paper | ATLAS | NIST AI 100-2 | measured cost a sample |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for cls in classes():
        place = taxonomy(cls.knowledge)
        cells = (
            f"`{cls.__name__}`",
            f"`{cls.name}`",
            KNOWLEDGE.get(cls.knowledge, cls.knowledge),
            "the smallest change" if cls.closest else "a success within eps",
            ", ".join(NORMS[norm] for norm in cls.norms),
            cls.paper,
            place.atlas,
            place.nist,
            cost(cls.__name__, stored),
        )
        lines.append(f"| {' | '.join(cells)} |")
    note = "The cost is that of the benchmark's row on heartbeats below: forward and backward passes, each sample."
    return "\n".join((*lines, "", note, ""))


def classes() -> list[type[Attack]]:
    """List Salus's own attacks."""
    return list(ATTACKS.own.values())


def cost(name: str, stored: Record | None) -> str:
    """Say what an attack took on heartbeats, from its first stored row."""
    for record in stored["records"] if stored else ():
        own = [result for result in record["results"] if result["library"] == "salus" and not result["error"]]
        if record["attack"] == name and record["data"] == "beats" and own:
            backward = f", {own[0]['backward']:.0f} back" if own[0]["backward"] else ""
            return f"{own[0]['queries']:.0f} forward{backward}; {milliseconds(own[0]):.3g} ms"
    return ""


def benchmark(stored: Record) -> str:
    """Show the benchmark: its conditions, figures, bars and tables."""
    meta, records = stored["meta"], stored["records"]
    versions = ", ".join(f"{LIBRARIES.get(name, name)} {number}" for name, number in meta["versions"].items())
    threads = " or ".join(str(count) for count in sorted({record["threads"] for record in records}))
    lines = [
        "## Beside other libraries",
        "",
        f"{versions}; {meta['machine']}, {threads} threads, seed {meta['seed']}. All libraries attack the same samples "
        "of the same network in one run, in turn; times are medians of the repeats. Passes and queries are counted by "
        "one module around the network. Success is judged on the bare network: a wrong label, inside the bounds, and "
        "inside eps where there is one (peers may step out by 1e-6, Salus by nothing). Where an attack takes one "
        "sample after another it gets fewer of them, and times are compared by the sample. “Ours” are Salus's own "
        "settings given to the peer, “defaults” the peer's, except for what the row's name fixes. “Of bare” is the "
        "time over that of the same number of bare passes of the network, “of Salus” over Salus's time.",
        "",
    ]
    lines += ["```", *dict.fromkeys(record["command"] for record in records), "```", ""]
    for name in datasets(stored):
        accuracy = next(record["accuracy"] for record in records if record["data"] == name)
        lines += [f"### {TITLES[name]}", "", f"The network gets {accuracy:.1%} of the test samples right.", ""]
        if shown(stored, name):
            lines += [f"![Every attack beside its peers, {TITLES[name]}](images/{image(PAGE, name).name})", ""]
        lines += ["| attack | what it must show | found | |", "|---|---|---|---|"]
        for record in (record for record in records if record["data"] == name):
            for bar in record["bars"]:
                sign = {True: "met", False: "**missed**", None: "–"}[bar["met"]]
                lines.append(f"| {title(record)} | {bar['bar']} | {bar['found']} | {sign} |")
        lines.append("")
        for record in (record for record in records if record["data"] == name):
            lines += table(record)
    return "\n".join(lines)


def streaming(run: Record) -> str:
    """Show what memory attacking from disk to disk took."""
    lines = [
        "## Any number of samples",
        "",
        "`Attack.stream` takes and gives one piece after another, so memory does not grow with their number. It grows",
        "at first, where torch caches its kernels for each size that a batch shrinks to as samples fall:",
    ]
    lines += [
        "",
        f"```\n{run['command']}\n```",
        "",
        "| beats | peak memory, MiB | beats a second |",
        "|---:|---:|---:|",
    ]
    lines += [f"| {mark['beats']:,} | {mark['peak']:.0f} | {mark['rate']:.0f} |" for mark in run["marks"]]
    return "\n".join((*lines, "", f"`{run['attack']}`, {run['threads']} threads.", ""))


def table(record: Record) -> list[str]:
    """Show a row of the benchmark as a table."""
    distance = f"median {NORMS[record['norm']]}"
    cost = "queries | backward | ms | CPU ms | of bare | of Salus"
    head = f"| library | settings | samples | success % | {distance} | {cost} |"
    lines = [f"#### {title(record)}", "", head, "|---|---|" + "---:|" * 9]
    first = next((r for r in record["results"] if r["library"] == "salus" and not r["error"]), None)
    for result in record["results"]:
        name = f"{LIBRARIES[result['library']]} {result['version']}"
        if result["error"]:
            lines.append(f"| {name} | {result['settings']} | cannot run: `{result['error'].replace('|', '/')}` |")
            continue
        of_own = "" if first is None else f"{milliseconds(result) / milliseconds(first):.2f}"
        cells = (
            f"**{name}**" if result is first else name,
            result["settings"],
            str(result["attacked"]),
            f"{100 * rate(result):.1f}",
            f"{distance_of(result):.4g}" if rate(result) else "",
            f"{result['queries']:.0f}",
            f"{result['backward']:.0f}",
            f"{milliseconds(result):.3g}",
            f"{1e3 * result['cpu'] / result['attacked']:.3g}",
            f"{result['of_bare']:.2f}",
            of_own,
        )
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""]


def title(record: Record) -> str:
    """Name a row with its eps."""
    if record["eps"] is None:
        return str(record["title"])
    steps = record["eps"] * 255  # images have 255 steps
    whole = record["data"] == "fashion" and abs(steps - round(steps)) < 1e-9
    return f"{record['title']}, eps {f'{round(steps)}/255' if whole else format(record['eps'], 'g')}"


def datasets(stored: Record) -> list[str]:
    """List the data of the stored records, in our order."""
    return [name for name in TITLES if any(record["data"] == name for record in stored["records"])]


def rate(result: Result) -> float:
    """Compute the share of samples that fell."""
    return float(result["success"].count("1") / result["samples"])


def distance_of(result: Result, first: int | None = None) -> float:
    """Compute the median distance of those that fell, or of those of the first samples."""
    pairs = list(zip(result["distance"], result["success"], strict=True))[:first]
    return float(median(distance for distance, won in pairs if won == "1"))


def milliseconds(result: Result) -> float:
    """Compute the time a sample."""
    return float(1e3 * result["seconds"] / result["attacked"])


def image(page_path: Path, name: str) -> Path:
    """Say where the figure for these data lies."""
    return page_path.parent / "images" / ("attacks.png" if name == "beats" else f"attacks-{name}.png")


def shown(stored: Record, name: str) -> list[Record]:
    """Choose one record of each attack for the figure: the smallest eps, where attacks differ."""
    records: dict[str, Record] = {}
    for record in stored["records"]:
        if record["data"] == name and any(r["library"] == "salus" and not r["error"] for r in record["results"]):
            records[record["row"]] = record  # records of a row are sorted by eps, the largest first
    return list(records.values())


def drawn_from(stored: Record, name: str) -> list[Any]:
    """Say what the figure for these data depends on."""
    return [shown(stored, name), COLOURS]


def draw(stored: Record, name: str, path: Path) -> None:
    """Draw success or distance over time, a panel for each attack."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    records = shown(stored, name)
    columns = min(4, len(records))
    rows = -(-len(records) // columns)
    figure, axes = plt.subplots(rows, columns, squeeze=False)
    for axis in axes.flat[len(records) :]:
        axis.set_visible(False)
    for axis, record in zip(axes.flat, records, strict=False):
        panel(axis, record)
    used = [lib for lib in LIBRARIES if any(r["library"] == lib for record in records for r in record["results"])]
    marks = [
        plt.Line2D([], [], linestyle="", color=COLOURS[lib], marker="D" if lib == "salus" else "o") for lib in used
    ]
    figure.legend(marks, [LIBRARIES[lib] for lib in used], loc="lower center", ncols=len(used), frameon=False)
    figure.suptitle(f"{TITLES[name]}: what each attack reaches, and in what time", fontsize=12)
    height = 2.6 * rows + 0.8
    figure.set_size_inches(3.3 * columns, height)
    figure.supxlabel("time a sample over Salus's (further left is faster)", fontsize=10, y=0.4 / height)
    figure.tight_layout(rect=(0, 0.6 / height, 1, 1 - 0.1 / height))
    figure.savefig(path, dpi=130, metadata=described(drawn_from(stored, name)))
    plt.close(figure)


def panel(axis: Any, record: Record) -> None:
    """Draw one attack; times, and distances where they count, over those of Salus."""
    nearest = record["goal"] == "nearest"
    own = next(result for result in record["results"] if result["library"] == "salus" and not result["error"])
    ran = [result for result in record["results"] if not result["error"] and (rate(result) or not nearest)]
    heights = []
    for result in ran:
        mine = result["library"] == "salus"
        same = distance_of(own, result["samples"]) if nearest else 1.0  # on the samples that the peer attacked
        heights.append(distance_of(result) / same if nearest else 100 * rate(result))
        style = {"marker": "D", "s": 60, "zorder": 4} if mine else {"marker": "o", "s": 40, "zorder": 3}
        time = milliseconds(result) / milliseconds(own)
        axis.scatter(time, heights[-1], color=COLOURS[result["library"]], edgecolor="white", alpha=0.9, **style)
    axis.axvline(1, color="0.8", linewidth=1, zorder=1)
    axis.set_xscale("log")
    left, right = axis.get_xlim()
    axis.set_xlim(min(left, 0.3), max(right, 12))
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}×")
    axis.xaxis.set_minor_formatter(lambda value, _: "")
    if nearest:
        axis.axhline(1, color="0.8", linewidth=1, zorder=1)
        axis.set_ylim(min(0.9, min(heights) - 0.1), max(1.2, 1.05 * max(heights)))
        axis.yaxis.set_major_formatter(lambda value, _: f"{value:g}×")
        axis.set_ylabel(f"median {NORMS[record['norm']]}\n(lower is better)", fontsize=8)
    else:
        axis.set_ylim(max(-3, min(heights) - 15), 103)
        axis.set_ylabel("success %\n(higher is better)", fontsize=8)
    axis.set_title(title(record), fontsize=9)
    axis.tick_params(labelsize=8)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)


if __name__ == "__main__":
    sys.exit(main())
