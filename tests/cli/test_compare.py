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

GAIN = {"kd": 0.03, "dkd": 0.01}


def write(store, role, seed, accuracy, steps=100.0, **more):
    params = {"seed": seed, "dataset": {"_target_": "kd_lab.datasets.digits.Digits"}, "network": "mlp 32"}
    params |= more.pop("params", {})
    settings = {"role": role, "name": f"{role} {seed}", "config_yaml": "{}\n", "parent": None}
    with store.start_run(params=params, tags={names.TAG_DATA_FINGERPRINT: "f" * 64} | more, **settings) as run:
        run.log_measurement({names.TEST_ACCURACY_TOP1: accuracy, names.COST_TRAIN_STEPS: steps})
    return run.run_id


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
        baseline = write(store, "baseline", seed, alone, **links)
        for loss, gain in GAIN.items():
            params = {"loss": {"terms": {loss: {"weight": 1.0}}}, "loss_name": loss}
            reached = alone + gain + 0.002 * float(noise.random())
            write(store, "student", seed, reached, params=params, **links, **{names.TAG_BASELINE_RUN: baseline})
    params = {"loss": {"terms": {"dkd": {"weight": 1.0}}}, "loss_name": "dkd"}
    write(longer, "student", 0, 0.97, 200.0, params=params, **links)
    return uri


def said(uri, *arguments, capsys):
    code = compare(["compare", f"tracking.uri={uri}", *arguments])
    assert code == 0
    return capsys.readouterr().out


def test_compare__tables_and_notes(uri, capsys):
    out = said(uri, "digits", capsys=capsys)
    assert "study digits: accuracy on the test part" in out
    assert "study digits: gain over plain kd, paired" in out
    lines = [line.split() for line in out.splitlines()]
    kd = next(line for line in lines if line[:2] == ["kd", "5"])
    assert kd[-2:] == ["5/5", "better"]
    assert "- 2 configurations were compared on the test part" in out


def test_compare__several_studies__refused_then_mixed(uri, capsys):
    with pytest.raises(UserError, match=r"differ in budget \(100 steps: 10; 200 steps: 1 students\)"):
        compare(["compare", "digits", "longer", f"tracking.uri={uri}"])
    out = said(uri, "digits", "longer", "mix=budget", capsys=capsys)
    assert "study digits, longer: accuracy" in out
    assert "Mixed: budget (100 steps: 10; 200 steps: 1 students)" in out


def test_compare__no_study_named__the_only_one_or_a_list(uri, capsys, tmp_path, monkeypatch):
    with pytest.raises(UserError, match=r"^compare: which study\? .* has longer, digits; name one or more"):
        compare(["compare", f"tracking.uri={uri}"])
    monkeypatch.setattr("kd_lab.analysis.runs.studies", lambda uri: ["digits"])
    assert "study digits: " in said(uri, capsys=capsys)
    monkeypatch.setattr("kd_lab.analysis.runs.studies", lambda uri: [])
    with pytest.raises(UserError, match="there are no studies with students yet; run kd-lab first"):
        compare(["compare", f"tracking.uri={uri}"])


def test_compare__out__every_number(uri, capsys, tmp_path):
    folder = tmp_path / "new" / "out"
    out = said(uri, "digits", "--out", str(folder), capsys=capsys)
    assert f"Written: {folder / 'arms.csv'}" in out
    assert f"Open {folder / 'comparison.html'}" in out
    assert "has the highest mean test accuracy" in (folder / "comparison.html").read_text()
    assert (folder / "forest_to_kd.svg").exists()
    arms = list(csv.DictReader((folder / "arms.csv").open()))
    assert [row["arm"] for row in arms] == ["mlp 32 kd", "mlp 32 dkd"]
    assert float(arms[0]["to_baseline_mean"]) == pytest.approx(0.031, abs=0.001)
    assert arms[1]["to_kd_verdict"] == "worse"
    assert len(list(csv.DictReader((folder / "students.csv").open()))) == 10
    assert "**study digits: accuracy on the test part" in (folder / "comparison.md").read_text()


def test_compare__formats(uri, capsys):
    rows = list(csv.DictReader(said(uri, "digits", "format=csv", capsys=capsys).splitlines()))
    assert [row["loss"] for row in rows] == ["kd", "dkd"]
    assert said(uri, "digits", "format=markdown", capsys=capsys).startswith("Of 2 arms, mlp 32 kd has the highest")


def test_compare__where_and_against(uri, capsys):
    out = said(uri, "digits", "where=loss=dkd", capsys=capsys)
    assert "gain over plain kd" not in out
    assert "compared with mlp 32 dkd" in said(uri, "digits", "against=dkd", capsys=capsys)


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
from kd_lab.cli.sync import sync
code = _main(["compare", "digits", "tracking.uri={uri}", *{more}])
print(code, [name for name in ("torch", "pytorch_lightning", *{absent}) if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"COLUMNS": "120"},
    )
    assert done.stdout.splitlines()[-1] == "0 []"


def test_parse__any_order():
    found = parse(
        [
            "a",
            "mix=teacher,budget",
            "--out",
            "x",
            "metric=test/nll_nats",
            "b",
            "where=loss=kd",
            "where=loss=dkd",
            "mix=data",
        ]
    )
    assert found == Options(
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


STUDY = "[/b] mine\x1b[2J"
LOSS = "=<img src=x onerror=alert(1)>|[a](http://x.example)\x1b[2J [/b] $x^{$"
TOLD_LOSS = LOSS.replace("\x1b", "\\x1b")


@pytest.fixture(scope="session")
def hostile(tmp_path_factory):
    """Two losses of names that mean something to a terminal, to Rich, a spreadsheet, Markdown, HTML and matplotlib."""
    uri = f"sqlite:///{tmp_path_factory.mktemp('hostile')}/mlflow.db"
    store = Store.open(uri, STUDY)
    for seed, loss in enumerate(("kd", LOSS)):
        params = {"loss": {"terms": {"kd": {"weight": 1.0}}}, "loss_name": loss, "network": "@ref [/b]"}
        alone = write(store, "baseline", seed, 0.8, params={"network": "@ref [/b]"})
        write(store, "student", seed, 0.9, params=params, **{names.TAG_BASELINE_RUN: alone})
    return uri


def test_compare__names_of_others__text_on_the_terminal(hostile, capsys):
    out = said(hostile, STUDY, capsys=capsys)
    assert "study [/b] mine\\x1b[2J: accuracy on the test part" in out
    assert "@ref [/b]" in out
    assert "=<img" in out
    assert "\x1b" not in out


def test_compare__names_of_others__no_formula_in_csv(hostile, capsys, tmp_path):
    found = said(hostile, STUDY, "format=csv", capsys=capsys)
    said(hostile, STUDY, "--out", str(tmp_path), capsys=capsys)
    for text in (found, (tmp_path / "arms.csv").read_text(), (tmp_path / "students.csv").read_text()):
        rows = list(csv.DictReader(text.splitlines()))
        assert sorted(row["loss"] for row in rows) == [f"'{TOLD_LOSS}", "kd"]
        assert {row["network"] for row in rows} == {"'@ref [/b]"}
        assert not any(cell.startswith(("=", "@", "+")) for row in rows for cell in [*row, *row.values()])
        assert "\x1b" not in text


def test_compare__names_of_others__neither_html_nor_link_nor_cell_in_markdown(hostile, capsys, tmp_path):
    found = said(hostile, STUDY, "format=markdown", capsys=capsys)
    said(hostile, STUDY, "--out", str(tmp_path), capsys=capsys)
    for text in (found, (tmp_path / "comparison.md").read_text()):
        assert "| =&lt;img src=x onerror=alert(1)>\\|[a]\\(http://x.example)\\x1b[2J [/b] $x^{$ | 1 |" in text
        assert "<img" not in text
        assert "](" not in text
        assert "\x1b" not in text


def test_compare__names_of_others__text_on_the_page_and_in_its_figures(hostile, capsys, tmp_path):
    said(hostile, STUDY, "--out", str(tmp_path), capsys=capsys)
    page = (tmp_path / "comparison.html").read_text(encoding="utf-8")
    assert "<img" not in page
    assert "&lt;img src=x" in page[page.index("<svg") :]
    assert "\x1b" not in page
    assert "<h1>Study [/b] mine\\x1b[2J</h1>" in page
    for figure in tmp_path.glob("*.svg"):
        ElementTree.parse(figure)


def test_compare__a_folder_of_others__its_name_is_text(hostile, capsys, tmp_path):
    out = said(hostile, STUDY, "--out", str(tmp_path / "\x1b[2J"), capsys=capsys)
    assert f"Written: {tmp_path}/\\x1b[2J/arms.csv, " in out
    assert "\x1b" not in out


def test_ui__studies_of_others__text_on_one_line(hostile, capsys):
    Store.open(hostile, "two\nlines")
    _pages(hostile, "http://server")
    lines = capsys.readouterr().out.splitlines()
    assert sorted(line.partition(": ")[0] for line in lines) == ["  [/b] mine\\x1b[2J", "  two lines"]


def test_sync__what_a_store_says__text(capsys, monkeypatch):
    monkeypatch.setattr("kd_lab.store.sync.sync", lambda *_: ["run \x1b[2J: brought"])
    assert sync(["sync"]) == 0
    assert capsys.readouterr().out == "run \\x1b[2J: brought\n"
