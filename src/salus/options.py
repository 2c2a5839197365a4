"""Options: each declared once, as a typed field with its limits and one line of help; read, checked, described here.

A declaration is the type of a dataclass field, or of a constructor's keyword::

    bits: Annotated[int, Field(ge=1, le=16, description="bits that a value keeps")] = 5

The command line, plans and Python check against it, and help, lists and error sentences are made of it.
"""

from __future__ import annotations

import functools
import inspect
import math
import numbers
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from fractions import Fraction
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, ParamSpec, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml
from annotated_types import Ge, Gt, Le, Lt
from pydantic import ConfigDict, InstanceOf, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from salus.errors import OptionError, nearest

T = TypeVar("T")
P = ParamSpec("P")

#: Stands for the default of an option that must be given.
REQUIRED: Final = inspect.Parameter.empty

_STRICT = ConfigDict(strict=True, allow_inf_nan=False, arbitrary_types_allowed=True)


@dataclass(frozen=True)
class Words:
    """Says in an option's annotation what it may be, where the type's own words say too little."""

    text: str


@dataclass(frozen=True)
class Repeated:
    """Says in an option's annotation that the command line takes it several times, each time one value."""


@dataclass(frozen=True)
class Option:
    """One option, as it was declared.

    Attributes:
        name: as in Python; on the command line a dash may stand for each underscore.
        annotation: its type with its limits.
        default: what holds when it is not given, or ``REQUIRED``.
        help: one line.
    """

    name: str
    annotation: Any
    default: Any = REQUIRED
    help: str = ""

    @property
    def words(self) -> str:
        """What it may be: "a whole number from 1 to 16"."""
        choices = _choices(self.annotation)
        return choices[0] if len(choices) == 1 else f"{', '.join(choices[:-1])} or {choices[-1]}"

    @property
    def repeated(self) -> bool:
        """Whether the command line takes it several times."""
        return any(isinstance(extra, Repeated) for extra in _extras(self.annotation))

    def check(self, value: Any, title: str = "") -> Any:
        """Return the value as the type has it: text is read, a list becomes a tuple, a path a ``Path``.

        Raises:
            OptionError: it is none of what the option may be; ``title`` is whose option it is, where that must be said.
        """
        adapter = _adapter(self.annotation)
        for reading in _readings(self.annotation, value):
            try:
                return adapter.validate_python(reading)
            except ValidationError:
                continue
        which = f"{title}: {self.name}" if title else f"Option {self.name}"
        raise OptionError(f"{which} must be {self.words}, not {value!r}.")


def options_of(declaring: Any) -> tuple[Option, ...]:
    """List the options that a dataclass or a constructor declares, or those that its ``declared_options()`` names."""
    return _declared_by(declaring)


@functools.cache
def _declared_by(declaring: Any) -> tuple[Option, ...]:
    return tuple(declaring.declared_options()) if hasattr(declaring, "declared_options") else written_options(declaring)


def written_options(declaring: Callable[..., Any]) -> tuple[Option, ...]:
    """List the options that a dataclass's fields or a constructor's keywords declare, as they are written there."""
    if is_dataclass(declaring):
        hints = get_type_hints(declaring, include_extras=True)
        return tuple(
            _option(field.name, hints[field.name], REQUIRED if field.default is MISSING else field.default)
            for field in fields(declaring)
            if field.init and field.default_factory is MISSING
        )
    built = declaring.__init__ if inspect.isclass(declaring) else declaring
    hints = get_type_hints(built, include_extras=True)
    return tuple(
        _option(name, hints.get(name, Any), parameter.default)
        for name, parameter in inspect.signature(built).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY
    )


def option_names(declaring: Callable[..., Any]) -> tuple[str, ...]:
    """Name the options of a class."""
    return tuple(option.name for option in options_of(declaring))


def check_fields(instance: Any, title: str) -> None:
    """Check a frozen dataclass's fields against their declarations, and set each to what was read of it.

    Raises:
        OptionError: a value is none of what its option may be.
    """
    for option in options_of(type(instance)):
        value = getattr(instance, option.name)
        if option.annotation is Any or (value is option.default and not isinstance(value, list)):
            continue
        object.__setattr__(instance, option.name, option.check(value, title))


def checked(constructor: Callable[P, None]) -> Callable[P, None]:
    """Check a constructor's keywords against their declarations before it runs.

    The class says by its ``title``, or else by its ``name``, whose options they are.
    """

    @functools.wraps(constructor)
    def run(*args: P.args, **values: P.kwargs) -> None:
        owner: Any = args[0]
        title = str(getattr(owner, "title", None) or getattr(owner, "name", type(owner).__name__))
        declared = {option.name: option for option in options_of(constructor)}
        for name, value in values.items():
            if name in declared and declared[name].annotation is not Any:
                values[name] = declared[name].check(value, title)
        constructor(*args, **values)

    return run


def build(cls: Callable[..., T], options: Mapping[str, Any], what: str) -> T:
    """Make a thing from options, checking names and types.

    Args:
        cls: a dataclass, or a class with a checked constructor; its ``of(options, what)``, where it has one, reads
            options that are not simply its own.
        options: values by name; text such as ``"2/255"``, ``"16+32"`` or ``"none"`` is read.
        what: whose options they are, in an error message: ``attack 'pgd'``.

    Raises:
        OptionError: an unknown, missing or ill-typed option.
    """
    values = named(cls, options, what)
    if hasattr(cls, "of"):
        made: T = cls.of(values, what)
        return made
    for option in options_of(cls):
        if option.default is REQUIRED and option.name not in values:
            raise OptionError(f"{_capital(what)} needs {option.name}: write {option.name}=VALUE ({option.words}).")
    declared = {option.name: option for option in options_of(cls)}
    return cls(**{name: declared[name].check(value, _capital(what)) for name, value in values.items()})


def named(cls: Callable[..., Any], options: Mapping[str, Any], what: str) -> dict[str, Any]:
    """Return the options under their names in Python.

    Raises:
        OptionError: one is unknown; the nearest are named.
    """
    known = option_names(cls)
    values: dict[str, Any] = {}
    for key, value in options.items():
        word = key.replace("-", "_")
        if not known:
            raise OptionError(f"{_capital(what)} takes no options; leave {key!r} out.")
        if word not in known:
            raise OptionError(f"{_capital(what)} has no option {key!r}; {nearest(word, known)}")
        values[word] = value
    return values


def split_spec(spec: str, kind: str) -> tuple[str, dict[str, Any]]:
    """Split ``pgd:eps=0.01,steps=40`` into the name and its options; ``2/255`` is read as a number.

    Raises:
        OptionError: a part is not ``key=value``.
    """
    name, _, rest = spec.partition(":")
    options: dict[str, Any] = {}
    for part in filter(None, (part.strip() for part in rest.split(","))):
        key, equals, value = part.partition("=")
        if not equals or not value.strip():
            raise OptionError(
                f"{kind.capitalize()} {spec!r}: {part!r} is not an option; write {name}:key=value,key=value."
            )
        if key.strip() in options:
            raise OptionError(f"{kind.capitalize()} {spec!r} gives {key.strip()} twice.")
        options[key.strip()] = parse_value(value.strip())
    return name.strip(), options


def parse_value(text: str) -> Any:
    """Read a number, a fraction, true, false, or a word."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    if "/" in text:
        try:
            return float(Fraction(text.replace(" ", "")))
        except (ValueError, ZeroDivisionError):
            return text
    try:
        value = float(text) if "e" in text.lower() else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError):
        return text
    return value if value is None or isinstance(value, (int, float)) else text  # a word as it is, such as a file's name


def _option(name: str, annotation: Any, default: Any) -> Option:
    described = [extra.description for extra in _extras(annotation) if isinstance(extra, FieldInfo)]
    return Option(name, annotation, default, next(filter(None, described), ""))


@functools.cache
def _adapter(annotation: Any) -> TypeAdapter[Any]:
    bare = get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation
    if is_dataclass(bare):  # such a thing itself, which checked its own fields
        return TypeAdapter(InstanceOf[bare])  # type: ignore[misc, valid-type]
    return TypeAdapter(annotation, config=_STRICT)


def _readings(annotation: Any, value: Any) -> list[Any]:
    """List what a value may mean, most literal first: itself as plain Python, then the text or list that it stands for.

    Numbers are read before words, so that a folder named 3 is the text "3" only where no number will do.
    """
    plain = _plain_python(value)
    readings: list[Any] = [plain]
    if isinstance(plain, str):
        parts = tuple(parse_value(part.strip()) for part in plain.split("+"))
        readings += [parse_value(plain), Path(plain), parts, tuple(map(str, plain.split("+")))]
        if plain == "none":
            readings.append(None)
    elif isinstance(plain, (list, tuple)):
        readings.append(tuple(plain))
    elif isinstance(plain, Path):
        readings.append(str(plain))
    elif isinstance(plain, (int, float)) and not isinstance(plain, bool):
        readings += [(plain,), str(plain), (str(plain),)]
    if plain is not value:
        readings.append(value)
    return readings


def _plain_python(value: Any) -> Any:
    """Return a number of NumPy's or PyTorch's as Python's own, an array as a list, also within lists and tuples."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, numbers.Integral) and not isinstance(value, bool):
        return int(value)
    if isinstance(value, numbers.Real) and not isinstance(value, (bool, int)):
        return float(value)
    return type(value)(map(_plain_python, value)) if type(value) in (list, tuple) else value


def _extras(annotation: Any) -> Sequence[Any]:
    return annotation.__metadata__ if get_origin(annotation) is Annotated else ()


def _choices(annotation: Any, limits: Sequence[Any] = ()) -> list[str]:
    """Say what a type with its limits lets a value be, each way on its own."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        for extra in annotation.__metadata__:
            if isinstance(extra, Words):
                return [extra.text]
            limits = [*limits, *(extra.metadata if isinstance(extra, FieldInfo) else [extra])]
        return _choices(inner[0], limits)
    if origin in (Union, UnionType):
        return [choice for part in inner for choice in _choices(part, limits)]
    if origin is Literal:
        return [str(choice) if type(choice) is int else repr(choice) for choice in inner]
    if origin is tuple:
        if len(some := _choices(inner[0])) > 1:
            return [f"some of {', '.join(some)}, joined by +"]
        one = some[0].removeprefix("a ").replace("number", "numbers", 1).replace("text", "names")
        return [f"two {one}" if inner[1:] == inner[:1] else f"{one}, joined by +"]
    if annotation in (int, float):
        return [("a whole number" if annotation is int else "a number") + _range(limits)]
    plain = {bool: "true or false", str: "text", Path: "a file or folder", NoneType: "none", Any: "anything"}
    return [plain.get(annotation, f"a {getattr(annotation, '__name__', annotation)}")]


def _range(limits: Sequence[Any]) -> str:
    """Say between which numbers: " from 1 to 16"."""
    low = next((limit for limit in limits if isinstance(limit, (Ge, Gt))), None)
    high = next((limit for limit in limits if isinstance(limit, (Le, Lt))), None)
    if isinstance(low, Gt) and isinstance(high, Lt):
        return f" between {_plain(low.gt)} and {_plain(high.lt)}"
    start = end = ""
    if isinstance(low, Ge):
        start = f" from {_plain(low.ge)}" + (" up" if high is None else "")
    elif isinstance(low, Gt):
        start = f" above {_plain(low.gt)}"
    if isinstance(high, Le):
        end = f" to {_plain(high.le)}" if isinstance(low, Ge) else f"{' and' if low else ''} up to {_plain(high.le)}"
    elif isinstance(high, Lt):
        end = (
            f" to below {_plain(high.lt)}"
            if isinstance(low, Ge)
            else f"{' and' if low else ''} below {_plain(high.lt)}"
        )
    return start + end


def _plain(number: Any) -> str:
    return f"{number:g}" if isinstance(number, float) and math.isfinite(number) else str(number)


def _capital(what: str) -> str:
    return what[0].upper() + what[1:]
