"""How MLflow's own page opens on a study."""

import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

from kd_lab import names
from kd_lab.store.store import Store
from kd_lab.store.view import MAX_COLUMNS, TAG, state, with_columns
from tests.store.servers import answers

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def view_of(store: Store) -> dict[str, object]:
    return dict(json.loads(MlflowClient(store.uri).get_experiment(store.experiment_id).tags[TAG]))


def test_view__a_study_is_made_with_it(store: Store) -> None:
    view = view_of(store)

    assert [section["name"] for section in view["compareRunSections"]] == ["test", "train", "cost"]  # type: ignore[attr-defined]
    assert view["orderByKey"] == "metrics.`test/accuracy_top1`"
    assert view["selectedColumns"][:3] == ["tags.`role`", "params.`network`", "params.`loss_name`"]  # type: ignore[index]


def test_view__a_study_made_in_the_ui_is_given_it_and_one_that_has_a_view_keeps_it(store: Store) -> None:
    client = MlflowClient(store.uri)
    by_hand = client.create_experiment("by hand")
    client.set_experiment_tag(store.experiment_id, TAG, '{"selectedColumns": []}')

    assert Store.open(store.uri, "by hand").experiment_id == by_hand
    assert "selectedColumns" in view_of(Store.open(store.uri, "by hand"))
    assert view_of(Store.open(store.uri, store.study)) == {"selectedColumns": []}


def test_view__shows_what_a_sweep_was_over_before_the_seed_and_once(store: Store) -> None:
    for _ in range(2):
        store.show_columns(["loss.terms.kd.temperature", "student.widths", "seed"])
    order = view_of(store)["columnOrder"]
    assert order[4:7] == ["params.`loss.terms.kd.temperature`", "params.`student.widths`", "params.`seed`"]  # type: ignore[index]
    assert set(order) == {"attributes.`Run Name`", *view_of(store)["selectedColumns"]}  # type: ignore[misc, call-overload]


@pytest.mark.parametrize("view", ["", "{", "[]", '{"selectedColumns": []}', '{"selectedColumns": 1, "columnOrder": 2}'])
def test_view__one_that_is_not_ours__stays(view: str) -> None:
    assert with_columns(view, ["loss.weight"]) == view


def test_view__no_more_columns_than_can_be_seen() -> None:
    view = json.loads(with_columns(state(), [f"student.x{i}" for i in range(50)]))
    assert len(view["selectedColumns"]) == MAX_COLUMNS


@pytest.fixture
def page(store: Store) -> Iterator[str]:
    """The address that `kd-lab ui` prints for the study."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    code = f"from kd_lab.cli.main import _main; _main(['ui', 'port={port}', 'tracking.uri={store.uri}'])"
    ui = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        assert ui.stdout is not None
        assert ui.stdout.readline().startswith(f"http://127.0.0.1:{port} ")
        name, _, address = ui.stdout.readline().strip().partition(": ")
        while name != store.study:
            name, _, address = ui.stdout.readline().strip().partition(": ")
        assert answers(f"http://127.0.0.1:{port}")
        yield address
    finally:
        subprocess.run(["pkill", "-TERM", "-s", str(ui.pid)], check=False)
        ui.wait(30)


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
def test_view__chromium_shows_the_columns_that_matter(store: Store, page: str, tmp_path: Path) -> None:
    start = {"role": "student", "name": "mlp 32 kd seed=0", "tags": {}, "config_yaml": "{}\n", "parent": None}
    run = store.start_run(params={"network": "mlp 32", "loss_name": "kd", "seed": 0}, **start)
    run.log_measurement({names.TEST_ACCURACY_TOP1: 0.9375})
    run.finish()
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=30000"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", "--window-size=2200,900", "--dump-dom", page]

    shown = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout

    for text in ("mlp 32 kd seed=0", "loss_name", "network", "role", names.TEST_ACCURACY_TOP1, "0.9375"):
        assert text in shown, text
