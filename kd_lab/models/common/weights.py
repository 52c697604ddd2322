"""Weights of a network: to a safetensors file, back from it or from a PyTorch checkpoint, and as a hash.

Nothing here runs code from a file: pickles are read with `weights_only=True`.
"""

import hashlib
import os
import pickle
import warnings
import zipfile
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from kd_lab.errors import UserError
from kd_lab.outside.archives import check_zip

PICKLED = frozenset({".pt", ".pth", ".ckpt"})
NESTED = ("state_dict", "model")
"""Where Lightning, and the repositories of published teachers, keep the state dict beside other things."""
COUNTER = "num_batches_tracked"
"""BatchNorm of PyTorch 0.4.0 and before kept none, and it is read only where there is no momentum."""
ZIP_START = b"PK\x03\x04"
EXTRA_STATE = "_extra_state"
"""How torch names what a module keeps beside its tensors, of whichever size."""


def save_weights(module: nn.Module, path: Path | str) -> None:
    """Writes every parameter and buffer to a safetensors file, whole or not at all; shared tensors are written once."""
    from safetensors.torch import save_model

    target = Path(path)
    part = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        save_model(module, str(part))
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def weights_sha256(module: nn.Module) -> str:
    """sha256 (hex) over names, dtypes, shapes and bytes of all parameters and buffers, by sorted name."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def load_weights(module: nn.Module, path: Path | str) -> None:
    """Fills `module` from a file; on failure it is as it was before.

    Reads .safetensors, and .pt, .pth, .ckpt with a plain state dict, a Lightning checkpoint, or a dict whose `model` is
    the state dict, as published teachers come. Names may carry a common prefix ("network.", "model.", "module."), which
    is found and stripped; what has another prefix, such as a loss beside the network, is left. A file of a bare timm or
    torchvision network fits its wrapper too.

    Raises:
        UserError: no such file, unknown kind, unreadable, declares more than it holds, needs pickle, or does not fit
            (which names and shapes).
    """
    source = Path(path).expanduser()
    if not source.is_file():
        raise UserError(f"weights={path}: expected a file, but there is none; check the path.")
    given = _read(source)
    own = module.state_dict()
    names = _match(given, own, source)
    _check_fit(given, own, names, source)
    module.load_state_dict({name: given[there] for name, there in names.items()}, strict=False)


def _read(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    if path.suffix in PICKLED:
        return _read_pickled(path)
    raise UserError(
        f"weights={path}: expected a .safetensors, .pt, .pth or .ckpt file, but got {path.suffix or 'no ending'}; "
        "save the weights as .safetensors."
    )


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors: dict[str, Tensor] = load_file(str(path))
    except (SafetensorError, OSError, ValueError) as error:
        raise _unreadable(path) from error
    return tensors


def _read_pickled(path: Path) -> dict[str, Tensor]:
    _check_declared(path)
    try:
        # The options that training scripts keep beside the weights: a bag of values.
        with torch.serialization.safe_globals([Namespace]), warnings.catch_warnings(action="ignore"):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if _is_pickle(path):
            raise UserError(
                f"weights={path}: expected weights only, but the file holds Python objects that would have to be "
                "unpickled, which can run code; save network.state_dict() or a .safetensors file."
            ) from error
        raise _unreadable(path) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, AttributeError, IndexError) as error:
        raise _unreadable(path) from error
    if isinstance(content, Mapping):
        content = next((content[key] for key in NESTED if isinstance(content.get(key), Mapping)), content)
    if not isinstance(content, Mapping) or not content or not all(isinstance(t, Tensor) for t in content.values()):
        raise UserError(
            f"weights={path}: expected a state dict (names to tensors), alone or as `model` or `state_dict` of a "
            f"checkpoint, but got {type(content).__name__} with other content; save network.state_dict()."
        )
    _check_plain(content, path)
    return {str(name): tensor for name, tensor in content.items()}


def _check_plain(content: Mapping[str, Tensor], path: Path) -> None:
    """Refuse tensors whose values cannot simply be copied into a network's."""
    kinds = {
        "meta, which has no values": [name for name, tensor in content.items() if tensor.is_meta],
        "quantized": [name for name, tensor in content.items() if tensor.is_quantized],
        "sparse": [name for name, tensor in content.items() if tensor.layout != torch.strided],
    }
    found = [f"{kind}: {_few([str(name) for name in names])}" for kind, names in kinds.items() if names]
    if found:
        raise UserError(
            f"weights={path}: expected plain tensors, but some are not ({'; '.join(found)}); "
            "save the state_dict() of the network in float32, dense and with its values."
        )


def _check_declared(path: Path) -> None:
    """Refuse a zip that unpacks to more than its size: PyTorch reads compressed ones too, and never writes them."""
    with path.open("rb") as file:
        if file.read(len(ZIP_START)) != ZIP_START:  # as PyTorch tells its kinds of files apart
            return
    try:
        check_zip(path, f"weights={path}", stored=True, todo="save it again with torch.save")
    except zipfile.BadZipFile as error:
        raise _unreadable(path) from error


def _is_pickle(path: Path) -> bool:
    """Whole, as far as its container tells: a zip with its directory at the end, or an old file's pickle opcode."""
    with path.open("rb") as file:
        return zipfile.is_zipfile(path) or file.read(1) == b"\x80"


def _unreadable(path: Path) -> UserError:
    return UserError(
        f"weights={path}: expected a readable {path.suffix} file, but it is empty, cut short or damaged "
        f"({path.stat().st_size} bytes); save or copy it again."
    )


def _match(given: Mapping[str, Tensor], own: Mapping[str, Tensor], path: Path) -> dict[str, str]:
    """Own names to names in the file, for the naming that fits best; a tensor the file shares has no entry."""
    full = [names for names in _namings(given, own) if not _absent(names, own)]
    if len({tuple(names.values()) for names in full}) > 1:
        prefixes = ", ".join(next(iter(names.values())).removesuffix(next(iter(names))) or "none" for names in full)
        raise UserError(
            f"weights={path}: expected one network that fits, but several do (prefixes: {prefixes}); save the one "
            "you mean to a file of its own."
        )
    best = full or sorted(_namings(given, own), key=len, reverse=True)
    return best[0] if best else {}


def _namings(given: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> list[dict[str, str]]:
    """Every way to read the file: its names as they are, after a prefix, or without the first part of our own names."""
    if all(name in given for name in own):
        return [{name: name for name in own}]
    prefixes = {there[: -len(name)] for name in own for there in given if there.endswith(f".{name}")} | {""}
    namings = [{name: p + name for name in own if p + name in given} for p in sorted(prefixes)]
    first = {name.partition(".")[0] for name in own}
    if len(first) == 1:
        outer = f"{first.pop()}."
        namings.append({n: n.removeprefix(outer) for n in own if n.removeprefix(outer) in given})
    return [names for names in namings if names]


def _absent(names: Mapping[str, str], own: Mapping[str, Tensor]) -> list[str]:
    """Own tensors that the file does not fill, neither by name nor through a tensor that shares their memory."""
    filled = {_place(own[name]) for name in names}
    return [
        name
        for name, tensor in own.items()
        if name not in names and _place(tensor) not in filled and not name.endswith(COUNTER)
    ]


def _place(tensor: Tensor) -> tuple[object, ...]:
    # Tensors without elements all lie at address 0; their identity keeps them apart.
    if tensor.numel() == 0:
        return (id(tensor),)
    return (str(tensor.device), tensor.data_ptr(), tuple(tensor.shape), tensor.stride(), str(tensor.dtype))


def _check_fit(given: Mapping[str, Tensor], own: Mapping[str, Tensor], names: Mapping[str, str], path: Path) -> None:
    prefix = next((there.removesuffix(name) for name, there in names.items() if there.endswith(name)), "")
    used = set(names.values())
    problems = {
        "missing": _absent(names, own),
        "not in the network": [
            n for n in given if n.startswith(prefix) and n not in used and n[len(prefix) :] not in own
        ],
        "of another shape": [
            f"{name} {tuple(given[there].shape)} instead of {tuple(own[name].shape)}"
            for name, there in names.items()
            if given[there].shape != own[name].shape and not name.endswith(EXTRA_STATE)
        ],
        "complex, where the network's are real": [
            name for name, there in names.items() if given[there].is_complex() and not own[name].is_complex()
        ],
    }
    found = [f"{kind}: {_few(items)}" for kind, items in problems.items() if items]
    if found:
        raise UserError(
            f"weights={path}: expected the weights of this network, but they do not fit ({'; '.join(found)}); "
            "choose the network they were trained with."
        )


def _few(items: list[str]) -> str:
    more = f" and {len(items) - 3} more" if len(items) > 3 else ""
    return ", ".join(items[:3]) + more
