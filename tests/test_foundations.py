"""Pretrained models by one door: embedded, a folder, the hub's cache, and what is said when there is none."""

from __future__ import annotations

import socket
import time

import pytest

from benchbench.errors import MissingError, UsageError
from benchbench.planning.resolved import foundation_hash
from benchbench.plugins import locate as foundations
from benchbench.plugins.locate import download_foundation, locate

MISSING = "nobody/no-such-model"


@pytest.fixture(autouse=True)
def empty_hub(tmp_path, monkeypatch):
    """An empty hub cache, nothing remembered, and no network unless a test says so."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    locate.cache_clear()
    yield tmp_path / "hub"
    locate.cache_clear()


def message(name: str) -> str:
    with pytest.raises(UsageError) as error:
        download_foundation(name)
    assert "\n" not in str(error.value)
    assert error.value.exit_code == 2
    return str(error.value)


def test_embedded_models_are_here():
    for name in ("glyph-sd", "glyph-cnn"):
        found = locate(name)
        assert found.folder.is_dir()
    assert (locate("glyph-sd").folder / "model_index.json").is_file()


def test_a_folder_by_its_path(tmp_path):
    (tmp_path / "model").mkdir()
    found = download_foundation(str(tmp_path / "model"))
    assert found.folder == tmp_path / "model"


def test_the_content_of_a_folder_is_what_counts(tmp_path):
    model = tmp_path / "one" / "model"
    model.mkdir(parents=True)
    (model / "config.json").write_text("{}")
    before = foundation_hash(str(model))
    moved = tmp_path / "elsewhere"
    model.rename(moved)
    assert foundation_hash(str(moved)) == before
    (moved / "config.json").write_text('{"a": 1}')
    assert foundation_hash(str(moved)) != before


def test_a_hub_id_that_was_downloaded_before(empty_hub):
    """The layout of the hub's cache: refs/main names a snapshot, whose files are links to blobs."""
    root = empty_hub / "models--CompVis--stable-diffusion-v1-4"
    snapshot = root / "snapshots" / "abc123"
    snapshot.mkdir(parents=True)
    (root / "blobs").mkdir()
    (root / "blobs" / "f00").write_text("{}")
    (snapshot / "model_index.json").symlink_to("../../blobs/f00")
    (root / "refs").mkdir()
    (root / "refs" / "main").write_text("abc123\n")
    found = download_foundation("CompVis/stable-diffusion-v1-4")
    assert found.folder == snapshot
    assert len(foundation_hash("CompVis/stable-diffusion-v1-4")) == 64


def test_a_download_that_was_broken_off_does_not_count(empty_hub):
    root = empty_hub / "models--nobody--no-such-model"
    (root / "refs").mkdir(parents=True)
    (root / "refs" / "main").write_text("abc123")
    assert message(MISSING).startswith(f"{MISSING}: it is not in the local hub cache")


def test_offline_it_is_said_at_once_and_whole(empty_hub):
    began = time.monotonic()
    told = message(MISSING)
    assert time.monotonic() - began < 1
    assert told == (
        f"{MISSING}: it is not in the local hub cache and the hub cannot be reached (HF_HUB_OFFLINE is set); "
        f"looked in {empty_hub}; download it on a connected machine (`hf download {MISSING}`) and copy that folder, "
        "or give a local folder instead: /path/to/no-such-model"
    )


def test_a_hub_that_refuses_the_connection(monkeypatch):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound and not listening: nobody else gets the port
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{closed.getsockname()[1]}")
        monkeypatch.delenv("HF_HUB_OFFLINE")
        began = time.monotonic()
        assert "the hub cannot be reached (Connection refused); looked in" in message(MISSING)
        assert time.monotonic() - began < 10


def test_a_hub_that_never_answers(monkeypatch):
    """A captive portal, a firewall that drops: the connection opens and nothing comes."""
    assert foundations._HUB_TIMEOUT_S < 8  # ten seconds are promised
    monkeypatch.setattr(foundations, "_HUB_TIMEOUT_S", 0.5)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(4)
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.delenv("HF_HUB_OFFLINE")
        began = time.monotonic()
        assert "the hub cannot be reached" in message(MISSING)
        assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("glyph-ds", "glyph-ds: neither an embedded model, nor a folder, nor a hub id (did you mean 'glyph-sd'"),
        ("nothing", "nothing: neither an embedded model, nor a folder, nor a hub id (embedded: glyph-biggan, gl"),
        ("./nothing", "./nothing: no such file or folder; give a model's folder, in the format of its kind"),
        ("/nothing/at/all", "/nothing/at/all: no such file or folder; "),
        ("a/b/c", "a/b/c: neither an embedded model, nor a folder, nor a hub id"),
    ],
)
def test_a_name_that_means_nothing(name, told):
    assert message(name).startswith(told)


def test_a_missing_model_is_a_missing_thing():
    with pytest.raises(MissingError):
        download_foundation(MISSING)
