"""One table of options: what is declared there is on the command line, in the plan, in records and in tables."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass

import pytest
import typer
from toys import World
from typer.testing import CliRunner

from benchbench.cli.options import takes_experiment
from benchbench.planning.options import Request, make_request, option, options_of, words
from benchbench.planning.plan import Plan, make_plan
from benchbench.reporting.text import markdown_text
from benchbench.results.folder import read_records
from benchbench.results.record import Record
from benchbench.results.rows import csv_text
from benchbench.results.table import build_table
from benchbench.running.executors import choose_executor
from benchbench.running.run import carry_out, inspect
from benchbench.running.schedule import Listener
from benchbench.store.store import Store


@dataclass(frozen=True)
class Wider(Request):
    """The options of an experiment and one axis more."""

    grey_scale: tuple[str, ...] = option(
        ("none",), words, "NAME,...", "How colours become grey.", "names no scale", axis=True
    )


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    return World(tmp_path / "plugins", tmp_path / "results")


def plan_of(world: World, **options) -> Plan:
    return make_plan(make_request(world.options(baseline=False, **options), Wider))


def carried_out(world: World, plan: Plan) -> list[Record]:
    store = Store(world.results / "artifacts")
    executor = choose_executor("inline", None, len(plan.steps), "cpu")
    return carry_out(plan, world.results, store, Listener(), executor, inspect(plan, store)).records


def test_an_axis_that_is_declared_is_on_the_command_line():
    heard = []
    app = typer.Typer(rich_markup_mode=None)

    @app.command()
    @takes_experiment(Wider)
    def run(experiment: dict, loud: bool = False) -> None:
        """Run."""
        heard.append((experiment, loud))

    told = " ".join(CliRunner().invoke(app, ["--help"]).output.split())
    assert "--grey-scale NAME,..." in told
    assert "How colours become grey." in told
    arguments = ["--grey-scale", "luma,mean", "--gen", "a", "--gen", "b", "--no-baseline", "--seeds", "2", "--loud"]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    given = {"grey_scale": ["luma,mean"], "gen": ["a", "b"], "baseline": False, "seeds": "2"}
    assert heard == [(given, True)]


@pytest.mark.parametrize(
    ("arguments", "given"),
    [
        ([], {}),
        (["--controls"], {"controls": True}),
        (["--no-controls"], {"controls": False}),
        (["--no-controls", "--no-baseline"], {"controls": False, "baseline": False}),
    ],
)
def test_a_switch_with_no_default_can_be_turned_on_and_off(arguments, given):
    heard = []
    app = typer.Typer(rich_markup_mode=None)

    @app.command()
    @takes_experiment()
    def run(experiment: dict) -> None:
        """Run."""
        heard.append(experiment)

    assert CliRunner().invoke(app, arguments).exit_code == 0
    assert heard == [given]
    assert make_request({"data": "d", "gen": "real", **given}).controls is given.get("controls")


def test_an_axis_multiplies_the_plan_and_its_default_changes_nothing(world):
    usual = world.plan(baseline=False)
    plan = plan_of(world, grey_scale="none,luma,mean")
    assert [cell.setting.more for cell in plan.cells] == [{}, {"grey_scale": "luma"}, {"grey_scale": "mean"}]
    assert (plan.cells[0].train, plan.cells[0].spec_id) == (usual.cells[0].train, usual.cells[0].spec_id)
    assert len({cell.train for cell in plan.cells}) == len({cell.spec_id for cell in plan.cells}) == 3
    assert plan.cells[1].setting.to_json()["grey_scale"] == "luma"
    assert plan.steps[plan.cells[1].train].body["more"] == {"grey_scale": "luma"}


def test_an_axis_is_in_records_and_in_every_table(world):
    made = carried_out(world, plan_of(world, grey_scale="none,luma"))
    assert [record.cell.more for record in made] == [{}, {"grey_scale": "luma"}]
    records = read_records(world.results).records
    assert {record.cell.more.get("grey_scale") for record in records} == {None, "luma"}
    table = build_table(records)
    rows = list(csv.DictReader(io.StringIO(csv_text(table))))
    assert sorted(row["grey_scale"] for row in rows) == ["", "luma"]
    assert "## Accuracy by grey scale, %: toydata.py, 24 real images, preset quick" in markdown_text(table)


def test_every_mistake_of_an_axis_has_its_line():
    for options, told in (
        ({"grey_scale": ""}, "--grey-scale: names no scale"),
        ({"gray_scale": "x"}, "gray_scale: unknown option"),
    ):
        with pytest.raises(Exception, match=told):
            make_request({"data": "digits", **options}, Wider)


def test_every_option_says_what_it_is():
    for item in options_of(Request).values():
        assert item.help.endswith((".", "]")), item.name
        assert item.metavar or item.name in ("baseline", "controls")
