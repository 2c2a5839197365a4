"""What an audit is to do: the same fields in Python, as options and in YAML."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from salus.attacks import ATTACKS, Attack
from salus.attacks.registry import build_attack
from salus.data import Dataset
from salus.detectors import DETECTORS
from salus.errors import OptionError, nearest
from salus.options import parse_value, split_spec
from salus.purifiers import PURIFIERS
from salus.threats import check_threat

#: The sweep for attacks that name no eps, by kind of data; in the units of x.
DEFAULT_EPS = {
    "table": (0.01, 0.03, 0.1),
    "signal": (0.005, 0.01, 0.02),
    "image": (2 / 255, 8 / 255, 16 / 255),
}

#: The fields that describe the data; they are handed to the loader as they are.
DATA_OPTIONS = (
    "split", "bounds", "data_dir", "label", "group", "scale", "smote", "without_mlii",
    "immutable", "integer", "derived", "positive",
)  # fmt: skip


class Plan(BaseModel):
    """A grid of cells: one data set and one model, attacks at each eps, bare and behind each defence.

    Attributes:
        data: a known data set, or a file or folder of the user's own.
        split, bounds, data_dir, label, group, scale, smote, without_mlii, immutable, integer, derived,
            positive: how it is loaded, see ``salus.data.LoadOptions``.
        model: a built-in architecture, ``package.module:factory``, or a ``.pt2`` program; by default the
            built-in one for this kind of data.
        weights: the factory's weights, ``.safetensors`` or a ``.pt`` state dict.
        training: options of the training loop, for built-in architectures.
        attack: ``NAME`` or ``NAME:key=value,...``.
        eps: radii for attacks that name none.
        norm: for attacks that name none.
        defence: ``NAME`` or ``NAME:key=value,...``, each one guard; several joined by ``+`` make one guard;
            ``none`` for the bare classifier alone.
        false_alarm_rate: the share of clean inputs that a guard may reject.
        threat_model: what the attacker knows.
        target: the class that targeted attacks aim for; by default the runner-up of the clean input.
        samples: test samples to attack, drawn at natural prevalence; all of them by default.
        seed: of every draw.
        device: ``cpu``, ``cuda``, ...
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    data: str = "breast-cancer"
    split: str | None = None
    bounds: tuple[float, float] | None = None
    data_dir: Path | None = None
    label: str | None = None
    group: str | None = None
    scale: bool = False
    smote: int | None = None
    without_mlii: Literal["v5", "drop"] | None = None
    immutable: tuple[str, ...] = ()
    integer: tuple[str, ...] = ()
    derived: tuple[str, ...] = ()
    positive: tuple[str, ...] = ()
    model: str | None = None
    weights: Path | None = None
    training: dict[str, Any] = Field(default_factory=dict)
    attack: tuple[str, ...] = ("fgsm", "pgd")
    eps: tuple[float, ...] = ()
    norm: Literal["linf", "l2"] = "linf"
    defence: tuple[str, ...] = ("i-defender",)
    false_alarm_rate: float = Field(default=0.01, gt=0, lt=1)
    threat_model: tuple[str, ...] = ("white-box", "oblivious", "adaptive")
    target: str | None = None
    samples: int | None = Field(default=None, gt=0)
    seed: int = Field(default=0, ge=0, lt=2**31)
    device: str = "cpu"

    @field_validator("attack", "defence", "threat_model", "immutable", "integer", "derived", "positive", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        if isinstance(value, (list, tuple)):
            return tuple(str(v) if isinstance(v, (int, float)) else v for v in value)
        return (str(value),) if isinstance(value, (str, int, float)) else value

    @field_validator("target", "label", "group", mode="before")
    @classmethod
    def _word(cls, value: Any) -> Any:
        return str(value) if isinstance(value, (int, float)) else value

    @field_validator("eps", "bounds", mode="before")
    @classmethod
    def _numbers(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = value.split(",")
        if isinstance(value, (int, float)):
            value = (value,)
        if value is None:
            return value
        if not isinstance(value, (list, tuple)):
            raise ValueError("it must be numbers, in a list or separated by commas")
        return tuple(parse_value(v.strip()) if isinstance(v, str) else v for v in value)

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Plan:
        """Check the fields and make a plan.

        Raises:
            OptionError: a field is misspelt (the right one is named), or a value will not do.
        """
        fields = {str(key).replace("-", "_"): value for key, value in fields.items()}
        for key in fields:
            if key not in cls.model_fields:
                raise OptionError(f"The plan has no field {key!r}; {nearest(key, cls.model_fields)}")
        try:
            plan = cls.model_validate(fields)
        except ValidationError as error:
            first = error.errors()[0]
            place = str(first["loc"][0])
            raise OptionError(
                f"Plan field {place}: {first['input']!r} will not do: {first['msg'][0].lower()}{first['msg'][1:]}."
            ) from error
        for spec in plan.attack:
            name, _ = split_spec(spec, "attack")
            if name not in ATTACKS:
                raise OptionError(f"Unknown attack {name!r}; {nearest(name, ATTACKS)}")
        for threat in plan.threat_model:
            check_threat(threat)
        for spec in plan.defences:
            for part in guard_parts(spec):
                name, _ = split_spec(part, "defence")
                if name not in DETECTORS and name not in PURIFIERS:
                    raise OptionError(f"Unknown defence {name!r}; {nearest(name, [*DETECTORS, *PURIFIERS, 'none'])}")
        return plan

    @classmethod
    def read(cls, path: Path, overrides: Mapping[str, Any] | None = None) -> Plan:
        """Read a YAML file; options given beside it win.

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
        return cls.of({**content, **(overrides or {})})

    @property
    def defences(self) -> tuple[str, ...]:
        """The guards to build; none when the plan says ``none``."""
        return tuple(spec for spec in self.defence if spec != "none")

    @property
    def data_options(self) -> dict[str, Any]:
        """The loader's options that differ from its defaults."""
        defaults = type(self).model_fields
        return {name: getattr(self, name) for name in DATA_OPTIONS if getattr(self, name) != defaults[name].default}

    def attacks(self, data: Dataset) -> list[Attack]:
        """Make the attacks for these data: each at its own eps, or at every eps of the sweep.

        Raises:
            OptionError: an option is unknown or makes no sense for these bounds.
        """
        made: list[Attack] = []
        for spec in self.attack:
            name, options = split_spec(spec, "attack")
            options = {"norm": self.norm, **options}
            norm = str(options["norm"])
            sweep = [options.pop("eps")] if "eps" in options else (self.eps or _default_eps(data, norm))
            for eps in sweep:
                fixed = {"bounds": data.bounds, "seed": self.seed, "eps": eps, **options}
                if data.mask is not None:
                    fixed["mask"] = data.mask
                if data.steps:
                    fixed["units"] = data.steps
                attack = build_attack(name, fixed)
                if attack not in made:
                    made.append(attack)
        return made


def guard_parts(spec: str) -> list[str]:
    """Split ``a:x=1+b`` where a known defence follows the plus; a plus inside an option stays (layers)."""
    names = "|".join(map(re.escape, [*DETECTORS, *PURIFIERS]))
    return re.split(rf"\+(?=(?:{names})(?:[:+]|$))", spec)


def _default_eps(data: Dataset, norm: str) -> tuple[float, ...]:
    width = data.bounds[1] - data.bounds[0]
    if norm == "l2":  # a box of half-width eps has about this radius
        width *= 0.5 * data.x[0].numel() ** 0.5
    return tuple(eps * width for eps in DEFAULT_EPS[data.kind])
