import json
import os

import pytest
import requests

from kd_lab.errors import TrainingFailedError, UserError, masked
from kd_lab.outside.address import LOGINS, hide_login, request, with_login, without_login


@pytest.fixture(autouse=True)
def _no_logins(monkeypatch):
    monkeypatch.setenv(LOGINS, "{}")


def test_login__taken_out_and_put_back():
    assert without_login("http://me:pass%40word@server:5000/path") == "http://server:5000/path"
    assert with_login("http://server:5000/path") == "http://me:pass%40word@server:5000/path"
    assert with_login(with_login("http://server:5000")) == "http://me:pass%40word@server:5000"
    assert json.loads(os.environ[LOGINS]) == {"http://server:5000": "me:pass%40word"}


@pytest.mark.parametrize(
    "other", ["http://server:50001", "http://server:5000.evil", "https://server:5000", "http://server"]
)
def test_login__for_no_other_server(other):
    without_login("http://me:secret@server:5000")
    assert with_login(other) == other
    assert request(other).unredirected_hdrs == {}


def test_login__as_requests_and_urllib_send_it():
    without_login("http://me:pass%40word@server:5000")
    sent = requests.Request("GET", with_login("http://server:5000/health")).prepare().headers["Authorization"]
    asked = request("http://server:5000/health")
    assert asked.full_url == "http://server:5000/health"
    assert asked.unredirected_hdrs["Authorization"] == sent == "Basic bWU6cGFzc0B3b3Jk"


@pytest.mark.parametrize("uri", ["sqlite:////home/me@corp/mlflow.db", "http://server/a@b", "http://[", "x"])
def test_login__none__as_it_is(uri):
    assert without_login(uri) == with_login(uri) == uri


def test_hide_login__of_a_config():
    config = {"tracking": {"uri": "http://me:secret@server"}, "seed": 0}
    assert hide_login(config) == {"tracking": {"uri": "http://server"}, "seed": 0}
    assert hide_login({"tracking": None}) == {"tracking": None}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("tracking.uri=http://me:secret@server:5000: away", "tracking.uri=http://***@server:5000: away"),
        ("https://me:p@ss@server and http://token@other.", "https://***@server and http://***@other."),
        ("http://me:sec/ret@server", "http://***@server"),
        ("sqlite:////home/me@corp/mlflow.db", "sqlite:////home/me@corp/mlflow.db"),
        ("http://server/x, mail a@b", "http://server/x, mail a@b"),
    ],
)
def test_masked(text, told):
    assert masked(text) == told
    assert str(UserError(text)) == str(TrainingFailedError(text)) == told
