"""The order in which steps run, and what a failure takes with it."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest

from benchbench.errors import BenchError
from benchbench.planning.steps import Step
from benchbench.running.postponed import Postponed
from benchbench.running.schedule import run_steps
from benchbench.store.lock import Owner


def step(stage: str, name: str, *inputs: Step | str, guess: float | None = None) -> Step:
    keys = tuple(item if isinstance(item, str) else item.key for item in inputs)
    return Step(stage, name, {"name": name}, {}, keys, stage, guess=guess)


class FakeExecutor:
    """Finishes steps in the order of submission, a few at once; some fail."""

    def __init__(self, capacity: int = 1, fail: dict[str, str] | None = None, noise: bool = False) -> None:
        self.capacity, self.fail, self.noise = capacity, fail or {}, noise
        self.under_way: list[dict[str, Any]] = []
        self.order: list[str] = []
        self.most = 0

    def submit(self, step: dict[str, Any]) -> None:
        self.under_way.append(step)
        self.order.append(step["label"])
        self.most = max(self.most, len(self.under_way))
        assert len(self.under_way) <= self.capacity

    def wait(self) -> list[dict[str, Any]]:
        done = self.under_way.pop(0)
        events = [{"key": done["key"], "what": "progress", "done": 1}] if self.noise else []
        if done["label"] in self.fail:
            return [*events, {"key": done["key"], "what": "failed", "error": self.fail[done["label"]]}]
        return [*events, {"key": done["key"], "what": "done", "seconds": 1.0}]

    def close(self) -> None:
        pass


class Listener:
    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []

    def started(self, step: Step) -> None:
        self.told.append(("started", step.label))

    def event(self, step: Step, event: dict[str, Any]) -> None:
        self.told.append((event["what"], step.label))

    def finished(self, step: Step, outcome: Any) -> None:
        self.told.append(("finished", step.label))

    def failed(self, step: Step, error: str) -> None:
        self.told.append(("failed", step.label))


def go(steps: list[Step], executor: FakeExecutor, **more: Any) -> tuple[dict[str, str], Listener]:
    listener = Listener()
    errors = run_steps({item.key: item for item in steps}, executor, listener, **more)
    names = {item.key: item.label for item in steps}
    return {names[key]: error for key, error in errors.items()}, listener


DATA = step("data", "data")
FIT = step("fit", "fit", DATA)
SAMPLE = step("sample", "sample", DATA, FIT)
FIT2 = step("fit", "fit2", DATA, SAMPLE)
SAMPLE2 = step("sample", "sample2", DATA, FIT2, SAMPLE)
TRAIN = step("train", "train", DATA, SAMPLE2)
REAL = step("train", "train real", DATA)
SCORE = step("score", "score", DATA, SAMPLE2)
CHAIN = [DATA, FIT, SAMPLE, FIT2, SAMPLE2, TRAIN, REAL, SCORE]


def test_inputs_come_first_whatever_the_order_of_the_plan():
    for steps in (CHAIN, CHAIN[::-1]):
        executor = FakeExecutor()
        errors, _ = go(steps, executor)
        assert errors == {}
        place = executor.order.index
        for item in steps:
            for other in steps:
                if other.key in item.inputs:
                    assert place(other.label) < place(item.label)


def test_generation_goes_before_training_and_long_before_short():
    short, long = step("train", "short", guess=1.0), step("train", "long", guess=9.0)
    executor = FakeExecutor()
    go([short, long, step("sample", "images")], executor, estimate=lambda item: item.guess)
    assert executor.order == ["images", "long", "short"]


def test_no_more_at_once_than_the_executor_takes():
    executor = FakeExecutor(capacity=3)
    go([DATA, *(step("train", f"t{number}", DATA) for number in range(7))], executor)
    assert executor.most == 3
    assert len(executor.order) == 8


def test_steps_that_do_not_fit_together_wait_and_smaller_ones_go_beside_them():
    large = [step("train", f"large {number}", guess=9.0) for number in range(3)]
    small = [step("train", f"small {number}", guess=1.0) for number in range(4)]
    executor, most = FakeExecutor(capacity=3), []
    executor.memory = 10
    submit = executor.submit
    executor.submit = lambda given: (submit(given), most.append(sorted(item["label"] for item in executor.under_way)))
    size = {item.key: 6 if item in large else 2 for item in (*large, *small)}
    errors, _ = go([*small, *large], executor, estimate=lambda item: item.guess, memory=lambda item: size[item.key])
    assert (errors, sorted(executor.order)) == ({}, sorted(item.label for item in (*large, *small)))
    assert executor.order[:3] == ["large 0", "small 0", "small 1"], "the most urgent one, and those that fit beside it"
    assert not [labels for labels in most if sum(6 if "large" in label else 2 for label in labels) > 10]


def test_a_step_that_is_larger_than_the_memory_runs_alone():
    """It may be overestimated; and a run that waited for more memory would never end."""
    executor = FakeExecutor(capacity=4)
    executor.memory = 1
    errors, _ = go([DATA, *(step("train", f"t{number}", DATA) for number in range(3))], executor, memory=lambda item: 5)
    assert (errors, executor.most, len(executor.order)) == ({}, 1, 4)


@pytest.mark.parametrize("memory", [None, 100])
def test_where_memory_is_unknown_or_enough_every_worker_is_busy(memory):
    executor = FakeExecutor(capacity=4)
    executor.memory = memory
    go([step("train", f"t{number}") for number in range(8)], executor, memory=lambda item: 25)
    assert executor.most == 4


def test_an_input_that_is_published_already_is_not_waited_for():
    errors, _ = go([step("train", "t", "f" * 64)], executor := FakeExecutor())
    assert (errors, executor.order) == ({}, ["t"])


def test_a_failure_takes_what_depends_on_it_and_nothing_else():
    """Also the fit of a second link, which is more urgent than the sample that it waits for."""
    executor = FakeExecutor(fail={"fit": "out of memory"})
    errors, listener = go(CHAIN, executor)
    assert executor.order == ["data", "fit", "train real"]
    cause = "fit: out of memory"
    assert errors == {
        "fit": "out of memory",
        "sample": cause,
        "fit2": cause,
        "sample2": cause,
        "train": cause,
        "score": cause,
    }
    assert ("finished", "train real") in listener.told
    assert listener.told.count(("failed", "score")) == 1


def test_the_first_of_two_causes_is_told():
    both = step("train", "both", DATA, FIT)
    errors, _ = go([DATA, FIT, both], FakeExecutor(fail={"data": "gone", "fit": "never reached"}))
    assert errors == {"data": "gone", "fit": "data: gone", "both": "data: gone"}


def test_an_event_looks_at_the_steps_that_wait_for_it_alone(monkeypatch):
    """The time per step must not grow with the plan: counted are the keys of inputs that are looked at."""
    looked = []

    class Watched(tuple):
        def __iter__(self):
            looked.append(1)
            return super().__iter__()

    class LastFirst(FakeExecutor):
        """Finishes what was submitted last, so that the first step is under way until nothing else is."""

        def wait(self) -> list[dict[str, Any]]:
            return [{"key": self.under_way.pop()["key"], "what": "done", "seconds": 1.0}]

    for count in (100, 400):
        looked.clear()
        slow = step("data", "slow")
        blocked = [step("train", f"blocked {number}", slow, guess=9.0) for number in range(count)]
        steps = [slow, *blocked, *(step("train", f"free {number}", guess=1.0) for number in range(count))]
        for item in steps:
            object.__setattr__(item, "inputs", Watched(item.inputs))
        errors, _ = go(steps, LastFirst(capacity=2), estimate=lambda item: item.guess)
        assert errors == {}
        assert len(looked) <= 3 * len(steps)


def test_a_failed_leaf_stops_nothing():
    errors, listener = go(CHAIN, FakeExecutor(capacity=2, fail={"score": "no score"}))
    assert errors == {"score": "no score"}
    assert ("finished", "train") in listener.told


def test_progress_reaches_the_listener():
    _, listener = go([DATA], FakeExecutor(noise=True))
    assert listener.told == [("started", "data"), ("progress", "data"), ("finished", "data")]


@pytest.mark.parametrize("answer", [[], None])
def test_steps_that_the_executor_lost_fail_and_the_run_ends(answer):
    executor = FakeExecutor(capacity=2)
    executor.wait = lambda: answer
    errors, listener = go([DATA, REAL], executor)
    assert errors == {"data": "its executor lost it", "train real": "data: its executor lost it"}
    assert listener.told[-1] == ("failed", "train real")


@pytest.mark.parametrize("event", ["done", {"what": "done"}, {"key": DATA.key}])
def test_what_is_no_event_is_named(event):
    executor = FakeExecutor()
    executor.wait = lambda: [event]
    with pytest.raises(
        BenchError, match=r"^the executor gave .*, which is no event; `bench check` names what is wrong$"
    ):
        go([DATA], executor)


def test_a_failure_without_its_error_is_a_failure():
    executor = FakeExecutor()
    executor.wait = lambda: [{"key": DATA.key, "what": "failed"}]
    assert go([DATA], executor)[0] == {"data": "failed, and its executor does not say why"}


def test_a_step_that_is_done_without_a_measurement_teaches_nothing():
    told = []
    executor, listener = FakeExecutor(), Listener()
    executor.wait = lambda: [{"key": executor.under_way.pop()["key"], "what": "done"}]
    listener.finished = lambda step, outcome: told.append(outcome["status"])
    assert run_steps({DATA.key: DATA}, executor, listener) == {}
    assert told == ["cached"]


# Steps that another run works on


class Shared(FakeExecutor):
    """Other runs work on some steps, for so many tries; time goes by when it waits for them."""

    def __init__(self, clock: Any, busy: dict[str, int], capacity: int = 1) -> None:
        super().__init__(capacity)
        self.clock, self.busy, self.seen = clock, dict(busy), 1.0
        self.waits: list[tuple[str, float]] = []

    def submit(self, step: dict[str, Any]) -> None:
        super().submit(step)
        self.waits.append((step["label"], step["wait"]))
        assert step["again"] == (self.order.count(step["label"]) > 1)

    def wait(self) -> list[dict[str, Any]]:
        tried = self.under_way[0]
        if not self.busy.get(tried["label"]):
            return super().wait()
        self.busy[tried["label"]] -= 1
        self.clock.now += tried["wait"]
        self.under_way.pop(0)
        owner = {"host": "h", "pid": 7, "seen": self.seen}
        return [{"key": tried["key"], "what": "done", "status": "busy", "owner": owner}]


class Hears(Listener):
    def busy(self, step: Step, text: str | None) -> None:
        self.told.append(("busy", step.label) if text is None else ("busy", step.label, text))


@pytest.fixture
def clock(monkeypatch):
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr("benchbench.running.postponed.time.monotonic", lambda: clock.now)
    return clock


def share(steps: list[Step], executor: Shared) -> list[tuple[str, ...]]:
    listener = Hears()
    assert run_steps({item.key: item for item in steps}, executor, listener) == {}
    return listener.told


def test_a_busy_step_lets_the_others_go_first_and_is_waited_for_when_there_are_none(clock):
    """What needs it waits; who works on it is said once; a free slot sleeps for longer each time, not for ever."""
    executor = Shared(clock, {"fit": 12})
    told = share(CHAIN, executor)
    waits = [wait for label, wait in executor.waits if label == "fit"]
    assert executor.order[:3] == ["data", "fit", "train real"]
    assert waits == [0.0, 0.25, 0.5, 1.0, 2.0, *[4.0] * 8]
    assert executor.order[2 + len(waits) :] == ["sample", "fit2", "sample2", "train", "score"]
    assert told.count(("started", "fit")) == told.count(("finished", "fit")) == 1
    assert [item for item in told if item[0] == "busy" and len(item) > 2] == [
        ("busy", "fit", "another run works on it (process 7 on h)")
    ]


def test_among_busy_steps_each_is_waited_for_in_turn(clock):
    steps = [step("train", name) for name in "abc"]
    executor = Shared(clock, {"a": 9, "b": 2, "c": 2})
    share(steps, executor)
    assert [sorted(executor.order[at : at + 3]) for at in (0, 3, 6)] == [["a", "b", "c"]] * 3


def test_a_busy_step_is_tried_again_while_there_is_other_work_when_its_time_has_come(clock):
    """Else the most urgent step, done by another run in a minute, would be missing until all else is done."""

    class Slow(Shared):
        def wait(self) -> list[dict[str, Any]]:
            self.clock.now += 1.0
            return super().wait()

    executor = Slow(clock, {"fit": 1})
    share([*CHAIN, *(step("train", f"t{number}", DATA) for number in range(50))], executor)
    assert executor.order.index("sample") < 8


def test_busy_steps_cost_one_try_each_while_nothing_is_due(clock):
    """Among thousands of steps, the many that others work on are not run after: counted are the tries."""
    steps = [step("train", f"t{number:04d}") for number in range(3000)]
    busy = {item.label: 1 for item in steps[::10]}
    executor = Shared(clock, busy, capacity=2)
    share(steps, executor)
    assert len(executor.order) == len(steps) + len(busy)


def test_a_holder_without_a_sign_of_life_is_said_once_by_the_own_clock(clock, monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    executor = Shared(clock, {"data": 90})
    told = share([DATA], executor)
    texts = [item[2] for item in told if len(item) > 2]
    words = (
        "no sign of life since 1970-01-01 00:00 from process 7 on h, which works on it; if it is stopped, continue it"
    )
    words += " there (kill -CONT 7); if it hangs, end it (kill -9 7), and the step is free"
    assert texts == ["another run works on it (process 7 on h)", words]


def test_a_holder_that_shows_that_it_lives_is_never_called_silent(clock):
    class Lives(Shared):
        def wait(self) -> list[dict[str, Any]]:
            self.seen += self.clock.now // 100
            return super().wait()

    told = share([DATA], Lives(clock, {"data": 90}))
    assert len([item for item in told if len(item) > 2]) == 1


@pytest.mark.parametrize("owner", [None, "x", {}, {"host": "h"}])
def test_a_busy_step_of_nobody_known(owner):
    postponed = Postponed()
    assert postponed.add("key", Owner.of(owner)) == "another run works on it"
    assert (postponed.due(), postponed.first(), postponed.first()) == ([], ("key", 0.25), None)


def test_an_executor_with_ends_of_its_own_has_its_steps_wait(clock):
    """It would lose that another run works on a step, which then counted as done."""
    submitted = []

    class Curt(FakeExecutor):
        def submit(self, step: dict[str, Any]) -> None:
            super().submit(step)
            submitted.append((step["label"], step.get("wait")))

        def wait(self) -> list[dict[str, Any]]:
            ended, self.under_way = self.under_way, []
            return [{"key": step["key"], "what": "done"} for step in ended]

    told = share([step("train", name) for name in "abc"], Curt(capacity=2))
    assert submitted == [("a", 0.0), ("b", 0.0), ("a", None), ("b", None), ("c", None)]
    assert sorted(told) == [(what, name) for what in ("finished", "started") for name in "abc"]


@pytest.mark.parametrize("method", ["submit", "wait"])
def test_what_an_executor_raises_is_its_mistake(method):
    def raises(*given: Any) -> None:
        raise OSError("no route to host")

    executor = FakeExecutor()
    setattr(executor, method, raises)
    with pytest.raises(BenchError, match=r"^the executor failed: OSError: no route to host"):
        go([DATA], executor)
