"""Time series with labels in text files: `.ts` of the UCR/UEA archive, and the older `.tsv` and `.txt` of UCR.

A `.ts` file has comments (#), a header of lines that begin with @, and after @data a sample in each line: its channels,
the values of each separated by commas, and its label, all separated by colons. In the older files the label is the
first number of a line, the values of the only channel follow. Nothing but text is read.

Source of the format: Bagnall et al. 2018 (arXiv:1811.00075), and the files of timeseriesclassification.com.

Legend: C channels, T steps.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from kd_lab.errors import UserError

ENDINGS = (".ts", ".tsv", ".txt")
"""Of the files, the first that is there."""
Missing = Literal["refuse", "interpolate"]
"""What is done about values that are missing."""
Channels = list[npt.NDArray[np.float64]]
"""One sample: an array [T] for each channel, NaN where a value is missing."""

_UNKNOWN = ("?", "nan", "NaN", "")
_SHOWN = 40


@dataclass
class Samples:
    """What a file holds: samples, their labels as they are written, and the line of each, from 1."""

    series: list[Channels] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)


class _LineError(ValueError):
    """What is wrong with a line."""


def read_series(file: Path, setting: str) -> Samples:
    """Reads a file; what it is follows from its ending.

    Args:
        file: `.ts`, `.tsv` or `.txt`.
        setting: what messages start with, as in `dataset.path=DIR`.

    Raises:
        UserError: it cannot be read, holds no sample, or a line is not in this format; the message names the line.
    """
    (found,) = series_batches(file, setting)
    return found


def series_batches(file: Path, setting: str, size: int | None = None, channels: int | None = None) -> Iterator[Samples]:
    """The same, at most `size` samples at a time; None: all at once.

    Args:
        file: see `read_series`.
        setting: the same.
        size: samples at a time.
        channels: of series whose labels do not matter: they are not looked at, and in a .ts file need not be there.

    Raises:
        UserError: see `read_series`.
    """
    parse, count = _of_ts if file.suffix == ".ts" else _of_columns, 0
    try:
        with file.open(encoding="utf-8") as stream:
            samples = parse(enumerate(stream, start=1), channels)
            while some := list(islice(samples, size)):
                lines, series, labels = (list(one) for one in zip(*some, strict=True))
                count += len(lines)
                yield Samples(series, labels, lines)
    except OSError as error:
        raise UserError(f"{setting}: cannot read {file} ({error.strerror}), check the path.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{setting}: {file.name} is no text, expected a {file.suffix} file of series.") from error
    except _LineError as error:
        raise UserError(f"{setting}: {file.name}, {error}.") from error
    if not count:
        raise UserError(f"{setting}: {file.name} holds no sample, expected one in each line.")


def filled(series: Channels, where: str, missing: Missing) -> None:
    """Put values where they are missing, in place: on a line between their neighbours, or the nearest at the ends.

    Raises:
        UserError: that is not wanted, or a channel has no value at all; the message starts with `where`.
    """
    for place, channel in enumerate(series):
        there = ~np.isnan(channel)
        if there.all():
            continue
        if missing == "refuse":
            raise UserError(
                f"{where} has {int((~there).sum())} missing values, expected none; dataset.missing=interpolate draws "
                "lines between their neighbours."
            )
        if not there.any():
            raise UserError(f"{where} has no value at all in channel {place}, take that series away.")
        steps = np.arange(len(channel))
        series[place] = np.interp(steps, steps[there], channel[there])


def to_length(channel: npt.NDArray[np.float64], length: int) -> npt.NDArray[np.float32]:
    """A channel [T] cut at its end, or going on with its last value, float32."""
    return np.pad(channel[:length], (0, max(0, length - len(channel))), mode="edge").astype(np.float32)


def _of_ts(lines: Iterator[tuple[int, str]], channels: int | None) -> Iterator[tuple[int, Channels, str]]:
    """Line number, channels and label of each sample of a `.ts` file."""
    classes = _header(lines, labelled=channels is None)
    count = channels
    for number, line in lines:
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        *parts, label = (part.strip() for part in text.split(":"))
        if channels is not None:
            parts, label = ([*parts, label], "") if len(parts) < channels else (parts, "")
        elif not parts or label in _UNKNOWN or (count is not None and len(parts) < count):
            raise _LineError(f"line {number} has no label: expected CHANNEL:...:CHANNEL:LABEL, but got {_short(text)}")
        if channels is None and label not in classes:
            raise _LineError(
                f"line {number} has the label {_short(label)}, which is not in @classLabel {_few(classes)}"
            )
        count = len(parts) if count is None else count
        if len(parts) != count:
            raise _LineError(f"line {number} has {len(parts)} channels, those before it {count}")
        yield number, [_values(part.split(","), number) for part in parts], label


def _header(lines: Iterator[tuple[int, str]], *, labelled: bool) -> list[str]:
    """The labels that the header names; stops after @data."""
    classes: list[str] = []
    for number, line in lines:
        word, *rest = line.split() or [""]
        key, said = word.lower(), [one.lower() for one in rest[:1]]
        if key == "@data":
            if not classes and labelled:
                raise _LineError("its header names no classes: expected a line such as @classLabel true 1 2 3")
            return classes
        if key == "@timestamps" and said == ["true"]:
            raise _LineError(
                f"line {number}: its values have time stamps, expected values at even steps: interpolate them and save "
                "X [N, channels, time] and y for dataset=arrays"
            )
        if key == "@targetlabel" and said == ["true"]:
            raise _LineError(f"line {number}: its targets are numbers to predict, expected classes")
        if key == "@classlabel" and said == ["true"]:
            classes = rest[1:]
        if word and word[0] not in "@#":
            raise _LineError(
                f"line {number} stands before @data, expected lines that begin with @ or #: {_short(line)}"
            )
    raise _LineError("it has no line @data, expected a .ts file as of timeseriesclassification.com")


def _of_columns(lines: Iterator[tuple[int, str]], channels: int | None) -> Iterator[tuple[int, Channels, str]]:
    """Line number, channel and label of each sample of the older files; what is missing at its end is no step."""
    for number, line in lines:
        text = line.strip()
        if not text:
            continue
        label, *values = re.split(r"\s*,\s*|\s+", text)
        if (label in _UNKNOWN and channels is None) or not values:
            raise _LineError(f"line {number} has no label: expected LABEL VALUE VALUE ..., but got {_short(text)}")
        series = _values(values, number)
        known = np.flatnonzero(~np.isnan(series))
        yield number, [series[: known[-1] + 1] if len(known) else series], _whole(label)


def _values(texts: list[str], number: int) -> npt.NDArray[np.float64]:
    try:
        values = np.array([*map(float, texts)])
    except ValueError:
        values = _with_gaps(texts, number)
    with np.errstate(over="ignore"):
        infinite = np.isinf(values.astype(np.float32)).any()
    if infinite:
        raise _LineError(f"line {number} holds a value that is infinite in float32, expected finite numbers")
    return values


def _with_gaps(texts: list[str], number: int) -> npt.NDArray[np.float64]:
    try:
        return np.array([math.nan if text.strip() in _UNKNOWN else float(text) for text in texts])
    except ValueError as error:
        raise _LineError(
            f"line {number} holds what is no number ({_short(str(error))}), expected numbers or ?"
        ) from error


def _whole(label: str) -> str:
    """`1.0000000e+00` is class 1."""
    try:
        number = float(label)
    except ValueError:
        return label
    return str(int(number)) if number.is_integer() else label


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _few(names: list[str]) -> str:
    return ", ".join(names[:10]) + ", ..." * (len(names) > 10)
