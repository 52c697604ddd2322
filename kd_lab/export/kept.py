"""An export as a run of its own, beside the run whose network it is: what was measured of the file, and the file."""

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

import yaml

from kd_lab import names
from kd_lab.errors import TrainingFailedError, UserError
from kd_lab.export.forms import Source
from kd_lab.job.describe import LONGEST_NAME
from kd_lab.store.client import first_line
from kd_lab.store.location import Location
from kd_lab.store.provenance import provenance
from kd_lab.store.store import Store
from kd_lab.types import Measurement

OF_SOURCE = ("network", "loss_name", "seed")
"""Parameters of the source by which people know it; they are shown beside each run."""


def keep(
    source: Source,
    found: Measurement,
    *,
    files: Sequence[Path],
    settings: Mapping[str, str],
    told: str,
    packages: Sequence[str],
) -> str:
    """Make the run, in the study of its source and under it; where that cannot be, the files are there all the same.

    Args:
        source: what was exported.
        found: what was measured of the file.
        files: what was written, each of another ending.
        settings: what was asked for; the run's parameters, and its config.
        told: a sentence, which MLflow's page shows.
        packages: whose versions are kept, beside those that every run tells.

    Returns:
        What became of it, in a sentence.
    """
    stored = source.stored
    try:
        if not Location.parse(stored.uri).may_be_written():
            return "No run was kept of it: this store may only be read."
        store = Store.open(stored.uri, stored.study, although_away=True)
        called = f"{settings['format']} of {stored.tags.get(names.TAG_RUN_NAME, stored.run_id)}"
        with store.start_run(
            role=names.EXPORT,
            name=called[:LONGEST_NAME],
            params={key: stored.params[key] for key in OF_SOURCE if key in stored.params} | {"export": settings},
            tags=_tags(source, packages) | {names.TAG_NOTE: told},
            config_yaml=yaml.safe_dump({"export": {"run": stored.run_id, **settings}}, sort_keys=False),
            parent=stored.run_id,
        ) as run:
            for file in files:
                run.log_file(file, f"{names.ARTIFACT_EXPORT}{file.suffix}")
            run.log_measurement(found)
    except (UserError, TrainingFailedError, OSError) as error:
        return f"No run was kept of it ({first_line(error)})."
    return f"Kept as run {run.run_id}, under run {stored.run_id[:8]} of study {stored.study}."


def _tags(source: Source, packages: Sequence[str]) -> dict[str, str]:
    """Whose network it is, and what it was measured on and with."""
    tags = {
        **provenance(),
        **{f"{names.TAG_VERSION}{package}": version(package) for package in packages},
        names.TAG_SOURCE_RUN: source.stored.run_id,
        names.TAG_DEVICE: "cpu",
        names.TAG_PROCESSES: "1",
        names.TAG_THREADS: str(source.threads),
    }
    if (data := source.samples.data) is not None:
        tags |= {names.TAG_DATA_FINGERPRINT: data.fingerprint, names.TAG_TEST_SAMPLES: str(len(data.test))}
    return tags
