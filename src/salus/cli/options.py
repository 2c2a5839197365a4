"""Commands whose options stand in declarations, and what else several commands share."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

import click

from salus.options import Option
from salus.registry import plugin_names

if TYPE_CHECKING:
    from salus.engines import Engine

#: Names of plan fields that go together.
MODEL = ("data", "model", "weights", "training", "seed", "device")
DEFENCE = ("defence", "false_alarm_rate")
#: Who watches those who ask.
WATCH = ("monitor", "accounts")
TRAINING_PART = ("poison", "clean_labels")
BUDGET = ("eps", "norm", "steps", "queries", "restarts", "time")
ATTACKS = ("attack", *BUDGET, "control", "threat_model", "variants", "substitute", "target", "harm", "samples")
#: How a model behind HTTP may be asked.
ENDPOINT = ("allow_host", "endpoint_queries", "rate", "token_file", "ca_file")
#: Where work is done; see ``salus.engines.EngineOptions``.
ENGINE = ("engine", "jobs", "task_cores", "task_gpus", "task_memory")
#: What a hardening tries; see ``salus.jobs.sweep.SweepOptions``.
SWEEP = ("grid", "seeds", "folds", "judge")
#: Stands for all options that say how data are loaded.
DATA = ("*",)

#: Which entry points extend what an option may name.
_GROUPS = {
    "attack": ("salus.attacks",),
    "control": ("salus.controls",),
    "data": ("salus.sources",),
    "defence": ("salus.detectors", "salus.purifiers"),
    "model": ("salus.models",),
    "monitor": ("salus.monitors",),
    "poison": ("salus.poisons",),
    "clean_labels": ("salus.cleaning",),
}


class PlanCommand(click.Command):
    """A command that takes fields of a plan; they are looked up when it is run or asked for help, not before.

    Args:
        fields: which, in the order of the help.
        several: those that may be given several times though a plan has one of each.
    """

    def __init__(self, *args: Any, fields: Sequence[str], several: Sequence[str] = (), **settings: Any) -> None:
        super().__init__(*args, **settings)
        self._fields: Sequence[str] = fields
        self._several = several

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Give the command's own parameters, and those declared by the plan before its options."""
        if self._fields:
            arguments = [each for each in self.params if isinstance(each, click.Argument)]
            rest = [each for each in self.params if not isinstance(each, click.Argument)]
            own = {each.name for each in rest}
            declared = [
                click_option(option, several=option.name in self._several)
                for option in _declared(self._fields)
                if option.name not in own
            ]
            self.params, self._fields = [*arguments, *declared, *rest], ()
        return super().get_params(ctx)


class SettingsCommand(click.Command):
    """A command that takes every field of a declaration, which is looked up when it is run or asked for help.

    Args:
        declaring: where it stands, ``package.module:name``.
    """

    def __init__(self, *args: Any, declaring: str, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self._declaring = declaring

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Give the command's own parameters, and those declared after them."""
        if self._declaring:
            from salus.options import options_of

            module, _, name = self._declaring.partition(":")
            declared = options_of(getattr(import_module(module), name))
            self.params, self._declaring = [*self.params, *map(click_option, declared)], ""
        return super().get_params(ctx)


def _declared(names: Sequence[str]) -> list[Option]:
    from salus.audit.plan import Budget, Plan
    from salus.data import DataOptions
    from salus.engines import EngineOptions
    from salus.jobs.sweep import SweepOptions
    from salus.options import options_of

    known = {option.name: option for of in (Plan, Budget, EngineOptions, SweepOptions) for option in options_of(of)}
    data = [option.name for option in options_of(DataOptions)]
    return [known[name] for each in names for name in (data if each == "*" else [each])]


def click_option(option: Option, *, several: bool = False) -> click.Option:
    """Make an option of the command line; what is typed is read by the declaration, whatever its type.

    Args:
        option: as it is declared.
        several: it may be given several times, though its declaration takes one value.
    """
    return click.Option(
        [f"--{option.name.replace('_', '-')}"],
        multiple=option.repeated or several,
        is_flag=option.words == "true or false",
        default=None,
        type=click.Path(path_type=Path) if _is_path(option.annotation) else str,
        metavar=_metavar(option),
        help=help_line(option) + _others(option.name) + ("  Given several times: each." if several else ""),
    )


def help_line(option: Option) -> str:
    """Say in a line what an option is, and what holds where it is not given."""
    default = option.default
    text = f"{option.help[:1].upper()}{option.help[1:]}."
    if default is None or default is False or default in ((), {}):
        return text
    return f"{text}  [default: {', '.join(map(str, default)) if isinstance(default, tuple) else default}]"


def _others(name: str) -> str:
    """Name what other packages add to what an option may name."""
    brought = {thing: package for group in _GROUPS.get(name, ()) for thing, package in plugin_names(group).items()}
    if not brought:
        return ""
    return "  Also " + ", ".join(f"{thing} ({package})" for thing, package in sorted(brought.items())) + "."


def _is_path(annotation: Any) -> bool:
    return annotation is Path or any(_is_path(inner) for inner in get_args(annotation))


def _literals(annotation: Any) -> list[str]:
    """List the words that an option may be, where they are all that it may be."""
    if get_origin(annotation) is Literal:
        return [str(word) for word in get_args(annotation)]
    return [word for inner in get_args(annotation) for word in _literals(inner)]


def _metavar(option: Option) -> str | None:
    """Name the kind of value, as click does for its own types."""
    if option.words == "true or false":
        return None
    if words := _literals(option.annotation):
        return f"[{'|'.join(words)}]"
    for start, name in (("a whole number", "INTEGER"), ("a number", "FLOAT"), ("a file or folder", "PATH")):
        if option.words.startswith(start) and "pixels" not in option.words:
            return name
    return "TEXT"


@contextmanager
def chosen_engine(options: dict[str, Any]) -> Iterator[Engine | None]:
    """Take the options of the engine out of those of a command, and start it; None where none is asked for.

    Args:
        options: of the command; ``device`` says whether a GPU is used.
    """
    from salus.engines import EngineOptions, open_engine

    asked = EngineOptions(**plan_fields({name: options.pop(name) for name in ENGINE}))
    if asked == EngineOptions():
        yield None
        return
    with open_engine(asked, gpu=str(options.get("device") or "cpu").startswith("cuda")) as engine:
        yield engine


def plan_fields(options: dict[str, Any]) -> dict[str, Any]:
    """Keep what was given."""
    return {key: value for key, value in options.items() if value not in (None, ())}


def key_values(words: Sequence[str]) -> dict[str, Any]:
    """Read ``key=value`` words."""
    from salus.options import split_spec

    return split_spec(f"training:{','.join(words)}", "training option")[1]


def command_line() -> str:
    """Return what was typed, for reports."""
    return shlex.join(["salus", *sys.argv[1:]])
