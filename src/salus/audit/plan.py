"""What an audit is to do: the same fields in Python, as options and in YAML."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BeforeValidator, Field, ValidationError, model_validator

from salus.attacks import ATTACKS, CGBA, Attack, Square
from salus.attacks.ball import by_place
from salus.attacks.controls import Control, parse_control
from salus.attacks.poisoning import POISONS, Poison, Trigger, triggers
from salus.audit.defence import Defence
from salus.audit.substitutes import parse_substitute
from salus.client.endpoint import is_endpoint
from salus.client.options import EndpointOptions
from salus.data import DataOptions, Dataset
from salus.declared import DeclaredModel
from salus.detectors.base import DEFAULT_FALSE_ALARM_RATE
from salus.errors import OptionError, nearest
from salus.hardening.label_cleaning import CLEANINGS, LabelCleaning
from salus.models.foreign import form_of
from salus.models.user import split_reading
from salus.options import Repeated, Words, option_names, options_of, parse_value, split_spec
from salus.threats import THREAT_MODELS, ThreatModel, WhiteBox, find_threat
from salus.threats.models import Adaptive, DecisionOnly, EachAlone, Oblivious

#: The sweep for attacks that name no eps, by kind of data; in the units of x.
DEFAULT_EPS = {
    "table": (0.01, 0.03, 0.1),
    "signal": (0.005, 0.01, 0.02),
    "image": (2 / 255, 8 / 255, 16 / 255),
    "volume": (2 / 255, 8 / 255, 16 / 255),
}

#: The sweep of attacks in L0: shares of the pixels, moments or features.
DEFAULT_PLACES = (0.002, 0.01, 0.05)
#: The radius in L1 as a share of that in L-infinity times the number of values: 12 beside 8/255 for images of CIFAR-10.
_IN_L1 = 0.125

#: What fields were called in plans that were stored before.
_RENAMED = {"group": "group_by"}


def _one_or_many(value: Any) -> Any:
    """Take one thing for a list of one; what YAML takes for a number is a word all the same."""
    values = value if isinstance(value, (list, tuple)) else (value,)
    return tuple(str(word) if type(word) in (int, float) else word for word in values)


def _numbers(value: Any) -> Any:
    """Read numbers separated by commas, or one alone."""
    values = value.split(",") if isinstance(value, str) else value
    values = values if isinstance(values, (list, tuple)) else (values,)
    return tuple(parse_value(number.strip()) if isinstance(number, str) else number for number in values)


def _pairs(value: Any) -> Any:
    """Read ``key=value`` of the command line."""
    words = (value,) if isinstance(value, str) else value
    return (
        split_spec(f"training:{','.join(words)}", "training option")[1] if isinstance(words, (list, tuple)) else words
    )


def _harm(value: Any) -> Any:
    return ",".join(f"{key}={cost}" for key, cost in value.items()) if isinstance(value, Mapping) else value


Specs = Annotated[tuple[str, ...], BeforeValidator(_one_or_many), Repeated(), Words("NAME:key=value,... each")]
Radii = Annotated[
    tuple[Annotated[float, Field(ge=0)], ...], BeforeValidator(_numbers), Words("numbers from 0 up, comma-separated")
]
Pairs = Annotated[dict[str, Any], BeforeValidator(_pairs), Repeated(), Words("key=value each")]
Harm = Annotated[str, BeforeValidator(_harm), Words("weights, or a CSV file")]
Count = Annotated[int, Field(ge=1)]


class Budget(DeclaredModel):
    """What every attack may spend, whoever wrote it; what an attack names itself wins.

    Attributes:
        eps: radii; attacks that need one take each in turn. Those that look for the smallest change have no
            limit when it is empty, and the others a sweep that suits the data.
        norm: ``linf``, ``l2`` or ``l1``, for attacks that know it; attacks in L0 know that alone.
        steps: gradient steps or iterations of each start.
        queries: most forward passes a sample; an adaptive attack spends as many for each variant and class.
        restarts: independent starts.
        time: most seconds for one attack on all samples; an adaptive attack has as many for each variant and class.
    """

    eps: Annotated[Radii, Field(description="radii for attacks that name none, comma-separated; 2/255 will do")] = ()
    norm: Annotated[
        Literal["linf", "l2", "l1"], Field(description="the norm of attacks that name none: linf, l2 or l1")
    ] = "linf"
    steps: Annotated[Count | None, Field(description="steps of every attack that takes steps")] = None
    queries: Annotated[
        Count | None, Field(description="most forward passes on one sample, for each variant of an attack")
    ] = None
    restarts: Annotated[Count | None, Field(description="starts of every attack that has several")] = None
    time: Annotated[float | None, Field(gt=0, description="most seconds for each variant of an attack")] = None

    def options(self, known: Collection[str]) -> dict[str, Any]:
        """Give the options of an attack that knows these, without eps and norm."""
        values = {
            "steps": self.steps,
            "queries": self.queries,
            "restarts": self.restarts,
            "time_limit": self.time,
        }
        return {name: value for name, value in values.items() if value is not None and name in known}


#: How a model is attacked that shows no gradients, where nobody says.
_WITHOUT_GRADIENTS = {"attack": (Square.name, CGBA.name)}

#: How a model is guarded that shows no layers.
_WITHOUT_LAYERS = {"defence": ("i-defender:layers=logits",)}

#: What is attacked how, where an endpoint is and nobody says: by its answers, with what defences it has.
_AT_ENDPOINTS = {"attack": (CGBA.name,), "defence": ("none",), "threat_model": (DecisionOnly.name,)}


class Plan(DataOptions, EndpointOptions):
    """A grid of cells: one data set and one model, attacks at each eps, bare and behind each defence.

    How the data are loaded, and how an endpoint may be asked, its bases say.

    Attributes:
        data: a known data set, or a file or folder of the user's own.
        model: a built-in architecture, ``package.module:factory``, or a ``.pt2`` program; by default the
            built-in one for this kind of data. Or the URL of an endpoint.
        weights: the factory's weights, ``.safetensors`` or a ``.pt`` state dict.
        training: options of the training loop, for built-in architectures.
        attack: ``NAME`` or ``NAME:key=value,...``; other people's as ``art:NAME``, ``foolbox:NAME`` or
            ``torchattacks:NAME``.
        budget: what every attack may spend; its fields may also stand in the plan itself.
        control: harmless changes, ``NAME`` or ``NAME:key=value,...``, that no defence should mind.
        poison: changes of the training data of a built-in model, ``NAME:key=value,...``, in this order.
        clean_labels: how wrong labels are then found in them, ``NAME:key=value,...``, and dropped or replaced.
        defence: ``NAME`` or ``NAME:key=value,...``, each one guard; several joined by ``+`` make one guard;
            ``none`` for the bare classifier alone.
        false_alarm_rate: the share of clean inputs that a guard may reject; when nobody asks 0.01, or the smallest
            that the calibration samples carry.
        threat_model: what the attacker knows.
        variants: how an adaptive attacker tries the variants of an attack: ``union``, each on what those before it have
            left, which says who was first to succeed; or ``alone``, each on all samples, which says who wins.
        substitute: how a transfer attacker comes by a classifier: ``data`` trains one on the same data with
            another seed, ``split`` on half of them that the audited one never saw, ``queries`` on the audited
            one's answers alone (``queries:rounds=6,step=0.1``).
        monitor: who watches a guard's callers (decision-only), ``NAME:key=value,...``, each beside nobody.
        accounts: how many such an attacker has.
        target: the class that targeted attacks aim for; by default the runner-up of the clean input.
        harm: what wrong answers cost: ``missed=10,false-alarm=1,rejected=0.5`` by the classes that mean disease, or a
            CSV file with class names on both sides; nothing is weighed by default.
        samples: test samples to attack, drawn at natural prevalence; all of them by default.
        seed: of every draw.
        device: ``cpu``, ``cuda``, ...
    """

    data: Annotated[str, Field(description="a data set (see `salus data list`), or a file or folder of your own")] = (
        "breast-cancer"
    )
    model: Annotated[
        str | None,
        Field(
            description="a network, NAME:key=value,... (ecg-cnn:widths=16+32, resnet50:pretrained=FILE), "
            "package.module:factory, a file (.pt2, .onnx, .keras, .skops, ...: docs/models.md), a folder that Salus "
            "saved, or for audits the URL of an endpoint"
        ),
    ] = None
    weights: Annotated[Path | None, Field(description="the factory's weights")] = None
    training: Annotated[Pairs, Field(default_factory=dict, description="a training option, key=value (epochs=10)")]
    attack: Annotated[Specs, Field(description="NAME:key=value,... (pgd:eps=0.01,steps=40)")] = ("fgsm", "pgd")
    budget: Budget = Field(default_factory=Budget)
    control: Annotated[Specs, Field(description="a harmless change to try too (baseline-wander:snr=12)")] = ()
    poison: Annotated[Specs, Field(description="poison the training data first (label-flips:share=0.2)")] = ()
    clean_labels: Annotated[
        str | None,
        Field(
            description="find wrong training labels: confident-learning:folds=5, or high-loss:share=0.1; an audit "
            "trains without them (action=drop) or with the most probable ones (action=relabel)"
        ),
    ] = None
    defence: Annotated[Specs, Field(description="NAME:key=value,...; A+B for one guard; none for none")] = (
        "i-defender",
    )
    false_alarm_rate: Annotated[
        Annotated[float, Field(gt=0, lt=1)] | None,
        Field(
            description=f"clean inputs a guard may reject; when not given {DEFAULT_FALSE_ALARM_RATE:g}, or the "
            "smallest that the calibration samples carry"
        ),
    ] = None
    threat_model: Annotated[Specs, Field(description=f"what the attacker knows: {', '.join(THREAT_MODELS)}")] = (
        WhiteBox.name,
        Oblivious.name,
        Adaptive.name,
    )
    variants: Annotated[
        Literal["union", "alone"],
        Field(
            description="an adaptive attack's variants run on what those before them have left (union), or each on all "
            "samples too, which tells who wins (alone)"
        ),
    ] = "union"
    substitute: Annotated[str, Field(description="what a transfer attacker trains on: data, split or queries")] = "data"
    monitor: Annotated[
        Specs, Field(description="who watches those who ask (decision-only), and refuses whoever raises the alarm")
    ] = ()
    accounts: Annotated[Count, Field(description="accounts of an attacker whom a monitor watches")] = 1
    target: Annotated[str | None, Field(description="the class that targeted attacks aim for")] = None
    harm: Annotated[
        Harm | None,
        Field(description="what wrong answers cost: missed=10,false-alarm=1,rejected=0.5, or a CSV of classes"),
    ] = None
    samples: Annotated[Count | None, Field(description="test samples to attack, at natural prevalence")] = None
    seed: Annotated[int, Field(ge=0, lt=2**31, description="of every random draw")] = 0
    device: Annotated[str, Field(description="where to compute: cpu, cuda or another of torch's names")] = "cpu"

    @model_validator(mode="before")
    @classmethod
    def _from_outside(cls, fields: Any) -> Any:
        """Take for an endpoint, or a model without gradients, what goes with one, where nothing is said."""
        if not isinstance(fields, Mapping):
            return fields
        model = str(fields.get("model") or "")
        if is_endpoint(model):
            return {**_AT_ENDPOINTS, **fields}
        form = form_of(Path(split_reading(model)[0])) if model else None
        if form is None:
            return fields
        attacked = {} if form.gradients else _WITHOUT_GRADIENTS
        guarded = {} if form.shows_layers else _WITHOUT_LAYERS
        return {**attacked, **guarded, **fields}

    @model_validator(mode="before")
    @classmethod
    def _one_budget(cls, fields: Any) -> Any:
        """Gather the fields of the budget that stand in the plan itself."""
        if not isinstance(fields, Mapping):
            return fields
        flat = {key: value for key, value in fields.items() if key in Budget.model_fields}
        rest = {key: value for key, value in fields.items() if key not in flat}
        budget = rest.get("budget") or {}
        budget = budget.model_dump() if isinstance(budget, Budget) else budget
        if not isinstance(budget, Mapping):
            raise ValueError("budget must hold fields such as steps: 40")
        return {**rest, "budget": {**budget, **flat}} if flat or budget else rest

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Plan:
        """Check the fields and make a plan.

        Raises:
            OptionError: a field is misspelt (the right one is named), or a value will not do.
        """
        fields = {str(key).replace("-", "_"): value for key, value in fields.items()}
        fields = {_RENAMED.get(key, key): value for key, value in fields.items()}
        for key in fields:
            known = [*cls.model_fields, *Budget.model_fields]
            if key not in known:
                raise OptionError(f"The plan has no field {key!r}; {nearest(key, known)}")
        try:
            plan = cls.model_validate(fields)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"][:2])) or "budget"
            raise OptionError(
                f"Plan field {place}: {first['input']!r} will not do: {first['msg'][0].lower()}{first['msg'][1:]}."
            ) from error
        for spec in plan.attack:
            ATTACKS.find(ATTACKS.split(spec)[0])
        parse_substitute(plan.substitute, plan.seed)
        plan.cleaning()
        plan.defences()
        for threat in plan.threat_model:
            find_threat(threat)
        return plan

    @classmethod
    def read(cls, path: Path, overrides: Mapping[str, Any] | None = None) -> Plan:
        """Read a YAML file; options given beside it win.

        Raises:
            OptionError: the file is missing, no YAML, or not a mapping.
        """
        return cls.of({**cls.content(path), **(overrides or {})})

    @staticmethod
    def content(path: Path) -> dict[str, Any]:
        """Read the fields of a YAML file, unchecked.

        Raises:
            OptionError: the file is missing, no YAML, or not a mapping.
        """
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise OptionError(f"There is no plan {str(path)!r}.") from error
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            reason = str(error).replace("\n", " ")
            raise OptionError(f"The plan {str(path)!r} cannot be read as YAML: {reason}.") from error
        if not isinstance(content, dict):
            raise OptionError(f"The plan {str(path)!r} must hold fields such as 'data: mitdb', one a line.")
        return content

    @property
    def threats(self) -> tuple[type[ThreatModel], ...]:
        """What attackers know."""
        found = [find_threat(name) for name in dict.fromkeys(self.threat_model)]
        alone = self.variants == "alone"
        return tuple(EachAlone if alone and threat is Adaptive else threat for threat in found)

    def defences(self) -> tuple[Defence, ...]:
        """Make the defences, one for each guard; none when the plan says ``none``.

        Raises:
            OptionError: one is unknown, or has two purifiers.
        """
        return tuple(Defence.parse(spec, self.false_alarm_rate) for spec in self.defence if spec != "none")

    @property
    def data_options(self) -> dict[str, Any]:
        """The loader's options that differ from its defaults."""
        values = [(option, getattr(self, option.name)) for option in options_of(DataOptions)]
        return {option.name: value for option, value in values if value != option.default}

    def attacks(self, data: Dataset) -> list[Attack]:
        """Make the attacks for these data: each at its own eps, or at every eps of the sweep.

        Raises:
            OptionError: an option is unknown or makes no sense for these bounds.
        """
        attacks: list[Attack] = []
        for spec in self.attack:
            name, options = ATTACKS.split(spec)
            kind = ATTACKS.find(name)
            options = {**self.budget.options(option_names(kind)), **options}
            norm = str(
                options.setdefault("norm", self.budget.norm if self.budget.norm in kind.norms else kind.norms[0])
            )
            sweep: Sequence[float | None] = self.budget.eps
            if "eps" in options:
                sweep = [options.pop("eps")]
            elif not sweep:
                sweep = [None] if kind.closest else _default_eps(data, norm)
            for eps in sweep:
                fixed = {"bounds": data.bounds, "seed": self.seed, "eps": eps, **options, **marks(data)}
                attacks.append(ATTACKS.build(name, fixed))
        return list(dict.fromkeys(attacks))

    def controls(self, data: Dataset) -> list[Control]:
        """Make the controls for these data.

        Raises:
            OptionError: one is unknown, or does not suit this kind of data.
        """
        defaults: dict[str, Any] = {"bounds": data.bounds, "seed": self.seed, **marks(data)}
        if data.sample_rate is not None:
            defaults["fs"] = data.sample_rate
        return [parse_control(spec, **defaults) for spec in self.control]

    def poisons(self) -> list[Poison]:
        """Make the poisonings of the training data."""
        return [POISONS.parse(spec, seed=self.seed) for spec in self.poison]

    def cleaning(self) -> LabelCleaning | None:
        """Make what looks for wrong labels in the training data.

        Raises:
            OptionError: it or an option of it is unknown, or makes no sense.
        """
        return None if self.clean_labels is None else CLEANINGS.parse(self.clean_labels, seed=self.seed)

    def triggers(self, data: Dataset) -> list[Trigger]:
        """Make the attacks by which the backdoors among the poisonings are called."""
        return triggers(self.poisons(), bounds=data.bounds, seed=self.seed, **marks(data))


def marks(data: Dataset) -> dict[str, Any]:
    """Give what a table's marked features allow."""
    mask = {} if data.mask is None else {"mask": data.mask}
    units = {"units": data.steps} if data.steps else {}
    ranges = {} if data.ranges is None else {"ranges": data.ranges.within(data.bounds)}
    return {**mask, **units, **ranges}


def _default_eps(data: Dataset, norm: str) -> tuple[float, ...]:
    if norm == "l0":
        count = by_place(data.x[:1]).shape[2]
        return tuple(dict.fromkeys(float(max(round(share * count), 1)) for share in DEFAULT_PLACES))
    width = data.bounds[1] - data.bounds[0]
    if norm == "l2":  # a box of half-width eps has about this radius
        width *= 0.5 * data.x[0].numel() ** 0.5
    elif norm == "l1":
        width *= data.x[0].numel() * _IN_L1
    return tuple(eps * width for eps in DEFAULT_EPS[data.kind])
