"""Published datasets from the command line: shown without files, refused at once without them, trained on with them."""

from __future__ import annotations

import pytest
from arrayfiles import cycle, noise, write_cifar10
from driving import Bench
from looking import records, rows

NAMES = ("cifar10", "cifar100", "stl10", "pathmnist", "dermamnist", "bloodmnist")


@pytest.fixture(scope="module")
def place(tmp_path_factory, environment):
    """A folder with a CIFAR-10 of 40 training and 20 test images, unpacked as published."""
    folder = tmp_path_factory.mktemp("arrays")
    write_cifar10(folder / "data", noise(40, 32, 1), cycle(40, 10, 1), noise(20, 32, 2), cycle(20, 10, 2))
    return Bench(folder, environment)


@pytest.mark.parametrize("name", NAMES)
def test_show_tells_the_facts_without_files(bench, name):
    done = bench("show", name)
    assert done.err == ""
    for title in ("splits", "classes", "licence", "source", "paper"):
        assert f"\n  {title} " in done.out, title
    assert "Zhou et al. 2023" in done.out
    if name == "cifar10":
        assert "train 50,000, validation 0, test 10,000" in done.out
        assert "a photo of an airplane." in done.out


def test_a_run_without_files_says_at_once_what_to_fetch_and_where_to_put_it(bench):
    done = bench("run", "--gen", "real", "--data", "cifar10", BENCH_DATA=str(bench.folder / "data"), code=2)
    assert done.seconds < 10
    assert done.out == ""
    assert done.err == (
        "bench: cifar10: not found: CIFAR-10; looked for "
        f"{bench.folder}/data/cifar10/cifar-10-python.tar.gz; put it there; source: `bench fetch cifar10` gets it, or "
        "by hand https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz\n"
    )


def test_fetching_without_a_network_says_at_once_what_to_do_by_hand(bench):
    away = {name: "http://127.0.0.1:9" for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")}
    done = bench("fetch", "cifar10", BENCH_DATA=str(bench.folder / "data"), code=2, no_proxy="", NO_PROXY="", **away)
    assert done.err.count("\n") == 1
    assert done.err.startswith("bench: cifar10: cannot reach www.cs.toronto.edu: ")
    assert "fetch it by hand from https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz" in done.err
    assert f"put it at {bench.folder}/data/cifar10/cifar-10-python.tar.gz" in done.err


@pytest.mark.slow
def test_a_run_on_files_as_published(place):
    options = ("--gen", "real", "--data", "cifar10:path=data", "--arch", "shufflenetv2", "--executor", "inline")
    done = place("run", *options, "--learner", "timm:steps=2,batch_size=8")
    assert done.errors == []
    (row,) = rows(place.folder / "results")
    assert (row["gen"], row["n_real"]) == ("real", "40")
    assert row["data"].startswith("cifar10:path=data@")
    (record,) = records(place.folder / "results")
    notes = record["provenance"]["notes"]
    assert "images here of those published: train 40 of 50,000, test 20 of 10,000" in notes
    again = place("run", *options, "--learner", "timm:steps=2,batch_size=8")
    assert "everything is cached" in again.out
    # The decoded images take their space once: the store links to them.
    links = [path.stat().st_nlink for path in (place.folder / "results").rglob("train/images.npy")]
    assert links == [2]


def test_a_folder_with_the_archives_name_ends_a_plan_in_one_line(bench):
    """And `bench show` tells the same, and not that the archive is here."""
    for data, archive in (("cifar10", "cifar-10-python.tar.gz"), ("bloodmnist", "bloodmnist.npz")):
        place = bench.folder / "data" / archive
        place.mkdir(parents=True)
        for command in (("plan", "--gen", "real", "--data"), ("show",)):
            done = bench(*command, f"{data}:path=data", code=2)
            assert (done.out, done.err.count("\n")) == ("", 1)
            assert done.err.startswith(
                f"bench: {data}:path=data: {place} is a folder, not the archive; move it away and"
            )


def test_a_pickle_that_runs_code_ends_a_plan_in_one_line(bench):
    write_cifar10(bench.folder / "bad", noise(10, 32, 1), cycle(10, 10, 1), noise(10, 32, 2), cycle(10, 10, 2))
    (bench.folder / "bad" / "cifar-10-batches-py" / "test_batch").write_bytes(b"cos\nsystem\n(S'touch ran'\ntR.")
    done = bench("plan", "--gen", "real", "--data", "cifar10:path=bad", code=2)
    assert done.err.count("\n") == 1
    assert "test_batch: refused: this pickle asks for os.system" in done.err
    assert not (bench.folder / "ran").exists()
