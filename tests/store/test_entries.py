import math

import pytest

from kd_lab.store.entries import MAX_POINTS, End, Entries, Input, Point

DIGITS = Input("digits", "ab-test", "code", "{}", None, "{}", {"mlflow.data.context": "test"})


def test_line__there_and_back():
    whole = Entries(
        {"p": "1"},
        {"t": 'a "b"\n'},
        [Point("a", 1.5, 7, 0), Point("a", math.inf, 8, 1)],
        ["x"],
        End("FAILED", 9),
        [DIGITS],
    )
    assert Entries.of_line(whole.to_line()) == whole
    assert whole.to_line().count("\n") == 1
    assert math.isnan(Entries.of_line(Entries(points=[Point("a", math.nan, 7, 0)]).to_line()).points[0].value)


def test_line__not_whole():
    line = Entries(points=[Point("a", 1.5, 7, 0)]).to_line()
    for length in range(1, len(line) - 1):
        with pytest.raises(ValueError, match=r"."):
            Entries.of_line(line[:length])


def test_first__everything_in_order_and_the_end_last():
    entries = Entries(
        {str(i): "" for i in range(150)}, {"t": "1"}, [Point("a", 0.0, 0, i) for i in range(1000)], ["x", "y"]
    )
    entries.add(Entries(tags={"t": "2"}, end=End("FINISHED", 1), inputs=[DIGITS]))
    parts = []
    while entries:
        parts.append(entries.first())
        entries.discard(parts[-1])
    assert [len(part.params) for part in parts] == [100, 50, 0, 0, 0, 0]
    assert [len(part.points) for part in parts] == [MAX_POINTS, 1000 - MAX_POINTS, 0, 0, 0, 0]
    assert [part.inputs for part in parts] == [[], [], [DIGITS], [], [], []]
    assert [part.artifacts for part in parts] == [[], [], [], ["x"], ["y"], []]
    assert [part.end for part in parts] == [None] * 5 + [End("FINISHED", 1)]
    assert parts[0].tags == {"t": "2"}


def test_discard__a_tag_that_changed_meanwhile__stays():
    entries = Entries(tags={"t": "1"})
    part = entries.first()
    entries.add(Entries(tags={"t": "2"}))
    entries.discard(part)
    assert entries.tags == {"t": "2"}
