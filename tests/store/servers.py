"""A real `mlflow server` of this machine, to be killed and started again, and a proxy before it that misbehaves."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def answers(uri: str) -> bool:
    """Whether an MLflow server answers there: waited for, some minutes at the most."""
    for _ in range(240):
        try:
            urllib.request.urlopen(f"{uri}/health", timeout=1).close()
        except OSError:
            time.sleep(0.5)
        else:
            return True
    return False


class Server:
    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self.folder = folder
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        if self.process is not None and self.process.poll() is None:
            return
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        command += [
            "--workers",
            "1",
            "--backend-store-uri",
            "sqlite:///server.db",
            "--artifacts-destination",
            "./served",
        ]
        environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        with (self.folder / "server.log").open("a") as log:
            self.process = subprocess.Popen(
                command, cwd=self.folder, stdout=log, stderr=log, start_new_session=True, env=environment
            )
        if not answers(self.uri):
            raise RuntimeError((self.folder / "server.log").read_text())

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, number)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait(20)


class Proxy:
    """Passes requests on to a server; `mode`: pass, 500, sleep (before it passes them on), lose (the answer).

    rewrite: makes another answer of the server's. login: what basic auth has to say, else 401.
    """

    def __init__(self, target: Server) -> None:
        self.mode = "pass"
        self.rewrite: Callable[[bytes], bytes] = bytes
        self.login: str | None = None
        self.requests: list[str] = []
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                proxy.requests.append(f"{self.command} {self.path}")
                mode = proxy.mode
                if proxy.login is not None and self.headers.get("Authorization") != proxy.login:
                    self.reply(401, b"who are you?", {})
                    return
                if mode == "500":
                    self.reply(500, b"broken", {})
                    return
                while proxy.mode == "sleep":
                    time.sleep(0.1)
                upstream = http.client.HTTPConnection("127.0.0.1", target.port, timeout=60)
                headers = {k: v for k, v in self.headers.items() if k.lower() not in ("host", "connection")}
                upstream.request(self.command, self.path, body, headers)
                found = upstream.getresponse()
                content = proxy.rewrite(found.read())
                upstream.close()
                if mode == "lose":
                    self.close_connection = True
                    self.connection.close()
                    return
                self.reply(found.status, content, {"Content-Type": found.getheader("Content-Type") or "text/plain"})

            def reply(self, status: int, content: bytes, headers: dict[str, str]) -> None:
                try:
                    self.send_response(status)
                    for key, value in (headers | {"Content-Length": str(len(content))}).items():
                        self.send_header(key, value)
                    self.end_headers()
                    self.wfile.write(content)
                except OSError:  # who asked has given up
                    self.close_connection = True

            do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = answer  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.uri = f"http://127.0.0.1:{self.http.server_address[1]}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self.mode = "pass"
        self.http.shutdown()
        self.http.server_close()
