"""The sequence-to-sequence network of Mousavi and Afghah (2019) between patients, as its loader sorts and in time.

Their loader takes all beats of a class, class after class, and cuts that row into sequences of ten: all but two
sequences hold one class alone, in the test as in training. Who reads ten beats and knows that they are alike may
answer by the majority. Here one network is trained as they do and another in order of time, and both are asked about
the same test beats sorted by class, in order of time, and shuffled.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, max_pool1d, pad, relu

from salus.data.mitdb import DS1, DS2
from salus.data.places import find_set
from salus.data.published import MITDB
from salus.errors import DataError
from salus.metrics import macro_f1, per_class
from salus.progress import progress
from salus.training import seeded
from salus_studies.frame.step import Step
from salus_studies.frame.steps import Steps
from salus_studies.heartbeats.t_to_t import CLASSES, cut_record

#: Beats of a sequence, sequences of a step, and passes over the data; theirs are 500.
LENGTH, BATCH, EPOCHS = 10, 20, 10
#: Beats of S and V after SMOTE.
_MADE = {1: 7000, 2: 6000}
#: How sequences are ordered, in the words of the page.
ORDERS = {"sorted": "sorted by class, as released", "time": "in order of time", "shuffled": "shuffled"}

#: Beats of a record ``[B, 280]`` and their classes ``[B]``.
Beats = tuple[Tensor, Tensor]


class Seq2Seq(nn.Module):
    """Three convolutions over ten stretches of 28 samples of a beat, an LSTM that reads ten beats, one that answers.

    The second begins with the state that the first ends in, and is told the class it named last.
    """

    def __init__(self, classes: int = len(CLASSES), units: int = 128, told: int = 10) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(nn.Conv1d(a, b, 2) for a, b in ((28, 32), (32, 64), (64, 128)))
        self.told = nn.Embedding(classes + 1, told)
        nn.init.uniform_(self.told.weight, -1, 1)
        self.reads, self.answers = nn.LSTM(384, units, batch_first=True), nn.LSTM(told, units, batch_first=True)
        self.named = nn.Linear(units, classes + 1)
        self.begin = classes

    def read(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Read sequences ``[N, T, 280]``; returns the state of the LSTM."""
        h = x.reshape(-1, 10, 28).transpose(1, 2)  # [N T, 28, 10]
        for place, convolution in enumerate(self.convolutions):
            h = relu(convolution(pad(h, (0, 1))))
            h = max_pool1d(h, 2, ceil_mode=True) if place < 2 else h
        state: tuple[Tensor, Tensor] = self.reads(h.flatten(1).unflatten(0, x.shape[:2]))[1]
        return state

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Give logits ``[N, T, K + 1]`` of sequences, where each answer is told the right class before ``[N, T]``."""
        before = torch.cat([torch.full_like(y[:, :1], self.begin), y[:, :-1]], 1)
        logits: Tensor = self.named(self.answers(self.told(before), self.read(x))[0])
        return logits

    @torch.no_grad()
    def predict(self, x: Tensor) -> Tensor:
        """Answer sequences ``[N, T]``, each answer told the one before it."""
        state, named = self.read(x), torch.full((len(x), 1), self.begin)
        given = []
        for _ in range(x.shape[1]):
            out, state = self.answers(self.told(named), state)
            named = self.named(out)[..., : self.begin].argmax(2)  # where sequences begin is no answer
            given.append(named)
        return torch.cat(given, 1)


def sorted_by_class(records: Sequence[Beats], rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Order beats as the released loader does: class after class, in each at random, and then the sequences."""
    x, y = (torch.cat(parts) for parts in zip(*records, strict=True))
    rows = [rng.permutation(np.flatnonzero(y.numpy() == name)) for name in range(len(CLASSES))]
    return _cut(x, y, np.concatenate(rows), rng)


def shuffled(records: Sequence[Beats], rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Order beats by chance, whosever they are."""
    x, y = (torch.cat(parts) for parts in zip(*records, strict=True))
    return _cut(x, y, rng.permutation(len(y)), rng)


def in_time(records: Sequence[Beats], rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Leave the beats of each record in order; what is left of a record after its last ten is left out."""
    parts = [_cut(x, y, np.arange(len(y)), None) for x, y in records]
    x, y = (torch.cat(each) for each in zip(*parts, strict=True))
    order = torch.from_numpy(rng.permutation(len(y)))
    return x[order], y[order]


_ORDER: dict[str, Callable[[Sequence[Beats], np.random.Generator], tuple[Tensor, Tensor]]] = {
    "sorted": sorted_by_class,
    "time": in_time,
    "shuffled": shuffled,
}


def _cut(x: Tensor, y: Tensor, rows: Any, rng: np.random.Generator | None) -> tuple[Tensor, Tensor]:
    """Cut beats in this order into sequences ``[N, 10, 280]``, ``[N, 10]``, and shuffle these."""
    whole = torch.from_numpy(rows[: len(rows) // LENGTH * LENGTH]).view(-1, LENGTH)
    whole = whole if rng is None else whole[torch.from_numpy(rng.permutation(len(whole)))]
    return x[whole], y[whole]


def made_up(x: Tensor, y: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Add beats of S and V by SMOTE, which come behind all others, and so in sequences of their own."""
    from imblearn.over_sampling import SMOTE

    counts = np.bincount(y.flatten().numpy(), minlength=len(CLASSES))
    wanted = {name: max(count, int(counts[name])) for name, count in _MADE.items()}
    sampler = SMOTE(sampling_strategy=wanted, random_state=seed)
    flat, labels = sampler.fit_resample(x.flatten(0, 1).numpy(), y.flatten().numpy())
    count = len(labels) // LENGTH * LENGTH
    return (
        torch.from_numpy(np.ascontiguousarray(flat[:count])).float().view(-1, LENGTH, flat.shape[1]),
        torch.from_numpy(np.ascontiguousarray(labels[:count])).long().view(-1, LENGTH),
    )


def train(x: Tensor, y: Tensor, seed: int, epochs: int = EPOCHS) -> Seq2Seq:
    """Train as they do: cross-entropy and 0.001 of half the squared weights, RMSProp at 0.001, twenty at a time."""
    with seeded(seed, 0):
        network = Seq2Seq()
        weights = [parameter for name, parameter in network.named_parameters() if "bias" not in name]
        optimizer = torch.optim.RMSprop(network.parameters(), lr=1e-3, alpha=0.9, eps=1e-10)
        with progress("Training the sequence network", epochs) as advance:
            for _ in range(epochs):
                for rows in torch.randperm(len(x)).split(BATCH):
                    if len(rows) < BATCH:
                        continue
                    loss = cross_entropy(network(x[rows], y[rows]).flatten(0, 1), y[rows].flatten())
                    loss = loss + 0.001 * sum((weight.square().sum() / 2 for weight in weights), loss.new_zeros(()))
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
                advance(1)
    return network.eval()


def judge_orders(seed: int, place: dict[str, Any]) -> dict[str, Any]:
    """Train on DS1 sorted and in order of time, and count the answers of each to DS2 in every order."""
    folder = find_set("mitdb", MITDB.landmarks, place.get("data_dir"))
    if folder is None:
        raise DataError("Data 'mitdb' is not on this machine; run: salus data fetch mitdb.")
    with progress("Cutting beats from T to T", len(DS1) + len(DS2)) as advance:
        taught, tested = ([_cut_record(folder / str(number), advance) for number in each] for each in (DS1, DS2))
    return {"rows": [row(order, taught, tested, seed) for order in ("sorted", "time")]}


def _cut_record(path: Path, advance: Callable[[float], None]) -> Beats:
    beats = cut_record(path)
    advance(1)
    return beats


def row(
    order: str, taught: Sequence[Beats], tested: Sequence[Beats], seed: int, epochs: int = EPOCHS
) -> dict[str, Any]:
    """Train on some records in one order, and count the answers to others in every order.

    Args:
        order: of training, a key of :data:`ORDERS`; beats are added by SMOTE where it is ``sorted``, as released.
        taught: records that are learnt from.
        tested: records that are answered.
        seed: of every draw.
        epochs: passes over the data.
    """
    rng = np.random.default_rng(seed)
    x, y = _ORDER[order](taught, rng)
    if order == "sorted":
        x, y = made_up(x, y, seed)
    network = train(x, y, seed, epochs)
    asked = {name: _ORDER[name](tested, rng) for name in ORDERS}
    return {
        "trained": order,
        "seed": seed,
        "epochs": epochs,
        "counts": {name: int((y == label).sum()) for label, name in enumerate(CLASSES)},
        "tested": {name: _counts(network, *sequences) for name, sequences in asked.items()},
    }


def _counts(network: Seq2Seq, x: Tensor, y: Tensor) -> dict[str, Any]:
    given = torch.cat([network.predict(part) for part in x.split(500)]).flatten()
    right, majority = y.flatten(), y.mode(1, keepdim=True).values
    rows = per_class(right, given, CLASSES)
    return {
        "n": len(right),
        "alike": float((y == majority).all(1).double().mean()),
        "accuracy": float((given == right).double().mean()),
        "commonest": float((right == right.mode().values).double().mean()),
        "macro_f1": macro_f1(right, given),
        "per_class": [
            {name: row[name] for name in ("class", "n", "sensitivity", "positive_predictivity")} for row in rows
        ],
    }


def judge_sequences(steps: Steps, seed: int, place: dict[str, Any]) -> list[dict[str, Any]]:
    """Do it as a step; nothing where the time does not allow it."""
    step = Step(
        name="sequences",
        kind="sequences",
        key=[seed, EPOCHS, LENGTH, BATCH, str(_MADE)],
        function=judge_orders,
        arguments=(seed, place),
    )
    (done,) = steps.do_all([step])
    rows: list[dict[str, Any]] = done["rows"] if done["status"] == "done" else []
    return rows
