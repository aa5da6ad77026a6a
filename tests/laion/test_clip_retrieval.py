"""The real clip-retrieval, end to end, in its own environment: ``index``, ``back``, ``ClipClient``, ``bench run``.

The first run makes the environment (minutes, see ``laion_environment.py``); set ``BENCHBENCH_LAION_PYTHON`` to the
Python of one that has ``benchbench[laion]``, or leave it in ``.laion-env``, to spare that.
"""

from __future__ import annotations

import functools
import http.server
import json
import os
import subprocess
import threading
import time
from pathlib import Path

import laion_environment
import numpy as np
import pytest
from laion_environment import ROOT, CannotInstall

HERE = Path(__file__).parent
K = 8

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def python() -> Path:
    try:
        return laion_environment.interpreter()
    except CannotInstall as error:
        if error.offline:
            pytest.skip(str(error))
        raise


@pytest.fixture(scope="module")
def environment(tmp_path_factory) -> dict[str, str]:
    private = tmp_path_factory.mktemp("private")
    kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    return kept | {
        "HOME": str(private),  # clip-retrieval keeps a cache there
        "BENCH_CACHE": str(private / "cache"),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "NO_COLOR": "1",
    }


def run(environment: dict[str, str], *command: object, cwd: Path = ROOT) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        env=environment,
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def prepared(python, environment, tmp_path_factory):
    """Pictures, on a file server on loopback, and their embeddings."""
    folder = tmp_path_factory.mktemp("laion") / "made"
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as files:
        threading.Thread(target=files.serve_forever, daemon=True).start()
        run(environment, python, HERE / "laion_prepare.py", folder, f"http://127.0.0.1:{files.server_address[1]}")
        yield folder
        files.shutdown()


@pytest.fixture(scope="module")
def index(python, environment, prepared) -> Path:
    """What the real ``clip-retrieval index`` writes."""
    folder = prepared.parent / "index"
    command = [python.parent / "clip-retrieval", "index", "--embeddings_folder", prepared / "embeddings"]
    command += ["--index_folder", folder, "--max_index_memory_usage", "1G", "--current_memory_available", "2G"]
    run(environment, *command, "--nb_cores", "1")
    return folder


@pytest.fixture(scope="module")
def address(python, environment, prepared, index):
    """The real ``clip-retrieval back`` with that index, on loopback."""
    (prepared.parent / "indices.json").write_text(json.dumps({"digits": str(index)}))
    port = prepared.parent / "port"
    command = [python, HERE / "laion_server.py", prepared.parent / "indices.json", prepared / "server-clip", port, "64"]
    log = (prepared.parent / "server.log").open("w+")
    server = subprocess.Popen([str(part) for part in command], env=environment, stdout=log, stderr=log, cwd=prepared)
    try:
        end = time.monotonic() + 600
        while not port.exists():
            assert server.poll() is None, (prepared.parent / "server.log").read_text()[-3000:]
            assert time.monotonic() < end, "clip-retrieval back did not start within 10 minutes"
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port.read_text()}"
    finally:
        server.terminate()
        server.wait(30)
        log.close()


@pytest.fixture(scope="module")
def told(python, environment, prepared, index, address):
    """What our backends got out of the server and out of the folder."""
    run(environment, python, HERE / "laion_ask.py", prepared, address, index)
    return json.loads((prepared / "told.json").read_text())


@pytest.fixture(scope="module")
def nearest(prepared) -> np.ndarray:
    """The keys of the exact neighbours of each picture, best first."""
    stored = np.load(prepared / "embeddings" / "img_emb" / "img_emb_0.npy").astype(np.float64)
    return np.argsort(-(np.load(prepared / "queries.npy") @ stored.T), axis=1, kind="stable")[:, :K]


@pytest.mark.parametrize("way", ["server", "folder"])
def test_the_neighbours_are_the_exact_ones(told, nearest, way):
    """As far as autofaiss' choice of an index is exact, and half precision tells two pictures apart."""
    found = told[way]["keys"]
    shared = [len(set(keys) & {str(key) for key in exact}) / K for keys, exact in zip(found, nearest, strict=False)]
    assert len(found) == len(shared) == 30
    assert np.mean(shared) > 0.97
    assert [keys[0] for keys in found] == [str(number) for number in range(30)]
    similarities = np.array(told[way]["similarities"])
    assert (np.diff(similarities, axis=1) <= 0).all()
    np.testing.assert_allclose(similarities[:, 0], 1, atol=2e-3)


def test_server_and_folder_agree(told):
    assert told["server"]["keys"] == told["folder"]["keys"]
    assert told["server"]["captions"] == told["folder"]["captions"]
    np.testing.assert_allclose(told["server"]["similarities"], told["folder"]["similarities"], atol=1e-5)
    assert all(caption.startswith("a photo of the digit ") for caption in told["server"]["captions"].values())


@pytest.mark.parametrize("way", ["server", "folder"])
def test_pictures_come_from_the_server_from_files_and_from_links(told, way):
    """Those that the server sends went through JPEG; the others are as they were."""
    for key, difference in told[way]["differences"].items():
        sent = way == "server" and int(key) % 3 == 0
        assert (0 < difference < 12) if sent else difference == 0, key
    assert any(int(key) % 3 for key in told[way]["differences"])
    assert set(told[way]["missing"].values()) <= {"HTTP 404"}
    assert all(int(key) % 40 == 39 for key in told[way]["missing"])


def test_links_into_ones_own_network_are_refused_by_default(told):
    assert set(told["refused"]["missing"].values()) == {"refused address (loopback)"}
    assert all(int(key) % 3 for key in told["refused"]["missing"])


def test_no_query_is_bent_towards_the_beautiful(told):
    """The server has embeddings for that here, and the client's defaults would have asked for them."""
    assert told["bent"] != told["server"]["keys"]
    first = [keys[0] for keys in told["bent"]]
    assert len(set(first)) < len(first)
    assert told["described"]["aesthetic_weight"] == 0


def test_near_copies_are_not_dropped(told):
    assert all(len(keys) == K for keys in told["server"]["keys"])


def test_the_server_is_described(told, address):
    described = told["described"]
    assert described["address"] == f"{address}/knn-service"
    assert (described["kind"], described["indice_name"], described["indices"]) == ("server", "digits", ["digits"])


def test_another_width_and_another_name_are_one_line(told, address):
    assert told["width"] == f"pool={address}: answered HTTP 500; was 'digits' indexed by a CLIP of width 32?"
    assert told["name"] == f"pool={address}: has no index 'digit' (did you mean 'digits'?)"


def test_the_newest_packages_read_the_same_folder(index, prepared, told):
    """An index that the old faiss and pyarrow wrote, opened by those of this environment."""
    pytest.importorskip("faiss")
    pytest.importorskip("pyarrow")
    from benchbench_plugins.generators.knn import KNN
    from benchbench_plugins.generators.knn.pools import open_backend

    found = open_backend(KNN(pool=str(index)), index, index / "scratch").search(
        np.load(prepared / "queries.npy")[:30], K
    )
    assert [[hit.key for hit in row] for row in found] == told["folder"]["keys"]


def test_bench_run_retrieves_from_server_and_folder(python, environment, address, index, tmp_path):
    """The whole experiment, with the packages that clip-retrieval resolves to."""
    command = [
        python.parent / "bench",
        "run",
        "--data",
        "digits",
        "--arch",
        "shufflenetv2",
        "--learner",
        "timm:steps=2",
    ]
    command += ["--shots", "1", "--metric", "none", "--executor", "inline", "--device", "cpu", "--no-baseline"]
    command += [
        "--gen",
        f"knn:k=3,pool={address},allow_private=true",
        "--gen",
        f"knn:k=3,pool={index},allow_private=true",
    ]
    run(environment, *command, cwd=tmp_path)
    rows = (tmp_path / "results" / "leaderboard.csv").read_text("utf-8").splitlines()
    assert len(rows) == 3
    assert sum(address in row for row in rows) == 1
