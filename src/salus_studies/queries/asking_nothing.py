"""The attacker whom no monitor sees: a network of its own, attacked at home."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from salus.attacks import PGD
from salus.data import load
from salus.guard import Guard
from salus.models import MLP
from salus.training import TrainingOptions, seeded_module, train

if TYPE_CHECKING:
    from salus_studies.queries.study import QueriesOptions

_EPOCHS = 6


def transfer(guard: Guard, x: Tensor, y: Tensor, options: QueriesOptions) -> dict[str, Any]:
    """Attack a perceptron that learnt from DS1, and let the guard judge once what came of it."""
    place = {} if options.data_dir is None else {"data_dir": options.data_dir}
    splits = load("mitdb", split="patients", **place)
    size, classes = splits.train.x[0].numel(), len(splits.train.classes)
    network = seeded_module(lambda: nn.Sequential(nn.Flatten(), MLP(size, classes)), options.seed)
    train(network, splits.train, splits.validation, TrainingOptions(epochs=_EPOCHS, seed=options.seed))
    network.eval()
    x_adv = PGD(eps=0.01, early_stop=False, seed=options.seed)(network, x, y)
    answers = guard(x_adv).answers
    right = (network(splits.test.x).argmax(1) == splits.test.y).float().mean()
    return {
        "beats": len(x),
        "won": int(((answers >= 0) & (answers != y)).sum()),
        "accuracy": float(right),
    }
