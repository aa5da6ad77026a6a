"""Fetching archives of images by torchvision's downloader, from a host of our own and from one that is not there."""

from __future__ import annotations

import functools
import hashlib
import http.server
import shutil
import threading
import time

import numpy as np
import pytest

from benchbench.errors import MissingError, UsageError
from benchbench_plugins.datasets import eurosat, imagenette


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def host(tmp_path):
    """Return the folder that a local web server serves, and its address."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield folder, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def pack(tmp_path, draw, module):
    """Write a small archive in the published layout and return it."""
    seed = 0
    for part in ("train", "val") if module is imagenette else ("",):
        for name in module.CLASSES:
            for number in range(2):
                seed += 1
                draw(tmp_path / "tree" / part / name / f"{name}_{number}.JPEG", (64, 64), seed=seed)
    (tmp_path / "packed").mkdir()
    (tmp_path / "tree").rename(tmp_path / "packed" / ("imagenette2" if module is imagenette else "2750"))
    form = "gztar" if module is imagenette else "zip"
    return shutil.make_archive(str(tmp_path / "archive"), form, tmp_path / "packed")


@pytest.mark.parametrize(("module", "name"), [(eurosat, "EuroSAT"), (imagenette, "Imagenette")])
def test_what_was_fetched_is_what_is_read(host, tmp_path, draw, context_of, monkeypatch, module, name):
    folder, address = host
    archive = pack(tmp_path, draw, module)
    shutil.copy(archive, folder / module.ARCHIVE)
    with open(archive, "rb") as stream:
        monkeypatch.setattr(module, "MD5", hashlib.file_digest(stream, "md5").hexdigest())
    monkeypatch.setattr(module, "URL", f"{address}/{module.ARCHIVE}")
    monkeypatch.setattr(module, "SIDE", 64)
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "data"))
    dataset = getattr(module, name)()
    dataset.fetch()
    (need,) = dataset.needs().files
    assert need.path == tmp_path / "data" / name.lower() / module.ARCHIVE
    train = dataset.load("train", context_of(dataset))
    assert train.counts.tolist() == [2 if module is imagenette else 1] * 10
    assert np.unique(train.images).size > 200
    (folder / module.ARCHIVE).unlink()
    dataset.fetch()  # it is there: nothing is asked for
    (tmp_path / "data" / name.lower() / module.ARCHIVE).unlink()
    (tmp_path / "packed" / ("imagenette2" if module is imagenette else "2750")).rename(
        tmp_path / "data" / name.lower() / ("imagenette2" if module is imagenette else "2750")
    )
    dataset.fetch()  # unpacked


@pytest.mark.parametrize(("module", "name"), [(eurosat, "EuroSAT"), (imagenette, "Imagenette")])
def test_a_host_that_is_not_there(tmp_path, monkeypatch, module, name):
    monkeypatch.setattr(module, "URL", f"http://127.0.0.1:9/{module.ARCHIVE}")
    dataset = getattr(module, name)(path=str(tmp_path))
    start = time.monotonic()
    with pytest.raises(MissingError) as raised:
        dataset.fetch()
    assert time.monotonic() - start < 20  # importing torch on a busy machine, not the network
    message = str(raised.value)
    assert "\n" not in message
    assert message.startswith(f"{name.lower()}:path={tmp_path}: cannot reach ")
    assert f"http://127.0.0.1:9/{module.ARCHIVE}" in message
    assert f"put it at {tmp_path / module.ARCHIVE}" in message
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("module", "name"), [(eurosat, "EuroSAT"), (imagenette, "Imagenette")])
def test_a_host_that_sends_something_else(host, tmp_path, monkeypatch, module, name):
    folder, address = host
    (folder / module.ARCHIVE).write_bytes(b"<html>sign in first</html>")
    monkeypatch.setattr(module, "URL", f"{address}/{module.ARCHIVE}")
    dataset = getattr(module, name)(path=str(tmp_path / "data"))
    with pytest.raises(MissingError) as raised:
        dataset.fetch()
    assert "\n" not in str(raised.value)
    assert f"put it at {tmp_path / 'data' / module.ARCHIVE}" in str(raised.value)
    assert not (tmp_path / "data" / module.ARCHIVE).exists()


@pytest.mark.parametrize(("module", "name"), [(eurosat, "EuroSAT"), (imagenette, "Imagenette")])
def test_a_file_of_ones_own_is_left_alone(tmp_path, monkeypatch, module, name):
    monkeypatch.setattr(module, "URL", f"http://127.0.0.1:9/{module.ARCHIVE}")
    own = tmp_path / "notes.txt"
    own.write_bytes(b"my notes")
    with pytest.raises(UsageError) as raised:
        getattr(module, name)(path=str(own)).fetch()
    assert str(raised.value) == (
        f"{name.lower()}:path={own}: {own} is there and is not the published archive; remove it or give a folder"
    )
    (tmp_path / module.ARCHIVE).write_bytes(b"a part of it")
    with pytest.raises(MissingError, match="cannot reach"):
        getattr(module, name)(path=str(tmp_path)).fetch()
    assert {item.name: item.read_bytes() for item in tmp_path.iterdir()} == {
        "notes.txt": b"my notes",
        module.ARCHIVE: b"a part of it",
    }
