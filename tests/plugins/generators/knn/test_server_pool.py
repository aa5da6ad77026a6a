"""A retrieval server that is down, hangs, answers rubbish or leads elsewhere: one line, within a bounded time.

``ClipClient`` is absent here: a stand-in that posts as it does is put in its place, for the transport alone. The real
one is asked a real server in ``tests/laion``.
"""

from __future__ import annotations

import base64
import json
import socket
import sys
import time
import types
from pathlib import Path

import numpy as np
import pytest
from loopback import Loopback, body, drip, endless, hang, in_turn, picture, png, raw, redirect, status

from benchbench.errors import BenchError, MissingError, UsageError
from benchbench_plugins.generators.knn import KNN, download
from benchbench_plugins.generators.knn.pools import Hit, open_backend, server

LIMITS = {"allow_private": True, "timeout": 4.0, "retries": 0}
ROW = np.eye(4, dtype=np.float32)[:1]
CLIENT = """
requests = None  # what is not replaced must not be reached

class ClipClient:
    def __init__(self, url, indice_name, aesthetic_score=9, aesthetic_weight=0.5, modality="image", num_images=40,
                 deduplicate=True, use_safety_model=True, use_violence_detector=True):
        self.told = dict(vars(), self=None)
        self.url = url

    def query(self, text=None, image=None, embedding_input=None):
        return self.__search_knn_api__(embedding_input)

    def __search_knn_api__(self, embedding_input):
        told = {**self.told, "embedding_input": embedding_input, "num_result_ids": self.told["num_images"]}
        return requests.post(self.url, data=json.dumps(told), timeout=3600).json()
"""


@pytest.fixture(autouse=True)
def client(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(download, "PAUSE_S", 0.01)
    monkeypatch.setattr(download, "DEADLINE_S", 8.0)
    module = types.ModuleType("clip_retrieval.clip_client")
    module.json = json
    exec(compile(CLIENT, "stand-in", "exec"), module.__dict__)
    monkeypatch.setitem(sys.modules, "clip_retrieval", types.ModuleType("clip_retrieval"))
    monkeypatch.setitem(sys.modules, "clip_retrieval.clip_client", module)
    return module


@pytest.fixture
def web():
    with Loopback() as found:
        found.put("/indices-list", body(json.dumps(["pets", "plants"]).encode(), "application/json"))
        yield found


def answers(rows, **headers):
    return body(json.dumps(rows).encode(), "application/json", **headers)


def found(key, similarity, **more):
    return {"id": key, "similarity": similarity, **more}


def opened_at(address, **changes):
    return open_backend(KNN(pool=address, **{**LIMITS, **changes}), None, Path("scratch"))


def opened(web, path="", **changes):
    return opened_at(web.base + path, **changes)


def line(error) -> str:
    text = str(error.value)
    assert "\n" not in text
    assert text.startswith("pool=http")
    assert len(text) < 400
    return text.split(": ", 1)[1]


def failure(web, **changes) -> str:
    """Return the line that a search ends with."""
    start = time.monotonic()
    pool = opened(web, **changes)
    with pytest.raises(BenchError) as error:
        pool.search(ROW, 3)
    assert time.monotonic() - start < 10
    return line(error)


def test_hits_come_as_the_server_ranks_them(web):
    rows = [found(7, 0.5, url="http://a.example/7"), found(3, 0.9, caption="three", url=None), found(1, 0.5)]
    web.put("/knn-service", answers(rows))
    pool = opened(web)
    assert pool.search(np.concatenate([ROW, ROW]), 3) == 2 * [
        [Hit("3", 0.9, "three"), Hit("7", 0.5, None, "http://a.example/7"), Hit("1", 0.5)]
    ]
    assert web.asked == {"/indices-list": 1, "/knn-service": 2}


def test_a_server_that_gives_more_than_asked_is_cut_at_k(web):
    web.put("/knn-service", answers([found(n, 1 - n / 10) for n in range(6)]))
    assert [hit.key for hit in opened(web).search(ROW, 2)[0]] == ["0", "1"]


def test_a_patient_timeout_is_not_cut_short_by_the_deadline(web, monkeypatch):
    monkeypatch.setattr(download, "DEADLINE_S", 0.5)

    def late(handler):
        handler.nap(1.2)
        answers([])(handler)

    web.put("/knn-service", late)
    assert opened(web, timeout=8.0).search(ROW, 1) == [[]]


@pytest.mark.parametrize("path", ["", "/", "/knn-service", "/knn-service/"])
def test_both_forms_of_the_address_are_understood(web, path):
    web.put("/knn-service", answers([]))
    pool = opened(web, path)
    assert pool.search(ROW, 1) == [[]]
    assert pool.describe()["address"] == web.base + "/knn-service"


def test_a_server_below_a_path(web):
    web.put("/deep/indices-list", answers(["x"]))
    web.put("/deep/knn-service", answers([found(1, 1.0)]))
    assert opened(web, "/deep").search(ROW, 1) == [[Hit("1", 1.0)]]


def sent(web, **changes):
    told = []

    def keep(handler):
        told.append(json.loads(handler.content))
        answers([])(handler)

    web.put("/knn-service", keep)
    opened(web, **changes).search(ROW, 5)
    return told[0]


def test_the_aesthetic_bias_is_off_and_the_filters_are_explicit(web):
    told = sent(web)
    assert told["aesthetic_score"] == ""
    assert told["aesthetic_weight"] == 0
    assert told["embedding_input"] == [1.0, 0.0, 0.0, 0.0]
    assert (told["num_images"], told["num_result_ids"], told["indice_name"]) == (5, 5, "pets")
    assert (told["deduplicate"], told["use_safety_model"], told["use_violence_detector"]) == (False, True, True)
    told = sent(web, safe=False, indice_name="plants")
    assert (told["deduplicate"], told["use_safety_model"], told["use_violence_detector"]) == (False, False, False)
    assert told["indice_name"] == "plants"


def test_the_module_of_the_client_stays_as_it_was(web, client):
    web.put("/knn-service", answers([]))
    opened(web).search(ROW, 1)
    assert client.requests is None


def test_an_unknown_index_is_named_with_the_nearest(web):
    with pytest.raises(UsageError) as error:
        opened(web, indice_name="pest")
    assert line(error) == "has no index 'pest' (did you mean 'pets'?)"
    with pytest.raises(UsageError) as error:
        opened(web, indice_name="laion5B")
    assert line(error) == "has no index 'laion5B'; it has pets, plants"


def test_a_server_that_lists_nothing_wants_a_name(web):
    web.put("/indices-list", status(404))
    web.put("/knn-service", answers([]))
    with pytest.raises(UsageError) as error:
        opened(web)
    assert line(error) == "does not list its indices; name one: indice_name=..."
    assert opened(web, indice_name="any").search(ROW, 1) == [[]]


def test_a_server_that_is_down():
    with socket.create_server(("127.0.0.1", 0)) as closed:
        address = f"http://127.0.0.1:{closed.getsockname()[1]}"
    with pytest.raises(BenchError) as error:
        opened_at(address)
    assert line(error) == "connection refused; is clip-retrieval back running there?"
    assert error.value.exit_code == 1
    with pytest.raises(BenchError) as error:
        opened_at("http://no-such-host.invalid")
    assert line(error).split(";")[0] in ("unknown host", "no answer within 4 s, in 1 attempts")


@pytest.mark.parametrize(
    "listing",
    [answers({}), answers([]), answers([1]), body(b"<html>", "text/html"), body(b"[" * 100_000, "application/json")],
)
def test_another_kind_of_server(web, listing):
    web.put("/indices-list", listing)
    with pytest.raises(BenchError) as error:
        opened(web)
    assert line(error) == "/indices-list is no list of indices; is clip-retrieval back running there?"


@pytest.mark.parametrize("behaviour", [hang, drip(b"HTTP/1.0 200 OK\r\n\r\n[")], ids=["silent", "a byte at a time"])
def test_a_server_that_hangs(web, behaviour, monkeypatch):
    monkeypatch.setattr(download, "DEADLINE_S", 0.8)
    web.put("/knn-service", behaviour)
    told = failure(web, retries=1, timeout=0.3)
    assert told == "no answer within 0.3 s, in 2 attempts; the run continues where it stopped"


def test_a_server_that_fails_is_asked_again(web):
    web.put("/knn-service", in_turn(status(500), raw(b""), answers([found(1, 1.0)])))
    assert opened(web, retries=2).search(ROW, 1) == [[Hit("1", 1.0)]]
    web.put("/knn-service", status(500))
    assert failure(web, retries=1) == "answered HTTP 500; was 'pets' indexed by a CLIP of width 4?"
    assert web.asked["/knn-service"] == 5


def test_a_server_that_is_busy_for_longer_than_a_query_may_take(web):
    web.put("/knn-service", status(503, Retry_After="3600"))
    assert failure(web, retries=3) == "answered HTTP 503"
    assert web.asked["/knn-service"] == 1


def test_a_server_that_refuses(web):
    web.put("/knn-service", status(403))
    assert failure(web, retries=3) == "answered HTTP 403"
    assert web.asked["/knn-service"] == 1


@pytest.mark.parametrize("place", ["http://169.254.169.254/", "http://10.0.0.1/x", "/elsewhere", "file:///etc/passwd"])
def test_a_server_that_redirects_is_not_followed(web, place):
    web.put("/knn-service", redirect(place, 307))
    web.put("/elsewhere", answers([]))
    assert failure(web) == f"answered HTTP 307 (to {place}; give that address if you trust it)"
    assert not web.asked["/elsewhere"]
    web.put("/indices-list", redirect(place))
    with pytest.raises(BenchError) as error:
        opened(web)
    assert line(error).startswith(f"answered HTTP 302 (to {place};")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"<html>\n502 Bad Gateway", "answered something that is no JSON: b'<html>\\n502 Bad Gateway'"),
        (b"", "answered something that is no JSON: b''"),
        (b"\xff\xfe\x00", "answered something that is no JSON: b'\\xff\\xfe\\x00'"),
        (b"[" * 100_000, "answered something that is no JSON: b'" + "[" * 40 + "'"),
        (b'{"message": "Internal Server Error"}', "answered something that is no list of pictures"),
        (b'["a", 1]', "answered something that is no list of pictures"),
        (b'[{"id": 1}]', "answered a picture without id or similarity"),
        (b'[{"id": "x", "similarity": 1}]', "answered a picture without id or similarity"),
        (b'[{"id": 1, "similarity": NaN}]', "answered a picture without id or similarity"),
        (b'[{"id": 1, "similarity": 1, "image": "not base64!"}]', "answered a picture that is no base64"),
        ('[{"id": 1, "similarity": 1, "image": "é"}]'.encode(), "answered a picture that is no base64"),
    ],
)
def test_a_server_that_answers_rubbish(web, content, told):
    web.put("/knn-service", body(content, "application/json"))
    assert failure(web) == told


def test_an_endless_answer_stops_at_a_limit(web, monkeypatch):
    monkeypatch.setattr(server, "MOST_ANSWER", 100_000)
    web.put("/knn-service", endless(b"HTTP/1.0 200 OK\r\n\r\n"))
    assert failure(web).startswith("too large")
    assert web.sent < 20_000_000


def test_pictures_come_from_the_answer_or_from_their_links(web):
    rows = [
        found(1, 0.9, image=base64.b64encode(png(11)).decode(), url=web.put("/unused", picture(99))),
        found(2, 0.8, url=web.put("/two", picture(22))),
        found(3, 0.7, caption="nothing but words"),
        found(4, 0.6, url=web.put("/four", status(404))),
        found(5, 0.5, image=base64.b64encode(b"no picture").decode(), image_path="x"),
        found(6, 0.4, url="http://169.254.169.254/"),
    ]
    web.put("/knn-service", answers(rows))
    pool = opened(web)
    (hits,) = pool.search(ROW, 6)
    got = list(pool.pictures(hits))
    assert [item if isinstance(item, str) else item[0, 0, 0] for item in got] == [
        11,
        22,
        "neither a picture nor a link",
        "HTTP 404",
        got[4],
        "refused address (metadata service)",
    ]
    assert got[4].startswith("no picture: ")
    # A run that was killed between the search and its pictures has both from where they were kept.
    asked = web.asked.total()
    again = list(opened(web).pictures(hits))
    assert [type(item) for item in again] == [type(item) for item in got]
    assert web.asked.total() == asked + 1  # the list of indices
    assert web.asked["/unused"] == 0


def test_links_into_the_private_network_are_refused_unless_allowed(web):
    web.put("/knn-service", answers([found(1, 0.9, url=web.put("/one", picture(1)))]))
    pool = opened(web, allow_private=False)  # the server itself is on loopback: the user said so
    assert list(pool.pictures(pool.search(ROW, 1)[0])) == ["refused address (loopback)"]
    assert not web.asked["/one"]


def test_a_strangers_server_is_asked_slowly(web, monkeypatch):
    naps = []
    monkeypatch.setattr(server, "time", types.SimpleNamespace(monotonic=time.monotonic, sleep=naps.append))
    web.put("/knn-service", answers([]))
    opened(web).search(np.repeat(ROW, 4, axis=0), 1)
    assert not naps
    monkeypatch.setattr(download.Downloader, "is_public", lambda *_: True)
    opened(web).search(np.repeat(ROW, 4, axis=0), 1)
    assert naps == [server.PAUSE_S] * 3


def test_a_missing_client_is_told(web, monkeypatch):
    monkeypatch.setitem(sys.modules, "clip_retrieval", None)
    monkeypatch.setitem(sys.modules, "clip_retrieval.clip_client", None)
    with pytest.raises(MissingError) as error:
        opened(web)
    assert "clip-retrieval is not installed" in line(error)
    assert "pip install 'benchbench[laion]'" in line(error)
    assert error.value.exit_code == 2


def test_another_client_is_told(web, client, monkeypatch):
    monkeypatch.setattr(client, "ClipClient", type("ClipClient", (), {}))
    with pytest.raises(MissingError) as error:
        opened(web)
    assert line(error) == "this clip-retrieval is another than 2.45; pip install 'benchbench[laion]'"


def test_a_bad_address_is_told(web):
    with pytest.raises(UsageError) as error:
        opened_at("http://user:secret@127.0.0.1/")
    assert line(error).split(": ", 1)[-1].endswith("bad link; give http://HOST:PORT/knn-service")
