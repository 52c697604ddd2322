"""A folder of answers that a teacher gave: one safetensors file for each draw of the samples, whole or not there.

Whoever needs the same answers, another job or another day, finds them by the name of the folder, which is a hash of all
that they follow from. A file that is cut short, or of other shapes, is as if it were not there, and is made anew.
"""

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch

from kd_lab.errors import UserError
from kd_lab.outside.paths import make_own_folder, regular
from kd_lab.teachers.answers import Tensors, size_in_bytes

IN_MEMORY_BYTES = 2**28
"""Files up to this size are read at once; larger ones are mapped, and read where a row is wanted."""

Layout = dict[str, tuple[torch.Size, torch.dtype]]
"""Of every tensor, by name: shape without the rows, and kind of number."""


@dataclass(frozen=True)
class Shelf:
    """The answers of one teacher to some rows [R], by draw. layout: what each file holds."""

    folder: Path
    rows: int
    layout: Layout

    def load(self, draw: int) -> Tensors | None:
        """The answers of a draw, if they are there and whole."""
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            file = regular(self.folder, _name(draw))
            tensors: Tensors = load_file(str(file))  # mapped: nothing is read yet
        except (OSError, UserError, SafetensorError, ValueError):
            return None
        if {name: (one.shape, one.dtype) for name, one in tensors.items()} != {
            name: (torch.Size([self.rows, *shape]), dtype) for name, (shape, dtype) in self.layout.items()
        }:
            return None
        small = size_in_bytes(tensors) <= IN_MEMORY_BYTES
        return {name: one.clone() for name, one in tensors.items()} if small else tensors

    def save(self, draw: int, tensors: Tensors) -> str | None:
        """Keep the answers of a draw; why they could not be, if so."""
        from safetensors import SafetensorError
        from safetensors.torch import save_file

        part = self.folder / f"{_name(draw)}.{os.getpid()}.part"
        try:
            make_own_folder(self.folder)
            save_file({name: one.cpu().contiguous() for name, one in tensors.items()}, str(part))
            part.replace(self.folder / _name(draw))
        except (OSError, UserError, SafetensorError) as error:
            return " ".join(str(error).split())
        finally:
            with suppress(OSError):
                part.unlink(missing_ok=True)
        return None


def layout_of(tensors: Tensors) -> Layout:
    """Of some answers, [B, ...] each."""
    return {name: (one.shape[1:], one.dtype) for name, one in tensors.items()}


def _name(draw: int) -> str:
    return f"draw-{draw}.safetensors"
