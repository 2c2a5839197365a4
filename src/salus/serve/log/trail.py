"""Following a chain, and comparing it with what was signed: the first place that was tampered with is named."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from salus.errors import StoreError
from salus.serve.keys import Keys, PublicKey
from salus.serve.log.chain import Head, link
from salus.serve.log.checkpoints import Signed, SignedPlace
from salus.serve.log.stored import EntryRow, SignedRow


class _Fault(NamedTuple):
    """What is wrong, and at which entry."""

    seq: int
    sentence: str


class _Mark(NamedTuple):
    """A hash that was signed, and where that stands."""

    hash: str
    where: str


class Trail:
    """Takes first what was signed, then the entries.

    Args:
        public: the key that signed.
        start: what the first entry continues, until an anchor says more.

    Attributes:
        last: the last entry that was followed.
        signed: the last entry that a signature covers.
        checkpoints: signatures of heads that were checked.
    """

    def __init__(self, public: PublicKey, start: Head | None = None) -> None:
        self._public = public
        self._start = start if start is not None else Head()
        self._faults: list[_Fault] = []
        self._marks: dict[int, _Mark] = {}
        self._table: dict[int, SignedRow] = {}
        self._log: str | None = None
        self.last = self._start.seq
        self.signed = self._start.seq
        self.checkpoints = 0

    @property
    def first(self) -> int:
        """The number that the first entry must have."""
        return self._start.seq + 1

    @property
    def fault(self) -> str | None:
        """The first place that was tampered with, in a sentence."""
        return min(self._faults, key=lambda fault: fault.seq).sentence if self._faults else None

    def take_anchors(self, rows: Iterable[SignedRow]) -> None:
        """Begin where the newest anchor says; the rows come in order."""
        for row in rows:
            place = self._row_place(row, "anchor")
            if place is not None:
                self._start = Head(place.seq, place.hash)
        self.last = self.signed = self._start.seq

    def take_checkpoints(self, rows: Iterable[SignedRow]) -> None:
        """Take the checkpoints of the database; the rows come in order."""
        before: int | None = self._start.seq
        for row in rows:
            self._table[row.seq] = row
            place = self._row_place(row, "checkpoint")
            if place is None:
                before = None  # one that was changed tells nothing of the next
                continue
            previous = place.previous
            if before is not None and max(previous, self._start.seq) != before:
                self.add_fault(previous, f"the checkpoint at entry {previous} is missing from the database.")
            self._mark(place, f"the checkpoint at entry {place.seq}")
            self.checkpoints += 1
            before = place.seq

    def take_file(self, filed: Sequence[tuple[int, Signed]], path: str) -> None:
        """Take the checkpoints of the file beside the key, each of which the database must have too."""
        for number, checkpoint in filed:
            where = f"line {number} of {path}"
            place = checkpoint.place()
            stored = self._table.get(place.seq)
            if stored is not None and (stored.body, stored.signature) == (checkpoint.body, checkpoint.signature):
                continue
            if not self._check_signature(place, checkpoint, "checkpoint", where):
                continue
            if place.seq > self._start.seq:
                self.add_fault(
                    place.seq, f"the checkpoint at entry {place.seq} is missing from the database, see {where}."
                )
            self._mark(place, where)

    def expect(self, last: Head, where: str) -> None:
        """Take where the chain has to end."""
        self._marks.setdefault(last.seq, _Mark(last.hash, where))
        self.signed = max(self.signed, last.seq)

    def follow(self, rows: Iterable[EntryRow], keys: Keys | None = None) -> None:
        """Follow the chain up to its end or to the first fault.

        Args:
            rows: in order.
            keys: check with them that kept inputs are those that were judged.
        """
        head = self._start
        if head.seq in self._marks and self._marks[head.seq].hash != head.hash:
            self.add_fault(
                head.seq, f"the anchor at entry {head.seq} says otherwise than {self._marks[head.seq].where}."
            )
        for row in rows:
            fault = _entry_fault(head, row, keys)
            if fault is not None:
                self.add_fault(head.seq + 1, fault)
                return
            head = Head(row.seq, row.hash)
            self.last = head.seq
            mark = self._marks.get(head.seq)
            if mark is not None and mark.hash != head.hash:
                since = max((seq for seq in self._marks if seq < head.seq), default=self._start.seq) + 1
                self.add_fault(
                    since,
                    f"entries {since} to {head.seq} are others than those that were signed ({mark.where}): at least "
                    "one was changed, put in or taken out, and the hashes were computed anew.",
                )
                return
        beyond = [seq for seq in self._marks if seq > head.seq]
        if beyond:
            where = self._marks[max(beyond)].where
            self.add_fault(head.seq + 1, f"it ends at entry {head.seq}, but entry {max(beyond)} was signed ({where}).")

    def _row_place(self, row: SignedRow, kind: str) -> SignedPlace | None:
        """Read a row; None, and a fault, where it was changed."""
        where = f"the {kind} at entry {row.seq}"
        signed = Signed(row.body, row.signature)
        try:
            place = signed.place()
        except (StoreError, TypeError):
            self.add_fault(_at(kind, row.seq), f"{where} was changed.")
            return None
        if not self._check_signature(place, signed, kind, where):
            return None
        if (row.seq, row.time) != (place.seq, place.time):
            self.add_fault(_at(kind, row.seq), f"{where} was changed: its columns say otherwise than what was signed.")
            return None
        return place

    def _check_signature(self, place: SignedPlace, signed: Signed, kind: str, where: str) -> bool:
        """Tell whether a place was signed as what it is taken for, in this log; otherwise there is a fault."""
        if place.key != self._public.id:
            fault = (
                f"{where} is signed with the key {place.key}, not with {self._public.id}: the key was replaced, or "
                "this is the key of another log."
            )
        elif not self._public.signed(signed.body.encode("utf-8", "surrogatepass"), signed.signature):
            fault = f"{where} was changed: its signature does not fit."
        elif place.kind != kind:
            fault = f"{where} was put there: it was signed as something else ({place.kind})."
        elif place.log != (self._log if self._log is not None else place.log):
            fault = f"{where} belongs to another log."
        else:
            self._log = place.log
            return True
        self.add_fault(_at(kind, place.seq), fault)
        return False

    def _mark(self, place: SignedPlace, where: str) -> None:
        mark = self._marks.setdefault(place.seq, _Mark(place.hash, where))
        if mark.hash != place.hash:
            self.add_fault(place.seq, f"{where} says otherwise than {mark.where}, with a good signature.")
        self.signed = max(self.signed, place.seq)

    def add_fault(self, seq: int, sentence: str) -> None:
        """Note what was tampered with; the fault of the lowest entry is named."""
        self._faults.append(_Fault(seq, sentence))


def _at(kind: str, seq: int) -> int:
    """Say where a fault counts: that of an anchor before all others, as the log rests on it."""
    return 0 if kind == "anchor" else seq


def _entry_fault(before: Head, row: EntryRow, keys: Keys | None) -> str | None:
    """Say what is wrong with an entry; None where nothing is."""
    seq = before.seq + 1
    if row.seq < seq:
        return f"entry {row.seq} was put in before the log's beginning, which is entry {seq}."
    if row.seq > seq:
        missing = f"entry {seq} is" if row.seq == seq + 1 else f"entries {seq} to {row.seq - 1} are"
        return f"{missing} missing."
    if link(before.hash, row.body) != row.hash:
        return f"entry {seq} was changed, or what stands before it."
    try:
        content = json.loads(row.body)
        stored = [content.get(column) for column in EntryRow._fields[:6]]
    except (ValueError, AttributeError):
        return f"entry {seq} was put in: it is none that Salus wrote."
    for column, inside, outside in zip(EntryRow._fields, stored, row, strict=False):
        if inside != outside:
            return f"entry {seq} was changed: its column {column!r} says otherwise than its body."
    if keys is not None and row.x is not None and keys.input_digest(bytes(row.x)) != content.get("input"):
        return f"the input that was kept with entry {seq} was changed."
    return None
