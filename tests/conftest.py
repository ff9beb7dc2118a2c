"""Fixtures of the whole suite: real data and generated cases, where a machine has them."""

import http.server
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

# The suite says what happens on a CPU, wherever it runs; `make test-gpu` asks for the tests of a GPU.
if os.environ.get("MEDSSL_TEST_GPU") != "1":
    os.environ["CUDA_VISIBLE_DEVICES"] = ""

# Folders that are scanned on the fly use the key of whoever works here: that of the suite is its own.
os.environ["XDG_DATA_HOME"] = tempfile.mkdtemp(prefix="medssl-tests-")
os.environ.pop("MEDSSL_KEY", None)

_BESIDE = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real image sets; tests that use it are skipped where it is absent."""
    folder = Path(os.environ.get("MEDSSL_REAL_DATA", _BESIDE / "data"))
    if not folder.is_dir():
        pytest.skip("no real data here; set MEDSSL_REAL_DATA to the folder of image sets")
    return folder


@pytest.fixture(scope="session")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The generated files of reported faults with their `expected.json`; skipped where the generator is absent."""
    generator = Path(os.environ.get("MEDSSL_CASES", _BESIDE / "cases")) / "make_cases.py"
    if not generator.is_file():
        pytest.skip("no case generator here; set MEDSSL_CASES to its folder")
    folder = tmp_path_factory.mktemp("cases")
    subprocess.run([sys.executable, str(generator), str(folder)], check=True, capture_output=True)
    return folder


class Site:
    """What a server on this machine does, and what was asked of it."""

    def __init__(self) -> None:
        self.body, self.ranges, self.cut, self.status = b"", True, None, 200
        self.location, self.shift, self.asked, self.url = "", 0, [], ""


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A server on this machine that the downloads of a test may ask."""
    from medssl.data import download as downloading

    monkeypatch.setattr(downloading, "SCHEMES", frozenset({"https", "http"}))
    state = Site()

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

        def do_GET(self):
            asked = self.headers.get("Range")
            state.asked.append(asked)
            if state.location:
                self.send_response(302)
                self.send_header("Location", state.location)
                self.end_headers()
                return
            if state.status != 200:
                self.send_error(state.status)
                return
            start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and state.ranges else 0
            if start >= len(state.body):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(state.body)}")
                self.end_headers()
                return
            rest = state.body[start:]
            self.send_response(206 if start else 200)
            if start:
                self.send_header(
                    "Content-Range", f"bytes {start + state.shift}-{len(state.body) - 1}/{len(state.body)}"
                )
            self.send_header("Content-Length", str(len(rest)))
            self.end_headers()
            self.wfile.write(rest[: state.cut])

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *arguments: None  # a client that went away
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_port}/set.npz"
    yield state
    server.shutdown()
    server.server_close()
    thread.join()
