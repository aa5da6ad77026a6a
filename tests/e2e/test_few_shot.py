"""The learners on a CLIP through the real command line, on the embedded models, reduced to what a test affords."""

from __future__ import annotations

import pytest
from driving import Bench
from looking import records, rows

pytestmark = pytest.mark.slow

#: As tables spell them.
LEARNERS = {
    "clip-zeroshot": "clip-zeroshot",
    "coop": "coop:max_steps=4,batch_size=8",
    "tip-adapter": "tip-adapter:augment_epochs=2",
    "tip-adapter-f": "tip-adapter-f:augment_epochs=2,epochs=2",
    "ct": "ct:epochs=2",
}
DATA = ("--data", "digits", "--executor", "inline")


@pytest.fixture(scope="module")
def shots(tmp_path_factory, environment) -> Bench:
    """A folder in which every learner has been trained on real shots, without any generator."""
    bench = Bench(tmp_path_factory.mktemp("few-shot"), environment)
    options = [part for text in LEARNERS.values() for part in ("--learner", text)]
    done = bench("run", *options, *DATA, "--shots", "1,2", "--seeds", "2", "--draws", "1")
    assert done.errors == [], "stderr holds progress and nothing else"
    return bench


def test_every_learner_has_its_rows(shots):
    table = rows(shots.folder / "results")
    found = {}
    for row in table:
        found.setdefault(row["learner"], []).append(row)
    assert set(found) == set(LEARNERS.values())
    for name, text in LEARNERS.items():
        mine = found[text]
        assert {row["gen"] for row in mine} == {"real"}
        assert {row["arch"] for row in mine} <= {"", "-"}
        if name != "clip-zeroshot":
            assert sorted(row["n_real"] for row in mine) == ["10", "20"]
            assert {row["seeds"] for row in mine} == {"2"}
        assert all(float(row["acc_mean"]) > (10 if name == "coop" else 80) for row in mine), name


def test_records_say_how_it_was_done(shots):
    told = {}
    for record in records(shots.folder / "results"):
        told.setdefault(record["cell"]["learner"].partition(":")[0], record["result"]["details"])
    zero_shot = {details["zero_shot_accuracy"] for details in told.values()}
    assert len(zero_shot) == 1, "one CLIP and one template give one zero-shot accuracy"
    assert told["ct"]["training_images"].keys() == {"real"}
    assert 0 <= told["tip-adapter"]["validation_accuracy"] <= 1
    assert told["coop"]["recipe"]["n_ctx"] == 5


def test_generated_images_and_mixes(shots):
    bench = shots.at(shots.folder)
    generator = ("--gen", "prompt:num_inference_steps=1", "--shots", "1", "--n-syn", "20", "--seeds", "1")
    bench("run", *generator, *DATA, "--learner", LEARNERS["ct"], "--mix", "0:1,1:1")
    bench("run", *generator, *DATA, "--learner", LEARNERS["tip-adapter"])
    table = [row for row in rows(bench.folder / "results") if row["gen"].startswith("prompt")]
    assert sorted((row["learner"], row["mix"]) for row in table) == [
        (LEARNERS["ct"], "0:1"),
        (LEARNERS["ct"], "1:1"),
        (LEARNERS["tip-adapter"], "0:1"),
    ]


@pytest.mark.parametrize(
    ("learner", "words"),
    [
        ("coop:clip=glyph-cnn", "coop:clip=glyph-cnn: "),
        ("ct:clip=./nowhere", "./nowhere"),
        ("coop:n_ctx=18", "coop:clip=glyph-clip: 'zero.' takes 4 tokens and 18 of context, the model reads 20"),
        ("tip-adapter:validation=some", "validation=some"),
    ],
)
def test_mistakes_are_one_line_before_any_work(bench, learner, words):
    done = bench("run", "--learner", learner, *DATA, "--shots", "1", code=2)
    assert len(done.errors) == 1
    assert words in done.errors[0]
    assert not list((bench.folder / "results").rglob("*.json"))
