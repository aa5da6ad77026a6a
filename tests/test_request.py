"""From option texts to a request: defaults, suites, sweeps."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from types import SimpleNamespace

import pytest

from benchbench.errors import UsageError
from benchbench.planning.options import Request, make_request, read_suite
from benchbench.planning.spec import Spec, chain_text


def gens(request: Request) -> list[str]:
    return [chain_text(chain) for chain in request.gen]


def test_nothing_at_all_is_the_embedded_default():
    request = make_request({})
    assert gens(request) == ["diffinv"]
    assert request.data == (Spec("digits"),)
    assert (request.arch, request.learner) == (("all",), (Spec("timm"),))
    assert [chain_text(chain) for chain in request.aug] == ["default"]
    assert (request.preset, request.seeds, request.draws, request.baseline) == ("quick", None, None, True)
    assert request.metric is None
    assert (request.mix, request.shots, request.n_real, request.n_syn) == ((), (), (), ())


def test_the_rest_of_the_default_stands_behind_every_command():
    request = make_request({"gen": "lecf", "data": ["eurosat"]})
    assert gens(request) == ["lecf"]
    assert request.data == (Spec("eurosat"),)
    assert request.arch == ("all",)


def test_half_a_default_is_not_guessed():
    """`--gen mine` alone must not run digits; `--data mine` alone is the real baseline, not diffinv."""
    with pytest.raises(UsageError, match=r"^--data: missing; `bench list"):
        make_request({"gen": "mine"})
    assert make_request({"data": "mine"}).gen == ()
    with pytest.raises(UsageError, match=r"^--gen: missing, and --no-baseline leaves no row; `bench list generator`"):
        make_request({"data": "mine", "baseline": False})


def test_how_real_images_are_chosen():
    assert make_request({"data": "mine"}).subset == "balanced"
    assert make_request({"data": "mine", "subset": "groups"}).subset == "groups"
    with pytest.raises(UsageError, match=r"^--subset group: must be one of balanced, groups"):
        make_request({"data": "mine", "subset": "group"})


def test_all_options_at_once():
    request = make_request(
        {
            "gen": ["diffinv:guidance_scale=2/3,noise_strength=0.2", "diffinv+clip-filter:keep=0.5"],
            "data": "digits",
            "learner": ["timm", "linear-probe:c=1"],
            "arch": ["resnet18,vgg16", "resnet18"],
            "aug": ["default,randaugment:n=2,m=9,default+mixup:alpha=0.2", "cutmix"],
            "metric": "fidelity",
            "seeds": 3,
            "draws": 2,
            "shots": "2,5",
            "n_syn": [100, "200"],
            "mix": "1:1,1:3",
            "preset": "paper",
            "baseline": False,
        }
    )
    assert gens(request) == ["diffinv:guidance_scale=2/3,noise_strength=0.2", "diffinv+clip-filter:keep=0.5"]
    assert request.arch == ("resnet18", "vgg16")
    assert [chain_text(chain) for chain in request.aug] == [
        "default",
        "randaugment:n=2,m=9",
        "default+mixup:alpha=0.2",
        "cutmix",
    ]
    assert request.metric == (Spec("fidelity"),)
    assert (request.shots, request.n_syn, request.mix) == ((2, 5), (100, 200), ((1, 1), (1, 3)))
    assert (request.seeds, request.draws, request.preset, request.baseline) == (3, 2, "paper", False)


def test_sweeps_multiply_and_touch_the_last_link():
    request = make_request(
        {
            "gen": ["a:x=1", "b+c"],
            "data": "digits",
            "sweep": ["gen.y=0,1", "gen.z=2/3"],
        }
    )
    assert gens(request) == ["a:x=1,y=0,z=2/3", "a:x=1,y=1,z=2/3", "b+c:y=0,z=2/3", "b+c:y=1,z=2/3"]
    assert request.sweep == ()


def test_a_sweep_of_another_kind():
    request = make_request({"sweep": ["learner.lr=0.1,0.2", "data.side=8,16"]})
    assert [str(spec) for spec in request.learner] == ["timm:lr=0.1", "timm:lr=0.2"]
    assert [str(spec) for spec in request.data] == ["digits:side=8", "digits:side=16"]


def test_a_sweep_of_metrics_needs_one_by_name():
    """All installed metrics have no parameter in common; sweeping none of them would silently score nothing."""
    with pytest.raises(UsageError, match=r"^--sweep metric.k: name the metric that has it with --metric$"):
        make_request({"sweep": "metric.k=3,5"})
    swept = make_request({"metric": "fidelity", "sweep": "metric.k=3,5"})
    assert swept.metric == (Spec("fidelity", {"k": "3"}), Spec("fidelity", {"k": "5"}))


def test_no_metric_is_not_all_metrics():
    assert make_request({"metric": "none"}).metric == ()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"seeds": 0}, "--seeds 0: must be at least 1"),
        ({"draws": -1}, "--draws -1: must be at least 1"),
        ({"seeds": 10_001}, "--seeds 10001: more than 10,000 trainings of one row; ask for fewer"),
        ({"draws": 200, "seeds": 60}, "--seeds 60 and --draws 200: more than 10,000 trainings of one row"),
        ({"seeds": "three"}, "--seeds three: must be a whole number"),
        ({"seeds": True}, "--seeds True: must be a whole number"),
        ({"preset": "papr"}, "--preset papr: must be one of quick, paper (did you mean 'paper'?)"),
        ({"device": "gpu"}, "--device gpu: must be one of auto, cpu, cuda"),
        ({"precision": "int8"}, "--precision int8: must be one of auto, fp32, tf32, fp16, bf16"),
        ({"shots": 2, "n_real": 20}, "--shots and --n-real: give one of them"),
        ({"n_syn": 0}, "--n-syn 0: must be at least 1"),
        ({"baseline": "no"}, "--baseline no: must be true or false"),
        ({"seed": 3}, "seed: unknown option (did you mean 'seeds'"),
        ({"gen": {"name": "diffinv"}, "data": "digits"}, "--gen {'name': 'diffinv'}: must be text or a list of texts"),
        ({"gen": [["diffinv"]], "data": "digits"}, "--gen [['diffinv']]: must be text or a list of texts"),
        ({"mix": "3"}, "--mix 3: must be real:synthetic"),
    ],
)
def test_one_line_for_each_mistake(options, told):
    with pytest.raises(UsageError) as error:
        make_request(options)
    assert str(error.value).startswith(told)


@pytest.mark.parametrize("nothing", ["", " ", ",", [""], ["", ","]])
@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("gen", "--gen: names no generator"),
        ("data", "--data: names no dataset"),
        ("learner", "--learner: names no learner"),
        ("metric", "--metric: names no metric; `none` is for none"),
        ("arch", "--arch: names no architecture"),
        ("aug", "--aug: names no augmentation"),
        ("test_transform", "--test-transform: names no generator; `none` is for none"),
        ("shots", "--shots: no number given"),
        ("n_real", "--n-real: no number given"),
        ("n_syn", "--n-syn: no number given"),
        ("mix", "--mix: no ratio given"),
        ("sweep", "--sweep: names no parameter"),
    ],
)
def test_a_list_that_is_given_and_holds_nothing(name, told, nothing):
    """A script's unset variable must not train nothing, nor the default."""
    with pytest.raises(UsageError) as error:
        make_request({"data": "digits", name: nothing})
    assert str(error.value) == told


def test_what_is_not_given_and_blanks_among_values_are_fine():
    assert make_request({"aug": [], "arch": None, "shots": (), "data": []}) == make_request({})
    (chain,) = make_request({"aug": "mixup,,"}).aug
    assert chain_text(chain) == "mixup"


@pytest.mark.parametrize("name", ["seeds", "draws", "preset", "device", "precision", "subset"])
def test_a_single_value_that_is_empty(name):
    with pytest.raises(UsageError, match=rf"^--{name}\b.*: (no number given|must be one of)"):
        make_request({name: ""})


def test_a_suite_file(tmp_path):
    suite = tmp_path / "mine.toml"
    suite.write_text('gen = ["diffinv", "real"]\ndata = "digits"\nseeds = 3\nmix = ["1:1"]\nbaseline = false\n')
    request = make_request(read_suite(str(suite)))
    assert gens(request) == ["diffinv", "real"]
    assert (request.seeds, request.mix, request.baseline) == (3, ((1, 1),), False)


def test_suites_that_cannot_be_read(tmp_path):
    bad = tmp_path / "bad.toml"
    bad.write_text("gen = \n")
    with pytest.raises(UsageError, match=r"bad.toml: not a TOML file: .*line 1"):
        read_suite(str(bad))
    bad.write_bytes(b'gen = "\xff"')
    with pytest.raises(UsageError, match=r"bad.toml: not a TOML file: "):
        read_suite(str(bad))
    with pytest.raises(UsageError, match=r"none.toml: no such suite file$"):
        read_suite(str(tmp_path / "none.toml"))
    with pytest.raises(UsageError, match=r"^defalt: no such suite \(did you mean 'default'\?\)$"):
        read_suite("defalt")


def registered(monkeypatch, *owners):
    """Register a suite of the package ``theirs`` as the distributions given, each as ``(name, suite, value)``."""
    real = importlib.metadata.entry_points

    def points(**wanted):
        if wanted != {"group": "benchbench.suites"}:
            return real(**wanted)
        made = [
            SimpleNamespace(name=suite, value=value, dist=SimpleNamespace(name=owner)) for owner, suite, value in owners
        ]
        return [*made, *real(**wanted)]

    monkeypatch.setattr(importlib.metadata, "entry_points", points)


def test_a_stranger_does_not_replace_the_default_suite(monkeypatch):
    before = read_suite("default")
    registered(monkeypatch, ("theirs", "default", "xml.dom:theirs"))
    assert read_suite("default") == before


def test_a_suite_that_two_distributions_register_is_refused(monkeypatch):
    registered(monkeypatch, ("one", "mine", "xml.dom:mine"), ("two", "mine", "xml.sax:mine"))
    with pytest.raises(UsageError, match=r"^mine: two distributions register this suite: one and two; name its file$"):
        read_suite("mine")


def test_what_the_default_suite_says_besides_is_no_option():
    """It names the baseline's generator and the base of every augmentation; a request cannot change them."""
    suite = read_suite("default")
    assert (suite["real_generator"], suite["base_augmentation"]) == ("real", "default")
    with pytest.raises(UsageError, match=r"^real_generator: unknown option"):
        make_request({"real_generator": "real"})


def test_the_baseline_is_known_without_importing_a_generator():
    program = (
        "import sys; from benchbench.planning.plan import make_plan;"
        "from benchbench.planning.options import make_request;"
        "plan = make_plan(make_request({'data': 'digits', 'arch': 'resnet18', 'metric': 'none'}));"
        "assert [cell.setting.gen for cell in plan.cells] == ['real'];"
        "sys.exit(any('generators.' in name and 'generators.real' not in name for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
