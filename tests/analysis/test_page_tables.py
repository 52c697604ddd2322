from kd_lab.analysis.page_tables import PageCell, costs, results
from tests.analysis.made_up import arms, difference, students

GAIN = difference("to_baseline", 0.04, (0.03, 0.05), 0.0001, "better 5/5")
TABLE = arms(dist=GAIN | {"mean": 0.953, "sd": 0.004, "low": 0.95, "high": 0.956, "kl": 0.0625}, kd={"mean": 0.92})
STUDENTS = students({"kd": [0.92, 0.92, 0.92]}, alone=(0.89, 0.90, 0.91))


def test_results__each_cell_with_what_its_column_is_sorted_by():
    found = results(TABLE, STUDENTS)
    assert [column.head for column in found.columns] == [
        "arm",
        "seeds",
        "test accuracy, %",
        "to the student alone",
        "verdict",
    ]
    assert found.rows[0] == [
        PageCell("dist", "dist"),
        PageCell("5", "5.0"),
        PageCell("95.30 ± 0.40", "0.953", small="[95.00, 95.60]"),
        PageCell("+4.00", "0.04", small="[+3.00, +5.00]"),
        PageCell("better", "0.0001", "better", "p < 0.001, 5/5"),
    ]
    assert found.rows[1][2:] == [PageCell("92.00", "0.92"), PageCell("-"), PageCell("-")]


def test_results__below_the_student_alone_and_the_teacher__each_run_once():
    below = results(TABLE, STUDENTS).below
    assert [[cell.text for cell in row[:3]] for row in below] == [
        ["mlp 32 alone", "3", "90.00 ± 1.00"],
        ["teacher 3 x cnn", "1", "96.00"],
    ]
    assert {len(row) for row in below} == {5}


def test_results__several_groups__a_column_that_says_which():
    found = results(arms(a={"mean": 0.9}, b={"mean": 0.8, "group": "mnist"}), STUDENTS)
    assert [column.head for column in found.columns] == ["arm", "data", "seeds", "test accuracy, %"]
    assert [[cell.text for cell in row[:2]] for row in found.rows] == [["a", "digits"], ["b", "mnist"]]
    assert {len(row) for row in found.below} == {4}


def test_costs__only_what_some_arm_has():
    found = costs(TABLE.assign(params=2410.0, latency=float("nan")))
    assert [column.head for column in found.columns] == ["arm", "KL", "parameters"]
    assert [[cell.text for cell in row] for row in found.rows] == [["dist", "0.062", "2,410"], ["kd", "-", "2,410"]]
