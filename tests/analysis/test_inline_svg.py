import html
import re
from xml.etree import ElementTree

import pytest
from matplotlib.figure import Figure

from kd_lab.analysis.figures.style import plain
from kd_lab.analysis.inline_svg import inline, save, settle
from kd_lab.outside.text import visible


@pytest.fixture
def figure():
    figure = Figure(layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], "o", color="#0072B2", label="<script>alert(1)</script> & more")
    axes.set_xlabel("accuracy")
    axes.legend()
    return figure


def test_inline__text_and_a_name_for_readers__the_ink_of_the_page__no_address_and_no_script(figure):
    svg = inline(figure, "first", r'"><img src=x onerror=alert(1)> \1 & more')
    assert svg.startswith("<svg viewBox=")
    assert r'aria-label="&quot;&gt;&lt;img src=x onerror=alert(1)&gt; \1 &amp; more">' in svg
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; more" in svg
    assert ">accuracy</text>" in svg
    assert 'role="img"' in svg
    assert not [what for what in ("http", "<script", "<img", "#000000") if what in svg]
    assert "currentColor" in svg
    assert "#0072b2" in svg


def test_inline__ids_unlike_those_of_other_figures__and_every_reference_found(figure):
    first, second = (inline(figure, name, "A line") for name in ("first", "second"))
    ids = [set(re.findall(r'\bid="([^"]+)"', svg)) for svg in (first, second)]
    assert ids[0]
    assert not ids[0] & ids[1]
    for svg, known in zip((first, second), ids, strict=True):
        referred = re.findall(r'(?:xlink:href="#|url\(#)([^")]+)', svg)
        assert referred
        assert set(referred) <= known


def test_save__png_and_svg_on_white__twice_the_same(figure, tmp_path):
    settle(figure)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        save(figure, tmp_path / name, "line")
    svg = tmp_path / "a/line.svg"
    assert (tmp_path / "a/line.png").read_bytes().startswith(b"\x89PNG")
    assert ElementTree.parse(svg).getroot().tag.endswith("svg")
    assert "#ffffff" in svg.read_text()
    assert svg.read_bytes() == (tmp_path / "b/line.svg").read_bytes()


@pytest.mark.parametrize("name", ["$x^{$", r"\$x^{$", r"$\$", "\x1b[2J\x00", "<img src=x>\u202e"])
def test_figures__a_name_of_others__is_text_and_the_file_is_xml(name, tmp_path):
    figure = Figure()
    figure.subplots().set_title(plain(name))
    svg = inline(figure, "first", "A line")
    save(figure, tmp_path, "line")
    ElementTree.parse(tmp_path / "line.svg")
    assert f">{html.escape(visible(name), quote=False)}</text>" in svg
