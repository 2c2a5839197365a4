"""Programs that ``torch.export.save`` wrote, read without running anything that their file brings along.

``torch.export.load`` unpickles payloads marked so, custom objects, old formats and sample inputs; it
evaluates shape expressions with sympy's ``eval``, takes any name under ``torch`` for an operator, and writes
names into Python code that it executes. So here the archive is opened first, each record and each word in its
JSON must be of a kind that a classifier needs, and what passed is written into a fresh archive, then loaded.
"""

from __future__ import annotations

import ast
import io
import json
import re
import warnings
import zipfile
from typing import Any

from torch import Tensor, nn

from salus.errors import ModelError

#: The records of an archive, without its root folder; those in DROPPED are not needed, and not read.
RECORDS = re.compile(
    r"data/weights/(weight_\d+|model_weights_config\.json)"
    r"|data/constants/(tensor_\d+|model_constants_config\.json)|models/model\.json"
)
DROPPED = re.compile(
    r"archive_format|archive_version|byteorder|\.data/\w+|\.format_version|\.storage_alignment"
    r"|data/sample_inputs/model\.pt|extra/.*"
)
PAYLOAD = re.compile(r"weight_\d+|tensor_\d+")

#: The operators that a program may call: PyTorch's own, without those that touch files.
OPERATORS = re.compile(
    r"torch\.ops\.aten\.(?!from_file\b)\w+\.\w+"
    r"|torch\.ops\.higher_order\.(wrap_with_set_grad_enabled|wrap_with_autocast|cond)"
    r"|torch\.sym_(int|float|max|min|not|sqrt|ite)|math\.(floor|ceil|trunc|sqrt)"
    r"|_operator\.(add|sub|mul|floordiv|truediv|mod|pow|neg|eq|ne|lt|le|gt|ge|and_|or_|not_|getitem)"
)
WORD = re.compile(r"[A-Za-z0-9_.+@-]*")  # with none of these can code be written
TEXT = re.compile(r"[A-Za-z0-9_.+@, >-]*")  # the string arguments of operators: padding="same", "ij,jk->ik"
CONTAINERS = {None, "builtins.tuple", "builtins.list", "builtins.dict"}

#: What shape expressions are made of.
SYMPY = re.compile(
    r"Symbol|Integer|Float|Rational|Add|Mul|Pow|Max|Min|Abs|Mod|PythonMod|FloorDiv|CleanDiv|CeilDiv|Where"
    r"|ModularIndexing|CeilToInt|FloorToInt|TruncToInt|RoundToInt|IntTrueDiv|FloatTrueDiv|ToFloat|Identity"
    r"|PowByNatural|LShift|RShift|floor|ceiling|Equality|Unequality|StrictLessThan|StrictGreaterThan|LessThan"
    r"|GreaterThan|Eq|Ne|Lt|Le|Gt|Ge|And|Or|Not|true|false|oo|int_oo"
)
SYMBOL = re.compile(r"[a-z]{1,3}[0-9]+")
SYNTAX = (
    *(ast.Expression, ast.Constant, ast.Name, ast.Load, ast.Call, ast.keyword, ast.BinOp, ast.UnaryOp),
    *(ast.Compare, ast.operator, ast.unaryop, ast.cmpop),
)


def read_program(content: bytes, place: str) -> tuple[nn.Module, bytes]:
    """Read an exported program as a module whose submodules take hooks.

    Args:
        content: the bytes of a ``.pt2`` file.
        place: how to name the file in an error message.

    Returns:
        The module, and the program as it was checked and loaded, to be saved beside the weights.

    Raises:
        ModelError: the file is damaged, old, no classifier's program, or could run code.
    """
    try:
        from torch.export import unflatten
        from torch.export.pt2_archive._package import PT2ArchiveWriter, load_pt2
    except ImportError as error:
        raise ModelError(f"{place}: reading exported programs needs torch 2.8 or newer.") from error
    records = _checked_records(content, place)
    buffer = io.BytesIO()
    with PT2ArchiveWriter(buffer) as archive:
        for name, value in records.items():
            archive.write_bytes(name, value)
        archive.write_bytes("data/sample_inputs/model.pt", b"")
    package = buffer.getvalue()
    try:
        program = load_pt2(io.BytesIO(package)).exported_programs["model"]
    except Exception as error:  # the loader of an unstable format fails in many ways
        reason = str(error).strip().rpartition("\n")[2]
        raise ModelError(
            f"{place}: torch cannot load this program ({type(error).__name__}: {reason}); "
            "export it with the torch version in use here."
        ) from error
    inputs = [node for node in program.graph.nodes if node.name in program.graph_signature.user_inputs]
    if len(inputs) != 1 or not isinstance(inputs[0].meta.get("val"), Tensor):
        raise ModelError(f"{place}: the program takes {len(inputs)} inputs; a classifier takes one tensor.")
    shape = inputs[0].meta["val"].shape
    if len(shape) == 0 or isinstance(shape[0], int):
        raise ModelError(
            f"{place}: the program takes batches of shape {list(shape)} only; export it for any batch size: "
            "torch.export.export(model, (x,), dynamic_shapes=({0: torch.export.Dim('batch')},))."
        )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FutureWarning, module=r"torch\.")
        warnings.filterwarnings("ignore", message=".*LeafSpec", category=FutureWarning)
        module: nn.Module = unflatten(program)
    return module, package


def _checked_records(content: bytes, place: str) -> dict[str, bytes]:
    """Take the records of an archive that are needed, refusing any that does not belong there."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
            names = [entry.filename for entry in entries]
            twice = [name for name in names if [n.casefold() for n in names].count(name.casefold()) > 1]
            if twice:
                raise ModelError(f"{place} holds {twice[0]!r} twice; it was tampered with.")
            roots = {name.partition("/")[0] for name in names}
            if len(roots) != 1 or f"{min(roots)}/archive_format" not in names:
                raise ModelError(
                    f"{place} is no archive of torch.export.save, or of an old format that holds pickles; "
                    "export the model again with torch 2.8 or newer."
                )
            records = {}
            for entry in entries:
                name = entry.filename.partition("/")[2]
                if RECORDS.fullmatch(name) and entry.compress_type == zipfile.ZIP_STORED:
                    records[name] = archive.read(entry)
                elif not DROPPED.fullmatch(name):
                    raise ModelError(
                        f"{place} holds {name!r}, a compiled, custom or pickled object that could run code; "
                        "export a plain model and save it with torch.export.save."
                    )
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, OSError, ValueError) as error:
        raise ModelError(f"{place} is damaged, or no exported program: {error}.") from error
    for name in (
        "data/weights/model_weights_config",
        "data/constants/model_constants_config",
        "models/model",
    ):
        if f"{name}.json" not in records:
            raise ModelError(f"{place} lacks {name}.json; export the model again with torch.export.save.")
        try:
            value = json.loads(records[f"{name}.json"])
            if name.endswith("_config"):
                _check_payloads(value, f"{place}: {name}.json", name.rpartition("/")[0], records)
            else:
                value["guards_code"] = []  # checks as Python code, which the unflattened module does not use
            _check_words(value, f"{place}: {name}.json")
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise ModelError(f"{place}: {name}.json is damaged ({type(error).__name__}: {error}).") from error
        records[f"{name}.json"] = json.dumps(value).encode()
    return records


def _check_payloads(config: Any, place: str, folder: str, records: dict[str, bytes]) -> None:
    """Require that every tensor is stored as raw bytes."""
    for name, payload in config["config"].items():
        path = payload["path_name"]
        if payload["use_pickle"] is not False or not PAYLOAD.fullmatch(path) or payload["tensor_meta"] is None:
            raise ModelError(
                f"{place}: {name!r} is pickled, or no tensor, and reading it could run code; "
                "export a model whose parameters and buffers are plain tensors."
            )
        if f"{folder}/{path}" not in records:
            raise ModelError(f"{place}: {path!r} of {name!r} is missing; the file is damaged.")


def _check_words(value: Any, place: str, key: str = "") -> None:
    """Walk JSON: every word must be harmless, every operator and expression known. Remarks are taken out."""
    if isinstance(value, list):
        for part in value:
            _check_words(part, place, key)
    elif isinstance(value, dict):
        if isinstance(value.get("target"), str) and isinstance(value.get("metadata"), dict):  # an operator call
            stack = value["metadata"].get("nn_module_stack")
            value["metadata"] = {} if stack is None else {"nn_module_stack": str(stack)}
            for part in (part for name, part in value.items() if name != "metadata"):
                _check_words(part, place, "target" if part is value["target"] else "")
            return
        for name, part in value.items():
            if not WORD.fullmatch(name) or name in ("as_operator", "as_custom_obj", "custom_obj"):
                raise ModelError(f"{place} holds {name[:80]!r}, which no classifier needs; it is not loaded.")
            _check_words(part, place, name)
    elif isinstance(value, str):
        if key == "expr_str":
            harmless = _is_shape_expression(value)
        elif key in ("in_spec", "out_spec"):
            harmless = _is_plain_structure(json.loads(value)[1])
        elif key == "target":
            harmless = OPERATORS.fullmatch(value) is not None
        else:
            harmless = (TEXT if key in ("as_string", "as_strings") else WORD).fullmatch(value) is not None
        if not harmless:
            raise ModelError(
                f"{place}: {key} {value[:80]!r} is nothing that a classifier's program needs, and it could "
                "run code; it is not loaded."
            )


def _is_plain_structure(spec: Any) -> bool:
    """Tell whether inputs or outputs are nested in tuples, lists and dicts alone."""
    plain = spec["type"] in CONTAINERS and "__enum__" not in str(spec["context"])
    return plain and all(_is_plain_structure(child) for child in spec["children_spec"])


def _is_shape_expression(text: str) -> bool:
    """Tell whether sympy would compute with this text, and do nothing else."""
    try:
        tree = ast.parse(text, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    symbols = set()
    for node in ast.walk(tree):
        if not isinstance(node, SYNTAX):
            return False
        if isinstance(node, ast.Call):
            if not (isinstance(node.func, ast.Name) and SYMPY.fullmatch(node.func.id)):
                return False
            if node.func.id == "Symbol" and node.args and isinstance(node.args[0], ast.Constant):
                symbols.add(id(node.args[0]))
        if isinstance(node, ast.Name) and not (SYMPY.fullmatch(node.id) or SYMBOL.fullmatch(node.id)):
            return False
        if isinstance(node, ast.Constant) and isinstance(node.value, (str, bytes)):
            word = isinstance(node.value, str) and re.fullmatch(r"[A-Za-z]\w*", node.value, re.ASCII)
            if not word or id(node) not in symbols:
                return False
    return True
