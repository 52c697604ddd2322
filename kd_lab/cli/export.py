"""`kd-lab export run=ID format=NAME out=FILE`: a finished run's network as a file that answers elsewhere."""

from pathlib import Path

from kd_lab.cli.commands import options_of, starting, tell_other_store
from kd_lab.errors import UserError
from kd_lab.store.location import LOCAL

DEFAULTS = {
    "run": "",
    "format": "",
    "out": "",
    "weights": "last",
    "tolerance": "1e-4",
    "licence": "",
    "overwrite": "false",
    "tracking.uri": LOCAL,
}
USAGE = "expected a run, a format and a file: kd-lab export run=ID format=onnx out=FILE.onnx"


def export(arguments: list[str]) -> int:
    """See `kd_lab.export.export.export` for what is refused."""
    options = options_of(arguments[1:], DEFAULTS)
    if not (options["run"] and options["format"] and options["out"]):
        raise UserError(f"{' '.join(arguments)}: {USAGE}")
    for key, expected in {"overwrite": ("true", "false"), "weights": ("last", "best")}.items():
        if options[key] not in expected:
            raise UserError(f"{key}={options[key]}: expected {' or '.join(expected)}")
    tolerance = _positive(options["tolerance"])
    with starting():
        from kd_lab.export.export import Export
        from kd_lab.export.export import export as leave
    tell_other_store(options["tracking.uri"])
    asked = Export(
        options["run"],
        options["format"],
        Path(options["out"]).expanduser(),
        overwrite=options["overwrite"] == "true",
        tolerance=tolerance,
        licence=options["licence"],
        best=options["weights"] == "best",
    )
    leave(asked, options["tracking.uri"])
    return 0


def _positive(said: str) -> float:
    try:
        found = float(said)
    except ValueError:
        found = 0.0
    if not 0 < found < float("inf"):
        raise UserError(f"tolerance={said}: expected a number above 0, such as tolerance=1e-3")
    return found
