"""`kd-lab notebook`: JupyterLab on kd-lab's own notebooks, which read the study and the store that are named here."""

import os
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

from kd_lab.cli.commands import options_of, tell_waiting, with_runs
from kd_lab.cli.server import serve
from kd_lab.errors import UserError
from kd_lab.job.catalogue import shipped
from kd_lab.store.location import LOCAL

FOLDER = "kd_lab_notebooks"


def notebook(arguments: list[str]) -> int:
    """`kd-lab notebook [STUDY] [tracking.uri=URI]`: until Ctrl-C, in ./kd_lab_notebooks, where they are put once."""
    studies = [argument for argument in arguments[1:] if "=" not in argument]
    if len(studies) > 1:
        raise UserError(f"{' '.join(arguments)}: expected one study; a notebook reads one, compare reads several")
    options = options_of([one for one in arguments[1:] if one not in studies], {"tracking.uri": LOCAL})
    store = with_runs(options["tracking.uri"])
    if find_spec("jupyterlab") is None:
        raise UserError("notebook: expected JupyterLab, which is not installed: pip install 'kd-lab[notebooks]'")
    tell_waiting(store.uri)
    folder = put(Path.cwd() / FOLDER)
    named = {"KD_LAB_STUDY": studies[0]} if studies else {}
    print(f"notebooks in {folder}  (Ctrl-C ends JupyterLab)", flush=True)  # noqa: T201
    command = [sys.executable, "-m", "jupyterlab", str(folder), "--ServerApp.log_level=WARN"]
    return serve(command, str(folder), os.environ | named | {"KD_LAB_TRACKING_URI": store.uri})


def put(folder: Path) -> Path:
    """The notebooks in a folder of the user's; those that lie there already stay as they are."""
    folder.mkdir(exist_ok=True)
    for file in sorted(shipped("notebooks").glob("*.ipynb")):
        if not (folder / file.name).exists():
            shutil.copyfile(file, folder / file.name)
    return folder
