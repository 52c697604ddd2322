"""How MLflow's page on a study opens: a saved view, kept as a tag of the study, with the columns that matter first.

Without it the page shows the runs' names alone, folded under their sweep. Sorted by accuracy MLflow (3.17) does not
fold them; sorted by date it does.
"""

import json
from collections.abc import Sequence

from kd_lab import names

KEY = "kd_lab"
TAG = f"mlflow.sharedViewState.{KEY}"
NAME = {"attributes.`Run Name`": 300}
COLUMNS = {
    f"tags.`{names.TAG_ROLE}`": 80,
    "params.`network`": 90,
    "params.`loss_name`": 110,
    "params.`seed`": 60,
    f"metrics.`{names.TEST_ACCURACY_TOP1}`": 150,
    f"metrics.`{names.TEST_AGREEMENT_TOP1}`": 160,
    f"metrics.`{names.TEST_ECE}`": 130,
    f"metrics.`{names.COST_PARAMS_TOTAL}`": 140,
    f"metrics.`{names.COST_LATENCY_MS_P50}`": 160,
    f"metrics.`{names.VAL_ACCURACY_TOP1}`": 150,
}
"""What the table of runs shows beside the name, in this order, with the width in pixels; trials have no test part."""
SECTIONS = ("test", "train", "cost")
"""The sections of charts, in this order; MLflow's own is that of the alphabet, and adds what is not named here."""
SEED = "params.`seed`"
"""What a sweep was over is shown before it."""
MAX_COLUMNS = 20
"""More would neither be seen nor fit into the tag."""


def state() -> str:
    """The view as MLflow reads it, JSON."""
    return json.dumps(
        {
            "searchFilter": "",
            "orderByKey": f"metrics.`{names.TEST_ACCURACY_TOP1}`",
            "orderByAsc": False,
            "startTime": "ALL",
            "lifecycleFilter": "Active",
            "datasetsFilter": [],
            "modelVersionFilter": "All Runs",
            "selectedColumns": list(COLUMNS),
            "columnOrder": [*NAME, *COLUMNS],
            "columnWidths": NAME | COLUMNS,
            "runsHiddenMode": "FIRST_20_RUNS",
            "groupBy": None,
            "compareRunCharts": [],  # MLflow makes them, and leaves the order of sections that are there
            "compareRunSections": [
                {"uuid": f"kd-lab-{name}", "name": name, "display": True, "isReordered": False, "isGenerated": True}
                for name in SECTIONS
            ],
            "isAccordionReordered": True,
        }
    )


def with_columns(view: str, params: Sequence[str]) -> str:
    """A view that shows these parameters too, before the seed; one that is none of ours stays as it is."""
    try:
        found = json.loads(view)
        chosen, order = list(found["selectedColumns"]), list(found["columnOrder"])
    except (ValueError, TypeError, KeyError):
        return view
    place = order.index(SEED) if SEED in order else len(order)
    for column in [f"params.`{param}`" for param in params]:
        if column not in chosen and len(chosen) < MAX_COLUMNS:
            chosen.append(column)
            order.insert(place, column)
            place += 1
    return json.dumps({**found, "selectedColumns": chosen, "columnOrder": order})


def address(server: str, experiment_id: str) -> str:
    """The page of a study on a server, opened with this view."""
    return f"{server.rstrip('/')}/#/experiments/{experiment_id}/runs?viewStateShareKey={KEY}"
