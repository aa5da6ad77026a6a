"""Downloads by torchvision's downloader, from a server on this machine, and from one that is not there."""

from __future__ import annotations

import functools
import http.server
import shutil
import socket
import threading
import time

import numpy as np
import pytest
from arrayfiles import cycle, md5, noise, pack, write_cifar10, write_medmnist
from releases import publish, refusal

from benchbench.errors import MissingError, UsageError
from benchbench_plugins.datasets import _archives, eurosat, imagenette
from benchbench_plugins.datasets.cifar import CIFAR10
from benchbench_plugins.datasets.eurosat import EuroSAT
from benchbench_plugins.datasets.imagenette import Imagenette
from benchbench_plugins.datasets.medmnist_sets import BloodMNIST


@pytest.fixture
def server(tmp_path, monkeypatch, request):
    """Serve a folder on the loopback interface; yields the folder, the address and the paths that were asked for.

    A parameter is the status that HEAD is answered with.
    """
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    folder, asked, refused = tmp_path / "served", [], getattr(request, "param", 0)
    folder.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_HEAD(self):
            if refused:
                self.send_error(refused)
            else:
                super().do_HEAD()

        def log_message(self, *arguments):
            asked.append(f"{self.command} {self.path}")

    class Server(http.server.ThreadingHTTPServer):
        def handle_error(self, *arguments):
            """The downloader opens a file once to follow redirects and hangs up: no news."""

    running = Server(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield folder, f"http://127.0.0.1:{running.server_port}", asked
    running.shutdown()
    running.server_close()
    thread.join()


def test_cifar10_is_fetched_verified_and_read(server, tmp_path, monkeypatch, context_of):
    folder, address, asked = server
    train = noise(20, 32, 1)
    place = write_cifar10(tmp_path / "made", train, cycle(20, 10, 1), noise(10, 32, 2), cycle(10, 10, 2))
    name = "cifar-10-python.tar.gz"
    publish(monkeypatch, CIFAR10, url=f"{address}/{name}", md5=pack(place, folder / name))
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "data"))
    dataset = CIFAR10()
    dataset.fetch()
    assert [item.name for item in (tmp_path / "data" / "cifar10").iterdir()] == [name]
    np.testing.assert_array_equal(dataset.load("train", context_of(dataset)).images, train)
    times = len(asked)
    assert times > 0
    dataset.fetch()  # it is there: the network is not asked
    assert len(asked) == times
    (tmp_path / "data" / "cifar10" / name).write_bytes(b"a part of it")
    dataset.fetch()
    assert dataset.info().counts["train"] == 20
    (tmp_path / "data" / "cifar10" / name).unlink()
    place.rename(tmp_path / "data" / "cifar10" / place.name)
    times = len(asked)
    dataset.fetch()  # as unpacked
    assert len(asked) == times


def blood(folder, monkeypatch, address):
    """Serve a small bloodmnist.npz as the published one."""
    parts = {name: (noise(16, 28, seed), cycle(16, 8, seed)) for seed, name in enumerate(("train", "val", "test"))}
    path = write_medmnist(folder / "bloodmnist.npz", parts)
    publish(monkeypatch, BloodMNIST, url=f"{address}/bloodmnist.npz", md5=md5(path))
    return path


def test_medmnist_is_fetched_to_where_path_says(server, tmp_path, monkeypatch):
    folder, address, _ = server
    blood(folder, monkeypatch, address)
    publish(monkeypatch, BloodMNIST, url=f"{address}/bloodmnist.npz?download=1")
    for given in (tmp_path / "new" / "folder", tmp_path / "mine.npz"):
        dataset = BloodMNIST(path=str(given))
        dataset.fetch()
        assert dataset.info().counts == {"train": 16, "validation": 16, "test": 16}
    assert (tmp_path / "new" / "folder" / "bloodmnist.npz").is_file()
    assert (tmp_path / "mine.npz").is_file()


def said(dataset):
    return refusal(dataset.fetch, MissingError)


def test_another_file_than_the_published_one_is_not_kept(server, tmp_path, monkeypatch):
    folder, address, _ = server
    (folder / "bloodmnist.npz").write_bytes(b"<html>moved</html>")
    publish(monkeypatch, BloodMNIST, url=f"{address}/bloodmnist.npz")
    told = said(BloodMNIST(path=str(tmp_path / "data")))
    assert told == (
        f"bloodmnist:path={tmp_path}/data: the download failed: File not found or corrupted.; fetch it by hand from "
        f"{address}/bloodmnist.npz and put it at {tmp_path}/data/bloodmnist.npz"
    )
    assert not list((tmp_path / "data").iterdir())


@pytest.mark.parametrize("name", ["notes.txt", "mine.npz", "data/bloodmnist.npz/"])
def test_what_is_not_the_archive_is_left_alone(server, tmp_path, monkeypatch, name):
    folder, address, asked = server
    blood(folder, monkeypatch, address)
    own, given = tmp_path / name, tmp_path / name
    if name.endswith("/"):
        own.mkdir(parents=True)
        given = own.parent
    else:
        own.write_bytes(b"my notes")
    with pytest.raises(UsageError) as raised:
        BloodMNIST(path=str(given)).fetch()
    assert str(raised.value) == (
        f"bloodmnist:path={given}: {own} is there and is not the published archive; move it away or give a folder"
    )
    assert own.is_dir() or own.read_bytes() == b"my notes"
    assert asked == []


def test_the_archive_under_another_name_is_there(server, tmp_path, monkeypatch):
    folder, address, asked = server
    (tmp_path / "notes.txt").write_bytes(blood(folder, monkeypatch, address).read_bytes())
    BloodMNIST(path=str(tmp_path / "notes.txt")).fetch()
    assert asked == []


def test_a_damaged_archive_is_replaced_only_by_a_whole_one(server, tmp_path, monkeypatch):
    folder, address, _ = server
    published = blood(folder, monkeypatch, address)
    whole = published.read_bytes()
    target = tmp_path / "data" / "bloodmnist.npz"
    target.parent.mkdir()
    target.write_bytes(b"a part of it")
    published.write_bytes(b"<html>moved</html>")
    assert "the download failed" in said(BloodMNIST(path=str(target.parent)))
    assert target.read_bytes() == b"a part of it"
    assert list(target.parent.iterdir()) == [target]
    published.write_bytes(whole)
    for given in (target.parent, target):
        target.write_bytes(b"a part of it")
        BloodMNIST(path=str(given)).fetch()
        assert target.read_bytes() == whole
    assert list(target.parent.iterdir()) == [target]


def test_a_kill_leaves_nothing_under_the_final_name(server, tmp_path, monkeypatch):
    from torchvision.datasets import utils

    folder, address, _ = server
    published = blood(folder, monkeypatch, address)
    target = tmp_path / "data" / "bloodmnist.npz"
    seen = []

    def killed(url, root, filename, md5):
        (target.parent / filename).write_bytes(published.read_bytes()[:100])
        seen.extend(sorted(item.name for item in target.parent.iterdir()))
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(utils, "download_url", killed)
        with pytest.raises(KeyboardInterrupt):
            BloodMNIST(path=str(target.parent)).fetch()
    assert seen == [".bloodmnist.npz.lock", ".bloodmnist.npz.lock.owner", ".bloodmnist.npz.part"]
    assert not list(target.parent.iterdir())
    (target.parent / ".bloodmnist.npz.part").write_bytes(b"what a harder kill left")
    BloodMNIST(path=str(target.parent)).fetch()
    assert target.read_bytes() == published.read_bytes()
    assert list(target.parent.iterdir()) == [target]


def test_two_that_fetch_the_same_file_fetch_it_once(server, tmp_path, monkeypatch):
    from torchvision.datasets import utils

    folder, address, _ = server
    blood(folder, monkeypatch, address)
    monkeypatch.setattr(_archives, "_unreachable", lambda url: "")
    download, times = utils.download_url, []

    def slow(*arguments):
        times.append(arguments)
        time.sleep(0.3)
        download(*arguments)

    monkeypatch.setattr(utils, "download_url", slow)
    threads = [threading.Thread(target=BloodMNIST(path=str(tmp_path / "data")).fetch) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(times) == 1
    assert [item.name for item in (tmp_path / "data").iterdir()] == ["bloodmnist.npz"]


@pytest.mark.parametrize("server", [403, 405, 501], indirect=True)
def test_a_host_that_refuses_to_be_asked_is_there(server, tmp_path, monkeypatch):
    folder, address, asked = server
    published = blood(folder, monkeypatch, address)
    BloodMNIST(path=str(tmp_path / "data")).fetch()
    assert (tmp_path / "data" / "bloodmnist.npz").read_bytes() == published.read_bytes()
    assert any(line.startswith("HEAD") for line in asked)
    published.unlink()
    told = said(BloodMNIST(path=str(tmp_path)))
    assert ": the download failed: HTTP 404 File not found; fetch it by hand" in told


def test_a_host_that_says_no(server, tmp_path, monkeypatch):
    _, address, _ = server
    publish(monkeypatch, BloodMNIST, url=f"{address}/bloodmnist.npz")
    told = said(BloodMNIST(path=str(tmp_path / "data")))
    assert f": cannot reach {address[7:]}: HTTP 404 File not found; fetch it by hand from {address}/b" in told


def test_a_port_where_nobody_listens(tmp_path, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    publish(monkeypatch, CIFAR10, url=f"http://127.0.0.1:{port}/x.tar.gz")
    told = said(CIFAR10(path=str(tmp_path)))
    assert told == (
        f"cifar10:path={tmp_path}: cannot reach 127.0.0.1:{port}: Connection refused; fetch it by hand from "
        f"http://127.0.0.1:{port}/x.tar.gz and put it at "
        f"{tmp_path}/cifar-10-python.tar.gz"
    )


def test_a_host_that_never_answers_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(_archives, "ANSWER_S", 0.3)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        publish(monkeypatch, CIFAR10, url=f"http://127.0.0.1:{silent.getsockname()[1]}/x.tar.gz")
        begun = time.monotonic()
        assert "cannot reach" in said(CIFAR10(path=str(tmp_path)))
        assert time.monotonic() - begun < 8


def test_a_name_lookup_that_hangs_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(_archives, "ANSWER_S", 0.3)
    done = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *arguments, **options: done.wait(20))
    try:
        assert "no answer in 0 s; fetch it by hand" in said(CIFAR10(path=str(tmp_path)))
    finally:
        done.set()


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UsageError, match="cannot be written: Not a directory"):
        CIFAR10(path=str(tmp_path / "file" / "data")).fetch()


def packed(folder, tmp_path, draw, kind):
    """Write a small archive in the published layout into a folder, and return it."""
    seed, classes = 0, imagenette.CLASSES if kind is Imagenette else eurosat.CLASSES
    for part in ("train", "val") if kind is Imagenette else ("",):
        for name in classes:
            for number in range(2):
                seed += 1
                place = tmp_path / "packed" / kind.release.folder / part / name
                draw(place / f"{name}_{number}.JPEG", (64, 64), seed=seed)
    form = "gztar" if kind is Imagenette else "zip"
    made = shutil.make_archive(str(tmp_path / "archive"), form, tmp_path / "packed")
    return shutil.move(made, folder / kind.release.archive)


@pytest.mark.parametrize("kind", [EuroSAT, Imagenette])
def test_what_was_fetched_is_what_is_read(server, tmp_path, draw, context_of, monkeypatch, kind):
    folder, address, _ = server
    name, archive = kind.release.info.name, packed(folder, tmp_path, draw, kind)
    publish(monkeypatch, kind, side=64, url=f"{address}/{archive.name}", md5=md5(archive))
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "data"))
    dataset = kind()
    dataset.fetch()
    (need,) = dataset.needs().files
    assert need.path == tmp_path / "data" / name / archive.name
    train = dataset.load("train", context_of(dataset))
    assert train.counts.tolist() == [2 if kind is Imagenette else 1] * 10
    assert np.unique(train.images).size > 200
    archive.unlink()
    dataset.fetch()  # it is there: nothing is asked for
    need.path.unlink()
    (tmp_path / "packed" / kind.release.folder).rename(tmp_path / "data" / name / kind.release.folder)
    dataset.fetch()  # unpacked


@pytest.mark.parametrize("kind", [EuroSAT, Imagenette])
def test_a_host_of_images_that_is_not_there(tmp_path, monkeypatch, kind):
    archive = kind.release.archive
    publish(monkeypatch, kind, url=f"http://127.0.0.1:9/{archive}")
    begun = time.monotonic()
    message = said(kind(path=str(tmp_path)))
    assert time.monotonic() - begun < 20  # importing torch on a busy machine, not the network
    assert message.startswith(f"{kind.release.info.name}:path={tmp_path}: cannot reach ")
    assert f"http://127.0.0.1:9/{archive}" in message
    assert f"put it at {tmp_path / archive}" in message
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", [EuroSAT, Imagenette])
def test_a_host_of_images_that_sends_something_else(server, tmp_path, monkeypatch, kind):
    folder, address, _ = server
    archive = kind.release.archive
    (folder / archive).write_bytes(b"<html>sign in first</html>")
    publish(monkeypatch, kind, url=f"{address}/{archive}")
    assert f"put it at {tmp_path / 'data' / archive}" in said(kind(path=str(tmp_path / "data")))
    assert not (tmp_path / "data" / archive).exists()


@pytest.mark.parametrize("kind", [EuroSAT, Imagenette])
def test_a_file_of_ones_own_is_left_alone(tmp_path, monkeypatch, kind):
    archive = kind.release.archive
    publish(monkeypatch, kind, url=f"http://127.0.0.1:9/{archive}")
    own = tmp_path / "notes.txt"
    own.write_bytes(b"my notes")
    assert refusal(kind(path=str(own)).fetch) == (
        f"{kind.release.info.name}:path={own}: {own} is there and is not the published archive; move it away or give a "
        "folder"
    )
    (tmp_path / archive).write_bytes(b"a part of it")
    assert "cannot reach" in said(kind(path=str(tmp_path)))
    assert {item.name: item.read_bytes() for item in tmp_path.iterdir()} == {
        "notes.txt": b"my notes",
        archive: b"a part of it",
    }
