"""How another's model reads its inputs and answers, where that is not x in and logits out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from salus.conduct.logits import as_logits_of
from salus.errors import ModelError, OptionError
from salus.options import build
from salus.preprocessing import Preprocessor
from salus.preprocessing.label_sets import MOST_LABELS, label_sets

Words = Annotated[tuple[str, ...], Field(description="names, joined by +")]
Numbers = tuple[float, ...]
Kind = Literal["logits", "probabilities", "logit", "probability", "labels", "label-probabilities", "ordinal"]


@dataclass(frozen=True)
class Inputs:
    """What a model will be given.

    Attributes:
        shape: of one x.
        bounds: lowest and highest value of x.
        classes: names of the classes, in the order of the logits.
        preprocessor: how raw things became x; None where that is not known.
        features: names of a table's features; () where it has none.
        labels: names of all labels that a sample may carry at once; () where it is of one class.
        label: the one of them that is asked for; None where all are, as a set.
    """

    shape: tuple[int, ...]
    bounds: tuple[float, float] = (0.0, 1.0)
    classes: tuple[str, ...] = ()
    preprocessor: Preprocessor | None = None
    features: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    label: str | None = None

    def some(self, count: int = 3) -> Tensor:
        """Draw inputs ``[count, ...]`` evenly inside the bounds, the same each time."""
        low, high = self.bounds
        drawn = torch.rand(count, *self.shape, generator=torch.Generator().manual_seed(0))
        return low + (high - low) * drawn


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How a model reads and answers; what is not said is found out, or refused where it can be read in two ways.

    Attributes:
        output: which of several outputs holds the answer: a key, an attribute or a place.
        answers: what that output means. ``logit`` and ``probability`` are of the second of two classes, ``labels`` are
            logits of several labels at once and ``label-probabilities`` what a sigmoid made of them, ``ordinal`` are
            logits of "above class 0", "above class 1", ...
        inputs: ``prepared``: x as Salus prepared it; ``raw``: what x was before, in its own units.
        layout: where a model has the channels; x has them first.
        mean: taken from x, one for all channels or one for each.
        std: by which x is then divided.
        labels: names of several labels, in the model's order.
        label: the one of them that is asked for.
    """

    output: Annotated[str | None, Field(description="which of several outputs holds the answer: key or place")] = None
    answers: Annotated[Kind | None, Field(description="what that output means")] = None
    inputs: Annotated[
        Literal["prepared", "raw"] | None, Field(description="x as prepared, or what it was before, in its own units")
    ] = None
    layout: Annotated[
        Literal["channels-first", "channels-last"] | None, Field(description="where the model has the channels")
    ] = None
    mean: Annotated[Numbers, Field(description="taken from x, by channel, joined by +")] = ()
    std: Annotated[Numbers, Field(description="by which x is then divided, by channel, joined by +")] = ()
    labels: Words = ()
    label: Annotated[str | None, Field(description="the one of several labels that is asked for")] = None

    @classmethod
    def parse(cls, options: Mapping[str, Any], what: str) -> Reading:
        """Read what stands behind a model's name.

        Raises:
            OptionError: an option is unknown, or makes no sense.
        """
        text = {key: str(value) if key in ("output", "label") else value for key, value in options.items()}
        numbers = {key: (value,) for key, value in text.items() if key in ("mean", "std") and _is_number(value)}
        reading = build(cls, {**text, **numbers}, what)
        if any(value == 0 for value in reading.std):
            raise OptionError(f"{what}: std must not be 0.")
        return reading

    def plain(self) -> dict[str, Any]:
        """Return what was said or found out, as plain values for JSON."""
        values = {key: value for key, value in asdict(self).items() if value not in (None, ())}
        return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}

    @classmethod
    def restore(cls, values: Mapping[str, Any]) -> Reading:
        """Make it again from :meth:`plain`.

        Raises:
            OptionError: it was changed.
        """
        return build(cls, {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}, "the reading")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def read_with(module: nn.Module, reading: Reading, inputs: Inputs) -> nn.Module:
    """Put around a module what brings x to its inputs and its answers to logits; itself where nothing is needed.

    Raises:
        ModelError: the inputs cannot be brought to it.
    """
    front = _front(module, reading, inputs)
    if front is None and reading.answers in (None, "logits") and reading.output is None:
        return module
    return Read(module, front, reading, len(inputs.classes), inputs)


def resolved(reading: Reading, inputs: Inputs) -> Reading:
    """Say of several labels which they are, where the data name them.

    Raises:
        ModelError: the names contradict the data's, or there are too many to be told apart as sets.
    """
    if reading.answers not in ("labels", "label-probabilities"):
        return reading
    labels = reading.labels or inputs.labels
    label = reading.label or inputs.label
    if not labels:
        raise ModelError(
            "The model answers with several labels at once, and the data do not name them; write their names in the "
            "model's order behind it (labels=A+B+C), and which one is asked for (label=A)."
        )
    if reading.labels and inputs.labels and set(reading.labels) != set(inputs.labels):
        raise ModelError(
            f"The model's labels ({', '.join(reading.labels)}) are not the data's ({', '.join(inputs.labels)})."
        )
    if label is not None and label not in labels:
        raise ModelError(f"The model has no label {label!r}; it has {', '.join(labels)}.")
    if label is None and len(labels) > MOST_LABELS:
        raise ModelError(
            f"The model answers with {len(labels)} labels at once, and the sets of no more than {MOST_LABELS} are told "
            "apart; ask for one of them (label=A), an audit each."
        )
    return replace(reading, labels=labels, label=label)


class Wrapped(nn.Module):
    """A module around a module, whose own layers are the inner one's.

    Args:
        module: the inner one.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module


class Read(Wrapped):
    """Brings x to the inputs of a module, and what it answers to logits.

    Args:
        module: another's.
        front: brings x to its inputs.
        reading: how it reads and answers.
        classes: how many there are.
        inputs: what is known of x.
    """

    def __init__(
        self, module: nn.Module, front: nn.Module | None, reading: Reading, classes: int, inputs: Inputs
    ) -> None:
        super().__init__(module)
        self.front = front
        self.reading = reading
        self.sets: Tensor | None = None
        self._at: int | None = None
        if reading.answers in ("labels", "label-probabilities"):
            if reading.label is not None:
                self._at = reading.labels.index(reading.label)
            else:
                # Which labels each of the sets holds, in the order of the data's names.
                order = [reading.labels.index(name) for name in inputs.labels or reading.labels]
                members = torch.from_numpy(label_sets(len(order))).float()  # [K, L]
                self.sets = torch.empty_like(members)
                self.sets[:, order] = members

    def forward(self, x: Tensor) -> Tensor:
        """Return logits ``[N, K]``."""
        rows = len(x)
        answer = self.module(x if self.front is None else self.front(x))
        return self._logits(picked(answer, self.reading.output), rows)

    def _logits(self, answer: Any, rows: int) -> Tensor:
        kind = self.reading.answers
        if kind in (None, "logits"):
            return as_logits_of(answer, rows)
        if kind == "probabilities":
            p = as_logits_of(answer, rows)
            return p.clamp_min(torch.finfo(p.dtype).tiny).log()
        z = _columns(answer, rows)  # [N, M]
        if kind in ("probability", "label-probabilities"):
            z = _logit(z)
        if kind in ("logit", "probability"):
            if z.shape[1] != 1:
                raise ModelError(
                    f"The model answers with {z.shape[1]} numbers a sample, where one {kind} was announced."
                )
            return torch.cat([torch.zeros_like(z), z], 1)
        if kind == "ordinal":
            # The argmax is the number of z above 0, as of CORAL, whose z never rise from one to the next.
            return torch.cat([torch.zeros_like(z[:, :1]), z.cumsum(1)], 1)
        if z.shape[1] != len(self.reading.labels):
            raise ModelError(
                f"The model answers with {z.shape[1]} labels, and {len(self.reading.labels)} are named: "
                f"{', '.join(self.reading.labels)}."
            )
        if self.sets is None:
            z = z[:, self._at : self._at + 1] if self._at is not None else z
            return torch.cat([torch.zeros_like(z), z], 1)
        return z @ self.sets.to(z).T  # log P(set) of independent labels, up to what all sets have in common


def picked(answer: Any, output: str | None) -> Any:
    """Take one of several outputs.

    Raises:
        ModelError: there is none of that name.
    """
    if output is None:
        return answer
    if isinstance(answer, Mapping) and output in answer:
        return answer[output]
    if isinstance(answer, (tuple, list)) and output.isdigit() and int(output) < len(answer):
        return answer[int(output)]
    if output.isidentifier() and isinstance(getattr(answer, output, None), Tensor):
        return getattr(answer, output)
    if isinstance(answer, Mapping):
        known = f"; it has {', '.join(map(str, answer))}"
    elif isinstance(answer, (tuple, list)):
        known = f"; it has {len(answer)}, counted from 0"
    else:
        known = f"; it answers with one {type(answer).__name__}"
    raise ModelError(f"The model has no output {output!r}{known}.")


def _columns(answer: Any, rows: int) -> Tensor:
    """Take numbers ``[N]`` or ``[N, M]``, in float32 or finer, as ``[N, M]``."""
    if not isinstance(answer, Tensor) or not answer.is_floating_point() or answer.shape[:1] != (rows,):
        as_logits_of(answer, rows)  # says what came
        raise ModelError("The model's answers are no numbers.")
    return (answer.float() if answer.dtype.itemsize < 4 else answer).reshape(rows, -1)


def _logit(p: Tensor) -> Tensor:
    """Turn probabilities into logits, finite where they rounded to 0 or 1."""
    tiny, near = torch.finfo(p.dtype).tiny, torch.finfo(p.dtype).eps / 2
    return p.clamp_min(tiny).log() - (1 - p).clamp_min(near).log()


class Front(nn.Module):
    """Brings x to what a model reads.

    Args:
        preprocessor: undone first, where the model reads raw values.
        mean: taken away then, by channel.
        std: divided by.
        channels_last: the channels go to the end.
    """

    def __init__(
        self,
        preprocessor: Preprocessor | None = None,
        mean: Numbers = (),
        std: Numbers = (),
        *,
        channels_last: bool = False,
    ) -> None:
        super().__init__()
        self.preprocessor, self.channels_last = preprocessor, channels_last
        self.mean, self.std = mean or (0.0,), std or (1.0,)

    def forward(self, x: Tensor) -> Tensor:
        """Return the model's inputs."""
        if self.preprocessor is not None:
            x = self.preprocessor.inverse(x)
        if self.mean != (0.0,) or self.std != (1.0,):
            shape = (1, -1, *[1] * (x.ndim - 2))
            x = (x - x.new_tensor(self.mean).reshape(shape)) / x.new_tensor(self.std).reshape(shape)
        return x.movedim(1, -1) if self.channels_last else x

    def extra_repr(self) -> str:
        """Say what is done."""
        raw = None if self.preprocessor is None else self.preprocessor.fingerprint()
        return f"mean={self.mean}, std={self.std}, channels_last={self.channels_last}, raw={raw}"


def _front(module: nn.Module, reading: Reading, inputs: Inputs) -> nn.Module | None:
    raw = reading.inputs == "raw" and not getattr(module, "undoes", False)
    last = reading.layout == "channels-last" and len(inputs.shape) > 1
    for name, values in (("mean", reading.mean), ("std", reading.std)):
        if len(values) > 1 and len(values) != inputs.shape[0]:
            raise ModelError(f"There are {len(values)} values of {name}, and inputs have {inputs.shape[0]} channels.")
    if raw and inputs.preprocessor is None:
        raise ModelError("The model is to read raw values (inputs=raw), and how x was made of these is not known.")
    if not (raw or last or reading.mean or reading.std):
        return None
    return Front(inputs.preprocessor if raw else None, reading.mean, reading.std, channels_last=last)


def found_answers(module: nn.Module, reading: Reading, inputs: Inputs, x: Tensor) -> Reading:
    """Find out what a model's answers are, where that is plain from what it answers to x.

    Raises:
        ModelError: they can be read in two ways, both of which are named.
    """
    if reading.answers is not None:
        return reading
    front = _front(module, reading, inputs)
    with torch.no_grad():
        answer = picked(module(x if front is None else front(x.clone())), reading.output)
    if isinstance(answer, (Mapping, tuple, list)) and len(answer) and reading.output is None:
        keys = [str(key) for key in answer] if isinstance(answer, Mapping) else [str(at) for at in range(len(answer))]
        which = "logits" if "logits" in keys else keys[0]
        raise ModelError(
            f"The model answers with several outputs ({', '.join(keys)}); say which of them holds the answer, behind "
            "the "
            f"model and a colon: output={which}."
        )
    if not isinstance(answer, Tensor) or not answer.is_floating_point() or answer.shape[:1] != (len(x),):
        return reading
    z = answer.reshape(len(x), -1)
    inside = bool(((z >= 0) & (z <= 1)).all())
    if z.shape[1] == 1 and len(inputs.classes) == 2:
        if inside:
            raise ModelError(
                "The model answers with one number a sample, between 0 and 1; say whether it is a logit or a "
                "probability of the second class: answers=logit or answers=probability, behind the model and a colon."
            )
        return replace(reading, answers="logit")
    if inputs.labels and z.shape[1] == len(inputs.labels):
        if inside:
            raise ModelError(
                "The model answers with a number for each of several labels, all between 0 and 1; say whether they are "
                "logits or probabilities: answers=labels or answers=label-probabilities, behind the model and a colon."
            )
        return replace(reading, answers="labels")
    if z.shape[1] == len(inputs.classes) - 1 and z.shape[1] > 1 and not inputs.labels:
        raise ModelError(
            f"The model answers with {z.shape[1]} numbers for {len(inputs.classes)} classes; where they say how far a "
            "sample lies above each class but the last (ordinal classes), write answers=ordinal behind the model and a "
            "colon; else name the classes that it tells apart (--classes)."
        )
    return reading
