"""How good and how well calibrated teacher, the student alone and the distilled student are: one small table."""

import pandas as pd

from kd_lab.analysis.columns import each_run, of_role
from kd_lab.analysis.statistics import spread
from kd_lab.analysis.wording import fixed
from kd_lab.names import BASELINE, STUDENT, TEACHER, TEST_ACCURACY_TOP1, TEST_BRIER, TEST_ECE, TEST_NLL_NATS

CALLED = {TEACHER: "teacher", BASELINE: "student alone", STUDENT: "distilled student"}
SHOWN = {
    "accuracy, %": (TEST_ACCURACY_TOP1, 100, 2),
    "NLL, nats": (TEST_NLL_NATS, 1, 3),
    "ECE (15 bins), %": (TEST_ECE, 100, 2),
    "Brier": (TEST_BRIER, 1, 3),
}
"""Heading: metric, factor, digits."""


def quality_by_role(students: pd.DataFrame) -> pd.DataFrame:
    """One row per role: runs, and mean ± sample sd over them of accuracy, NLL, ECE and Brier score, as texts.

    Args:
        students: rows of `kd_lab.analysis.runs.pairs`, of one arm.
    """
    rows = {}
    for role, called in CALLED.items():
        own = each_run(students, role)
        told = {"runs": str(len(own))}
        for heading, (key, factor, digits) in SHOWN.items():
            found = spread(factor * of_role(own, role, key))
            told[heading] = fixed(found.mean, digits) + (f" ± {fixed(found.sd, digits)}" if found.n > 1 else "")
        if len(own):
            rows[called] = told
    return pd.DataFrame.from_dict(rows, orient="index")
