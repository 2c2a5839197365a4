"""Files of weights that a user brings: recognised for what they are, read where they hold tensors; no pickle runs."""

from __future__ import annotations

import pickle
import re
import warnings
import zipfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from salus.errors import ModelError

#: Where checkpoints keep the weights, the likeliest first.
_ENTRIES = ("state_dict", "model_state_dict", "model", "net", "network", "model_state", "weights", "params", "module")

#: What wrappers put before the names of weights: DataParallel, torch.compile, Lightning, and people.
_WRAPPERS = ("module", "_orig_mod", "model", "net", "network")

#: What is taken, as the end of a sentence.
ACCEPTED = (
    "Salus takes a state dict, as torch.save(model.state_dict(), FILE) or as safetensors, also inside a checkpoint "
    f"(under {', '.join(_ENTRIES[:4])}), with or without the prefixes 'module.', '_orig_mod.' and 'model.'"
)

#: What ZIP archives begin with, such as PyTorch's.
_ZIP = b"PK\x03\x04"

#: What files that are something else begin with.
_SIGNATURES = (
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file, such as weights of Keras"),
    (b"GGUF", "a GGUF file of a language model"),
    (b"version https://git-lfs", "a Git LFS pointer and not the file itself (git lfs pull fetches it)"),
    (b"\x1f\x8b", "a gzip archive, to be unpacked first"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"<", "a web page or XML, perhaps of a download that failed"),
    (b"{", "JSON text, such as a configuration or the index of a model in several files"),
)


@dataclass(frozen=True, eq=False)
class Weights:
    """What a file held.

    Attributes:
        path: the file.
        tensors: by name.
        remarks: what was chosen or left out.
    """

    path: Path
    tensors: Mapping[str, Tensor]
    remarks: tuple[str, ...] = ()


def load_weights(module: nn.Module, path: Path) -> tuple[str, ...]:
    """Put the weights of a file into a module, and return what a reader should know of how.

    Raises:
        ModelError: the file cannot be read, needs code to be read, or does not fit.
    """
    weights = fitting(module, read_weights(path))
    if reason := misfit(module, weights.tensors):
        raise ModelError(f"The weights in {path} do not fit the model: {reason}")
    module.load_state_dict(weights.tensors, strict=True)
    return weights.remarks


def read_weights(path: Path) -> Weights:
    """Read safetensors, or a state dict of plain tensors, alone or in a checkpoint, whatever the file is called.

    Raises:
        ModelError: the file cannot be read, or holds anything but tensors.
    """
    if path.is_dir():
        raise ModelError(f"{path} is a folder; name the file of weights in it. {ACCEPTED}.")
    if not path.is_file():
        raise ModelError(f"There is no file of weights {path}.")
    with path.open("rb") as file:
        head = file.read(512)
    if _is_safetensors(head, path):
        try:
            return Weights(path, safetensors.torch.load_file(path))
        except (SafetensorError, OSError, ValueError, KeyError) as error:
            raise ModelError(f"{path} holds no whole safetensors: {error}.") from error
    if kind := _kind(head, path):
        raise ModelError(f"{path} is {kind}. {ACCEPTED}.")
    try:
        # Opened here: torch would go by the name.
        with warnings.catch_warnings(), path.open("rb") as file:
            warnings.simplefilter("ignore", UserWarning)
            content: Any = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelError(_needs_code(path, str(error))) from error
    except Exception as error:  # a damaged file fails in many ways
        reason = str(error).partition("\n")[0].rstrip(".")
        raise ModelError(f"{path} cannot be read as weights: {reason or type(error).__name__}. {ACCEPTED}.") from error
    return _state_dict(content, path)


def fitting(module: nn.Module, weights: Weights) -> Weights:
    """Name weights as a module does.

    Prefixes of wrappers are taken off or put on, weights that the module's class names as spare are left out, and
    counts of batches that old files lack are added.

    Raises:
        ModelError: the file holds the module's weights twice.
    """
    needs = module.state_dict()
    counts = {name: value for name, value in needs.items() if name.endswith(".num_batches_tracked")}
    weights = _renamed([name for name in needs if name not in counts], weights)
    spare: tuple[str, ...] = getattr(module, "spare_weights", ())
    kept = {name: value for name, value in weights.tensors.items() if not name.startswith(spare)}
    return replace(weights, tensors={**counts, **kept})


def misfit(module: nn.Module, weights: Mapping[str, Tensor]) -> str:
    """Say in one sentence why weights do not fit a module; empty when they do."""
    needs = module.state_dict()
    lacking, spare = sorted(needs.keys() - weights.keys()), sorted(weights.keys() - needs.keys())
    has = f"they hold {_some(spare)}, which the model does not have ({len(spare)} of {len(weights)})" if spare else ""
    if lacking:
        needed = f"the model needs {_some(lacking)}, which they lack ({len(lacking)} of {len(needs)} missing)"
        return f"{needed}; {has}." if has else f"{needed}."
    if spare:
        return f"{has}."
    for name, value in needs.items():
        if isinstance(value, Tensor) and value.shape != weights[name].shape:
            return f"{name!r} has shape {list(weights[name].shape)}; the model needs {list(value.shape)}."
    return ""


def _some(names: Sequence[str], most: int = 3) -> str:
    """Name the first of several weights."""
    return ", ".join(map(repr, names[:most])) + (", ..." if len(names) > most else "")


def is_torchscript(path: Path) -> bool:
    """Whether a file is a program of TorchScript."""
    try:
        with zipfile.ZipFile(path) as archive:
            return _holds_torchscript([name.partition("/")[2] or name for name in archive.namelist()])
    except (OSError, zipfile.BadZipFile):
        return False


def _holds_torchscript(names: Sequence[str]) -> bool:
    return "constants.pkl" in names or any(name.startswith("code/") for name in names)


def _is_safetensors(head: bytes, path: Path) -> bool:
    """Tell safetensors by their header: its length, then JSON."""
    length = int.from_bytes(head[:8], "little")
    return head[8:9] == b"{" and 2 <= length <= path.stat().st_size - 8


def _kind(head: bytes, path: Path) -> str:
    """Say what a file is that holds no state dict of PyTorch's; empty where it may hold one."""
    if not head:
        return "empty"
    for signature, kind in _SIGNATURES:
        if head.lstrip().startswith(signature) if len(signature) == 1 else head.startswith(signature):
            return kind
    if path.suffix == ".onnx" or (head[0] == 8 and b"\x12" in head[2:4] and any(word in head for word in _EXPORTERS)):
        return "an ONNX program, which brings its own code: give it as the model, --model FILE.onnx"
    if head.startswith(_ZIP):
        return _kind_of_archive(path)
    if head[0] != 0x80 and head[257:262] != b"ustar":  # a pickle, or the tar archive of the oldest PyTorch
        return "no file of weights"
    return ""


#: Who writes ONNX.
_EXPORTERS = (b"pytorch", b"onnx", b"tf2onnx", b"keras", b"skl2onnx")


def _kind_of_archive(path: Path) -> str:
    """Say what a ZIP archive is that holds no state dict."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name.partition("/")[2] or name for name in archive.namelist()]
    except Exception:  # it fails in many ways
        return "a damaged archive"
    if "models/model.json" in names:
        return "an exported program, which brings its own code: give it as the model, --model FILE.pt2"
    if _holds_torchscript(names):
        return (
            "a TorchScript program; save its weights by "
            f"torch.save(torch.jit.load({str(path)!r}).state_dict(), 'weights.pt')"
        )
    if any(name.endswith((".weights.h5", "saved_model.pb")) for name in names):
        return "a model of Keras or TensorFlow"
    if all(name.endswith(".npy") for name in names):
        return "an archive of NumPy arrays"
    return "" if "data.pkl" in names else "an archive of other files"


def _needs_code(path: Path, error: str) -> str:
    """Say what a pickle holds that is no tensor, which reading it would run."""
    content = _pickled(path)
    whole = b"_parameters" in content and b"_modules" in content
    named = re.search(r"GLOBAL (\S+)", error)
    what = named.group(1) if named else "an object"
    holds = f"a whole pickled model ({what})" if whole else f"more than tensors ({what})"
    remedy = "torch.save(model.state_dict(), 'weights.pt')" if whole else "torch.save(checkpoint['state_dict'], ...)"
    return (
        f"{path} holds {holds}, and reading it would run code from the file; where you made it, load it and save a "
        f"state dict: {remedy}. {ACCEPTED}."
    )


def _pickled(path: Path, most: int = 2**24) -> bytes:
    """Read the pickle of a file, without running it."""
    with path.open("rb") as file:
        content = file.read(most)
    if content.startswith(_ZIP):
        try:
            with zipfile.ZipFile(path) as archive:
                names = [name for name in archive.namelist() if name.endswith("data.pkl")]
                return archive.open(names[0]).read(most) if names else b""
        except Exception:  # a damaged archive fails in many ways
            return b""
    return content


def _state_dict(content: Any, path: Path) -> Weights:
    """Take the weights out of what a file held."""
    if _is_state_dict(content):
        return Weights(path, content)
    if not isinstance(content, dict):
        raise ModelError(f"{path} holds no state dict but a {type(content).__name__}. {ACCEPTED}.")
    if not content:
        raise ModelError(f"{path} holds an empty state dict. {ACCEPTED}.")
    inside = {str(name): value for name, value in content.items() if _is_state_dict(value)}
    nested = [name for name in _ENTRIES if isinstance(content.get(name), dict) and name not in inside]
    known = [name for name in _ENTRIES if name in inside] or list(inside)
    if not inside and nested:
        return _state_dict(content[nested[0]], path)
    if len(inside) == 1 or (known and known[0] in _ENTRIES):
        others = [name for name in inside if name != known[0]]
        remark = f"Of the checkpoint {path.name} the weights under {known[0]!r} were taken, not those under "
        remarks = (remark + f"{' or '.join(map(repr, others))}.",) if others else ()
        return Weights(path, inside[known[0]], remarks)
    if inside:
        raise ModelError(
            f"{path} holds several state dicts, under {', '.join(map(repr, inside))}; save the one that is meant."
        )
    if "param_groups" in content or any("optim" in str(name) for name in content):
        raise ModelError(f"{path} holds the state of an optimizer, and no weights of a model. {ACCEPTED}.")
    name, odd = next((name, value) for name, value in content.items() if not isinstance(value, Tensor))
    raise ModelError(f"{path} holds no state dict: its {name!r} is a {type(odd).__name__}. {ACCEPTED}.")


def _is_state_dict(content: Any) -> bool:
    return (
        isinstance(content, dict)
        and len(content) > 0
        and all(isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items())
    )


def _renamed(needs: list[str], weights: Weights) -> Weights:
    """Take off the prefix of a wrapper in which the weights were saved, or put on that of one around the module."""
    tensors, remarks = weights.tensors, weights.remarks
    wanted = set(needs)
    if not wanted or wanted <= tensors.keys():
        return weights
    for prefix in _prefixes(needs[0]):
        if all(name.startswith(prefix) and name.removeprefix(prefix) in tensors for name in needs):
            remark = f"The weights' names lack the prefix {prefix!r} that the model's have; it was put before them."
            return replace(weights, tensors={prefix + n: v for n, v in tensors.items()}, remarks=(*remarks, remark))
    hits = Counter(prefix for name in tensors for prefix in _prefixes(name) if name.removeprefix(prefix) in wanted)
    whole = [prefix for prefix, count in hits.items() if count == len(wanted)]
    taken_off = [prefix for prefix in whole if _is_wrapper(prefix, tensors)]
    if whole and len(taken_off) != 1:
        ways = " and under ".join(map(repr, sorted(taken_off or whole)))
        raise ModelError(
            f"{weights.path} holds the model's weights under {ways}, beside others; save those that are meant."
        )
    if not whole:  # where nearly all are there, what is missing will be named
        taken_off = [prefix for prefix, count in hits.most_common(1) if 2 * count > len(wanted)]
    if not taken_off:
        return weights
    (prefix,) = taken_off
    beside = [name for name in tensors if not name.startswith(prefix)]
    remark = f"The prefix {prefix!r} was taken off the names of the weights."
    if beside:
        named = f"{', '.join(beside[:3])}{', ...' if len(beside) > 3 else ''}"
        remark += f" What lies beside them in the file was left out: {named} ({len(beside)} of {len(tensors)})."
    taken = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
    return replace(weights, tensors=taken, remarks=(*remarks, remark))


def _prefixes(name: str) -> list[str]:
    """List what may stand before a name in dotted words, the shortest first."""
    return [name[: place + 1] for place, letter in enumerate(name) if letter == "."]


def _is_wrapper(prefix: str, names: Iterable[str]) -> bool:
    """Tell whether a prefix is one that wrappers put, or all that there is."""
    return set(prefix[:-1].split(".")) <= set(_WRAPPERS) or all(name.startswith(prefix) for name in names)
