"""Small pictures in folders, as ImageNet and Tiny-ImageNet have them; what is on one follows from its number."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("ant", "bee", "cat")


def picture(number: int, size: tuple[int, int] = (40, 30)) -> Image.Image:
    """Of width and height `size`: a color that follows from the number, brighter to the right."""
    width, height = size
    color = np.random.default_rng(number).integers(0, 160, 3)
    ramp = np.linspace(0, 80, width)[None, :, None]
    return Image.fromarray(np.broadcast_to(color + ramp, (height, width, 3)).round().astype(np.uint8))


def write(
    folder: Path, counts: Mapping[str, int], *, start: int = 0, ending: str = ".png", **how: object
) -> list[Path]:
    """So many pictures of each class below a folder, of three sizes in turn."""
    files = []
    for name, count in counts.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for _ in range(count):
            number = start + len(files)
            file = folder / name / f"{number:04d}{ending}"
            picture(number, [(40, 30), (24, 36), (50, 50)][number % 3]).save(file, **how)
            files.append(file)
    return files


def in_parts(root: Path, train: int = 6, val: int = 3, test: int = 0, classes: Sequence[str] = CLASSES) -> Path:
    """A folder with parts: so many pictures of each class in each; a part of none is not there."""
    for start, (part, count) in enumerate({"train": train, "val": val, "test": test}.items()):
        if count:
            write(root / part, dict.fromkeys(classes, count), start=1000 * start)
    return root


def tiny(root: Path, train: int = 6, val: int = 3) -> Path:
    """As Tiny-ImageNet is distributed: boxes beside the pictures of train, one folder of val with a file of classes."""
    write(root / "train", {f"{name}/images": train for name in CLASSES})
    for name in CLASSES:
        (root / "train" / name / f"{name}_boxes.txt").write_text("0.png\t0\t0\t1\t1\n")
    lines = []
    for file in write(root / "val", {"images": val * len(CLASSES)}, start=1000):
        lines.append(f"{file.name}\t{CLASSES[len(lines) % 3]}\t0\t0\t10\t10\n")
    (root / "val" / "val_annotations.txt").write_text("".join(lines))
    write(root / "test", {"images": 4}, start=2000)
    return root
