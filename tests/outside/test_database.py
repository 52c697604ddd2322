import os
import sqlite3
import stat
from contextlib import closing

import pytest

from kd_lab.errors import UserError
from kd_lab.outside.database import has_runs, prepare


def made(path, *tables):
    with closing(sqlite3.connect(path)) as connection:
        for table in tables:
            connection.execute(f"CREATE TABLE {table} (x)")
        connection.commit()
    return path


def fill(path):
    made(path, "runs", "alembic_version")


def test_prepare__interrupted__nothing_is_there_and_the_next_makes_it(tmp_path):
    def interrupted(path):
        made(path, "runs")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(tmp_path / "mlflow.db", "x", interrupted)
    assert not (tmp_path / "mlflow.db").exists()
    prepare(tmp_path / "mlflow.db", "x", fill)
    assert has_runs(tmp_path / "mlflow.db")
    assert [one.name for one in tmp_path.iterdir()] == ["mlflow.db"]


def test_prepare__a_link__stays_one(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "mlflow.db").symlink_to(tmp_path / "elsewhere" / "all.db")
    prepare(tmp_path / "mlflow.db", "x", fill)
    assert (tmp_path / "mlflow.db").is_symlink()
    assert has_runs(tmp_path / "elsewhere" / "all.db")


def test_prepare__another_programs_file__user_error_and_left_as_it_is(tmp_path):
    path = made(tmp_path / "places.sqlite", "moz_places", "moz_cookies")
    before = path.read_bytes()
    with pytest.raises(UserError, match=r"^tracking\.uri=x: .*tables of another program \(moz_cookies, moz_places\)"):
        prepare(path, "tracking.uri=x", fill)
    assert path.read_bytes() == before


@pytest.mark.parametrize("tables", [(), ("runs", "alembic_version"), ("alembic_version",), ("experiments", "x")])
def test_prepare__mlflows_or_empty(tmp_path, tables):
    prepare(made(tmp_path / "mlflow.db", *tables), "x", fill)


def test_prepare__optunas_file_is_another_programs(tmp_path):
    with pytest.raises(UserError, match="another program"):
        prepare(made(tmp_path / "optuna.db", "alembic_version", "studies", "trials"), "x", fill)


@pytest.mark.parametrize(("mask", "mode"), [(0o002, 0o664), (0o022, 0o644), (0o077, 0o600)])
def test_prepare__new__the_mode_that_the_umask_says(tmp_path, monkeypatch, mask, mode):
    before = os.umask(mask)
    try:
        prepare(tmp_path / "mlflow.db", "x", fill)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "mlflow.db").stat().st_mode) == mode


def test_has_runs(tmp_path):
    assert has_runs(made(tmp_path / "a.db", "runs", "alembic_version"))
    assert not has_runs(made(tmp_path / "b.db", "runs"))
    (tmp_path / "c.db").write_text("no database" * 100)
    assert not has_runs(tmp_path / "c.db")
