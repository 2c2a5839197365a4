"""FGSM and PGD-40 beside other people's, on the same trained model and the same samples of an audit.

Run: pip install -e '.[bench]'; python benchmarks/peers.py RUN [SAMPLES]
RUN is the folder of an audit of a model on (0, 1) data. Each library runs with the same eps and steps, every step
taken; medians of three interleaved repeats.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from salus.attacks import FGSM, PGD
from salus.classifier import Classifier

EPS, STEPS, REPEATS, THREADS = 0.01, 40, 3, 2
_ART = "adversarial-robustness-toolbox"
Attack = Callable[[Tensor, Tensor], Tensor]


def main() -> None:
    """Print robust accuracy, seconds and the ratio to Salus for each attack and library."""
    folder, count = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 512
    torch.set_num_threads(THREADS)
    model = Classifier.load(folder).eval()
    samples = load_file(folder / "samples.safetensors")
    x, y = samples["x"][:count], samples["y"][:count]
    print(f"torch {torch.__version__}, {THREADS} threads, {count} samples, eps {EPS}, {STEPS} steps")
    print(f"{'attack':8} {'library':38} {'robust':>8} {'seconds':>8} {'ratio':>6}")
    for name, rows in {"FGSM": _fgsm(model), f"PGD-{STEPS}": _pgd(model)}.items():
        times: dict[str, list[float]] = {library: [] for library in rows}
        robust: dict[str, float] = {}
        for _ in range(REPEATS):
            for library, attack in rows.items():
                started = time.perf_counter()
                x_adv = attack(x, y)
                times[library].append(time.perf_counter() - started)
                assert float((x_adv - x).abs().max()) <= EPS + 1e-6
                robust[library] = float((model.predict(x_adv).argmax(1) == y).float().mean())
        own = statistics.median(times["salus"])
        for library, seconds in times.items():
            median = statistics.median(seconds)
            shown = library if library == "salus" else f"{library} {version(library)}"
            print(f"{name:8} {shown:38} {robust[library]:8.1%} {median:8.2f} {median / own:6.2f}")


def _fgsm(model: Classifier) -> dict[str, Attack]:
    import foolbox
    from art.attacks.evasion import FastGradientMethod

    return {
        "salus": lambda x, y: FGSM(eps=EPS)(model, x, y),
        "foolbox": lambda x, y: foolbox.attacks.FGSM()(_for_foolbox(model), x, y, epsilons=EPS)[1],
        _ART: _through_art(model, lambda estimator: FastGradientMethod(estimator, eps=EPS, batch_size=256)),
    }


def _pgd(model: Classifier) -> dict[str, Attack]:
    import foolbox
    from art.attacks.evasion import ProjectedGradientDescentPyTorch

    stride = 2.5 * EPS / STEPS
    options = {"eps": EPS, "eps_step": stride, "max_iter": STEPS, "num_random_init": 1, "batch_size": 256}
    return {
        "salus": lambda x, y: PGD(eps=EPS, steps=STEPS, early_stop=False)(model, x, y),
        "foolbox": lambda x, y: foolbox.attacks.LinfPGD(abs_stepsize=stride, steps=STEPS)(
            _for_foolbox(model), x, y, epsilons=EPS
        )[1],
        _ART: _through_art(
            model, lambda estimator: ProjectedGradientDescentPyTorch(estimator, verbose=False, **options)
        ),
    }


def _for_foolbox(model: Classifier) -> Any:
    from foolbox.models.pytorch import PyTorchModel

    return PyTorchModel(model, bounds=(0, 1))


def _through_art(model: Classifier, make: Callable[[Any], Any]) -> Attack:
    from art.estimators.classification import PyTorchClassifier

    estimator = PyTorchClassifier(
        model, torch.nn.CrossEntropyLoss(), tuple(model.shape), len(model.classes), clip_values=(0, 1)
    )
    attack = make(estimator)
    return lambda x, y: torch.from_numpy(attack.generate(x.numpy(), y.numpy()))


if __name__ == "__main__":
    main()
