"""Attack the purifiers that kept most under the adaptive attacker, with more strength: a written attempt to break them.

Run: python benchmarks/break_purifiers.py runs/defences-mitdb [--samples 40] [--eps 0.01 0.02 0.03] [--steps 50]

Needs the folder that `salus audit benchmarks/defences-mitdb.yaml` left. Every guard in it that is a purifier alone and
draws at random or descends is attacked by who knows it, with PGD of so many steps, at the audit's size of change and
beyond. Prints how likely a sample is to be answered rightly before and after, over the guard's draws.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from safetensors.torch import load_file

from salus.attacks import PGD
from salus.guard import Guard
from salus.purifiers import DefenseGANPurifier, MultiMagNetReformer
from salus.threats import adaptive


def main() -> None:
    """Attack, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of the audit")
    parser.add_argument("--samples", type=int, default=40, help="the first so many of the audit's")
    parser.add_argument("--eps", type=float, nargs="+", default=[0.01, 0.02, 0.03], help="sizes of change, L-inf")
    parser.add_argument("--steps", type=int, default=50, help="of PGD")
    given = parser.parse_args()
    held = load_file(given.run / "samples.safetensors")
    x, y = held["x"][: given.samples], held["y"][: given.samples]
    for place in sorted((given.run / "guards").iterdir()):
        guard = Guard.load(place)
        if guard.detectors or not isinstance(guard.purifier, (DefenseGANPurifier, MultiMagNetReformer)):
            continue
        right = guard.chances(x).gather(1, y[:, None]).mean()
        print(f"{guard.name}: {right:.1%} of {len(x)} right when clean")
        for eps in given.eps:
            started = time.perf_counter()
            found = adaptive(PGD(eps=eps, steps=given.steps), guard, x, y)
            by = [name for k, name in enumerate(found.names) if bool((found.variants == k).any())]
            print(
                f"  eps {eps:g}: {1 - found.chances.mean():.1%} right, by {', '.join(by)} "
                f"({time.perf_counter() - started:.0f} s)",
                flush=True,
            )


if __name__ == "__main__":
    main()
