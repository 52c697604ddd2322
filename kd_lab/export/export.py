"""`kd-lab export run=ID`: a finished run's network as a file that answers elsewhere as it does here.

Nothing is left half-written: the files are made in a folder beside their place, checked, and moved there.
"""

import contextlib
import io
import logging
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch
from rich.table import Table

from kd_lab import names
from kd_lab.errors import UserError, choices
from kd_lab.export.card import Told, accuracy, card
from kd_lab.export.compared import checked, compared, measured, rows, where
from kd_lab.export.forms import FORMATS, Form, Part, Source, whole_of
from kd_lab.export.kept import keep
from kd_lab.export.samples import samples_of
from kd_lab.job.console import busy
from kd_lab.job.evaluate import measuring, rebuild
from kd_lab.job.pyfunc import Description
from kd_lab.models.common.inputs import first_line
from kd_lab.models.common.weights import weights_sha256
from kd_lab.outside.console import console
from kd_lab.outside.scratch import beside
from kd_lab.outside.text import line
from kd_lab.store.store import Store
from kd_lab.store.stored_run import StoredRun

LOGGERS = ("torch.onnx", "torch.export", "onnxscript", "onnx_ir", "root")
EXTRA = "pip install 'kd-lab[export]'"


@dataclass(frozen=True)
class Export:
    """What is asked for.

    out: the file. tolerance: how far its logits may be from PyTorch's, in units of the largest of these, or of 1.
    licence: of the data. best: the weights of its best epoch.
    """

    run_id: str
    form: str
    out: Path
    overwrite: bool = False
    tolerance: float = 1e-4
    licence: str = ""
    best: bool = False

    @property
    def files(self) -> list[Path]:
        """All that is written: the file, its card, and what belongs to it."""
        beside = self.kind.beside
        return [self.out, self.out.with_suffix(".md"), *([self.out.with_suffix(beside)] if beside else [])]

    @property
    def settings(self) -> dict[str, str]:
        """What its run says that was asked for."""
        settings = {"format": self.form, "weights": "best" if self.best else "last"}
        return settings | ({"tolerance": f"{self.tolerance:g}"} if self.kind.exact else {})

    @property
    def kind(self) -> Form:
        """Its form."""
        return FORMATS[self.form]  # type: ignore[index]

    def check(self) -> None:
        """Look at all that can be judged before the store is asked.

        Raises:
            UserError: an unknown format, what it needs is not installed, or the file cannot be written there.
        """
        if self.form not in FORMATS:
            raise UserError(f"format={self.form}: {choices(self.form, list(FORMATS))}")
        if self.out.suffix != self.kind.ending:
            raise UserError(f"out={self.out}: expected a file that ends in {self.kind.ending}, as format={self.form}")
        missing = [package for package in self.kind.packages if find_spec(package) is None]
        if missing:
            raise UserError(f"format={self.form}: expected {', '.join(missing)}, not installed here: {EXTRA}")
        if not self.out.parent.is_dir():
            raise UserError(f"out={self.out}: there is no folder {self.out.parent}; make it, or choose another")
        for file in self.files:
            if file.exists() and (not self.overwrite or not file.is_file()):
                again = "choose another name, or add overwrite=true" if file.is_file() else "choose another name"
                raise UserError(f"out={self.out}: {file} is there already; {again}")


def export(asked: Export, uri: str) -> None:
    """Write the file and its card, print what was measured, and keep both as a run beside its source.

    Raises:
        UserError: see `Export.check`; no such run, it has no weights, or they are not what it recorded; the network
            cannot take this form, or its answers there are not what they are here. Nothing is written then.
    """
    asked.check()
    stored = Store.existing(uri).get(asked.run_id)
    weights = names.ARTIFACT_WEIGHTS_BEST if asked.best else names.ARTIFACT_WEIGHTS
    network, description = rebuild(stored, weights)
    if not asked.best and weights_sha256(network) != stored.tags.get(names.TAG_WEIGHTS_SHA256):
        raise UserError(f"run={asked.run_id}: its weights are not what it recorded, their sha256 differs; train anew")
    whole = whole_of(network, description, asked.run_id)
    settings = measuring(stored.config())
    threads = settings.threads or torch.get_num_threads()
    source = Source(stored, description, whole, samples_of(stored, description), weights, threads)
    with _folder(asked.out) as folder:
        parts = _made(asked, source, folder / asked.out.name)
        checks = checked(compared(parts[-1], source), source, asked.tolerance if asked.kind.exact else None)
        found = measured(parts, source, settings)
        told = Told(
            file=asked.out.name,
            what=parts[-1].told,
            checked=checks,
            rows=rows(found),
            where=where(source),
            prepared=_prepared(asked, description),
            licence=asked.licence,
            best=asked.best,
        )
        text = card(stored, description, told, source.samples)
        (folder / asked.files[1].name).write_text(text, encoding="utf-8")
        for file in asked.files:
            os.replace(folder / file.name, file)
    _print(asked, stored, told)
    kept = keep(
        source,
        found[parts[-1].name],
        files=asked.files,
        settings=asked.settings,
        told=f"{told.what}. Checked: {told.checked}. {told.where}",
        packages=asked.kind.packages,
    )
    console().print(line(kept), soft_wrap=True)


def _prepared(asked: Export, description: Description) -> str:
    if not description.prepare:
        return "Nothing: the network takes samples as its dataset hands them to it."
    inside = asked.kind.beside is None
    return f"Raw samples are taken; {'the file itself' if inside else 'whoever loads the weights'} does to them:"


@contextlib.contextmanager
def _folder(out: Path) -> Iterator[Path]:
    """One beside the file, which is removed.

    Raises:
        UserError: nothing can be written there.
    """
    try:
        with beside(out, ".kd_lab_export_") as folder:
            yield folder
    except OSError as error:
        raise UserError(f"out={out}: cannot be written ({error.strerror or error}); choose another place") from error


def _made(asked: Export, source: Source, path: Path) -> list[Part]:
    with busy(f"exporting as {asked.form}"), _quiet():
        try:
            return asked.kind.make(source, path)
        except (UserError, OSError):
            raise
        except Exception as error:  # what a network does that cannot be exported is told in a hundred ways
            others = "format=safetensors" if asked.kind.exact else "format=onnx or format=safetensors"
            reason = first_line(error.__cause__ if isinstance(error.__cause__, Exception) else error)
            raise UserError(
                f"format={asked.form}: this network cannot be exported so ({line(reason)}); choose {others}"
            ) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporters say of themselves."""
    loggers = [logging.getLogger(name) for name in LOGGERS]
    before = [logger.level for logger in loggers]
    try:
        with warnings.catch_warnings(action="ignore"), contextlib.redirect_stdout(io.StringIO()):
            for logger in loggers:
                logger.setLevel(logging.ERROR)
            with contextlib.redirect_stderr(io.StringIO()):
                yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


def _print(asked: Export, stored: StoredRun, told: Told) -> None:
    out = console()
    table = Table(title=f"run {stored.run_id}", title_justify="left")
    header, *measured = told.rows
    for name in header:
        table.add_column(name, justify="right" if name else "left")
    for row in measured:
        table.add_row(*row)
    out.print(table)
    for sentence in (
        told.where,
        f"Recorded accuracy: {accuracy(stored, best=told.best)}.",
        f"{asked.out}: {told.what}.",
        f"Checked: {told.checked}.",
        f"Beside it: {', '.join(file.name for file in asked.files[1:])}.",
    ):
        out.print(line(sentence), soft_wrap=True)
