"""What every monitor of callers shares: it sees queries in turn, keeps a suspicion of each caller, and is fitted."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from torch import Tensor

from salus.classifier import Classifier
from salus.detectors.queries.memory import InProcess, Memory, News, Past
from salus.errors import CalibrationError, DataError
from salus.options import option_names

M = TypeVar("M", bound="Monitor")


@dataclass(frozen=True, eq=False)
class Stream:
    """The queries of one honest caller, in order.

    Attributes:
        caller: who asks.
        x: inputs ``[N, ...]``.
        answers: what they were answered, int64 ``[N]``, -1 where they were rejected.
        times: when, seconds, float64 ``[N]``; None: one a second.
    """

    caller: str
    x: Tensor
    answers: Tensor
    times: Tensor | None = None

    @property
    def clock(self) -> Tensor:
        """When each was asked."""
        return torch.arange(len(self.x), dtype=torch.float64) if self.times is None else self.times.double()


@dataclass(frozen=True, eq=False)
class Suspicion:
    """How suspicious a caller is after each of N queries.

    Attributes:
        score: float64 ``[N]``; 1 is where the alarm is raised.
        tests: the same by each of the monitor's tests, float64 ``[N, T]``.
        repeats: whether the query is one that the caller has asked before, bool ``[N]``: it adds nothing.
    """

    score: Tensor
    tests: Tensor
    repeats: Tensor

    @property
    def alarm(self) -> Tensor:
        """Whether the caller stands at or above the alarm, bool ``[N]``."""
        return self.score >= 1

    @property
    def first(self) -> int | None:
        """The first query with an alarm; None without one."""
        places = self.alarm.nonzero()[:, 0]
        return int(places[0]) if len(places) else None


class Monitor(ABC):
    """Watches what each caller asks, and tells those who search for a hole from those who send what life brings.

    An input that the same caller has sent before is a repeat: it is known by a salted digest, adds nothing to the
    suspicion and is not kept twice. The verdict is for the caller; what follows from it is policy.

    Attributes:
        memory: what is remembered of callers.
        thresholds_: the score of each test at which the alarm is raised, float64 ``[T]``, after :meth:`fit`.
        fitted_: how many callers and queries the thresholds come from.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    #: What is tested, a word each.
    tests: ClassVar[tuple[str, ...]] = ("match",)
    #: Evidence adds up; otherwise one query is enough.
    sequential: ClassVar[bool] = False
    #: How far above the highest score of the fitted callers the alarm is set, as a factor, where nobody says.
    margin: ClassVar[float] = 1.25
    #: The lowest alarm of any test: where fitted callers gave no evidence at all, one query must not be enough.
    lowest: ClassVar[float] = 1e-9

    def __init__(self) -> None:
        self.memory: Memory = InProcess()
        self.thresholds_: Tensor | None = None
        self.fitted_: dict[str, float] = {}
        self.classifier_: Classifier | None = None
        self.learnt_: dict[str, Tensor] = {}

    @abstractmethod
    def trace(self, x: Tensor) -> Tensor:
        """Make what is kept of inputs ``[N, ...]``: ``[N, W]``, of any one type."""

    @abstractmethod
    def evidence(self, traces: Tensor, answers: Tensor, past: Past) -> Tensor:
        """Weigh queries against what the caller asked before, and against each other in their order.

        Args:
            traces: ``[N, W]``, in order, no repeats.
            answers: int64 ``[N]``.
            past: what is remembered.

        Returns:
            float64 ``[N, T]``, a column a test, higher = more suspicious.
        """

    def accumulate(self, evidence: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Make running scores of evidence ``[N, T]``; by default the highest so far counts.

        Returns:
            Scores ``[N, T]``, and the state ``[T]`` with which to go on.
        """
        start = state if len(state) else torch.full((evidence.shape[1],), -torch.inf, dtype=torch.float64)
        scores = torch.cat([start[None], evidence]).cummax(0).values
        return scores[1:], scores[-1]

    def merged(self, before: Tensor, own: Tensor, shared: Tensor) -> Tensor:
        """Bring together the states ``[T]`` of one caller whose queries several processes saw; by default the highest.

        Args:
            before: what was shared when this process last looked.
            own: what this process has made of it since.
            shared: what the others have made of it meanwhile.
        """
        return own if not len(shared) else torch.maximum(own, shared)

    def learn(self, streams: Sequence[Stream]) -> None:
        """Learn what honest queries look like; nothing by default."""
        return

    def fit(
        self: M,
        streams: Sequence[Stream],
        *,
        classifier: Classifier | None = None,
        false_alarms: int = 0,
        margin: float | None = None,
    ) -> M:
        """Set the alarm so high that at most so many of these honest callers would have raised it.

        Args:
            streams: one for each caller, of training records alone.
            classifier: whose hidden states are read, where the monitor reads any.
            false_alarms: callers of these that may raise it.
            margin: how far above the rest the alarm is set, as a factor; what suits the monitor if not given.

        Raises:
            CalibrationError: there are too few callers for so many false alarms.
        """
        if len(streams) <= false_alarms:
            raise CalibrationError(
                f"{self.title}: {len(streams)} callers cannot show {false_alarms} false alarms; give more streams, or "
                "allow fewer."
            )
        self.classifier_, factor = classifier, self.margin if margin is None else margin
        self.learn(streams)
        worst = torch.stack([self._highest(stream) for stream in streams])  # [callers, T]
        levels = worst.sort(0, descending=True).values[false_alarms]
        self.thresholds_ = (levels * factor).clamp_min(self.lowest)
        self.fitted_ = {
            "callers": len(streams),
            "queries": sum(len(stream.x) for stream in streams),
            "false_alarms": false_alarms,
            "margin": factor,
        }
        return self

    def _highest(self, stream: Stream) -> Tensor:
        """Return the highest score of each test that a caller of its own reaches, ``[T]``."""
        memory, self.memory = self.memory, InProcess(salt=self.memory.salt())
        thresholds, self.thresholds_ = self.thresholds_, torch.ones(len(self.tests), dtype=torch.float64)
        try:
            tests = [
                self.observe(stream.caller, x, times, answers).tests.amax(0)
                for x, times, answers in zip(
                    stream.x.split(512), stream.clock.split(512), stream.answers.split(512), strict=True
                )
            ]
        finally:
            self.memory, self.thresholds_ = memory, thresholds
        return torch.stack(tests).amax(0)

    def observe(self, caller: str, x: Tensor, time: Tensor | float, answers: Tensor | None = None) -> Suspicion:
        """Take note of a caller's queries, in their order, and say how suspicious the caller is after each.

        Args:
            caller: who asks.
            x: prepared inputs ``[N, ...]``.
            time: when, seconds: one time for all, or each its own ``[N]``.
            answers: what they are answered, int64 ``[N]``, -1 where rejected; None where the monitor needs none.

        Raises:
            CalibrationError: the monitor is not fitted.
            DataError: the answers are not as many as the inputs.
        """
        alarms = self.alarms
        given = torch.zeros(len(x), dtype=torch.int64) if answers is None else answers.cpu()
        if len(given) != len(x):
            raise DataError(f"{self.title} got {len(given)} answers for {len(x)} queries; give one for each.")
        past = self.memory.recall(caller)
        digests = self.digests(x)
        repeats, known = [], set[bytes]()
        for digest in digests:
            repeats.append(digest in past.digests or digest in known)
            known.add(digest)
        again = torch.tensor(repeats, dtype=torch.bool)
        fresh = (~again).nonzero()[:, 0]
        width = len(self.tests)
        state = past.state if len(past.state) else torch.zeros(0, dtype=torch.float64)
        before = self._standing(state, width)
        if not len(fresh):
            tests = before.expand(len(x), width) / alarms
            return Suspicion(_worst(tests), tests, again)
        traces = self.trace(x[fresh])
        evidence = self.evidence(traces, given[fresh], past).double()
        scores, state = self.accumulate(evidence, state)
        times = torch.as_tensor(time, dtype=torch.float64).expand(len(x))
        tests = torch.cat([before[None], scores])[(~again).cumsum(0)] / alarms
        suspicion = Suspicion(_worst(tests), tests, again)
        news = News(
            traces,
            given[fresh],
            times[fresh],
            tuple(digests[row] for row in fresh.tolist()),
            state,
            suspicion.score[fresh],
        )
        self.memory.keep(caller, news)
        return suspicion

    def standing(self, caller: str) -> float:
        """Return how suspicious a caller is now; 1 is where the alarm is raised."""
        state = self.memory.recall(caller).state
        return float((state / self.alarms).max()) if len(state) else 0.0

    def peek(self, caller: str, x: Tensor) -> Tensor:
        """Say how each test would stand after one more query ``[1, ...]``, float64 ``[T]``, and take no note of it.

        What it would be answered nobody knows yet: the answer before is taken.
        """
        alarms, past = self.alarms, self.memory.recall(caller)
        if self.digests(x)[0] in past.digests:
            return past.state / alarms
        answers = past.answers[-1:] if len(past) else torch.zeros(1, dtype=torch.int64)
        evidence = self.evidence(self.trace(x), answers, past).double()
        return self.accumulate(evidence, past.state)[0][0] / alarms

    def _standing(self, state: Tensor, width: int) -> Tensor:
        """Return the score of each test as it stands, ``[T]``."""
        return state[:width] if len(state) else torch.zeros(width, dtype=torch.float64)

    def digests(self, x: Tensor) -> list[bytes]:
        """Digest each input with the memory's secret: equal inputs alone have equal digests."""
        rows = np.ascontiguousarray(x.detach().cpu().float().flatten(1).numpy())
        salt = self.memory.salt()
        return [hashlib.blake2b(row.tobytes(), key=salt, digest_size=16).digest() for row in rows]

    def options(self) -> dict[str, Any]:
        """Return the constructor's options with their values."""
        return {name: getattr(self, name) for name in option_names(type(self))}

    def settings(self) -> dict[str, Any]:
        """Return everything but tensors that rebuilds the monitor, as plain values for JSON; no secret is in it."""
        return {**self.options(), "fitted": dict(self.fitted_)}

    def tensors(self) -> dict[str, Tensor]:
        """Return what was learnt.

        Raises:
            CalibrationError: nothing was.
        """
        return {**self.learnt_, "thresholds": self.alarms}

    @classmethod
    def restore(
        cls: type[M], settings: Mapping[str, Any], tensors: Mapping[str, Tensor], classifier: Classifier | None = None
    ) -> M:
        """Rebuild a monitor from its settings and tensors, with an empty memory."""
        monitor = cls(**{name: value for name, value in settings.items() if name != "fitted"})
        monitor.fitted_ = dict(settings["fitted"])
        monitor.learnt_ = {name: tensor for name, tensor in tensors.items() if name != "thresholds"}
        monitor.thresholds_ = tensors["thresholds"]
        monitor.classifier_ = classifier
        return monitor

    @property
    def alarms(self) -> Tensor:
        """The score of each test at which the alarm is raised, float64 ``[T]``.

        Raises:
            CalibrationError: the monitor is not fitted.
        """
        if self.thresholds_ is None:
            raise CalibrationError(f"{self.title} is not fitted yet: call fit(streams) first.")
        return self.thresholds_

    def fingerprint(self) -> str:
        """Return a SHA-256 of the settings and of all that was learnt."""
        digest = hashlib.sha256(json.dumps([self.name, self.settings()], sort_keys=True).encode())
        for name, tensor in sorted(self.tensors().items()):
            digest.update(name.encode() + tensor.contiguous().numpy().tobytes())
        return digest.hexdigest()

    def describe(self) -> str:
        """Say in one sentence what it watches and what its alarm was fitted to."""
        fitted = self.fitted_
        on = f", fitted to {fitted['callers']:g} callers with {fitted['queries']:,.0f} queries" if fitted else ""
        return f"{self.title}{on}."


def _worst(tests: Tensor) -> Tensor:
    return tests.amax(1) if len(tests) else torch.zeros(0, dtype=torch.float64)


def interleaved(streams: Iterable[Stream], caller: str) -> Stream:
    """Let several streams be one caller's, query by query in turn, as several patients behind one account are."""
    streams = list(streams)
    rows = torch.cat([torch.arange(len(stream.x)) for stream in streams])
    order = rows.argsort(stable=True)
    return Stream(
        caller,
        torch.cat([stream.x for stream in streams])[order],
        torch.cat([stream.answers for stream in streams])[order],
    )
