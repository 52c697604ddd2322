from io import StringIO

import numpy as np
import pytest

from kd_lab import names
from kd_lab.analysis.columns import column
from kd_lab.analysis.comparison import Comparisons, compare, compare_each
from kd_lab.analysis.printed import MAX_ROWS, markdown, show, tables
from kd_lab.outside.console import PlainConsole
from tests.analysis.made_up import each, seeds, table


def compared(**columns):
    frame = table(
        [0.95, 0.96, 0.94, 0.93, 0.95, 0.92],
        alone=[0.90, 0.92, 0.91] * 2,
        teacher=0.98,
        seed=seeds(2, 3),
        loss=each(["kd", "dkd"], 3),
        baseline_run=["b0", "b1", "b2"] * 2,
        **columns,
    )
    return compare(frame)


def many():
    temperatures = {"params.loss.terms.kd.temperature": [str(n) for n in range(50)]}
    return compare(table(np.linspace(0.5, 0.9, 50), **temperatures))


def printed(comparison, width=120):
    out = StringIO()
    show(Comparisons([comparison]), PlainConsole(file=out, width=width), "digits")
    return out.getvalue()


def test_tables__results_then_to_plain_kd_without_kd_itself():
    first, second = tables(compared())[:2]
    assert first.title.startswith("accuracy on the test part, mean ± sample sd over n")
    assert first.below == "teacher 3 x cnn 98.00; mlp 32 alone 91.00 ± 1.00 (3)"
    assert first.header == ["mlp 32", "n", "%", "95% interval", "gain", "95% interval", "p", "W", "wins", "verdict"]
    assert first.rows[0][:5] == ["kd", "3", "95.00 ± 1.00", "[92.52, 97.48]", "+4.00"]
    assert first.rows[0][7:9] == ["0.250", "3/3"]
    assert second.below == "compared with mlp 32 kd"
    assert second.rows == [["dkd", "3", "-1.67", "[-3.10, -0.23]", "0.038", "0.250", "0/3", "worse"]]


def test_tables__several_kd__each_row_tells_its_own():
    frame = table([0.9] * 4, loss=["kd", "dkd"] * 2, network=["mlp 16", "mlp 16", "mlp 64", "mlp 64"])
    second = tables(compare(frame))[1]
    assert second.header[:3] == ["arm", "plain kd", "n"]
    assert [row[:2] for row in second.rows] == [["mlp 16 dkd", "mlp 16 kd"], ["mlp 64 dkd", "mlp 64 kd"]]


def test_tables__several_data__teachers_and_students_alone_of_each():
    frame = table([0.9, 0.8], alone=[0.7, 0.5], teacher=[0.95, 0.85], dataset=["a", "b"], fingerprint=["x", "y"])
    frame = frame.assign(teacher_run=["s", "t"], teacher_weights=["v", "w"], baseline_run=["p", "q"])
    assert tables(compare(frame, mix=["data"]))[0].below == (
        "teacher 3 x cnn (a) 95.00; teacher 3 x cnn (b) 85.00; mlp 32 alone (a) 70.00; mlp 32 alone (b) 50.00"
    )


def test_tables__costs__only_what_was_measured():
    ece, memory = (column("student", key) for key in (names.TEST_ECE, names.COST_TRAIN_PEAK_MEMORY_BYTES))
    rest = tables(compared(**{ece: 0.0123, memory: 2.0**30}))[-1]
    assert rest.header == ["mlp 32", "gap", "ECE, %", "MiB"]
    assert rest.rows[0] == ["kd", "0.57", "1.23", "1,024"]


def test_tables__other_metric__its_own_numbers():
    columns = {column("student", names.TEST_NLL_NATS): 0.12345, column("baseline", names.TEST_NLL_NATS): 0.2}
    first = tables(compare(table([0.9], **columns), names.TEST_NLL_NATS))[0]
    assert first.title.startswith("test/nll_nats, ")
    assert first.rows[0][2:6] == ["0.1235", "-", "-0.07655", "-"]


def test_tables__nothing_known__one_table_of_dashes():
    (first,) = tables(compare(table([0.9], baseline_run=None)))
    assert first.rows == [["kd", "1", "90.00", "-", "-", "-", "-", "-", "-", "-"]]


@pytest.mark.parametrize("loss", ["kd", "kd+a_loss_with_a_rather_long_name+another"])
def test_show__fits_into_120_columns(loss):
    columns = {column("student", key): 12345678.9 for key in (names.COST_PARAMS_TOTAL, names.COST_MACS)}
    text = printed(compare(table(np.linspace(0.9, 0.95, 5), seed=range(5), alone=0.8, loss=loss, **columns)))
    assert max(map(len, text.splitlines())) <= 120
    assert "[+10.05, +14.95]" in text
    assert "…" not in text


def test_show__tables_then_notes__the_first_arms_and_how_many_more():
    text = printed(many())
    assert text.index("study digits: accuracy on the test part") < text.index("- Intervals: t, of each arm")
    assert "- 50 configurations were compared" in text
    assert f"And {50 - MAX_ROWS} more arms; --out DIR writes all of them." in text
    assert "T=49" in text
    assert "T=9 " not in text


def test_markdown__all_arms_unless_told():
    every = Comparisons([many()])
    assert markdown(every, "digits").count("| kd T=") == 50
    short = markdown(every, "digits", 15)
    assert short.count("| kd T=") == 15
    assert "And 35 more arms." in short


def test_markdown__rows_have_as_many_cells_as_the_header():
    text = markdown(Comparisons([compared()]), "digits")
    widths = [line.count("|") for line in text.splitlines() if line.startswith("|")]
    assert widths[0] == widths[1] == widths[2] == 11
    assert "**study digits: gain over plain kd, paired**" in text


LONG = "kd T=4 weight=0.5"


def costly():
    """Three arms, one of a long name and verdict, with every column that there is."""
    cost = {
        names.TEST_AGREEMENT_TOP1: 0.9512,
        names.TEST_KL_NATS: 0.1234,
        names.TEST_NLL_NATS: 0.2345,
        names.TEST_ECE: 0.0345,
        names.COST_PARAMS_TOTAL: 12345678.0,
        names.COST_MACS: 123456789.0,
        names.COST_LATENCY_MS_P50: 12.345,
        names.COST_TRAIN_WALL_S: 1234.5,
        names.COST_TRAIN_SAMPLES_PER_S: 123456.0,
        names.COST_TRAIN_PEAK_MEMORY_BYTES: 5e9,
    }
    accuracy = [0.951, 0.962, 0.943, 0.974, 0.955, 0.931, 0.952, 0.923, 0.914, 0.965, 0.911, 0.902, 0.923, 0.904, 0.935]
    columns = {column("student", key): value for key, value in cost.items()}
    losses = each(["kd", LONG, "dkd"], 5)
    return compare(
        table(accuracy, alone=np.linspace(0.90, 0.94, 5).tolist() * 3, seed=seeds(3, 5), loss=losses, **columns)
    )


@pytest.mark.parametrize("width", [120, 100, 80, 74])
def test_show__narrow__no_arm_verdict_or_digit_is_lost(width):
    comparison = costly()
    text = printed(comparison, width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    shown = text.split()
    for one in tables(comparison):
        spare = set(one.spare)
        told = {
            word for row in one.rows for place, cell in enumerate(row) if place not in spare for word in cell.split()
        }
        lost = told - set(shown) - {"not", "distinguishable"}
        assert lost == set()
    assert "not distinguishable" in text
    assert "better" in shown


def test_show__80_columns__what_is_left_out_is_said_and_long_verdicts_are_told_once_for_a_table():
    text = printed(costly(), 80)
    first = text[: text.index("gain over plain kd")]
    assert " n.d.: not distinguishable; a wider terminal also shows W, wins, the 95% interval of the mean" in " ".join(
        first.split()
    )
    assert first.count("not distinguishable") == 1
    assert [line for line in text.splitlines() if line.split()[:1] == ["dkd"]]


def test_show__40_columns__a_list_with_every_value():
    comparison = costly()
    text = printed(comparison, 40)
    assert max(map(len, text.splitlines())) <= 40
    for one in tables(comparison):
        for row in one.rows:
            assert f"\n{row[0]}\n" in text
            for name, cell in zip(one.header[1:], row[1:], strict=True):
                if cell != "-":
                    assert [
                        line
                        for line in text.splitlines()
                        if line.startswith(f"  {name} ") and line.endswith(f" {cell}")
                    ]


def test_show__against_another__titles_name_it():
    frame = table([0.95, 0.96, 0.94, 0.93, 0.95, 0.92], seed=seeds(2, 3), loss=each(["kd", "dkd"], 3))
    assert "study digits: gain over dkd, paired\ncompared with mlp 32 dkd\n" in printed(compare(frame, against="dkd"))
    arm = printed(compare(frame, against="mlp 32 dkd"))
    assert "study digits: gain over mlp 32 dkd, paired\n" in arm
    assert "compared with" not in arm
    assert "plain kd," not in arm


def test_show__several_groups__each_with_its_name_and_the_legend_once():
    frame = table(
        [0.9, 0.8, 0.7], loss=["kd", "dkd", "kd"], **{column("student", names.COST_TRAIN_STEPS): [5.0, 5.0, 9.0]}
    )
    out = StringIO()
    show(compare_each(frame), PlainConsole(file=out, width=200), "digits")
    text = out.getvalue()
    assert text.startswith("These students differ in budget (5 steps: 2; 9 steps: 1 students): ")
    assert text.index("\nstudy digits, 5 steps: accuracy") < text.index("\nstudy digits, 9 steps: accuracy")
    assert text.count("Intervals: t, of each arm by itself.") == 1
    told = markdown(compare_each(frame), "digits")
    assert "**study digits, 9 steps: accuracy" in told
    assert told.count("Intervals: t, of each arm by itself.") == 1
