"""What leaves: names of others say nothing but themselves."""

import csv as reader
import io

import numpy as np
import pandas as pd
import pytest
from markdown_it import MarkdownIt

from kd_lab.outside.text import cell, code, csv, duration, in_bytes, line, listed, markdown, visible

HARMLESS = ["mlp 32, kd", "± 0.40 ≥ é 日本 🙂", "a\n\tb", "[0.9, 0.95] < 0.05 & more", r"C:\x41", "", "\u200d\ufeff"]


@pytest.mark.parametrize("text", HARMLESS)
def test_visible__harmless__as_it_is(text: str) -> None:
    assert visible(text) == text


CONTROLS = [chr(n) for n in [*range(0x20), *range(0x7F, 0xA0)] if chr(n) not in "\n\t"]
DIRECTIONS = [chr(n) for n in [0x061C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A)]]


@pytest.mark.parametrize("found", [*CONTROLS, *DIRECTIONS, *map(chr, (0xD800, 0xDC80, 0xDFFF))], ids=ascii)
def test_visible__control_direction_surrogate__its_escape(found: str) -> None:
    told = visible(f"a{found}b")
    assert told.isascii()
    assert told.isprintable()
    assert eval(f"'{told}'") == f"a{found}b"
    assert visible(told) == told


def test_line__no_line_break_of_any_kind() -> None:
    assert len(line("a\nb\r\nc\vd\u2028e\x85f").splitlines()) == 1


def rendered(text: str) -> str:
    """By a reader that keeps HTML, as showdown does."""
    return MarkdownIt("commonmark", {"html": True}).enable("table").render(text)


@pytest.mark.parametrize("name", ["a|b", r"a\|b", r"a\\|b", "a\n| 1 |\n\nb", "|", "\\"])
def test_cell__stays_one_cell(name: str) -> None:
    html = rendered(f"| h | n |\n| --- | --- |\n| {cell(name)} | 1 |\n")
    assert html.count("<tr>") == 2
    assert html.count("<td>") == 2
    assert "<td>1</td>" in html
    assert html.count("<p>") == 0


@pytest.mark.parametrize("text", ["plain", "a`b", "``", "`a``b```c", "a\nb"])
def test_code__one_span_with_all_of_it(text: str) -> None:
    html = rendered(f"Made by {code(text)}, and more")
    assert html == f"<p>Made by <code>{line(text)}</code>, and more</p>\n"


ACTIVE = [
    "<img src=x onerror=alert(1)>",
    "</b><script>alert(1)</script>",
    "<!-- hidden -->",
    "<http://x.example>",
    "![a](http://x.example/i.png)",
    "[a](http://x.example)",
    r"[a\\](http://x.example)",
    "[![a](http://x.example/i)](http://x.example)",
    "[z]\n\n[z]: http://x.example",
    "- [z]: http://x.example\n\n![z]",
    "> [z]: http://x.example\n\n[z][]",
    "[z\ny]: http://x.example\n\n[z y]",
    "a\r\r[z]: http://x.example\r\r[z]",
]


@pytest.mark.parametrize("text", ACTIVE)
def test_markdown__no_html_no_link_no_image(text: str) -> None:
    assert any(tag in rendered(text) for tag in ("<a", "<img", "<script", "<!--"))
    told = markdown(text)
    html = rendered(told)
    assert not any(tag in html for tag in ("<a", "<img", "<script", "<!--", "</b>"))
    assert markdown(told) == told


@pytest.mark.parametrize("text", ["[a] (http://x)", "[a] \t(http://x)"])
def test_markdown__spaces_before_the_address__no_link_for_showdown_either(text: str) -> None:
    assert "\\(" in markdown(text)


def test_markdown__no_mention_and_no_open_fence() -> None:
    assert markdown("@ref and a@b") == "\\@ref and a@b"
    assert "<pre>" in rendered("```\nall the rest")
    assert "<pre>" not in rendered(markdown("```\nall the rest"))


def test_markdown__what_we_write_ourselves__as_it_is() -> None:
    ours = "**study digits: accuracy**\n\n| kd | [+2.92, +3.77] | < 0.001 |\n- p < 0.05; a -> b; `kd-lab -m seed=0,1`\n"
    assert markdown(ours) == ours


def cells(text: str) -> list[list[str]]:
    return list(reader.reader(io.StringIO(text)))


@pytest.mark.parametrize("text", ["=1+1", "+1+1", "-1+1", "@SUM(A1)", "\t=1", "  =1", '"=1', "'=1", "\uff1d1", "--"])
def test_csv__formula__an_apostrophe_before_it_in_cells_and_headers(text: str) -> None:
    assert cells(csv(pd.DataFrame({text: [text]}))) == [["'" + text.replace("\t=", "\t'=")]] * 2


@pytest.mark.parametrize("text", ["-", "-0.5", "+3.35", "-1e-3", "-.5", "seed=0", "a@b", "[-1, 1]", "x -1", "a; -1"])
def test_csv__number_dash_and_words__as_they_are(text: str) -> None:
    assert cells(csv(pd.DataFrame({text: [text]}))) == [[text], [text]]


@pytest.mark.parametrize(("text", "expected"), [("a;=1+1;", "a;'=1+1;"), ("a\t=1", "a\t'=1"), ("a\n@x", "a\n'@x")])
def test_csv__formula_behind_another_separator__an_apostrophe_there(text: str, expected: str) -> None:
    assert cells(csv(pd.DataFrame({"a": [text]})))[1] == [expected]


def test_csv__numbers_stay_numbers_and_escapes_are_visible() -> None:
    frame = pd.DataFrame(
        {
            "float": [-0.1, np.nan],
            "int": [-1, 2],
            "bool": [True, False],
            "mixed": pd.Series([1, None], dtype=object),
            "maybe": pd.array([1, None], dtype="Int64"),
            "category": pd.Categorical(["=1", "kd"]),
            "list": [[-1], "\x1b[2J"],
        }
    )
    assert csv(frame).splitlines() == [
        "float,int,bool,mixed,maybe,category,list",
        "-0.1,-1,True,1,1,'=1,[-1]",
        ",2,False,,,kd,\\x1b[2J",
    ]
    assert frame["list"][1] == "\x1b[2J"


def test_csv__nothing_in_it__what_pandas_writes() -> None:
    for frame in (pd.DataFrame(), pd.DataFrame({"a": []}), pd.DataFrame([[1, "b"]], columns=["x", "x"])):
        assert csv(frame) == frame.to_csv(index=False)


@pytest.mark.parametrize(
    ("seconds", "expected"), [(3.4, "3 s"), (89, "89 s"), (95, "2 min"), (5340, "89 min"), (7500, "2 h 5 min")]
)
def test_duration__in_the_unit_a_person_would_say(seconds: float, expected: str) -> None:
    assert duration(seconds) == expected


@pytest.mark.parametrize(
    ("words", "expected"), [([], ""), (["a"], "a"), (["a", "b"], "a and b"), (["a", "b", "c"], "a, b and c")]
)
def test_listed__as_a_person_would_say_it(words: list[str], expected: str) -> None:
    assert listed(words) == expected


@pytest.mark.parametrize(
    ("size", "text"),
    [(12, "12 bytes"), (47_880, "47.9 KB"), (4.8e9, "4.8 GB"), (2e13, "20,000.0 GB"), (256**500, "over 1e24 bytes")],
)
def test_in_bytes(size: float, text: str) -> None:
    assert in_bytes(size) == text
