"""Attack the purifiers that kept most under the adaptive attacker, with more strength: a written attempt to break them.

Run: python benchmarks/break_purifiers.py RUN [--samples 40] [--eps 0.01 0.02 0.03] [--steps 50] [--out FILE.json]

Needs the folder of an audit by benchmarks/defences-mitdb.yaml or benchmarks/defences-ham10000.yaml. Every guard in it
that is a purifier alone and draws at random or descends is attacked by who knows it, with PGD of so many steps, at the
audit's size of change and beyond. Prints how likely a sample is to be answered rightly before and after, over the
guard's draws; what --out writes as docs/defences-broken-NAME.json, docs/defences_page.py shows.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
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
    parser.add_argument("--out", type=Path, help="where to write the figures, as JSON")
    given = parser.parse_args()
    held = load_file(given.run / "samples.safetensors")
    x, y = held["x"][: given.samples], held["y"][: given.samples]
    rows = []
    for place in sorted((given.run / "guards").iterdir()):
        guard = Guard.load(place)
        if guard.detectors or not isinstance(guard.purifier, (DefenseGANPurifier, MultiMagNetReformer)):
            continue
        right = float(guard.chances(x).gather(1, y[:, None]).mean())
        print(f"{guard.name}: {right:.1%} of {len(x)} right when clean")
        for eps in given.eps:
            started = time.perf_counter()
            found = adaptive(PGD(eps=eps, steps=given.steps), guard, x, y)
            left = float(1 - found.chances.mean())
            print(f"  eps {eps:g}: {left:.1%} right ({time.perf_counter() - started:.0f} s)", flush=True)
            rows.append({"guard": guard.name, "eps": eps, "clean": right, "left": left})
            if given.out is not None:
                data = json.loads((given.run / "results.json").read_text(encoding="utf-8"))["meta"]["data"]["name"]
                told = {"data": data, "command": shlex.join(["python", *sys.argv]), "samples": len(x)}
                told |= {"steps": given.steps, "rows": rows}
                given.out.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
