"""Every generator through the real command line, on the embedded models, reduced to what a test affords."""

from __future__ import annotations

import json

import numpy as np
import pytest
from driving import Bench
from looking import hashes, records, rows
from PIL import Image

from benchbench.plugins.images import ImageSet
from benchbench.store.store import Store

pytestmark = pytest.mark.slow

SAMPLING = "num_inference_steps=2"
#: As tables spell them: parameters in the order of ``bench show``, defaults left out.
GENERATORS = {
    "real": "real",
    "prompt": f"prompt:{SAMPLING}",
    "lecf": f"lecf:{SAMPLING},num_sentences=2,candidates=40,clip_threshold=0.3",
    "random": "biggan",
    "inversion": "biggan:mode=inversion,steps=3,feature_width=8,feature_steps=2",
    "knn": "knn:k=2",
    "vae": "vae",
    "guidance": "real-guidance:num_inference_steps=8",
    "diffinv": f"diffinv:checkpoints=2,{SAMPLING}",
    "filtered": f"diffinv:checkpoints=2,{SAMPLING}+clip-filter:threshold=0.2",
}
LEARN = ("--arch", "shufflenetv2", "--learner", "timm:steps=3,batch_size=8", "--executor", "inline")
DATA = ("--data", "digits", "--shots", "2", "--n-syn", "20", "--seeds", "1", "--mix", "0:1")
#: Generators that make one image per real one, or may leave some out.
FEWER = {"inversion": 20, "vae": 20, "lecf": None, "knn": None, "filtered": None}


def options() -> list[str]:
    return [part for text in GENERATORS.values() for part in ("--gen", text)]


@pytest.fixture(scope="module")
def all_of_them(tmp_path_factory, environment) -> Bench:
    """A folder in which one run of every generator ended well, test images as they are and through the VAE."""
    bench = Bench(tmp_path_factory.mktemp("generators"), environment)
    done = bench("run", *options(), *DATA, *LEARN, "--test-transform", "none", "--test-transform", "vae")
    assert done.errors == [], "stderr holds progress and nothing else"
    return bench


@pytest.fixture
def table(all_of_them) -> dict[str, dict[str, str]]:
    found = {row["gen"]: row for row in rows(all_of_them.folder / "results") if row["test"] == "-"}
    return {name: found[text] for name, text in GENERATORS.items()}


def images_of(bench: Bench, gen: str) -> ImageSet:
    record = next(item for item in records(bench.folder / "results") if item["cell"]["gen"] == gen)
    return ImageSet.load(Store(bench.folder / "results" / "artifacts").path(record["steps"]["sample"][-1]))


@pytest.mark.parametrize("name", GENERATORS)
def test_a_row_has_accuracy_fidelity_and_cost(table, name):
    row = table[name]
    assert row["status"] == "done"
    assert 0 <= float(row["acc_mean"]) <= 100
    for column in ("fd", "kd", "precision", "recall", "density", "coverage"):
        assert np.isfinite(float(row[column])), column
    assert row["extractor"] == "glyphcnn-v1"
    if name != "real":
        assert float(row["sample_s"]) > 0
        made = int(row["n_made"])
        expected = FEWER.get(name, 20)
        assert made == expected if expected else 1 <= made <= 40
        assert int(row["n_score"]) == made


@pytest.mark.parametrize("name", [name for name in GENERATORS if name != "real"])
def test_images_are_varied_and_know_where_they_come_from(all_of_them, name):
    made = images_of(all_of_them, GENERATORS[name])
    images = np.asarray(made.images)
    assert images.shape[1:] == (32, 32, 3)
    assert len({image.tobytes() for image in images}) > len(images) / 2
    assert images.std() > 10
    assert all(made.origins), "every image has an origin"


def test_what_is_made_from_real_images_names_its_source(all_of_them):
    for name in ("inversion", "vae", "guidance", "diffinv", "filtered", "knn"):
        made = images_of(all_of_them, GENERATORS[name])
        assert {origin["source"] for origin in made.origins} <= set(range(20)), name


def test_test_images_through_the_vae_are_rows_of_their_own(all_of_them):
    both = [row for row in rows(all_of_them.folder / "results") if row["gen"] == "diffinv:checkpoints=2," + SAMPLING]
    assert sorted(row["test"] for row in both) == ["-", "vae"]
    assert len({row["fd"] for row in both}) == 1  # one generation
    assert ", test images through vae" in (all_of_them.folder / "results" / "leaderboard.md").read_text("utf-8")


def test_the_filter_shares_the_images_that_it_filters(all_of_them):
    found = records(all_of_them.folder / "results")
    plain = next(item for item in found if item["cell"]["gen"] == GENERATORS["diffinv"])
    chain = next(item for item in found if item["cell"]["gen"] == GENERATORS["filtered"])
    assert chain["steps"]["sample"][0] == plain["steps"]["sample"][0]


def test_facts_of_filters_and_retrieval_are_in_the_records(all_of_them):
    found = {item["cell"]["gen"]: item["facts"] for item in records(all_of_them.folder / "results")}
    for name in ("lecf", "knn", "filtered"):
        assert found[GENERATORS[name]]["sample"], name


def test_pictures_of_every_generator_are_there_and_not_blank(all_of_them):
    pictures = sorted((all_of_them.folder / "results" / "figures").rglob("*.png"))
    assert len(pictures) >= len(GENERATORS) - 1
    for path in pictures:
        assert np.asarray(Image.open(path).convert("L")).std() > 5, path.name


def test_another_threshold_generates_nothing_anew(all_of_them):
    lecf = GENERATORS["lecf"].replace("clip_threshold=0.3", "clip_threshold=0.1")
    filtered = GENERATORS["filtered"].replace("threshold=0.2", "threshold=0.1")
    done = all_of_them("plan", "--gen", lecf, "--gen", filtered, *DATA, *LEARN[:-2], "--metric", "none")
    stages = {line.split()[0]: line for line in done.out.splitlines()[1:]}
    assert "0 to run" in stages["fit"]
    assert "1 cached, 2 to run" in stages["sample"]  # diffinv's images are there; two selections are made again


def test_a_second_run_changes_no_byte(all_of_them):
    results = all_of_them.folder / "results"
    before = {name: hashes(results / name) for name in ("records", "figures", "artifacts")}
    tables = [(results / f"leaderboard.{kind}").read_bytes() for kind in ("csv", "md")]
    done = all_of_them("run", *options(), *DATA, *LEARN, "--test-transform", "none", "--test-transform", "vae")
    assert done.out.count(", 0 to run") == 7, "a step was run again"
    assert {name: hashes(results / name) for name in before} == before
    assert [(results / f"leaderboard.{kind}").read_bytes() for kind in ("csv", "md")] == tables


def test_a_pool_of_ones_own_needs_no_embedded_model_but_clip(tmp_path, environment):
    bench = Bench(tmp_path, environment)
    rng = np.random.default_rng(0)
    (tmp_path / "pictures").mkdir()
    for number in range(12):
        noise = rng.integers(0, 256, (20 + number, 24, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / "pictures" / f"{number}.png")
    bench("run", "--gen", "knn:k=2,pool=./pictures", *DATA, *LEARN, "--metric", "none", "--no-baseline")
    (row,) = rows(tmp_path / "results")
    assert row["gen"].startswith("knn:k=2,pool=pictures@")
    assert 1 <= int(row["n_made"]) <= 20
    assert str(tmp_path) not in json.dumps(records(tmp_path / "results"))


MISTAKES = [
    ("prompt:template=a photo", "prompt: template=a photo: must have exactly one {}, where the class name goes"),
    ("lecf:clip_threshold=2", "lecf:clip_threshold=2: must be at most 1"),
    ("lecf:language_model=glyph-clip", "lecf:language_model=glyph-clip: no sequence-to-sequence language model"),
    ("lecf:clip=glyph-sd", "lecf:clip=glyph-sd: no config.json in the folder"),
    ("biggan:model=glyph-sd", "biggan:model=glyph-sd: not a BigGAN"),
    ("biggan:model=./gone.pth", "biggan:model=./gone.pth: no such file or folder"),
    ("knn:pool=./gone", "knn:pool=./gone: no such folder"),
    ("knn:pool=", "knn:pool=: "),
    ("knn:k=0", "knn:k=0: must be at least 1"),
    ("vae:resolution=33", "vae:resolution=33: must be a multiple of 4"),
    ("clip-filter", "clip-filter: works on another generator's images; write generator+clip-filter"),
    ("diffinv+knn", "knn: makes its own images and cannot follow diffinv+"),
]


@pytest.mark.parametrize(("gen", "said"), MISTAKES, ids=[gen for gen, _ in MISTAKES])
def test_a_mistake_is_one_line_before_anything_runs(bench, gen, said):
    done = bench("run", "--gen", gen, *DATA, *LEARN, code=2, timeout=60)
    line, end = done.err.split("\n")
    assert (done.out, end) == ("", "")
    assert line.startswith(f"bench: {said}")
    assert not (bench.folder / "results" / "records").exists()


def test_a_threshold_that_empties_a_class_is_a_failed_cell_that_says_so(bench):
    gen = f"lecf:num_sentences=2,candidates=20,{SAMPLING},clip_threshold=1,min_per_class=0"
    done = bench("run", "--gen", gen, *DATA, *LEARN, "--metric", "none", "--no-baseline", code=1)
    assert "leaves no image of class '0'" in done.errors[-1]
    (record,) = records(bench.folder / "results")
    assert record["status"] == "failed"
