import csv
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from kd_lab import names
from kd_lab.cli.commands import _pages
from kd_lab.cli.compare import Options, compare, parse
from kd_lab.cli.main import _main
from kd_lab.cli.sync import sync
from kd_lab.errors import UserError
from kd_lab.store.store import Store
from tests.analysis import conftest

STUDY = "[/b] mine\x1b[2J"
LOSS = "=<img src=x onerror=alert(1)>|[a](http://x.example)\x1b[2J [/b] $x^{$"


def write(store, role, seed, accuracy, *, steps=100.0, loss=None, tags=(), **params):
    of_loss = {"loss": {"terms": {"kd": {"weight": 1.0}}}, "loss_name": loss} if loss else {}
    measured = {names.TEST_ACCURACY_TOP1: accuracy, names.COST_TRAIN_STEPS: steps}
    tags = {names.TAG_DATA_FINGERPRINT: "f" * 64} | dict(tags)
    settings = {"network": "mlp 32"} | of_loss | params
    return conftest.write(store, role, seed=seed, params=settings, measured=measured, tags=tags)


@pytest.fixture(scope="session")
def uri(tmp_path_factory):
    """Five seeds of kd and dkd; a second study has one dkd that trained longer."""
    uri = f"sqlite:///{tmp_path_factory.mktemp('compare')}/mlflow.db"
    store, longer = Store.open(uri, "digits"), Store.open(uri, "longer")
    noise = np.random.default_rng(0)
    teacher = write(store, "teacher", 0, 0.99)
    links = {names.TAG_TEACHER_RUN: teacher, names.TAG_TEACHER_WEIGHTS_SHA256: "e" * 64}
    for seed in range(5):
        alone = 0.90 + 0.01 * float(noise.random())
        beside = links | {names.TAG_BASELINE_RUN: write(store, "baseline", seed, alone, tags=links)}
        for loss, gain in {"kd": 0.03, "dkd": 0.01}.items():
            write(store, "student", seed, alone + gain + 0.002 * float(noise.random()), loss=loss, tags=beside)
    write(longer, "student", 0, 0.97, steps=200.0, loss="dkd", tags=links)
    return uri


@pytest.fixture(scope="session")
def hostile(tmp_path_factory):
    """Two losses of names that mean something to a terminal, to Rich, a spreadsheet, Markdown, HTML and matplotlib."""
    uri = f"sqlite:///{tmp_path_factory.mktemp('hostile')}/mlflow.db"
    store = Store.open(uri, STUDY)
    for seed, loss in enumerate(("kd", LOSS)):
        alone = write(store, "baseline", seed, 0.8, network="@ref [/b]")
        tags = {names.TAG_BASELINE_RUN: alone}
        write(store, "student", seed, 0.9, loss=loss, tags=tags, network="@ref [/b]")
    return uri


@pytest.fixture
def said(capsys):
    """What is printed."""

    def of(uri, *arguments):
        assert compare(["compare", f"tracking.uri={uri}", *arguments]) == 0
        return capsys.readouterr().out

    return of


@pytest.mark.slow
def test_compare__tables_and_notes(uri, said):
    out = said(uri, "digits")
    assert "study digits: accuracy on the test part" in out
    assert "study digits: gain over plain kd, paired" in out
    kd = next(line.split() for line in out.splitlines() if line.split()[:2] == ["kd", "5"])
    assert kd[-2:] == ["5/5", "better"]
    assert "- 2 configurations were compared on the test part" in out


def test_compare__several_studies__a_table_for_each_comparable_group_then_mixed(uri, said):
    out = said(uri, "digits", "longer")
    assert "These students differ in budget (100 steps: 10; 200 steps: 1 students)" in " ".join(out.split())
    assert out.index("study digits, longer, 100 steps: accuracy") < out.index(
        "study digits, longer, 200 steps: accuracy"
    )
    assert "Not distinguishable" not in out[out.index("200 steps: accuracy") :]
    rows = list(csv.DictReader(said(uri, "digits", "longer", "format=csv").splitlines()))
    assert [(row["group"], row["arm"]) for row in rows] == [
        ("100 steps", "mlp 32 kd"),
        ("100 steps", "mlp 32 dkd"),
        ("200 steps", "mlp 32 dkd"),
    ]
    out = said(uri, "digits", "longer", "mix=budget")
    assert "study digits, longer: accuracy" in out
    assert "Mixed: budget (100 steps: 10; 200 steps: 1 students)" in out


@pytest.mark.slow
def test_compare__no_study_named__the_only_one_or_a_list(uri, hostile, said, tmp_path):
    with pytest.raises(UserError, match=r"^compare: which study\? .* has longer, digits; name one or more"):
        compare(["compare", f"tracking.uri={uri}"])
    assert said(hostile).startswith("\nstudy [/b] mine")
    empty = Store.open(f"sqlite:///{tmp_path}/mlflow.db", "digits")
    with pytest.raises(UserError, match="there are no studies with students yet; run kd-lab first"):
        compare(["compare", f"tracking.uri={empty.uri}"])


@pytest.mark.slow
def test_compare__out__every_number__the_formats_are_those_of_the_files(uri, said, tmp_path):
    folder = tmp_path / "new" / "out"
    out = said(uri, "digits", "--out", str(folder))
    assert f"Written: {folder / 'arms.csv'}" in out
    assert f"Open {folder / 'comparison.html'}" in out
    assert "has the highest mean test accuracy" in (folder / "comparison.html").read_text()
    assert (folder / "forest_to_kd.svg").exists()
    arms = list(csv.DictReader((folder / "arms.csv").open()))
    assert [row["arm"] for row in arms] == ["mlp 32 kd", "mlp 32 dkd"]
    assert float(arms[0]["to_baseline_mean"]) == pytest.approx(0.031, abs=0.001)
    assert arms[1]["to_kd_verdict"] == "worse"
    assert len(list(csv.DictReader((folder / "students.csv").open()))) == 10
    assert said(uri, "digits", "format=csv") == (folder / "arms.csv").read_text()
    assert said(uri, "digits", "format=markdown") == (folder / "comparison.md").read_text()


@pytest.mark.parametrize("place", ["file", "file/below", "/proc/nowhere"])
def test_compare__out_that_cannot_be_written__said_before_the_tables(uri, place, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("mine")
    assert _main(["compare", "digits", f"tracking.uri={uri}", "--out", place]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"kd-lab: --out {place}: ")
    assert captured.err.count("\n") == 1
    assert Path("file").read_text() == "mine"


def test_compare__where_and_against(uri, said):
    assert "gain over plain kd" not in said(uri, "digits", "where=loss=dkd")
    assert "compared with mlp 32 dkd" in said(uri, "digits", "against=dkd")


def test_compare__exit_code_2_and_one_sentence(uri, capsys):
    assert _main(["compare", "digit", f"tracking.uri={uri}"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("kd-lab: study=digit: ")
    assert captured.err.count("\n") == 1


@pytest.mark.parametrize(
    ("more", "absent"),
    [([], ["mlflow", "matplotlib"]), pytest.param(["--out", "x"], ["matplotlib.pyplot"], marks=pytest.mark.slow)],
)
def test_compare__imports_no_torch(uri, tmp_path, more, absent):
    code = f"""
import sys
from kd_lab.cli.main import _main
code = _main(["compare", "digits", "tracking.uri={uri}", *{more}])
print(code, [name for name in ("torch", "pytorch_lightning", *{absent}) if name in sys.modules])
"""
    command, environment = [sys.executable, "-c", code], os.environ | {"COLUMNS": "120"}
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.splitlines()[-1] == "0 []"


def test_parse__any_order():
    where = ["where=loss=kd", "where=loss=dkd"]
    words = ["a", "mix=teacher,budget", "--out", "x", "metric=test/nll_nats", "b", *where, "mix=data"]
    assert parse(words) == Options(
        studies=["a", "b"],
        metric="test/nll_nats",
        mix=["teacher", "budget", "data"],
        where={"loss": ["kd", "dkd"]},
        out=Path("x"),
    )
    assert parse(["--out=x"]).out == parse(["out=x"]).out == Path("x")
    assert parse(["where=student.widths=[16]", "tracking.uri=sqlite:///a?b=c"]).uri == "sqlite:///a?b=c"


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["--out"], "--out: expected a folder"),
        (["--ouz", "x"], "compare --ouz: expected one of"),
        (["metrik=x"], r"compare metrik=x: did you mean metric=\.\.\.\?"),
        (["format=html"], "compare format=html: expected one of table, markdown, csv"),
        (["where=loss"], "compare where=loss: expected where=KEY=VALUE"),
        (["against="], "compare against=: expected a value"),
    ],
)
def test_parse__wrong__user_error(arguments, match):
    with pytest.raises(UserError, match=match):
        parse(arguments)


def test_compare__names_of_others__text_on_the_terminal(hostile, said, tmp_path):
    out = said(hostile, STUDY, "--out", str(tmp_path / "\x1b[2J"))
    assert "study [/b] mine\\x1b[2J: accuracy on the test part" in out
    assert "@ref [/b]" in out
    assert "=<img" in out
    assert f"Written: {tmp_path}/\\x1b[2J/arms.csv, " in out
    assert "\x1b" not in out


def test_compare__names_of_others__text_in_every_file(hostile, said, tmp_path):
    said(hostile, STUDY, "--out", str(tmp_path))
    files = ("arms.csv", "students.csv", "comparison.md", "comparison.html")
    arms, students, markdown, page = texts = [(tmp_path / name).read_text(encoding="utf-8") for name in files]
    assert not [text for text in texts if "\x1b" in text]
    for text in (arms, students):
        rows = list(csv.DictReader(text.splitlines()))
        assert sorted(row["loss"] for row in rows) == ["'" + LOSS.replace("\x1b", "\\x1b"), "kd"]
        assert {row["network"] for row in rows} == {"'@ref [/b]"}
        assert not any(cell.startswith(("=", "@", "+")) for row in rows for cell in [*row, *row.values()])
    assert "| =&lt;img src=x onerror=alert(1)>\\|[a]\\(http://x.example)\\x1b[2J [/b] $x^{$ | 1 |" in markdown
    assert "](" not in markdown
    assert "<img" not in markdown + page
    assert "<h1>Study [/b] mine\\x1b[2J</h1>" in page
    assert "&lt;img src=x" in page[page.index("<svg") :]
    for figure in tmp_path.glob("*.svg"):
        ElementTree.parse(figure)


def test_ui__studies_of_others__text_on_one_line(hostile, capsys):
    Store.open(hostile, "two\nlines")
    _pages(hostile, "http://server")
    lines = capsys.readouterr().out.splitlines()
    assert sorted(line.partition(": ")[0] for line in lines) == ["  [/b] mine\\x1b[2J", "  two lines"]


def test_sync__what_a_store_says__text(capsys, monkeypatch):
    monkeypatch.setattr("kd_lab.store.sync.sync", lambda *_: ["run \x1b[2J: brought"])
    assert sync(["sync"]) == 0
    assert capsys.readouterr().out == "run \\x1b[2J: brought\n"
