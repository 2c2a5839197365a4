"""Fleets: plans that differ in data, model, seed or whatever else, audited one beside the other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path, PurePosixPath
from typing import Any

from salus.audit.model import parse_model
from salus.audit.plan import Plan
from salus.client.endpoint import is_endpoint
from salus.data.load import check_request
from salus.errors import OptionError, SalusError
from salus.models import MODELS
from salus.storage import digest, slug

#: Fields of a plan of which a fleet may list several, the first changing slowest.
LISTED = ("data", "model", "seed")

#: Letters of a member's name.
_LONGEST = 80


@dataclass(frozen=True)
class FleetAudit:
    """One audit of a fleet.

    Attributes:
        name: of its folder within the fleet's: ``mitdb-ecg-cnn-seed-1``.
        plan: what it does.
    """

    name: str
    plan: Plan

    def check(self) -> None:
        """Check what a plan alone does not tell and nothing has to be loaded for: whether its data and model exist.

        Raises:
            SalusError: they do not, or an option does not apply to these data.
        """
        try:
            check_request(self.plan.data, {"seed": self.plan.seed, **self.plan.data_options})
            if self.plan.model is not None:
                parse_model(self.plan.model, self.plan.weights)
        except SalusError as error:
            raise type(error)(f"Audit {self.name!r} of the fleet: {error}") from error


@dataclass(frozen=True)
class Fleet:
    """Several audits that one plan asks for.

    A plan may list several ``data``, ``model`` and ``seed``: each of them goes with each, the seed changing fastest.
    Under ``audits`` it may list partial plans, each of which takes the place of what the plan says beside it, and may
    list several in turn; a ``name`` there names what it makes.

    Attributes:
        members: the audits, in the order of the plan.
    """

    members: tuple[FleetAudit, ...]

    @property
    def single(self) -> Plan | None:
        """The plan, where there is but one; an ordinary audit then."""
        return self.members[0].plan if len(self.members) == 1 else None

    @classmethod
    def of(cls, fields: Mapping[str, Any], overrides: Mapping[str, Any] | None = None) -> Fleet:
        """Check the fields and make the plans.

        Args:
            fields: those of a plan, of which some may list several, and ``audits``.
            overrides: fields that win over those, and over what stands under ``audits``.

        Raises:
            OptionError: a field is misspelt, a value will not do, or the same audit is asked for twice.
        """
        drafts = list(_drafts(_normal(fields), _normal(overrides or {})))
        counts = Counter(draft.key for draft in drafts)
        twice = next((draft for draft in drafts if counts[draft.key] > 1), None)
        if twice is not None:
            raise OptionError(
                f"The plan asks {counts[twice.key]} times for the same audit ({_in_words(twice.plan)}); name each once."
            )
        names = _names(drafts)
        return cls(tuple(FleetAudit(name, draft.plan) for name, draft in zip(names, drafts, strict=True)))

    @classmethod
    def read(cls, path: Path, overrides: Mapping[str, Any] | None = None) -> Fleet:
        """Read a YAML file; options given beside it win.

        Raises:
            OptionError: the file is missing, no YAML, not a mapping, or :meth:`of` refuses what it says.
        """
        return cls.of(Plan.content(path), overrides)


@dataclass(frozen=True)
class _Draft:
    """A plan before it has a name.

    Attributes:
        plan: the plan.
        title: what the user calls it; empty where they do not.
        listed: the fields of which there are several where the plan stands.
    """

    plan: Plan
    title: str = ""
    listed: tuple[str, ...] = ()

    @cached_property
    def fields(self) -> dict[str, Any]:
        """The plan's fields as plain values, those of the budget among them."""
        dump = self.plan.model_dump(mode="json")
        budget = dump.pop("budget")
        return {**dump, **budget}

    @cached_property
    def key(self) -> str:
        """Tell it from others."""
        return digest(self.fields)


def _normal(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {str(key).replace("-", "_"): value for key, value in fields.items()}


def _drafts(fields: dict[str, Any], overrides: dict[str, Any]) -> Iterator[_Draft]:
    entries = fields.pop("audits", None)
    if entries is None:
        yield from _product({**fields, **overrides}, "")
        return
    if not isinstance(entries, (list, tuple)) or not entries:
        raise OptionError("Under audits the plan must list partial plans, such as '- model: ecg-cnn'.")
    for place, entry in enumerate(entries, 1):
        if not isinstance(entry, Mapping):
            raise OptionError(f"Entry {place} of audits must hold fields such as 'model: ecg-cnn', not {entry!r}.")
        partial = _normal(entry)
        title = str(partial.pop("name", "") or "")
        try:
            yield from _product({**fields, **partial, **overrides}, title)
        except SalusError as error:
            raise OptionError(f"Entry {place} of audits: {error}") from error


def _product(fields: Mapping[str, Any], title: str) -> Iterator[_Draft]:
    """Make a plan of each combination of what is listed."""
    lists: dict[str, Sequence[Any]] = {}
    for name in LISTED:
        value = fields.get(name)
        if isinstance(value, (list, tuple)):
            if not value:
                raise OptionError(f"The plan lists no {name} at all; name one, or leave the field out.")
            lists[name] = value
    several = tuple(name for name, values in lists.items() if len(values) > 1)
    for values in product(*lists.values()):
        yield _Draft(Plan.of({**fields, **dict(zip(lists, values, strict=True))}), title, several)


def _names(drafts: Sequence[_Draft]) -> list[str]:
    """Name each after its data, model and seed, and what else tells it from the others; no two alike on any disk."""
    untitled = [draft for draft in drafts if not draft.title]
    telling = [
        name
        for name in (untitled[0].fields if untitled else ())
        if name not in LISTED and len({digest(draft.fields[name]) for draft in untitled}) > 1
    ]
    names = []
    for draft in drafts:
        words = [draft.title, *draft.listed] if draft.title else [*LISTED, *telling]
        first = [slug(words.pop(0))] if draft.title else []
        parts = [*first, *(_word(word, draft.fields[word]) for word in words)]
        names.append("-".join(filter(None, parts))[:_LONGEST].strip("-") or "audit")
    counts = Counter(name.casefold() for name in names)
    return [
        name if counts[name.casefold()] == 1 else f"{name}-{draft.key[:6]}"
        for name, draft in zip(names, drafts, strict=True)
    ]


def _word(name: str, value: Any) -> str:
    """Say a field in a few letters that may stand in a folder's name."""
    if value in (None, (), [], {}):
        return ""
    if name == "data":
        return slug(PurePosixPath(str(value)).stem)
    if name == "model":
        return slug(_model_word(str(value)))
    if isinstance(value, Mapping):
        return slug("-".join(f"{key}-{each}" for key, each in value.items()))
    text = "+".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
    return slug(f"{name}-{text}".replace("_", "-"))


def _model_word(text: str) -> str:
    """Name a model: a network with its options, code of one's own, or the last word of a path or an address."""
    if text.partition(":")[0] in MODELS:
        return text
    return PurePosixPath(text).stem if is_endpoint(text) or ":" not in text else text


def _in_words(plan: Plan) -> str:
    model = "the network that suits them" if plan.model is None else f"model {plan.model!r}"
    return f"data {plan.data!r}, {model}, seed {plan.seed}"
