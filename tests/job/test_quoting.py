"""Values as they are typed."""

import shlex

import pytest

from kd_lab.job.arguments import parse
from kd_lab.job.compose import composing
from kd_lab.job.quoting import quoted


@pytest.mark.parametrize(
    "value",
    [
        "~/x.npz",
        "jörg/d.npz",
        "it's/d.npz",
        "a=b/d.npz",
        'say "hi".npz',
        "data (1).npz",
        "run(1).npz",
        "C:\\x\\",
        "#1;&.npz",
    ],
)
def test_path__arrives_as_typed(value: str) -> None:
    options = parse([f"dataset.path={value}", "dataset=arrays"])
    with composing(options) as compose:
        assert compose.single(options.overrides, "")["dataset"]["path"] == value


@pytest.mark.parametrize("name", ["für Elise", "2024_01", "1e3", "007", "true", "it's", "a=b"])
def test_study__is_the_name_that_was_typed(name: str) -> None:
    options = parse([f"study={name}"])
    with composing(options) as compose:
        assert compose.single(options.overrides, "")["study"] == name


def test_study__null_is_the_default() -> None:
    options = parse(["study=null", "dataset=synthetic"])
    with composing(options) as compose:
        assert compose.single(options.overrides, "")["study"] == "synthetic"


@pytest.mark.parametrize(
    "override",
    [
        "seed=0,1",
        "student.widths=[16],[32]",
        "loss.temperature=interval(1, 20)",
        "study='a b'",
        "seed=range(0,3)",
        "callbacks.a={b:1}",
        "-m",
        "loss.weight=${loss.hard_weight}",
    ],
)
def test_quoted__hydras_own_grammar_stays(override: str) -> None:
    assert quoted(override) == override


def test_quoted__a_comma_stays_a_sweep() -> None:
    assert quoted("dataset.path=jörg/a.npz,b.npz") == 'dataset.path="jörg/a.npz",b.npz'
    assert quoted(quoted("study=für Elise,b")) == 'study="für Elise",b'


def test_cfg__shows_what_was_typed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from kd_lab.cli.main import _main

    monkeypatch.setattr("sys.argv", ["kd-lab"])
    assert _main(shlex.split('--cfg job -p dataset dataset=arrays "dataset.path=it\'s/~.npz"')) == 0
    assert "path: it's/~.npz\n" in capsys.readouterr().out
