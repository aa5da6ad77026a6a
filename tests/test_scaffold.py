"""``bench new``: what it writes works, passes the suite and its own test; what it refuses, it says why."""

from __future__ import annotations

import subprocess
import sys

import pytest
from publicnames import private_names

from benchbench.errors import UsageError
from benchbench.plugins.catalog import catalog, load
from benchbench.testing import conformance
from benchbench.testing.scaffold import TEMPLATES, create

#: Few steps for those that take some.
QUICK = {
    "text-to-image-generator": {"num_inference_steps": 2},
    "fitted-generator": {"steps": 4, "num_inference_steps": 2},
}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scaffold")
    return folder, {template: create(template, f"my-own-{template}", folder) for template in TEMPLATES}


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_scaffold_passes_the_suite_as_a_plain_file(written, template):
    plugin, test = written[1][template]
    module = f"my_own_{template}".replace("-", "_")
    assert (plugin.name, test.name) == (f"{module}.py", f"test_{module}.py")
    entry = catalog().get(TEMPLATES[template], str(plugin))
    results = conformance(load(entry), name=str(plugin), values=QUICK.get(template), strict=True)
    assert "imports nothing heavy with its module" in {item.name for item in results}


def test_the_written_tests_pass_in_their_folder(written):
    slow = [f"{written[1][template][1].name}::test_keeps_its_promises" for template in QUICK]  # judged above
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "."]
    command += [f"--deselect={test}" for test in slow]
    done = subprocess.run(command, cwd=written[0], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{2 * len(TEMPLATES) - len(slow)} passed" in done.stdout


def test_the_written_tests_can_fail(written, tmp_path):
    """The generator's second test notices an edit that the suite alone would let pass."""
    for path in written[1]["generator"]:
        text = path.read_text("utf-8").replace("(1 - self.strength)", "(0.5 - self.strength)")
        (tmp_path / path.name).write_text(text, "utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "."]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert "test_a_strength_of_zero_gives_the_real_images" in done.stdout
    assert done.returncode == 1


def test_the_written_files_are_tidy(written):
    pytest.importorskip("ruff")
    rules = ["check", "--select", "E,F,W,B,UP,N,SIM,ANN"]
    for command in (rules, ["format", "--check"]):
        full = [sys.executable, "-m", "ruff", *command, "--isolated", "--line-length", "100", str(written[0])]
        done = subprocess.run(full, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_plugin_is_short(written, template):
    """The goals: a text-to-image generator in 40 lines, one with a fit in 120."""
    goals = {"text-to-image-generator": 40, "fitted-generator": 120, "dataset": 60, "executor": 60}
    lines = [line for line in written[1][template][0].read_text("utf-8").splitlines() if line.strip()]
    assert len(lines) <= goals.get(template, 36)


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_plugin_imports_public_names_only(written, template):
    """As a stranger's has to: from ``benchbench``, the author's pages, the models and, in a test, the suite."""
    assert [private_names(path.read_text("utf-8")) for path in written[1][template]] == [[], []]


def test_nothing_is_overwritten(tmp_path):
    create("generator", "mine-1", tmp_path)
    with pytest.raises(UsageError) as caught:
        create("metric", "mine-1", tmp_path)
    expected = f"{tmp_path / 'mine_1.py'}: is there already and would be overwritten; choose another name"
    assert str(caught.value) == expected
    (tmp_path / "mine_1.py").unlink()
    with pytest.raises(UsageError, match=r"test_mine_1\.py: is there already"):
        create("generator", "mine-1", tmp_path)
    assert not (tmp_path / "mine_1.py").exists()


@pytest.mark.parametrize(
    ("kind", "name", "message"),
    [
        ("metrik", "mine", "metrik: unknown kind (did you mean 'metric'?)"),
        (
            "x",
            "mine",
            "x: unknown kind; there are generator, text-to-image-generator, fitted-generator, dataset, augmentation, "
            "learner, metric, executor, report",
        ),
        (
            "foundation",
            "mine",
            "foundation: has no template, being weights in a folder; name that folder as model=./folder",
        ),
        ("generator", "My Gen", "'My Gen': a name is small letters, digits and dashes, as in my-gen"),
        ("generator", "../mine", "'../mine': a name is small letters, digits and dashes, as in mine"),
        ("generator", "7", "'7': a name is small letters, digits and dashes, as in my-generator"),
        ("generator", "lambda", "lambda: is a word of Python; choose another name, such as my-lambda"),
        (
            "generator",
            "random",
            "random: random.py would hide the module 'random' of this Python; choose another name",
        ),
        (
            "metric",
            "torch",
            "torch: torch.py would hide the module 'torch' of this Python; choose another name",
        ),
    ],
)
def test_refusals_are_one_line(tmp_path, kind, name, message):
    with pytest.raises(UsageError) as caught:
        create(kind, name, tmp_path)
    assert str(caught.value) == message
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_not_there_is_said(tmp_path):
    with pytest.raises(UsageError) as caught:
        create("generator", "mine", tmp_path / "no")
    assert str(caught.value) == f"{tmp_path / 'no'}: cannot be written to (No such file or directory)"
