"""The course of a metric during training, of many runs in one table."""

from collections.abc import Iterable

import pandas as pd

from kd_lab.store.location import LOCAL
from kd_lab.store.reading import connected

COLUMNS = ["run_id", "step", "value"]


def curves(run_ids: Iterable[str], key: str, uri: str = LOCAL) -> pd.DataFrame:
    """One row per run and step; runs that never logged this metric have no rows.

    Args:
        run_ids: of which runs.
        key: a metric of kd_lab.names, such as `train/loss_total`.
        uri: the store; it is read, never made.

    Returns:
        The columns run_id, step, value, sorted by run and step; of two values of one step the later.

    Raises:
        UserError: there is no such store.
    """
    rows: list[tuple[str, int, float, int]] = []
    with connected(uri) as client:
        # About 1 ms a run on SQLite; MLflow's client has no call for many runs at once.
        for run_id in dict.fromkeys(run_ids):
            history = client.get_metric_history(run_id, key)
            rows += [(run_id, point.step, point.value, point.timestamp) for point in history]
    frame = pd.DataFrame(rows, columns=[*COLUMNS, "timestamp"]).astype({"step": "int64", "value": "float64"})
    frame = frame.sort_values(["run_id", "step", "timestamp"])
    return frame.drop_duplicates(["run_id", "step"], keep="last")[COLUMNS].reset_index(drop=True)
