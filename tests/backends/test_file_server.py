"""Files over HTTP on the loopback: served, counted, fetched whole or not at all."""

from __future__ import annotations

import socket
import threading
import urllib.error
import urllib.request
from contextlib import suppress

import pytest

from pytest_vmvc.backends.file_server import download, serving


def test_files_arrive_and_what_was_sent_is_counted(tmp_path):
    (tmp_path / "disk").write_bytes(b"d" * 3_000_000)
    with serving({"disk": tmp_path / "disk", "box.json": b"{}"}) as server:
        assert download(server.url("disk"), tmp_path / "got", timeout_s=5) == 3_000_000
        assert (tmp_path / "got").read_bytes() == (tmp_path / "disk").read_bytes()
        assert download(server.url("box.json"), tmp_path / "got", timeout_s=5) == 2
    assert server.sent_bytes == 3_000_002


def test_a_catalogue_is_announced_as_one_and_a_look_at_its_head_sends_nothing():
    with serving({"box.json": b"{}"}) as server:
        look = urllib.request.Request(server.url("box.json?a=b"), method="HEAD")
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(look) as answer:
            assert answer.headers["Content-Type"] == "application/json"
            assert answer.headers["Content-Length"] == "2"
    assert server.sent_bytes == 0


def test_what_is_not_served_is_not_found(tmp_path):
    with serving({}) as server, pytest.raises(urllib.error.HTTPError, match="404"):
        download(server.url("../etc/passwd"), tmp_path / "got", timeout_s=5)


def test_a_file_that_breaks_off_is_an_error(tmp_path):
    def answer():
        line, _ = listener.accept()
        with line:
            line.recv(1 << 16)
            line.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=answer)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/disk"
        with pytest.raises(OSError, match="after 4 of 10 bytes"):
            download(url, tmp_path / "got", timeout_s=5)
        thread.join(60)


def test_a_file_that_drips_is_given_up_in_time(tmp_path):
    enough = threading.Event()

    def answer():
        line, _ = listener.accept()
        with line, suppress(OSError):
            line.recv(1 << 16)
            line.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
            while not enough.wait(0.01):
                line.sendall(b".")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=answer)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/disk"
        with pytest.raises(TimeoutError, match=r"of 1000000 bytes within 0\.3 s"):
            download(url, tmp_path / "got", timeout_s=0.3)
        enough.set()
        thread.join(60)
