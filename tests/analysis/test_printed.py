from io import StringIO

import numpy as np
import pytest

from kd_lab import names
from kd_lab.analysis.columns import column
from kd_lab.analysis.comparison import compare
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
    show(comparison, PlainConsole(file=out, width=width), "digits")
    return out.getvalue()


def test_tables__results_then_to_plain_kd_without_kd_itself():
    first, second = tables(compared())[:2]
    assert first.title.startswith("accuracy on the test part, mean ± sample sd over n")
    assert first.below == "teacher 3 x cnn 98.00; mlp 32 alone 91.00 ± 1.00 (3)"
    assert first.header == ["mlp 32", "n", "%", "95% interval", "gain", "95% interval", "p", "W", "wins", "verdict"]
    assert first.rows[0][:5] == ["kd", "3", "95.00 ± 1.00", "[92.52, 97.48]", "+4.00"]
    assert first.rows[0][7:9] == ["0.250", "3/3"]
    assert second.below == "compared with mlp 32 kd"
    assert second.rows == [["dkd", "3", "-1.67", "[-2.00, -1.00]", "0.038", "0.250", "0/3", "worse"]]


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
    assert "[+10.00, +15.00]" not in text
    assert "…" not in text


def test_show__tables_then_notes__the_first_arms_and_how_many_more():
    text = printed(many())
    assert text.index("study digits: accuracy on the test part") < text.index("- Intervals: t for a mean")
    assert "- 50 configurations were compared" in text
    assert f"And {50 - MAX_ROWS} more arms; --out DIR writes all of them." in text
    assert "T=49" in text
    assert "T=9 " not in text


def test_markdown__all_arms_unless_told():
    assert markdown(many(), "digits").count("| kd T=") == 50
    short = markdown(many(), "digits", 15)
    assert short.count("| kd T=") == 15
    assert "And 35 more arms." in short


def test_markdown__rows_have_as_many_cells_as_the_header():
    text = markdown(compared(), "digits")
    widths = [line.count("|") for line in text.splitlines() if line.startswith("|")]
    assert widths[0] == widths[1] == widths[2] == 11
    assert "**study digits: gain over plain kd, paired**" in text
