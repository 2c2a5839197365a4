"""The modules that a model is made of, also those that it keeps where PyTorch does not look for them."""

from __future__ import annotations

import functools
import sys
from collections import UserDict, deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import torch
from torch import Tensor, nn

#: What every module has of its own, in which none is hidden but by hooks.
_OWN = frozenset(vars(nn.Module()))
_HOOKS = ("_forward_hooks", "_forward_pre_hooks")

#: What holds no modules, and is not looked into.
_PLAIN = frozenset(
    [
        *(type(None), bool, int, float, complex, str, bytes, Tensor, nn.Parameter, range),
        *(ModuleType, BuiltinFunctionType, torch.Size, torch.device, torch.dtype),
    ]
)

#: Packages whose objects keep no module of a user's.
_CLOSED = frozenset({"numpy", "pandas", "torch", *sys.stdlib_module_names} - {"argparse", "types"})

#: Objects looked at before a search gives up, and those of one list or dict.
_MOST, _WIDEST = 20_000, 1000

#: Values of the largest buffer that is put back; statistics of layers are smaller.
_STATISTICS = 2**16


def modules_of(*models: object) -> list[nn.Module]:
    """List all modules that models are made of, each once.

    Args:
        models: modules, functions, methods, or objects. Modules that a module does not register are looked for in
            its attributes, in lists, dicts, ``functools.partial`` and plain objects, and in what functions close over
            or name among the globals of their file.
    """
    return list(_walk(models).values())


def hidden_modules(model: nn.Module) -> dict[str, nn.Module]:
    """List the modules with weights or statistics that a model uses and does not register, by where they were found."""
    own = {id(tensor) for tensor in (*model.parameters(), *model.buffers())}
    return {place: part for place, part in _walk((model,)).items() if any(id(each) not in own for each in _own(part))}


def _own(part: nn.Module) -> tuple[Tensor, ...]:
    return (*part.parameters(recurse=False), *part.buffers(recurse=False))


def _walk(models: Iterable[object]) -> dict[str, nn.Module]:
    """Find modules by where they were found, those near the models first."""
    modules: dict[str, nn.Module] = {}
    seen: dict[int, object] = {}  # with the objects, so that no number is given twice
    todo: deque[tuple[str, Any]] = deque((f"#{number}" if number else "", model) for number, model in enumerate(models))
    while todo and len(seen) < _MOST:
        place, value = todo.popleft()
        if id(value) in seen:
            continue
        seen[id(value)] = value
        with suppress(Exception):  # of objects that mind being looked at
            if isinstance(value, nn.Module):
                modules[place if place not in modules else f"{place} {len(modules)}"] = value
            inside = [(name, part) for name, part in _inside(value) if id(part) not in seen]
            todo.extend((f"{place}{name}".removeprefix("."), part) for name, part in inside)
    return modules


def _inside(value: Any) -> Iterator[tuple[str, Any]]:
    """List what an object holds and may hold modules, by name."""
    if isinstance(value, nn.Module):
        yield from ((f".{name}", part) for name, part in value._modules.items() if part is not None)
        held = vars(value)
        for name in held.keys() - _OWN:
            if type(held[name]) not in _PLAIN:
                yield f".{name}", held[name]
        yield from ((f".{name}", held[name]) for name in _HOOKS if held.get(name))
        yield "", type(value)
    elif isinstance(value, FunctionType):
        yield from _of_function(value)
    elif isinstance(value, MethodType):
        yield from (("", value.__self__), ("", value.__func__))
    elif isinstance(value, functools.partial):
        yield from (("", value.func), ("", value.args), ("", value.keywords))
    elif isinstance(value, (dict, UserDict)):
        items = islice(list(value.items()), _WIDEST)
        yield from ((f"[{key!r}]", part) for key, part in items if type(part) not in _PLAIN)
    elif isinstance(value, (list, tuple, set, frozenset, deque)):
        parts = enumerate(islice(list(value), _WIDEST))
        yield from ((f"[{place}]", part) for place, part in parts if type(part) not in _PLAIN)
    elif isinstance(value, type):
        yield from _of_class(value)
    elif isinstance(value, (staticmethod, classmethod)):
        yield "", value.__func__
    elif isinstance(value, property):
        yield "", value.fget
    elif "__wrapped__" in getattr(value, "__dict__", {}):  # as of functools.cache
        yield "", value.__wrapped__
    elif not isinstance(value, ModuleType) and _package(type(value)) not in _CLOSED:
        slots = (name for kind in type(value).__mro__ for name in getattr(kind, "__slots__", ()))
        held = {**getattr(value, "__dict__", {}), **{name: getattr(value, name, None) for name in slots}}
        yield from ((f".{name}", part) for name, part in held.items() if type(part) not in _PLAIN)
        yield "", type(value)


def _package(thing: Any) -> str:
    """Name the package that a class or function comes from."""
    return str(thing.__module__).partition(".")[0]


@functools.cache
def _is_users(package: str) -> bool:
    """Tell a user's own package, whose classes and globals may hold modules, from installed ones: they are many."""
    if package == "salus" or package in sys.stdlib_module_names - {"__main__"}:
        return False
    file = getattr(sys.modules.get(package), "__file__", None) or ""
    return not {"site-packages", "dist-packages"} & set(Path(file).parts)


def _of_class(kind: type) -> Iterator[tuple[str, Any]]:
    """List the attributes and the methods of a user's class and of those above it."""
    for each in kind.__mro__:
        if _is_users(_package(each)):
            yield from ((f".{name}", part) for name, part in list(vars(each).items()) if type(part) not in _PLAIN)


def _of_function(function: FunctionType) -> Iterator[tuple[str, Any]]:
    """List what a function closes over, its defaults, and the globals that it names."""
    code = function.__code__
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=False):
        try:
            yield f".{name}", cell.cell_contents
        except ValueError:  # not filled yet
            continue
    yield from (("", part) for part in (function.__defaults__, function.__kwdefaults__, vars(function)) if part)
    if not _is_users(_package(function)):
        return
    globals_ = function.__globals__
    yield from ((f".{name}", globals_[name]) for name in _names(code) if name in globals_)


def _names(code: CodeType) -> Iterator[str]:
    """List the names that code, and functions written inside it, take from outside."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


@contextmanager
def evaluating(module: nn.Module) -> Iterator[list[nn.Module]]:
    """Hold a module in eval mode, with all that it is made of, and put every part back as it was."""
    modes = [(part, part.training) for part in modules_of(module)]
    try:
        for part, _ in modes:
            part.training = False
        yield [part for part, _ in modes]
    finally:
        for part, mode in modes:
            part.training = mode


@contextmanager
def buffers_kept(modules: Iterable[nn.Module]) -> Iterator[list[str]]:
    """Put back what a block writes to the statistics of modules, as a BatchNorm in training mode does.

    Yields:
        Names of the buffers that had to be put back, filled when the block ends.
    """
    groups: dict[tuple[torch.device, torch.dtype], list[tuple[nn.Module, str, Tensor]]] = {}
    for part in modules:
        for name, buffer in part._buffers.items():
            if buffer is not None and buffer.numel() <= _STATISTICS and buffer.layout == torch.strided:
                groups.setdefault((buffer.device, buffer.dtype), []).append((part, name, buffer))
    before = {kind: _joined(each[2] for each in group) for kind, group in groups.items()}
    changed: list[str] = []
    try:
        yield changed
    finally:
        for kind, group in groups.items():
            same = all(part._buffers.get(name) is buffer for part, name, buffer in group)
            if same and torch.equal(_joined(buffer for _, _, buffer in group), before[kind]):
                continue
            values = before[kind].split([buffer.numel() for _, _, buffer in group])
            for (part, name, buffer), value in zip(group, values, strict=True):
                same = part._buffers.get(name) is buffer
                if same and torch.equal(buffer.flatten().nan_to_num(), value.nan_to_num()):
                    continue
                changed.append(f"{type(part).__name__}.{name}")
                part._buffers[name] = buffer
                with torch.inference_mode(buffer.is_inference()), torch.no_grad():
                    buffer.copy_(value.view_as(buffer))


def _joined(buffers: Iterable[Tensor]) -> Tensor:
    """Copy the values of buffers of one kind into one row: far quicker than to copy and compare each."""
    return torch.cat([buffer.detach().flatten() for buffer in buffers])
