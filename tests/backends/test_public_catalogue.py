"""Both public services, in the shape of their answers, from a server of the test's own."""

from __future__ import annotations

import json
import socket
import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from urllib.parse import parse_qs, urlsplit

import pytest

from pytest_vmvc.backends import public_catalogue
from pytest_vmvc.backends.public_catalogue import PAGE, PAGES, Offering, PublicCatalogue
from pytest_vmvc.errors import Unavailable

SEARCH = "/v2/search/repositories/"
OFFICIAL = "/v2/repositories/library/redis/"
BOXES = "/api/v2/search"


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@contextmanager
def services(answers):
    """Both at one address; ``answers``: by path, an object, bytes, a status or a function."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            parts = urlsplit(self.path)
            answer = answers.get(parts.path, 404)
            if callable(answer):
                answer = answer({key: value[0] for key, value in parse_qs(parts.query).items()})
            text = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(answer if isinstance(answer, int) else 200)
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield at(server.server_address[1])
        finally:
            server.shutdown()
            thread.join(60)


def at(port):
    url = f"http://127.0.0.1:{port}"
    return PublicCatalogue(hub=url, boxes=url)


def days_ago(days):
    return f"{datetime.now(UTC) - timedelta(days=days):%Y-%m-%dT%H:%M:%S.%fZ}"


def found(count):
    """A search of Docker Hub."""
    row = {"repo_name": "redis", "star_count": 12, "pull_count": 9, "is_official": True}
    return {"count": count, "next": None, "previous": None, "results": [row]}


def official(**changes):
    """A repository of Docker Hub."""
    repository = {"user": "library", "name": "redis", "namespace": "library", "status": 1}
    times = {"last_updated": days_ago(3), "date_registered": "2014-06-05T20:00:00Z"}
    return {**repository, **times, "pull_count": 10**10, "star_count": 12, **changes}


def box(number, *, tag="", days=0.0):
    """An entry of the catalogue of boxes; the lower its number the more wanted."""
    name = tag or f"someone/box-{number}"
    times = {"created_at": "2017-10-01T00:00:00.000Z", "updated_at": days_ago(days)}
    return {"tag": name, "downloads": 1000 - number, "current_version": {}, **times}


def shelf(count, **first):
    """The catalogue of so many boxes, page by page."""
    boxes = [box(0, **first), *(box(number) for number in range(1, count))][:count]

    def page(asked):
        size, start = int(asked["limit"]), int(asked["limit"]) * (int(asked["page"]) - 1)
        return {"boxes": boxes[start : start + size]}

    return page


def test_an_official_image_with_its_pulls_and_its_age():
    with services({SEARCH: found(8123), OFFICIAL: official()}) as public:
        offering = public.images("redis")
    assert offering.age_days == pytest.approx(3, abs=0.01)
    assert (offering.count, offering.more, offering.ready_made) == (8123, False, True)
    assert offering.pulls == 10**10


def test_a_name_without_an_official_image():
    with services({SEARCH: found(12)}) as public:
        assert public.images("redis") == Offering(
            name="redis", count=12, more=False, ready_made=False
        )


def test_what_is_asked_is_the_name():
    asked = []

    def search(query):
        asked.append(query)
        return found(1)

    with services({SEARCH: search, BOXES: shelf(0)}) as public:
        public.images("a b&c")
    assert asked == [{"query": "a b&c", "page_size": "1"}]


@pytest.mark.parametrize(
    ("count", "counted", "more"),
    [(3, 3, False), (PAGE + 1, PAGE + 1, False), (PAGE * PAGES + 1, PAGE * PAGES, True)],
)
def test_boxes_are_counted_over_pages_up_to_a_limit(count, counted, more):
    with services({BOXES: shelf(count, tag="generic/Redis-7", days=400)}) as public:
        offering = public.boxes("redis")
    assert (offering.count, offering.more, offering.ready_made) == (counted, more, True)
    assert offering.pulls == 1000
    assert offering.age_days == pytest.approx(400, abs=0.01)


def test_a_box_that_only_its_description_calls_so_is_not_ready_made():
    with services({BOXES: shelf(2)}) as public:
        offering = public.boxes("redis")
    assert (offering.count, offering.ready_made) == (2, False)


def test_no_box_at_all_has_no_age():
    with services({BOXES: shelf(0)}) as public:
        assert public.boxes("redis") == Offering(
            name="redis", count=0, more=False, ready_made=False
        )


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (429, "answers with 429"),
        (503, "answers with 503"),
        (404, "answers with 404"),
        (b"<html>", "without JSON"),
        (b"[" * 100_000, "without JSON"),
        ([], "without a JSON object"),
        ({}, "without count"),
        ({"count": True}, "without count"),
        ({"count": -1}, "without count"),
        ({"count": 2**70}, "without count"),
    ],
)
def test_an_answer_of_another_shape_is_no_answer(answer, said):
    with services({SEARCH: answer}) as public, pytest.raises(Unavailable, match=said):
        public.images("redis")


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"pull_count": "many"}, "without pull_count"), ({"last_updated": None}, "last_updated")],
)
def test_an_image_of_another_shape_is_no_answer(changes, said):
    answers = {SEARCH: found(1), OFFICIAL: official(**changes)}
    with services(answers) as public, pytest.raises(Unavailable, match=said):
        public.images("redis")


@pytest.mark.parametrize("answer", [{}, {"boxes": "none"}, {"boxes": ["a"]}, {"boxes": [{}]}])
def test_boxes_of_another_shape_are_no_answer(answer):
    with services({BOXES: answer}) as public, pytest.raises(Unavailable, match="without"):
        public.boxes("redis")


def test_too_large_an_answer_is_cut_off(monkeypatch):
    monkeypatch.setattr(public_catalogue, "ANSWER_LIMIT_BYTES", 1000)
    with services({SEARCH: b"x" * 1001}) as public, pytest.raises(Unavailable, match="too much"):
        public.images("redis")


def test_an_answer_that_trickles_is_cut_off(monkeypatch):
    clock = iter([0.0, public_catalogue.REQUEST_TIMEOUT_S + 1])
    monkeypatch.setattr(public_catalogue, "time", SimpleNamespace(monotonic=clock.__next__))
    with services({SEARCH: found(1)}) as public, pytest.raises(Unavailable, match="too slowly"):
        public.images("redis")


def test_a_service_that_does_not_answer_is_given_up(monkeypatch):
    monkeypatch.setattr(public_catalogue, "REQUEST_TIMEOUT_S", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        public = at(silent.getsockname()[1])
        with pytest.raises(Unavailable, match="cannot be reached"):
            public.images("redis")


def test_a_service_that_does_not_speak_http_is_not_reached():
    def answer():
        line, _ = listener.accept()
        with line:
            line.recv(1 << 16)
            line.sendall(b"SSH-2.0-none\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(Unavailable, match="cannot be reached"):
            at(listener.getsockname()[1]).boxes("redis")
        thread.join(60)


def test_nobody_there_is_not_reached():
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    with pytest.raises(Unavailable, match="cannot be reached"):
        at(port).boxes("redis")
