"""Ranking audits: which of them can stand side by side, and why others cannot."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import chain

from salus.errors import OptionError
from salus.options import parse_value
from salus.report import words
from salus.report.leaderboard.audits import Audit, Contender, Trial, over_seeds
from salus.report.leaderboard.levels import LEVELS, Level, Pair, cells_of, find_level, pair_of
from salus.report.leaderboard.remarks import remarks, verdict
from salus.report.leaderboard.standing import Standing, ranked, stand


@dataclass(frozen=True, eq=False)
class Board:
    """A ranking at one size of change.

    Attributes:
        pair: that size, and its norm.
        level: what the attacker knows.
        kind: of the data.
        standings: from the most robust to the least.
        verdict: what it comes to, a sentence each, the headline first.
        remarks: reasons to doubt it, a sentence each.
    """

    pair: Pair
    level: Level
    kind: str
    standings: tuple[Standing, ...]
    verdict: tuple[str, ...]
    remarks: tuple[str, ...]

    @property
    def title(self) -> str:
        """Name it: its size of change."""
        return self.pair.words(self.kind)


@dataclass(frozen=True, eq=False)
class Leaderboard:
    """Audits ranked side by side.

    Attributes:
        audits: those that are ranked, and those that were set aside.
        data: the data in words.
        boards: a ranking for each size of change.
        notes: what was left out and why, a sentence each.
    """

    audits: tuple[Audit, ...]
    data: str
    boards: tuple[Board, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class _Entrant:
    """A guard, or a bare classifier, that is to be ranked."""

    contender: Contender
    guard: str

    @property
    def name(self) -> str:
        who = "the bare classifier" if self.guard == "none" else f"the guard {self.guard!r}"
        return f"{who} of {self.contender.name}"

    @property
    def pairs(self) -> set[Pair]:
        """The sizes of change at which all its audits attacked it."""
        each = [
            {pair for cell in audit.run.attacked if cell["guard"] == self.guard and (pair := pair_of(cell)) is not None}
            for audit in self.contender.audits
        ]
        return set.intersection(*each)

    def levels(self, pair: Pair) -> list[Level]:
        """What the attackers knew in all its audits, whoever knows most first."""
        return [
            level
            for level in LEVELS.values()
            if all(cells_of(audit.run.attacked, self.guard, level, pair) for audit in self.contender.audits)
        ]


def compare(
    audits: Sequence[Audit], *, by: Sequence[str] = (), threat_model: str | None = None, strict: bool = True
) -> Leaderboard:
    """Rank audits that attacked the same samples of the same data with the same size of change.

    Those that differ in nothing but the seed are ranked by their mean.

    Args:
        audits: at least one.
        by: sizes of change, ``eps/norm`` each (``0.01/linf``, ``8/255/linf``); all that they share where none is named.
        threat_model: whose attacks count; of the attacker who knows most where none is named.
        strict: refuse what cannot be compared; else it is set aside and said in ``notes``.

    Raises:
        OptionError: an audit cannot be ranked beside the others, naming it and in what it differs.
    """
    wanted = [_read_pair(each) for each in by]
    level = None if threat_model is None else find_level(threat_model)
    notes: list[str] = []

    def refuse(sentence: str) -> None:
        if strict:
            raise OptionError(sentence)
        notes.append(sentence)

    contenders = _on_the_same_samples(over_seeds(audits), refuse, notes)
    entrants = []
    for contender in contenders:
        for guard in contender.guards:
            entrant = _Entrant(contender, guard)
            if entrant.pairs:
                entrants.append(entrant)
            else:
                notes.append(f"Not ranked: {entrant.name}, {_why_unattacked(entrant)}.")
    kind = audits[0].run.kind
    pairs = _shared_pairs(entrants, wanted, kind, refuse, notes)
    boards = [board for pair in pairs if (board := _board(entrants, pair, level, kind, refuse)) is not None]
    if not boards:
        refuse("Nothing is left to rank: no guard and no classifier was attacked with a stated size of change.")
    return Leaderboard(tuple(audits), audits[0].data, tuple(boards), tuple(dict.fromkeys(notes)))


def _read_pair(text: str) -> Pair:
    """Read ``0.01/linf``, or ``8/255/linf``."""
    eps, _, norm = text.rpartition("/")
    value = parse_value(eps) if eps else None
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not norm:
        raise OptionError(f"--by {text!r} must be a size of change and its norm, EPS/NORM, such as 0.01/linf.")
    return Pair(norm, float(f"{value:.9g}"))


def _on_the_same_samples(
    contenders: Sequence[Contender], refuse: Callable[[str], None], notes: list[str]
) -> list[Contender]:
    """Keep the contenders that attacked the same samples, and of each the audits that all have."""
    counts = Counter(chain.from_iterable(contender.trials for contender in contenders))
    usual = max(counts, key=lambda trial: counts[trial])  # of equals the first
    model = next(each for each in contenders if usual in each.trials)
    kept = []
    for contender in contenders:
        if usual in contender.trials:
            kept.append(contender)
        else:
            refuse(
                f"{contender.name} cannot be ranked beside {model.name}: "
                f"{_difference(contender.audits[0], model, usual)}."
            )
    shared = frozenset.intersection(*(contender.trials for contender in kept))
    left_out = [audit.name for each in kept for audit in each.audits if audit.trial not in shared]
    if left_out:
        notes.append(f"Left out, because not all were audited on their samples: {', '.join(left_out)}.")
    return [replace(each, audits=tuple(audit for audit in each.audits if audit.trial in shared)) for each in kept]


def _difference(mine: Audit, model: Contender, usual: Trial) -> str:
    """Say in what an audit differs from what is usual."""
    other = next(audit for audit in model.audits if audit.trial == usual)
    if mine.trial.fingerprint != usual.fingerprint:
        named = "" if mine.data == other.data else f"; they are {mine.data}, not {other.data}"
        return f"its test data have the fingerprint {mine.trial.fingerprint[:12]}, not {usual.fingerprint[:12]}{named}"
    return f"{mine.trial.samples:,} samples were attacked, not {usual.samples:,}"


def _why_unattacked(entrant: _Entrant) -> str:
    """Say why a guard has no figure with a size of change."""
    cells = [cell for audit in entrant.contender.audits for cell in audit.run.cells if cell["guard"] == entrant.guard]
    tried = [cell for cell in cells if cell["attack"] is not None]
    if any(cell["error"] is not None for cell in tried):
        return "whose attacks failed: run the audit again"
    if any(cell.get("finds") == "nearest" for cell in tried):
        return "which was attacked by those alone that look for the smallest change, without a limit (eps)"
    return "which was not attacked"


def _shared_pairs(
    entrants: list[_Entrant],
    wanted: Sequence[Pair],
    kind: str,
    refuse: Callable[[str], None],
    notes: list[str],
) -> list[Pair]:
    """Find the sizes of change at which all were attacked; entrants without any of them are taken out."""
    if not entrants:
        return []
    if not wanted:
        counts = Counter(chain.from_iterable(sorted(entrant.pairs) for entrant in entrants))
        shared = [pair for pair in sorted(counts) if counts[pair] == len(entrants)]
        if shared:
            for pair in sorted(set(counts) - set(shared)):
                without = next(entrant for entrant in entrants if pair not in entrant.pairs)
                notes.append(f"Not ranked at {pair.words(kind)}: {without.name} was not attacked with it.")
            return shared
        wanted = [max(counts, key=lambda pair: counts[pair])]  # of equals the first
    for pair in wanted:
        for entrant in [each for each in entrants if pair not in each.pairs]:
            others = ", ".join(each.words(kind) for each in sorted(entrant.pairs))
            refuse(
                f"{_capital(entrant.name)} cannot be ranked at {pair.words(kind)}: it was attacked at {others} alone."
            )
            entrants.remove(entrant)
    return list(wanted)


def _board(
    entrants: Sequence[_Entrant], pair: Pair, level: Level | None, kind: str, refuse: Callable[[str], None]
) -> Board | None:
    """Rank the entrants at one size of change; None where nobody is left."""
    at_hand = {entrant: entrant.levels(pair) for entrant in entrants}
    if level is None:
        tried = list(chain.from_iterable(at_hand.values()))
        level = next((each for each in LEVELS.values() if each in tried), None)
    if level is None:
        refuse(f"Nobody can be ranked at {pair.words(kind)}: no threat model was tried in every seed.")
        return None
    placed = []
    for entrant, levels in at_hand.items():
        if level in levels:
            placed.append(entrant)
        else:
            shared = [each for each in levels if all(each in known for known in at_hand.values())]
            others = [each for each in entrants if level in at_hand[each]]
            refuse(_not_so_known(entrant, level, shared, pair.words(kind), others))
    if not placed:
        return None
    names = _names(placed)
    standings = ranked(
        [stand(each.contender, each.guard, level, pair, name=name) for each, name in zip(placed, names, strict=True)]
    )
    title = pair.words(kind)
    return Board(
        pair,
        level,
        kind,
        standings,
        tuple(verdict(standings, level, title)),
        tuple(remarks(standings, level, kind)),
    )


def _names(entrants: Sequence[_Entrant]) -> list[str]:
    """Name each by its audit and its guard, or by the one of them that alone tells them apart."""
    one_audit = len({entrant.contender for entrant in entrants}) == 1
    one_guard = len({entrant.guard for entrant in entrants}) == 1
    if one_audit and not one_guard:
        return [words.guard(entrant.guard) for entrant in entrants]
    if one_guard and not one_audit:
        return [entrant.contender.name for entrant in entrants]
    return [f"{entrant.contender.name} · {words.guard(entrant.guard)}" for entrant in entrants]


def _not_so_known(
    entrant: _Entrant, level: Level, shared: Sequence[Level], title: str, others: Sequence[_Entrant]
) -> str:
    """Say that nobody who knows so much attacked a guard, and what to do about it."""
    beside = f", as {others[0].name} was" if others else ""
    rather = f", or rank all by salus leaderboard --threat-model {shared[0].name}" if shared else ""
    return (
        f"{_capital(entrant.name)} cannot be ranked at {title}: it was not attacked by one who {level.summary} "
        f"(threat model {level.of(entrant.guard)}){beside}. Audit it so{rather}."
    )


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
