"""The report that is kept on a student's run."""

from kd_lab import names
from kd_lab.job.report import report_markdown
from kd_lab.types import Measurement, NetworkResult, RunResult


def test_report_markdown__what_a_store_says__neither_html_nor_link_nor_cell() -> None:
    found: Measurement = {names.TEST_ACCURACY_TOP1: 0.9}
    teacher = NetworkResult("teacher|", "<img src=x>[a](http://x.example)\x1b[2J", found, "", reused=True)
    text = report_markdown(RunResult(teacher, None, NetworkResult("student", "b", found, "", reused=False), None))
    assert "- teacher|: run &lt;img src=x>[a]\\(http://x.example)\\x1b[2J (found again)\n" in text
    assert "|  | teacher\\| | student |\n|---|---|---|\n| accuracy, % | 90.00 | 90.00 |" in text
