"""The monitor of Salus's own: no two recordings coincide in any band of frequencies, and answers seldom waver."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from salus.detectors.queries.base import Monitor, Stream
from salus.detectors.queries.memory import Past
from salus.detectors.queries.neighbours import nearest_earlier
from salus.detectors.queries.spectrum import bands, spectrum
from salus.detectors.queries.tails import quietest, rarity
from salus.options import checked

#: Queries of a caller before its distances count for the fit: the first are far from everything.
_EARLY = 50


#: A search's answers waver at least so many times as often as the most wavering honest caller's.
_MORE = 5
#: No caller is taken to waver less often than this.
_LEAST = 0.005


class Lifelike(Monitor):
    """Asks of each query whether it could be one more recording, and of a caller's answers whether they waver.

    **Too near.** Two recordings of one heart differ in every band of frequencies: the sensor's noise is drawn anew for
    each, in all of them. A search does not draw anew. It changes one point along chosen directions, and leaves some
    band nearly as it was. So the distance to the nearest earlier query is measured in each band on its own, and set
    against how near the quietest honest caller came in it. White noise as long as the whole ball still leaves the
    lowest band too alike.

    **Wavering.** Who learns where a decision ends must ask on both sides of it, of points that are near each other.
    Honest neighbours mostly get one answer. The log-likelihood of an answer that differs from the nearest query's adds
    up, that of an equal one is taken off.

    Both are sequential tests (CUSUM, Page 1954): evidence less a drift is added up, and never falls below 0.

    Args:
        reach: how near, as a multiple of the quietest caller's median distance, a neighbour must be for its answer to
            count; 0 leaves answers out.
        waver: share of near neighbours whose answers may differ in an honest caller, however little the fitted ones
            wavered: the guard has learnt from these, and is less steady on others.
        slack: how far above the evidence of nearness of the quietest fitted caller, on average, the drift lies, as a
            factor. Left out of the fit, the quietest of DS1 drifts up at 1.6 and not at 2.
    """

    name: ClassVar[str] = "lifelike"
    title: ClassVar[str] = "Lifelike"
    tests: ClassVar[tuple[str, ...]] = ("too near", "wavering")
    sequential: ClassVar[bool] = True
    margin: ClassVar[float] = 2.0
    lowest: ClassVar[float] = 5.0

    @checked
    def __init__(
        self,
        *,
        reach: Annotated[
            float, Field(ge=0, description="how near a neighbour's answer counts, in medians of the quietest caller")
        ] = 1.5,
        waver: Annotated[
            float, Field(ge=0, le=0.4, description="share of near answers that may always differ, whatever was fitted")
        ] = 0.25,
        slack: Annotated[float, Field(ge=1, description="how far above the honest average the drift lies")] = 2.0,
    ) -> None:
        super().__init__()
        self.reach, self.waver, self.slack = reach, waver, slack

    def trace(self, x: Tensor) -> Tensor:
        """Keep the spectrum ``[N, D]``."""
        self.learnt_.setdefault("shape", torch.tensor(x.shape[1:]))
        return spectrum(x)

    def learn(self, streams: Sequence[Stream]) -> None:
        """Learn the tails of the quietest caller in each band, the drifts, and how often answers waver."""
        self.learnt_ = {"shape": torch.tensor(streams[0].x.shape[1:])}
        looks = [self._look(self.trace(stream.x), stream.answers, Past.empty()) for stream in streams]
        distances = [near[min(_EARLY, len(near) // 2) :] for near, _ in looks]
        knots = quietest(distances)
        self.learnt_["knots"] = knots
        nearness = [rarity(near, knots).amax(1).mean() for near in distances]
        reach = self.reach * float(knots[-1, 0])
        self.learnt_["reach"] = torch.tensor(reach, dtype=torch.float64)
        shares = []
        for near, wavers in looks:
            close = near[:, -1] < reach
            shares.append((wavers & close).sum() / close.sum().clamp_min(1))
        honest = torch.stack(shares).amax().double().clamp(max(self.waver, _LEAST), 0.4)
        self.learnt_["honest"] = honest
        self.learnt_["drift"] = torch.stack(nearness).amax() * self.slack

    def evidence(self, traces: Tensor, answers: Tensor, past: Past) -> Tensor:
        """Weigh nearness and wavering, ``[N, 2]``, drifts taken off."""
        near, wavers = self._look(traces, answers, past)
        alike = rarity(near, self.learnt_["knots"]).amax(1) - self.learnt_["drift"]
        honest = self.learnt_["honest"]
        search = (_MORE * honest).clamp_max(0.5)
        close = near[:, -1].double() < self.learnt_["reach"]
        torn = torch.where(wavers, (search / honest).log(), ((1 - search) / (1 - honest)).log())
        return torch.stack([alike, torch.where(close, torn, 0.0)], 1)

    def accumulate(self, evidence: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Add up, never below 0: CUSUM, without a loop."""
        start = state if len(state) else torch.zeros(evidence.shape[1], dtype=torch.float64)
        sums = torch.cat([start[None], start + evidence.cumsum(0)])
        scores = sums - sums.cummin(0).values.clamp_max(0)
        return scores[1:], scores[-1]

    def merged(self, before: Tensor, own: Tensor, shared: Tensor) -> Tensor:
        """Add what this process has added to what the others have."""
        if not len(shared):
            return own
        start = before if len(before) else torch.zeros_like(own)
        return (shared + own - start).clamp_min(0)

    def _look(self, traces: Tensor, answers: Tensor, past: Past) -> tuple[Tensor, Tensor]:
        """Find distances to the nearest earlier query ``[N, B + 1]``, and whether its answer was another ``[N]``."""
        parts = bands(tuple(self.learnt_["shape"].tolist()))
        near, place = nearest_earlier(traces, past.traces, parts)
        known = torch.cat([past.answers, answers])
        return near, (known[place.clamp_min(0)] != answers) & (place >= 0)
