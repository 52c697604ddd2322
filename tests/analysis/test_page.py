import html
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from kd_lab import names
from kd_lab.analysis.comparison import Comparison, Comparisons, compare_each
from kd_lab.analysis.figures.learning import MAX_LINES
from kd_lab.analysis.gallery import Material, gallery
from kd_lab.analysis.learned import NOTHING, Learned
from kd_lab.analysis.made import made
from kd_lab.analysis.page import Beside, page_of, write_page
from kd_lab.analysis.runs import pairs, runs
from kd_lab.store.store import Store
from tests.analysis.made_up import SIZE, arms, copied, difference, students

FIGURES = {
    "forest_to_baseline",
    "forest_to_kd",
    "temperature_weight",
    "accuracy_parameters",
    "accuracy_latency",
    "accuracy_agreement",
    "reliability",
    "learning_curves",
}
CURVES = (pd.DataFrame({"run_id": [], "step": [], "value": []}), names.VAL_ACCURACY_TOP1)
"""None, of a study that nobody followed."""
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PHONE = """<script>
const boxes = [...document.querySelectorAll(".verdict")].map((verdict) => verdict.getBoundingClientRect());
const inside = boxes.map((box) => box.left >= 0 && box.right <= 390);
document.title = JSON.stringify({inside, scroll: document.documentElement.scrollWidth});
</script>"""
VOID = {"meta", "link", "img", "br", "hr", "input"}


class Page(HTMLParser):
    """What of a page a test wants to know; fails where an element is not closed."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.open, self.figures, self.ids, self.addresses, self.scripts, self.text = [], [], [], [], 0, ""
        self.feed(path.read_text(encoding="utf-8"))
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        if tag not in VOID:
            self.open.append(tag)
        self.figures += [found["id"]] if tag == "figure" else []
        self.ids += [found["id"]] if "id" in found else []
        self.addresses += [found[key] for key in ("href", "xlink:href", "src", "data", "action") if key in found]
        self.scripts += tag == "script"

    def handle_endtag(self, tag):
        assert tag in VOID or self.open.pop() == tag

    def handle_data(self, data):
        self.text += data if self.open and self.open[-1] not in ("style", "script") else ""


def everything() -> Comparison:
    """Two losses at two temperatures and weights, two sizes, three seeds: every figure can be drawn."""
    large = {key: 4 * value for key, value in SIZE.items()}
    parts = [
        students({f"kd T={t} weight={w}": [0.9 + t / 100, 0.91, 0.92 + w / 100]}).assign(
            **{"params.loss.temperature": str(t), "params.loss.weight": str(w)}
        )
        for t in (1, 4)
        for w in (0.5, 1)
    ]
    table = pd.concat([*parts, students({"dist": [0.95, 0.95, 0.96]}, size=large)], ignore_index=True)
    gain = difference("to_baseline", 0.02, (0.01, 0.03), 0.01, "better 3/3")
    to_kd = difference("to_kd", 0.01, (-0.01, 0.02), 0.4, "not distinguishable 2/3")
    rows = {arm: gain | {"mean": 0.92, "n": 3, "ece": 0.04, "latency": 0.02} for arm in table["arm"].unique()}
    rows["dist"] = gain | to_kd | {"mean": 0.953, "n": 3, "kd_arm": "kd T=1 weight=1"}
    return Comparison(table, arms(**rows), ["Two runs failed and are left out."])


def curves_of(comparison: Comparison) -> pd.DataFrame:
    ids = comparison.students["student_run"]
    return pd.DataFrame(
        [(i, step, 0.5 + step / 100) for i in ids for step in (0, 10)], columns=["run_id", "step", "value"]
    )


def predictions_of(comparison: Comparison) -> dict[str, pd.DataFrame]:
    one = pd.DataFrame({"target": [0, 1], "predicted": [0, 0], "confidence": [0.9, 0.6]})
    return dict.fromkeys(comparison.students["student_run"], one)


def beside_of(comparison: Comparison) -> Beside:
    return Beside(curves_of(comparison), predictions=predictions_of(comparison))


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    comparison = everything()
    folder = tmp_path_factory.mktemp("page") / "made" / "for it"
    facts = {"study": "digits", "this page": "kd-lab compare digits"}
    return write_page(Comparisons([comparison]), [beside_of(comparison)], folder, made=facts)


@pytest.mark.slow
def test_page__what_was_learned_is_a_figure_of_each_arm_that_did(tmp_path):
    comparison = everything()
    runs = [run for run in comparison.students["student_run"] if run.startswith("mlp 32 dist")]
    rows = [("kd_weight", run, step, 1 + step / 100) for run in runs for step in (0, 10)]
    found = Learned(pd.DataFrame(rows, columns=NOTHING.curves.columns), dict.fromkeys(runs, "<b>weights"))
    exhibits = gallery(Material(comparison.students, comparison.arms, comparison.metric, *CURVES, {}, learned=found))
    assert [e.title for e in exhibits if e.name.startswith("learned")] == ["Learned by dist"]
    page = write_page(Comparisons([comparison]), [Beside(*CURVES, learned=found)], tmp_path, made={}, files=False)
    told = Page(page).text
    assert "Learned during the training: <b>weights. No number of the test part has a say in it" in told


@pytest.mark.slow
def test_gallery__what_was_learned_is_shown_of_arms_beyond_those_whose_curves_are_drawn():
    comparison = everything()
    dist = comparison.students[comparison.students["arm"] == "dist"]
    many = [dist.assign(arm=f"dist {i}", student_run=dist["student_run"] + str(i)) for i in range(MAX_LINES)]
    students = pd.concat([comparison.students, *many], ignore_index=True)
    runs = list(many[-1]["student_run"])
    rows = [("kd_weight", run, step, 1 + step / 100) for run in runs for step in (0, 10)]
    found = Learned(pd.DataFrame(rows, columns=NOTHING.curves.columns), dict.fromkeys(runs, "weights"))
    exhibits = gallery(Material(students, comparison.arms, comparison.metric, *CURVES, {}, learned=found))
    assert [e.title for e in exhibits if e.name.startswith("learned")] == [f"Learned by dist {MAX_LINES - 1}"]


@pytest.mark.slow
def test_page__every_figure_in_it_and_beside_it__opens_without_a_network(written):
    page, told = Page(written), written.read_text(encoding="utf-8")
    assert set(page.figures) == FIGURES
    files = {path.name for path in written.parent.iterdir()}
    assert files == {"comparison.html"} | {f"{name}.{kind}" for name in FIGURES for kind in ("png", "svg")}
    assert [address for address in page.addresses if not address.startswith(("#", "data:"))] == []
    assert "http" not in told
    assert "@import" not in told
    assert [target for target in re.findall(r"url\(([^)]*)\)", told) if not target.startswith("#")] == []
    assert len(page.ids) == len(set(page.ids))


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
def test_page__phone__every_verdict_is_in_sight_without_going_sideways(written, tmp_path):
    frame = tmp_path / "phone.html"
    inner = written.read_text(encoding="utf-8").replace("</body>", f"{PHONE}</body>")
    (tmp_path / "page.html").write_text(inner, encoding="utf-8")
    # A window of Chromium is never narrower than 500 pixels; a frame in it may be.
    frame.write_text(
        '<iframe src="page.html" width="390" height="844" style="border:0"></iframe><script>'
        'addEventListener("load", () => {'
        'document.body.dataset.told = document.querySelector("iframe").contentDocument.title})</script>',
        encoding="utf-8",
    )
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files"]
    done = subprocess.run(
        [*command, "--dump-dom", frame.as_uri()], capture_output=True, text=True, check=True, timeout=60, cwd=tmp_path
    )
    told = json.loads(html.unescape(re.search(r'data-told="([^"]*)"', done.stdout)[1]))
    assert len(told["inside"]) == 6
    assert all(told["inside"])
    assert told["scroll"] <= 390


@pytest.mark.slow
def test_page__answers_first_then_what_to_know_then_numbers_that_can_be_sorted(written):
    text, source = Page(written).text, written.read_text(encoding="utf-8")
    told = ["Study digits", "dist has the highest mean test accuracy", "Two runs failed", "3 x cnn", "this page"]
    places = [text.index(part) for part in told]
    assert places == sorted(places)
    assert re.search(r'<td class="number" data-order="0.953"[^>]*>95.30', source)
    assert 'class="verdict not-distinguishable">not distinguishable' in source


@pytest.mark.slow
def test_page__names_of_others__text_in_the_page_its_facts_and_its_figures(tmp_path):
    evil = "<script>alert(1)</script><img src=x onerror=alert(2)>\x1b\u202e $x^{$"
    comparison = everything()
    renamed = {arm: f"{arm} {evil}" for arm in comparison.students["arm"].unique()}
    table = comparison.students.assign(
        arm=comparison.students["arm"].map(renamed), network=evil, teacher_network=evil, dataset=evil, group=evil
    )
    rows = comparison.arms.assign(arm=comparison.arms["arm"].map(renamed), group=evil)
    named = Comparison(table, rows, [evil], reference=evil)
    page = write_page(Comparisons([named]), [beside_of(comparison)], tmp_path, made={"study": evil, evil: evil})
    source, parsed = page.read_text(encoding="utf-8"), Page(page)
    told = "<script>alert(1)</script><img src=x onerror=alert(2)>\\x1b\\u202e $x^{$"
    assert parsed.scripts == 1  # ours, which sorts
    assert "<img" not in source
    assert not {"\x1b", "\u202e"} & set(source)
    assert f"Study {told}" in parsed.text
    assert parsed.text.count(told) >= 7  # title, heading, headline, note, row of the table, fact and its name
    assert set(parsed.figures) == FIGURES
    for figure in tmp_path.glob("*.svg"):
        ElementTree.parse(figure)


@pytest.mark.slow
def test_page__what_cannot_be_drawn__left_out__no_files_unless_wanted(tmp_path):
    one = difference("to_baseline", 0.0, (np.nan, np.nan), np.nan, "not tested 1/1")
    comparison = Comparison(students({"kd": [0.9]}, size={}), arms(kd=one | {"mean": 0.9, "n": 1}), [])
    beside = Beside(curves_of(comparison).iloc[:0])
    page = write_page(Comparisons([comparison]), [beside], tmp_path, made={"study": "digits"}, files=False)
    assert Page(page).figures == ["forest_to_baseline", "accuracy_agreement"]
    assert "Before you trust it" not in page.read_text()
    assert list(tmp_path.iterdir()) == [page]


@pytest.mark.slow
def test_page__latency_that_the_table_leaves_out__no_figure_of_it(tmp_path):
    comparison = everything()
    comparison.arms["latency"] = np.nan
    beside = Beside(curves_of(comparison).iloc[:0])
    page = write_page(Comparisons([comparison]), [beside], tmp_path, made={"study": "digits"}, files=False)
    assert "accuracy_parameters" in Page(page).figures
    assert "accuracy_latency" not in Page(page).figures


@pytest.mark.slow
def test_page__several_groups__a_section_each_that_can_be_gone_to(tmp_path):
    one = difference("to_baseline", 0.02, (0.01, 0.03), 0.01, "better 3/3") | {"mean": 0.9, "n": 3}
    table, rows = students({"kd": [0.9, 0.9, 0.9]}, size={}), arms(kd=one)
    groups = [Comparison(table, rows, [f"a note on {name}"], name=name) for name in ("teacher a", "teacher b")]
    beside = [Beside(curves_of(one).iloc[:0]) for one in groups]
    page = write_page(Comparisons(groups, ["They differ."]), beside, tmp_path, made={"study": "digits"})
    parsed, told = Page(page), ["They differ.", "teacher a", "a note on teacher a", "a note on teacher b"]
    places = [parsed.text.index(part) for part in told]
    assert places == sorted(places)
    assert [address for address in parsed.addresses if re.fullmatch("#group_.", address)] == ["#group_1", "#group_2"]
    assert {"group_1", "group_2"} <= set(parsed.ids)
    assert len(parsed.ids) == len(set(parsed.ids))
    assert parsed.figures == [f"group_{n}_{of}" for n in (1, 2) for of in ("forest_to_baseline", "accuracy_agreement")]
    assert {f"{name}.svg" for name in parsed.figures} <= {path.name for path in tmp_path.iterdir()}


@pytest.mark.slow
def test_page_of__a_study_from_its_store(uri, tmp_path):
    comparisons = compare_each(pairs(runs("digits", uri)))
    page = Page(page_of(comparisons, uri, tmp_path, "kd-lab compare digits --out x"))
    assert "kd has the highest mean test accuracy: 95.10% over 3 seeds" in page.text
    assert "kd-lab compare digits --out x" in page.text
    assert {"forest_to_baseline", "accuracy_agreement"} <= set(page.figures)


def test_made__facts_of_the_runs(uri):
    facts = made(pairs(runs("digits", uri)), uri, "kd-lab compare digits")
    assert (facts["study"], facts["store"]) == ("digits", uri)
    assert facts["runs"].startswith("7 students, started 20")
    assert facts["this page"].startswith("kd-lab compare digits; kd-lab ")
    assert "machine" not in facts  # these runs have no such tags


def test_made__several_values_and_the_command_of_the_sweep(uri, tmp_path):
    uri = copied(uri, tmp_path)
    store = Store.open(uri, "made")
    parent = store.sweep_parent("s", "sweep loss=kd seed=0,1")
    ids = []
    for threads, dirty in (("1", "true"), ("2", "false")):
        tags = {
            names.TAG_THREADS: threads,
            names.TAG_CPU: "AMD EPYC",
            names.TAG_GIT_COMMIT: "0123456789abcdef",
            names.TAG_GIT_DIRTY: dirty,
            f"{names.TAG_VERSION}torch": "2.15.0",
        }
        with store.start_run(role="student", name="s", params={}, tags=tags, config_yaml="{}\n", parent=parent) as run:
            ids.append(run.run_id)
    table = pd.DataFrame({"student_run": ids, "study": "made", "start_time": pd.Timestamp("2026-01-02 03:04")})
    facts = made(table, uri, "x")
    assert facts["runs made by"] == "kd-lab -m loss=kd seed=0,1"
    assert facts["machine"] == "AMD EPYC, threads 1, 2"
    assert facts["code"] == "0123456789ab, 0123456789ab with changes"
    assert facts["versions"] == "torch 2.15.0"
    assert facts["runs"] == "2 students, started 2026-01-02 03:04 to 2026-01-02 03:04 UTC"
