from kd_lab import names
from kd_lab.analysis.columns import column
from kd_lab.analysis.studies.quality import quality_by_role
from tests.analysis.made_up import students


def test_quality__mean_and_sd_over_runs__each_run_once():
    table = students({"kd": [0.92, 0.93, 0.94]})
    table[column("student", names.TEST_NLL_NATS)] = [0.1, 0.2, 0.3]
    found = quality_by_role(table)
    assert found.index.tolist() == ["teacher", "student alone", "distilled student"]
    assert found["runs"].tolist() == ["1", "3", "3"]
    assert found["accuracy, %"].tolist() == ["96.00", "90.00 ± 0.00", "93.00 ± 1.00"]
    assert found.loc["distilled student", "NLL, nats"] == "0.200 ± 0.100"
    assert found.loc["teacher", "NLL, nats"] == "-"


def test_quality__a_role_without_a_run__left_out():
    table = quality_by_role(students({"kd": [0.9]}, baseline_run=None))
    assert table.index.tolist() == ["teacher", "distilled student"]
    assert table.loc["distilled student", "accuracy, %"] == "90.00"
