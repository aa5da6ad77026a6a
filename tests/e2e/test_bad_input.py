"""Every mistake of a user: one whole sentence on stderr, exit code 2, and nothing that was finished is touched."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from looking import hashes

DATA = ("--data", "./toydata.py")
LEARN = ("--learner", "./toylearner.py", "--arch", "a", "--metric", "none", "--executor", "inline", "--seeds", "1")
TOY = (*DATA, *LEARN)
LAYOUT = "expected train/ and test/ (or val/) with a folder for each class, or a folder for each class alone"


def refused(bench, *arguments: str) -> str:
    """Run a command that must be refused; return its one line, having seen that all results are as they were."""
    before = hashes(bench.folder / "results")
    done = bench(*arguments, code=2, timeout=60)
    assert done.out == "", "the plan was printed before the mistake was found"
    assert done.err.count("\n") == 1
    assert done.err.endswith("\n")
    assert hashes(bench.folder / "results") == before
    return done.err.rstrip("\n")


GEN = (*DATA, *LEARN, "--gen")
BLEND = (*GEN, "./toygen.py")

PLUGINS = [
    (
        ("--gen", "difinv", *TOY),
        "difinv: unknown generator (did you mean 'diffinv'?); `bench list generator` shows all",
    ),
    (
        ("--gen", "real", "--data", "digts"),
        "digts: unknown dataset (did you mean 'digits'?); `bench list dataset` shows all",
    ),
    (
        ("--gen", "real", "--data", "digits", "--learner", "tim"),
        "tim: unknown learner (did you mean 'timm'?); `bench list learner` shows all",
    ),
    (
        ("--gen", "real", "--data", "digits", "--arch", "resnet18.tv_in1k"),
        "resnet18.tv_in1k: the tag tv_in1k names published weights, and this training starts from scratch; "
        "use resnet18, or add --learner timm:pretrained=true",
    ),
    (
        ("--gen", "real", "--data", "digits", "--learner", "timm:weights="),
        "timm:weights=: must not be empty; leave it out for the default",
    ),
    (
        ("--gen", "real", "--data", "digits", "--aug", "defalt"),
        "defalt: unknown augmentation (did you mean 'default'?); `bench list augmentation` shows all",
    ),
    (
        ("--gen", "real", *DATA, "--metric", "fidelty"),
        "fidelty: unknown metric (did you mean 'fidelity'?); `bench list metric` shows all",
    ),
    (("--gen", "digits", *TOY), "digits: unknown generator (it is a dataset); `bench list generator` shows all"),
    ((*GEN, "./gone.py"), "./gone.py: no such file; a generator is a registered name or a Python file"),
    ((*GEN, "./broken.py"), "./broken.py: cannot be imported: SyntaxError: invalid syntax (broken.py:2)"),
    (
        (*GEN, "./lost.py"),
        "./lost.py: cannot be imported: ModuleNotFoundError: No module named 'not_there' (lost.py:1)",
    ),
    ((*GEN, "./noplugin.py"), "./noplugin.py: must define exactly one generator; it defines none"),
    ((*GEN, "real+real"), "real: makes its own images and cannot follow real+"),
]

PARAMETERS = [
    (
        ("--gen", "real", "--data", "digits", "--aug", "default:padding=16+cutout"),
        "default:padding=16: shifts images of 16 px out of sight; make it smaller",
    ),
    (
        ("--gen", "real", "--data", "digits", "--learner", "timm:resolution=32", "--aug", "default,cutout:size=32"),
        "cutout:size=32: leaves nothing of images of 32 px; make it smaller",
    ),
    ((*GEN, "./toygen.py:strenth=1"), "./toygen.py:strenth: unknown parameter (did you mean 'strength'?)"),
    ((*GEN, "real:strength=1"), "real:strength: unknown parameter; it has none"),
    ((*GEN, "./toygen.py:strength=much"), "./toygen.py:strength=much: must be a number"),
    ((*GEN, "./toygen.py:strength=-1"), "./toygen.py:strength=-1: must be at least 0"),
    ((*GEN, "./toygen.py:strength=101"), "./toygen.py:strength=101: must be at most 100"),
    ((*GEN, "./toygen.py:strength=nan"), "./toygen.py:strength=nan: must be a finite number"),
    ((*GEN, "./toygen.py:strength=1,strength=2"), "./toygen.py:strength: given twice"),
    (
        (*GEN, "./toygen.py:strength"),
        "./toygen.py:strength: 'strength' is not key=value; write ./toygen.py:key=value,key=value",
    ),
    (
        (*GEN, "./toygen.py:fail=fitt"),
        "./toygen.py:fail=fitt: must be one of no, fit, sample, memory, count, die (did you mean 'fit'?)",
    ),
    (
        ("--gen", "diffinv:num_inference_steps=0", "--data", "digits"),
        "diffinv:num_inference_steps=0: must be at least 1",
    ),
    (
        ("--gen", "diffinv:num_inference_steps=1.5", "--data", "digits"),
        "diffinv:num_inference_steps=1.5: must be a whole number",
    ),
    (("--gen", "diffinv:guidance_scale=2/x", "--data", "digits"), "diffinv:guidance_scale=2/x: must be a number"),
    (("--gen", "diffinv:checkpoints=3/2", "--data", "digits"), "diffinv: checkpoints: must ascend"),
    (("--gen", "real", "--data", "digits", "--learner", "timm:steps=0"), "timm:steps=0: must be at least 1"),
    (
        ("--gen", "real", "--data", "folder:path=pets,test_fraction=0", *LEARN),
        "folder:test_fraction=0: must be above 0",
    ),
]

OPTIONS = [
    (("--seeds", "0"), "--seeds 0: must be at least 1"),
    (("--seeds", "two"), "--seeds two: must be a whole number"),
    (("--draws", "0"), "--draws 0: must be at least 1"),
    (("--draws", "-1"), "--draws -1: must be at least 1"),
    (("--shots", "0"), "--shots 0: must be at least 1"),
    (("--shots", "2,x"), "--shots x: must be a whole number"),
    (("--shots", "11"), "toydata.py: --shots=11: class 'dark' has 10 training images; give at most 10"),
    (("--n-real", "31"), "toydata.py: --n-real=31: there are 30 training images; give at most 30"),
    (("--n-real", "2"), "toydata.py: --n-real=2: must be at least 3, one image for each class"),
    (("--shots", "2", "--n-real", "6"), "--shots and --n-real: give one of them; both set the number of real images"),
    (("--n-syn", "0"), "--n-syn 0: must be at least 1"),
    (("--mix", "0:0"), None),
    (("--aug", "./gone.py"), "./gone.py: no such file; an augmentation is a registered name or a Python file"),
    (("--mix", "1-1"), "--mix 1-1: must be real:synthetic, such as 1:1 or 1:3, each at most 999999"),
    (("--preset", "papr"), "--preset papr: must be one of quick, paper (did you mean 'paper'?)"),
    (("--device", "tpu"), "--device tpu: must be one of auto, cpu, cuda (did you mean 'cpu'?)"),
    (("--precision", "fp16"), "--precision fp16: needs an accelerator; on a CPU there are fp32 and bf16"),
    (
        ("--precision", "fp8"),
        "--precision fp8: must be one of auto, fp32, tf32, fp16, bf16 (did you mean 'fp32' or 'fp16'?)",
    ),
    (("--executor", "rey"), "--executor rey: unknown executor (did you mean 'ray'?); `bench list executor` shows all"),
    (("--results", ""), "--results: must not be empty; leave it out for ./results"),
    (("--workers", "0"), "--workers 0: must be at least 1"),
    (("--workers", "all"), "--workers all: must be a whole number"),
    (
        ("--sweep", "strength"),
        "--sweep strength: must be gen.PARAMETER=VALUE,VALUE (or data., learner., aug., metric.)",
    ),
    (("--sweep", "gen.strenth=1,2"), "./toygen.py:strenth: unknown parameter (did you mean 'strength'?)"),
    (("--sweep", "gen.strength=1,200"), "./toygen.py:strength=200: must be at most 100"),
]

FOLDERS = [
    ("empty", f"the folder is empty; {LAYOUT}"),
    ("one", "only one class ('cat'); a classifier needs at least two"),
    ("alone", "only one class ('cat'); a classifier needs at least two"),
    ("newclass", "'test' has a class that 'train' lacks: 'eel'; add training images or move it away"),
    (
        "bare",
        "class folder 'train/dog' has no images (looked for .bmp .gif .jpeg .jpg .pgm .png .ppm .tif .tiff .webp)",
    ),
    ("cut", "1 image cannot be used: 'train/cat/1.png' (truncated); repair it or move it away"),
    ("text", "1 image cannot be used: 'test/dog/2.png' (not an image, or damaged); repair it or move it away"),
    ("untrained", f"has 'test' but no train/; {LAYOUT}"),
    ("afile", f"not a folder; {LAYOUT}"),
    ("pet", None),
]

SUITES = [
    ("gone", "gone: no such suite; there are default"),
    ("defalt", "defalt: no such suite (did you mean 'default'?)"),
    ("gone.toml", "gone.toml: no such suite file"),
    ("unknown.toml", "gne: unknown option (did you mean 'gen'?)"),
]

COMMANDS = [
    (("rnu",), "bench: No such command 'rnu'"),
    (("run", "--gne", "real"), "bench run: No such option: --gne"),
    (("show", "zzz"), "bench: zzz: no such plugin; `bench list` shows all"),
    (("show", "difinv"), "bench: difinv: no such plugin (did you mean 'diffinv'"),
    (("show", "./gone.py"), "bench: ./gone.py: no such file; a plugin is a registered name or a Python file"),
    (("list", "generatr"), "bench: generatr: no such kind (did you mean 'generator'"),
    (("check", "zzz"), "bench: zzz: no such plugin; `bench list` shows all"),
    (("check", "./broken.py"), "bench: ./broken.py: cannot be imported: SyntaxError: invalid syntax (broken.py:2)"),
    (("why", "abc123abc123"), "bench: why abc123abc123: no record has such a key; `bench plan --cells` shows keys"),
    (("report", "--results", "gone"), "bench: --results gone: no records there; `bench run --results gone` makes some"),
    (
        ("cache", "ls", "--results", "gone"),
        "bench: --results gone: nothing is cached there (gone/artifacts does not exist)",
    ),
    (
        ("cache", "verify", "--results", "gone"),
        "bench: --results gone: nothing is cached there (gone/artifacts does not exist)",
    ),
    (
        ("cache", "gc", "--results", "gone"),
        "bench: --results gone: nothing is cached there (gone/artifacts does not exist)",
    ),
    (("new", "generatr", "mine"), "bench: generatr: unknown kind (did you mean 'generator'"),
    (("new", "generator", "Mine!"), "bench: 'Mine!': a name is small letters, digits and dashes, as in mine"),
    (("plan", "--gen", "difinv", "--data", "digits"), "bench: difinv: unknown generator (did you mean 'diffinv'?)"),
]


@pytest.mark.parametrize(("options", "sentence"), PLUGINS)
def test_unknown_or_broken_plugins(finished, options, sentence):
    assert refused(finished, "run", *options) == f"bench: {sentence}"


@pytest.mark.parametrize(("options", "sentence"), PARAMETERS)
def test_unknown_mistyped_or_excessive_parameters(finished, options, sentence):
    assert refused(finished, "run", *options) == f"bench: {sentence}"


@pytest.mark.parametrize(("options", "sentence"), OPTIONS)
def test_wrong_options(finished, options, sentence):
    said = refused(finished, "run", *BLEND, *options)
    assert said == f"bench: {sentence}" if sentence else said.startswith(f"bench: {' '.join(options)}: ")


@pytest.mark.parametrize(("folder", "sentence"), FOLDERS)
def test_folders_that_cannot_be_used(finished, folder, sentence):
    said = refused(finished, "run", "--gen", "real", "--data", f"folder:path={folder}", *LEARN)
    if sentence is None:
        sentence = f"no such folder (did you mean 'pets' or 'empty'?); {LAYOUT}"
    assert said == f"bench: folder:path={folder}: {sentence}"


def test_folder_without_a_path(finished):
    said = refused(finished, "run", "--gen", "real", "--data", "folder", *LEARN)
    assert said == f"bench: folder: path is missing: folder:path=FOLDER; {LAYOUT}"


@pytest.mark.parametrize(("suite", "sentence"), SUITES)
def test_suites_that_cannot_be_read(finished, suite, sentence):
    assert refused(finished, "run", suite) == f"bench: {sentence}"


def test_a_suite_that_is_no_toml_names_the_place(finished):
    said = refused(finished, "run", "broken.toml")
    assert said.startswith("bench: broken.toml: not a TOML file: ")


@pytest.mark.parametrize(("arguments", "sentence"), COMMANDS)
def test_other_commands(finished, arguments, sentence):
    assert refused(finished, *arguments).startswith(sentence)


def test_new_overwrites_nothing(finished):
    (finished.folder / "mine.py").write_text("mine\n")
    said = refused(finished, "new", "generator", "mine")
    assert said == f"bench: {finished.folder}/mine.py: is there already and would be overwritten; choose another name"
    assert (finished.folder / "mine.py").read_text() == "mine\n"
    assert not (finished.folder / "test_mine.py").exists()


def test_half_a_request(finished):
    said = refused(finished, "run", "--gen", "real", *LEARN)
    assert said == "bench: --data: missing; `bench list dataset` shows what there is"
    said = refused(finished, "run", *DATA, *LEARN, "--no-baseline")
    assert said == "bench: --gen: missing, and --no-baseline leaves no row; `bench list generator` shows what there is"


def test_an_unknown_architecture_names_the_nearest(finished):
    said = refused(finished, "run", "--gen", "real", "--data", "digits", "--arch", "resnet81", "--metric", "none")
    assert said.startswith("bench: resnet81: unknown architecture (did you mean 'resnet18' or '")
    assert said.count("resnet18") == 1


# -- results that cannot be written ------------------------------------------------------------------------------------


def test_results_is_a_file(finished):
    for results in ("afile", "afile/below"):
        said = refused(finished, "run", *BLEND, "--results", results)
        assert said == (
            f"bench: results folder {results}/artifacts cannot be written: afile is not a folder; "
            "choose another with --results"
        )
    assert (finished.folder / "afile").read_text() == "a file"


@pytest.mark.parametrize("name", ["records", "environments", "figures", "leaderboard.csv"])
def test_something_is_in_the_way_in_results(finished, name):
    results = finished.folder / f"blocked-{name}"
    results.mkdir()
    if name == "leaderboard.csv":
        (results / name).mkdir()
        what = "a folder"
    else:
        (results / name).touch()
        what = "not a folder"
    said = refused(finished, "run", *BLEND, "--results", results.name)
    where = f"{results.name}/{name}"
    assert said == f"bench: results folder {results.name} cannot be written: {where} is {what}; move it away"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_results_without_permission(finished):
    locked = finished.folder / "locked"
    locked.mkdir(mode=0o500)
    said = refused(finished, "run", *BLEND, "--results", "locked")
    assert said.startswith("bench: results folder locked/artifacts cannot be written: Permission denied")


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a file system that refuses even root")
def test_results_where_nobody_may_write(finished):
    said = refused(finished, "run", *BLEND, "--results", "/proc/results")
    assert said.startswith("bench: results folder /proc/results/artifacts cannot be written: ")
    assert said.endswith("; choose another with --results")


# -- what is neither here nor reachable --------------------------------------------------------------------------------


def test_a_missing_dataset_is_said_at_once(finished):
    before = hashes(finished.folder / "results")
    done = finished("run", "--gen", "real", "--data", "eurosat", *LEARN, code=2)
    place = Path(finished.env["BENCH_CACHE"]) / "data"
    assert done.err.startswith(
        "bench: eurosat: not found: the EuroSAT images (RGB, ten class folders); "
        f"looked for {place}/eurosat/2750; put it there; source: `bench fetch eurosat` or "
        f"torchvision.datasets.EuroSAT('{place}', download=True) gets them, or by hand https://"
    )
    assert done.err.endswith(f"/EuroSAT.zip as {place}/eurosat/EuroSAT.zip\n")
    assert done.err.count("\n") == 1
    assert done.seconds < 10
    assert hashes(finished.folder / "results") == before


def test_a_missing_model_is_said_within_ten_seconds(finished):
    before = hashes(finished.folder / "results")
    done = finished("run", *GEN, "diffinv:model=CompVis/stable-diffusion-v1-4", code=2)
    line, end = done.err.split("\n")
    assert end == ""
    assert line.startswith(
        "bench: diffinv:model=CompVis/stable-diffusion-v1-4: it is not in the local hub cache "
        "and the hub cannot be reached ("
    )
    assert line.endswith(
        f"looked in {finished.env['HF_HOME']}/hub; download it on a connected machine "
        "(`hf download CompVis/stable-diffusion-v1-4`) and copy that folder, or give a local folder instead: "
        "/path/to/stable-diffusion-v1-4"
    )
    assert done.seconds < 10
    assert hashes(finished.folder / "results") == before


def test_the_default_model_of_a_folder_is_said_offline(finished):
    options = ("--gen", "diffinv", "--data", "folder:path=pets", *LEARN)
    done = finished("run", *options, code=2, HF_HUB_OFFLINE="1")
    assert done.err.count("\n") == 1
    assert "CompVis/stable-diffusion-v1-4: it is not in the local hub cache" in done.err
    assert "(HF_HUB_OFFLINE is set)" in done.err


@pytest.mark.parametrize(
    ("model", "why"),
    [
        ("./gone", "no such file or folder; give a model's folder, in the format of its kind"),
        ("glyphsd", "neither an embedded model, nor a folder, nor a hub id (did you mean 'glyph-sd'"),
    ],
)
def test_a_model_that_is_a_slip(finished, model, why):
    said = refused(finished, "run", "--gen", f"diffinv:model={model}", "--data", "digits")
    assert said.startswith(f"bench: diffinv:model={model}: {why}")


def test_missing_inception_weights(finished, tmp_path):
    learner = ("--learner", "./toylearner.py")
    options = ("run", "--gen", "real", *DATA, *learner, "--metric", "fidelity:extractor=inception")
    done = finished(*options, code=2, BENCH_INCEPTION_WEIGHTS=str(tmp_path / "gone.pth"))
    start = "bench: fidelity:extractor=inception: not found: Inception weights of FID; looked for "
    assert done.err.startswith(f"{start}{tmp_path}/gone.pth;")
    assert done.err.count("\n") == 1
    assert done.seconds < 10


def test_a_missing_package(finished):
    source = (finished.folder / "toygen.py").read_text()
    needs = "def needs(self):\n        from benchbench import Requirements\n"
    needs += '        return Requirements(packages=("a_package_that_is_not_there",))\n\n'
    (finished.folder / "needy.py").write_text(source.replace("    def shards", f"    {needs}    def shards"))
    said = refused(finished, "run", *GEN, "./needy.py")
    assert said == (
        "bench: needy.py: needs the package a_package_that_is_not_there, which is not installed; "
        "pip install a_package_that_is_not_there"
    )
