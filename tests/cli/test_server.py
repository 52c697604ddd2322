"""`kd-lab ui`: a port that cannot be had is a sentence, and nothing of the server is left behind."""

import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from kd_lab.cli.main import _main
from kd_lab.cli.server import free_port
from kd_lab.errors import UserError
from tests.store.servers import answers
from tests.store.servers import free_port as any_port

SERVER = """
import subprocess, sys, time
print(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]).pid, flush=True)
time.sleep(600)
"""
SERVES = """
import os, sys
from kd_lab.cli.server import serve
sys.exit(serve([sys.executable, "-c", {!r}], ".", os.environ))
"""


@pytest.mark.parametrize("given", ["0", "65536", "http", "-1", "5000.5", ""])
def test_port__out_of_range_or_none(given: str) -> None:
    with pytest.raises(UserError, match=rf"^port={re.escape(given)}: expected a whole number from 1 to 65535, such as"):
        free_port(given)


def test_ui__a_port_in_use__a_sentence_and_exit_code_2(
    tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mlflow.db").write_bytes(empty_store.read_bytes())
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert _main(["ui", f"port={port}"]) == 2
    said = capsys.readouterr()
    told = rf"kd-lab: port={port}: another program listens there already; expected a free one, such as port=(\d+)\n"
    found = re.fullmatch(told, said.err)
    assert found is not None, said
    assert free_port(found[1]) == int(found[1])
    assert said.out == ""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_serve__told_to_end__quiet_and_none_left(number: signal.Signals) -> None:
    command = [sys.executable, "-c", SERVES.format(SERVER)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    grandchild = int(process.stdout.readline())
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (0, "", "")
    assert not psutil.pid_exists(grandchild)


@pytest.mark.slow
def test_ui__a_page_is_asked_for_then_ctrl_c__nothing_printed_but_the_address(
    tmp_path: Path, empty_store: Path
) -> None:
    (tmp_path / "mlflow.db").write_bytes(empty_store.read_bytes())
    port = any_port()
    code = f"import sys; from kd_lab.cli.main import _main; sys.exit(_main(['ui', 'port={port}']))"
    ui = subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert answers(f"http://127.0.0.1:{port}")
        started = psutil.Process(ui.pid).children(recursive=True)
        ui.send_signal(signal.SIGINT)
        out, err = ui.communicate(timeout=60)
    finally:
        ui.kill()
    assert ui.returncode == 0
    assert out.splitlines()[0] == f"http://127.0.0.1:{port}  (Ctrl-C ends it)"
    assert "Traceback" not in err
    assert "/health" not in out + err
    assert started
    assert not any(process.is_running() for process in started)
