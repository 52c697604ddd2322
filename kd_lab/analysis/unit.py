"""How a metric is called and written: fractions in percent, their differences in points, all else as it is."""

import math
from dataclasses import dataclass
from typing import Any

from kd_lab.analysis.wording import DASH, number, percent, points
from kd_lab.names import (
    TEST_ACCURACY_BALANCED,
    TEST_ACCURACY_TOP1,
    TEST_ACCURACY_TOP5,
    TEST_AGREEMENT_TEACHER_WRONG,
    TEST_AGREEMENT_TOP1,
    TEST_AUROC_MACRO,
    TEST_ECE,
    TEST_F1_MACRO,
    TEST_INT8_ACCURACY_TOP1,
    VAL_ACCURACY_TOP1,
)

FRACTIONS = {
    TEST_ACCURACY_TOP1: "test accuracy",
    TEST_ACCURACY_TOP5: "test accuracy, top 5",
    TEST_INT8_ACCURACY_TOP1: "test accuracy in int8",
    TEST_ACCURACY_BALANCED: "balanced test accuracy",
    TEST_F1_MACRO: "macro F1",
    TEST_AUROC_MACRO: "macro AUROC",
    TEST_AGREEMENT_TOP1: "agreement with the teacher",
    TEST_AGREEMENT_TEACHER_WRONG: "agreement where the teacher is wrong",
    TEST_ECE: "expected calibration error",
    VAL_ACCURACY_TOP1: "validation accuracy",
}


@dataclass(frozen=True)
class Unit:
    """A metric as people read it."""

    metric: str = TEST_ACCURACY_TOP1

    @property
    def name(self) -> str:
        """`test accuracy`; the key where nothing better is known."""
        return FRACTIONS.get(self.metric, self.metric)

    @property
    def scale(self) -> float:
        """What a value is multiplied by before it is drawn."""
        return 100.0 if self.metric in FRACTIONS else 1.0

    @property
    def range(self) -> tuple[float, float]:
        """What a value can be: a share is never below 0, nor above 1."""
        return (0.0, 1.0) if self.metric in FRACTIONS else (-math.inf, math.inf)

    @property
    def heading(self) -> str:
        """`test accuracy, %`."""
        return f"{self.name}, %" if self.metric in FRACTIONS else self.name

    @property
    def symbol(self) -> str:
        """`%`; the last part of the key where there is none."""
        return "%" if self.metric in FRACTIONS else self.metric.rsplit("/", 1)[-1]

    @property
    def of_difference(self) -> str:
        """` points`, behind a difference."""
        return " points" if self.metric in FRACTIONS else ""

    def value(self, value: Any) -> str:
        """`95.33`."""
        if self.metric in FRACTIONS:
            return percent(value)
        found = number(value)
        return DASH if math.isnan(found) else f"{found:.4g}"

    def reached(self, value: Any) -> str:
        """`95.33%`, as it stands in a sentence."""
        return self.value(value) + ("%" if self.metric in FRACTIONS else "")

    def signed(self, value: Any) -> str:
        """`+4.33`."""
        if self.metric in FRACTIONS:
            return points(value)
        told = self.value(value)
        return told if told == DASH or told.startswith("-") else f"+{told}"

    def with_sd(self, mean: Any, sd: Any) -> str:
        """`95.33 ± 0.40`; the mean alone where there is no spread."""
        spread = self.value(sd)
        return self.value(mean) if spread == DASH else f"{self.value(mean)} ± {spread}"

    def interval(self, low: Any, high: Any, *, signed: bool = True) -> str:
        """`[+2.92, +3.75]`; a dash where there is none."""
        told = self.signed if signed else self.value
        ends = told(low), told(high)
        return DASH if DASH in ends else f"[{ends[0]}, {ends[1]}]"
