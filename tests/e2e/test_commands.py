"""Every command but ``run`` itself, and the ways of saying what to run: each prints what it promises, JSON included."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from driving import Bench
from looking import hashes, records, rows
from toys import OPTIONS as TOYS
from toys import STAGES, write_toys

from benchbench.cli import run_command

KINDS = ("dataset", "generator", "augmentation", "learner", "metric", "foundation", "executor", "report")
OURS = {
    "dataset": (
        *("digits", "folder", "cifar10", "cifar100", "stl10", "imagenette", "eurosat"),
        *("pathmnist", "dermamnist", "bloodmnist"),
    ),
    "generator": (
        "real",
        "diffinv",
        "prompt",
        "lecf",
        "real-guidance",
        "clip-filter",
        "biggan",
        "knn",
        "vae",
        "corrupt",
    ),
    "augmentation": ("default", "autoaugment", "randaugment", "cutout", "mixup", "cutmix", "augmix", "meada"),
    "learner": ("timm", "clip-zeroshot", "coop", "tip-adapter", "tip-adapter-f", "ct"),
    "metric": ("fidelity", "memorisation", "agreement"),
    "executor": ("inline", "processes", "ray"),
    "report": ("csv", "markdown", "png"),
    "foundation": ("glyph-cnn", "glyph-sd", "glyph-clip", "glyph-biggan", "glyph-pool", "glyph-words"),
}


@pytest.fixture(scope="module")
def ran(tmp_path_factory, environment):
    """A folder where the toys ran once."""
    bench = Bench(tmp_path_factory.mktemp("commands"), environment)
    write_toys(bench.folder)
    bench("run", *TOYS, "--executor", "inline")
    return bench


# -- list, show, check, doctor -----------------------------------------------------------------------------------------


def test_list_names_every_plugin_by_kind(bench):
    blocks = bench("list").out.strip().split("\n\n")
    found = {block.splitlines()[0]: [line.split()[0] for line in block.splitlines()[1:]] for block in blocks}
    for kind in KINDS:
        assert set(OURS[kind]) <= set(found[f"{kind}s"])
    assert "BROKEN" not in "\n".join(blocks)


def test_list_as_json_and_of_one_kind(bench):
    told = json.loads(bench("list", "--json").out)
    assert {(row["kind"], row["name"]) for row in told} >= {(kind, name) for kind in OURS for name in OURS[kind]}
    assert all(row["summary"] and row["problem"] is None for row in told if row["distribution"] == "benchbench")
    assert {row["kind"] for row in json.loads(bench("list", "generators", "--json").out)} == {"generator"}


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in OURS.items() for name in names])
def test_show_every_plugin(bench, kind, name, monkeypatch, capsys):
    """In this process: the next test starts one for each kind."""
    monkeypatch.chdir(bench.folder)
    monkeypatch.setenv("BENCH_CACHE", bench.env["BENCH_CACHE"])
    monkeypatch.setenv("TYPER_USE_RICH", "0")
    assert run_command(["show", name]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"{name} ({kind}, benchbench ")
    if kind == "dataset" and name != "folder":
        for fact in ("splits", "classes", "licence", "source", "paper"):
            assert re.search(rf"^  {fact} +\S", text, re.MULTILINE), fact


@pytest.mark.parametrize(("kind", "name"), [(kind, names[0]) for kind, names in OURS.items()])
def test_show_as_json(bench, kind, name):
    told = json.loads(bench("show", name, "--json").out)
    assert (told["kind"], told["name"]) == (kind, name)
    assert told["doc"]
    text = bench("show", name).out
    for parameter in told["parameters"]:
        assert parameter["help"].endswith((".", "?"))
        assert re.search(rf"^  {parameter['name']} ", text, re.MULTILINE)


def test_show_tells_both_presets_and_the_authors_parameter_counts(bench):
    shown = {row["name"]: row for row in json.loads(bench("show", "diffinv", "--json").out)["parameters"]}
    assert (shown["learning_rate"]["paper"], shown["num_inference_steps"]["paper"]) == ("0.03", "100")
    assert shown["checkpoints"]["paper"] == "1000/2000/3000"
    assert shown["optimizer"] | {"help": ""} == {
        "name": "optimizer",
        "quick": "per-image",
        "paper": "dense-adamw",
        "bounds": "per-image | dense-adamw",
        "help": "",
    }
    table = bench("show", "timm").out.partition("\ntable\n")[2]
    for name in ("resnet18", "vgg16", "mobilenetv2", "shufflenetv2", "efficientnetb0"):
        assert name in table
    assert "authors" in table


@pytest.mark.parametrize(("kind", "name"), [("generator", "real"), ("dataset", "digits")])
def test_check_a_built_in_plugin(bench, kind, name):
    done = bench("check", name)
    assert re.search(r"^\d+ checks, 0 failed$", done.out, re.MULTILINE)
    assert "FAIL" not in done.out


def test_check_finds_a_broken_promise(toys):
    source = (toys.folder / "toygen.py").read_text("utf-8")
    (toys.folder / "leaky.py").write_text(source.replace("context.rng(chunk.start)", "np.random.default_rng()"))
    done = toys("check", "./leaky.py", code=1)
    assert re.search(r"^FAIL  ", done.out, re.MULTILINE)
    told = json.loads(toys("check", "./leaky.py", "--json", code=1).out)
    assert any(not item["ok"] and not item["skipped"] for item in told)


def test_doctor_finds_this_installation_whole(bench):
    done = bench("doctor")
    assert "FAIL" not in done.out
    assert re.search(r"^ok    model glyph-sd +\d+\.\d MB$", done.out, re.MULTILINE)
    told = {item["subject"]: item for item in json.loads(bench("doctor", "--json").out)}
    assert told["torch"]["ok"]
    assert told["plugins"]["ok"]


# -- new ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS[:5])
def test_a_new_plugin_checks_and_runs_as_it_is(toys, kind):
    done = toys("new", kind, f"my-{kind}")
    file = f"./my_{kind}.py"
    assert done.out.splitlines()[:2] == [f"wrote my_{kind}.py", f"wrote test_my_{kind}.py"]
    assert f"bench check {file}" in done.out
    assert re.search(r"^\d+ checks, 0 failed$", toys("check", file).out, re.MULTILINE)
    if kind == "augmentation":
        return  # only a learner that needs torch applies one; its check did
    option = {"dataset": "--data", "generator": "--gen", "learner": "--learner", "metric": "--metric"}[kind]
    own = dict(zip(TOYS[::2], TOYS[1::2], strict=True)) | {option: file}
    options = [word for pair in own.items() for word in pair]
    toys("run", *options, "--arch", "a", "--executor", "inline")
    assert {record["status"] for record in records(toys.folder / "results")} == {"done"}
    assert f"my_{kind}.py" in json.dumps(records(toys.folder / "results"))


# -- plan, report, why, cache ------------------------------------------------------------------------------------------


def test_plan_lists_cells_and_steps(ran):
    done = ran("plan", *TOYS, "--seeds", "2", "--cells")
    assert done.out.startswith("plan       4 cells, 2 done; ")
    assert len(re.findall(r"^[0-9a-f]{12}  (?:cached|to run)  +(?:read|fit|sample|train|score) ", done.out, re.M)) == 10
    cells = re.findall(
        r"^[0-9a-f]{12}  (done|to do) +toydata.py · (\S+) · (\S+) · a · - · .* seed (\d)$", done.out, re.M
    )
    assert sorted(cells) == [
        (state, gen, mix, seed)
        for state, seed in (("done", "1"), ("to do", "2"))
        for gen, mix in (("real", "1:0"), ("toygen.py", "0:1"))
    ]


def test_plan_as_json_is_a_graph(ran):
    told = json.loads(ran("plan", *TOYS, "--json").out)
    keys = [step["key"] for step in told["steps"]]
    for place, step in enumerate(told["steps"]):
        assert set(step["inputs"]) <= set(keys[:place])
    assert {step["stage"] for step in told["steps"]} == set(STAGES)
    assert {cell["gen"] for cell in told["cells"]} == {"real", "toygen.py"}
    assert told["unknown"] == 0
    assert not (ran.folder / "plan").exists()


def test_a_sweep_makes_one_variant_for_each_value(ran):
    told = json.loads(ran("plan", *TOYS, "--sweep", "gen.level=3,4,5", "--json").out)
    assert {cell["gen"] for cell in told["cells"]} == {"real", *(f"toygen.py:level={value}" for value in (3, 4, 5))}
    fits = [step for step in told["steps"] if step["stage"] == "fit"]
    assert len(fits) == 2, "level matters to sampling alone, so nothing is fitted again"
    assert all(step["cached"] for step in fits)


def test_draws_repeat_the_choice_of_images_and_all_that_follows(ran):
    told = json.loads(ran("plan", *TOYS, "--draws", "3", "--seeds", "2", "--shots", "4", "--json").out)
    assert len(told["cells"]) == 2 * 3 * 2
    samples = [step for step in told["steps"] if step["stage"] == "sample"]
    assert len(samples) == 3
    assert len({cell["seed"] for cell in told["cells"]}) == 3 * 2


def test_lists_multiply(ran):
    options = ("--shots", "2,4", "--n-syn", "10", "--n-syn", "20", "--mix", "0:1,1:3", "--arch", "all")
    told = json.loads(ran("plan", *TOYS, *options, "--json").out)
    made = [cell for cell in told["cells"] if cell["gen"] == "toygen.py"]
    assert len(made) == 2 * 2 * 2 * 2
    assert len(told["cells"]) - len(made) == 2 * 2  # a baseline for each subset and architecture


def test_a_run_ends_with_a_line_for_each_generator_and_the_command_for_more(ran):
    words = ("run", *TOYS, "--executor", "inline", "--draws=1")
    *_, took, empty, sentence, design = ran(*words).out.splitlines()
    assert took.startswith("took ")
    assert empty == ""
    assert re.match(r"toygen\.py: not enough trainings for a verdict, .* points with a \(1 draw x 1 seed\); ", sentence)
    typed = shlex.join(words[:-1]).replace(" --seeds 1", "")
    command = f"bench {typed} --draws 1 --seeds 4"
    assert design.startswith(f"for a verdict: {command} (about ")
    *_, sentence_again, design = ran("report").out.splitlines()
    assert sentence_again == sentence
    assert design.startswith("for a verdict: the same command with --draws 1 --seeds 4 ")


def test_report_writes_the_tables_again(ran):
    results = ran.folder / "results"
    before = hashes(results)
    for name in ("leaderboard.csv", "leaderboard.md"):
        (results / name).unlink()
    done = ran("report")
    assert hashes(results) == before
    assert re.search(r"^a +toygen.py +\d", done.out, re.MULTILINE)
    told = json.loads(ran("report", "--json").out)
    assert sorted(record["key"] for record in told) == sorted(record["key"] for record in records(results))


def test_records_alone_make_the_tables_elsewhere(ran, tmp_path):
    copy = tmp_path / "copied"
    for name, text in ((p.relative_to(ran.folder / "results"), p.read_bytes()) for p in record_files(ran.folder)):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_bytes(text)
    ran("report", "--results", str(copy))
    assert (copy / "leaderboard.csv").read_bytes() == (ran.folder / "results" / "leaderboard.csv").read_bytes()


def record_files(folder: Path) -> list[Path]:
    return sorted((folder / "results" / "records").rglob("*.json"))


def test_cache_lists_verifies_and_collects(toys):
    toys("run", *TOYS, "--executor", "inline")
    listed = toys("cache", "ls").out
    assert re.search(r"^[0-9a-f]{12} +\d.* s  fit toygen.py toy part 1/2$", listed, re.MULTILINE)
    told = json.loads(toys("cache", "ls", "--json").out)
    assert f"{len(told)} artifacts, " in listed
    assert toys("cache", "verify").out == f"{len(told)} artifacts, 0 corrupt\n"
    assert json.loads(toys("cache", "verify", "--json").out) == []
    assert toys("cache", "gc").out == "removed 0, 0 B\n"
    for path in record_files(toys.folder):
        if path.parent.parent.name == "toygen.py":
            path.unlink()
    before = hashes(toys.folder / "results")
    assert toys("cache", "gc", "--dry-run").out.splitlines()[-1].startswith("would remove 5, ")
    assert hashes(toys.folder / "results") == before
    assert toys("cache", "gc").out.splitlines()[-1].startswith("removed 5, ")
    assert toys("run", *TOYS, "--executor", "inline", "--dry-run").out.startswith("plan       2 cells, 1 done")


def test_an_edit_of_a_helper_recomputes_and_why_says_so_but_a_comment_changes_nothing(toys):
    toys("run", *TOYS, "--executor", "inline")
    first = {record["key"] for record in records(toys.folder / "results")}
    helper = toys.folder / "toysample.py"
    helper.write_text("# a comment\n" + helper.read_text("utf-8").replace("+ by)", "+ by)  # another comment\n       "))
    assert "everything is cached" in toys("run", *TOYS, "--executor", "inline").out
    helper.write_text(helper.read_text("utf-8").replace("+ by)", "+ by + 39)"))
    done = toys("run", *TOYS, "--executor", "inline")
    assert re.search(r"sample +1 step: 0 cached, 1 to run", done.out)
    assert re.search(r"data +1 step: 1 cached, 0 to run", done.out)
    (new,) = {record["key"] for record in records(toys.folder / "results")} - first
    told = json.loads(toys("why", new[:10], "--json").out)
    assert told["other"] in first
    assert "the code behind sample toygen.py" in told["differences"]
    text = toys("why", new[:10]).out
    assert text.startswith(f"{new[:12]}  toygen.py on toydata.py, ")
    assert "the code behind sample toygen.py" in text
    assert [row["superseded"] for row in rows(toys.folder / "results") if row["gen"] == "toygen.py"] == ["1"]


# -- how a request can be written --------------------------------------------------------------------------------------


def test_a_suite_file_says_the_same_as_options_and_options_win(ran):
    (ran.folder / "suite.toml").write_text(
        'gen = "./toygen.py"\ndata = "./toydata.py"\n'
        'learner = "./toylearner.py"\nmetric = "./toymetric.py"\narch = "a"\nseeds = 1\nmix = "0:1"\n'
    )
    keys = {step["key"] for step in json.loads(ran("plan", *TOYS, "--json").out)["steps"]}
    assert {step["key"] for step in json.loads(ran("plan", "suite.toml", "--json").out)["steps"]} == keys
    done = ran("run", "suite.toml", "--executor", "inline")
    assert "everything is cached" in done.out
    more = json.loads(ran("plan", "suite.toml", "--seeds", "3", "--arch", "b", "--json").out)
    assert {(cell["arch"], cell["replicate"]) for cell in more["cells"]} == {("b", n) for n in range(3)}


def test_the_default_request_is_the_embedded_main_job(bench):
    told = json.loads(bench("plan", "--json").out)
    assert {cell["data"] for cell in told["cells"]} == {"digits"}
    gens = {cell["gen"]: cell["control"] for cell in told["cells"]}
    assert gens == {"real": "", "diffinv": "", "more-real": "more-real", "copies": "copies"}
    assert {cell["mix"] for cell in told["cells"] if not cell["baseline"]} == {"1:1"}
    places = {gen: {(c["draw"], c["replicate"]) for c in told["cells"] if c["gen"] == gen} for gen in gens}
    assert places["real"] == places["diffinv"] >= places["more-real"]
    assert len(places["real"]) > 1
    assert [line.split()[0] for line in told["design"][:2]] == ["trainings", "controls"]
    assert len({cell["arch"] for cell in told["cells"]}) == 5
    assert {(cell["shots"], cell["n_real"], cell["preset"]) for cell in told["cells"]} == {(5, 50, "quick")}
    given = json.loads(bench("plan", "--gen", "diffinv", "--data", "digits", "--arch", "all", "--json").out)
    assert [step["key"] for step in given["steps"]] == [step["key"] for step in told["steps"]]


def test_the_python_interface_says_the_same(ran):
    code = """
import json
import benchbench
toys = {"data": "./toydata.py", "learner": "./toylearner.py", "metric": "./toymetric.py", "seeds": 1, "mix": "0:1"}
records = benchbench.run(gen="./toygen.py", **toys, arch="a")
frame = benchbench.load_results("results")
print(json.dumps([[record.cell.gen, record.status, record.result.accuracy] for record in records]))
print(json.dumps([list(frame.columns), len(frame)]))
try:
    benchbench.run(gen="difinv", data="./toydata.py")
except benchbench.UsageError as error:
    print(error)
"""
    before = hashes(ran.folder / "results")
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ran.folder, env=ran.env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told, frame, error = done.stdout.splitlines()
    accuracy = {record["cell"]["gen"]: record["result"]["accuracy"] for record in records(ran.folder / "results")}
    assert json.loads(told) == [[gen, "done", accuracy[gen]] for gen in ("real", "toygen.py")]
    assert json.loads(frame)[1] == 2
    assert "difinv: unknown generator (did you mean 'diffinv'?)" in error
    assert hashes(ran.folder / "results") == before


def test_json_of_a_failed_run_parses_and_exits_1(toys):
    options = ("--gen", "./toygen.py:fail=sample", *TOYS[2:], "--executor", "inline")
    told = json.loads(toys("run", *options, "--json", code=1).out)
    assert sorted(record["status"] for record in told) == ["done", "failed"]


# -- for people and for pipes ------------------------------------------------------------------------------------------


def test_nothing_but_a_terminal_gets_escape_codes(ran):
    for arguments in (("run", *TOYS), ("report",), ("list",), ("show", "diffinv"), ("--help",), ("run", "--help")):
        done = ran(*arguments)
        assert "\x1b" not in done.out + done.err


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
@pytest.mark.parametrize("no_color", [False, True])
def test_a_terminal_gets_colours_unless_it_says_no(ran, no_color):
    import os
    import pty

    env = {**ran.env, "TERM": "xterm", "COLUMNS": "160", **({"NO_COLOR": "1"} if no_color else {})}
    outer, inner = pty.openpty()
    command = [str(Path(sys.executable).with_name("bench")), "run", *TOYS]
    process = subprocess.Popen(command, cwd=ran.folder, env=env, stdin=inner, stdout=inner, stderr=inner)
    os.close(inner)
    text = b""
    while True:
        try:
            block = os.read(outer, 65536)
        except OSError:  # the other end is closed
            break
        if not block:
            break
        text += block
    os.close(outer)
    assert process.wait() == 0
    shown = text.decode("utf-8")
    assert "toygen.py" in shown
    assert (re.search(r"\x1b\[[0-9;]*m", re.sub(r"\x1b\[[012]?m", "", shown)) is not None) <= (not no_color)
    assert re.search(r"\x1b\[(3|9|4)\d(;\d+)*m", shown) is None or not no_color


def test_version_and_help(bench):
    assert re.fullmatch(r"bench \d+\.\d+\.\d+\S*\n", bench("--version").out)
    text = bench("--help").out
    commands = ("run", "plan", "list", "show", "fetch", "compare", "why", "report", "gallery", "cache", "new", "check")
    for command in commands:
        assert re.search(rf"^  {command} ", text, re.MULTILINE), command
        assert bench(command, "--help").out.startswith(f"Usage: bench {command} ")


def test_a_reader_that_leaves_early_is_no_error(ran):
    bench = Path(sys.executable).with_name("bench")
    done = subprocess.run(
        f"'{bench}' plan ./none.toml; '{bench}' list | head -1",
        shell=True, cwd=ran.folder, env=ran.env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout == "datasets\n"
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr
