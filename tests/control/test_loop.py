"""The loop: the same history however often it is interrupted, and every document in it checks out."""

from __future__ import annotations

import math
import multiprocessing
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fedopt
from fedopt.audit import Audit
from fedopt.audit.settlement import Settlement, settle
from fedopt.calculus import minplus
from fedopt.control.accounts import Settler
from fedopt.control.environment import Timeline, true_instance
from fedopt.control.loop import Run, identity_of, operate, run_name
from fedopt.control.measurement import Observer, blame
from fedopt.control.policies import POLICIES, PolicyError, check_policy
from fedopt.control.scenario import Budgets, Scenario, load_scenario
from fedopt.control.sessions import sessions
from fedopt.control.store import StateError, Store
from fedopt.control.summary import summarize, table, trade_off
from fedopt.instance import Instance, loads
from fedopt.plan import Plan
from fedopt.plan.paths import Paths

SCENARIOS = Path(__file__).parents[2] / "instances" / "scenarios"


def _run(scenario: Scenario, instance: Instance, file: Path, **options: Any) -> Store:
    store = Store.open(file, identity_of(scenario, instance, options.get("seed", 0)))
    operate(scenario, instance, store, threads=1, **options)
    return store


@pytest.fixture(scope="module")
def undisturbed(day: Scenario, network: Instance, tmp_path_factory: pytest.TempPathFactory) -> Store:
    return _run(day, network, tmp_path_factory.mktemp("day") / "s.db", policies=["fedopt", "minplus"])


def test_every_plan_of_the_day_checks_out(undisturbed: Store) -> None:
    rows = undisturbed.select("plans", run="fedopt")
    assert len(rows) >= 5
    for row in rows:
        plan, instance = Plan.model_validate(row["plan"]), row["instance"]
        report = fedopt.check(plan, loads(_json(instance)))
        assert report.ok, report.text()
        assert plan.catalogue_gap <= 5e-3


def _json(document: Any) -> str:
    import json

    return json.dumps(document)


def test_the_loop_answers_what_happens(undisturbed: Store, day: Scenario) -> None:
    contracts = undisturbed.select("contracts", run="fedopt")
    reasons = [(row["period"], row["subject"], row["reason"]) for row in contracts if row["version"] > 1]
    assert (1, "a2/s", "reissued") in reasons
    measured = [period for period, subject, reason in reasons if (subject, reason) == ("c1/m", "measured")]
    restored = [period for period, subject, reason in reasons if (subject, reason) == ("c1/m", "restored")]
    assert measured[0] == 2  # the first degraded period is the one that tells
    assert restored
    assert restored[-1] > 5
    kinds = [
        (row["period"], row["kind"], row["subject"]) for row in undisturbed.select("events", run="fedopt")
    ]
    assert (6, "failed", "a1") in kinds
    assert (8, "recovered", "a1") in kinds
    for row in undisturbed.select("plans", run="fedopt"):
        if row["period"] in (6, 7):
            assert not any("a1" in entry["reservations"] for entry in row["plan"]["tenants"])
    open_loop = undisturbed.select("contracts", run="minplus")
    assert {row["reason"] for row in open_loop} == {"opening", "reissued"}


def test_audits_and_settlements_are_documents_that_add_up(undisturbed: Store) -> None:
    audits = undisturbed.select("audits", run="fedopt")
    assert {(row["subject"]) for row in audits} >= {"c1/m"}
    for row in audits:
        audit = Audit.model_validate(row["audit"])
        assert (audit.name, audit.verdict) == (row["tenant"], row["verdict"])
    for row in undisturbed.select("settlements", run="fedopt"):
        settlement = Settlement.model_validate(row["settlement"])
        assert settlement.conserved
        assert settlement.received == row["received"]


def test_tallies_are_the_packets_of_the_plans(undisturbed: Store, day: Scenario, network: Instance) -> None:
    """Period 3 (degraded) run again by hand from what the file holds."""
    line = Timeline(day, network, 0)
    moment = line.at(3)
    plans = [row for row in undisturbed.select("plans", run="minplus") if row["period"] <= 3]
    plan, instance = Plan.model_validate(plans[-1]["plan"]), loads(_json(plans[-1]["instance"]))
    truth = true_instance(instance.with_({"domains.a2.offers.s.latency": 1.5}), moment)
    promised = {f"{d.id}/{o.id}": o.impairment for d in instance.domains for o in d.offers}
    observed = Observer(6000, 0, 1).run(truth, moment, list(plan.tenants), promised)
    rows = {row["tenant"]: row for row in undisturbed.select("tallies", run="minplus", period=3)}
    assert set(rows) == set(observed.sent)
    for name, row in rows.items():
        assert (row["sent"], row["late"]) == (observed.sent[name].sum(), observed.late[name].sum())
    named = [finding.domain for finding in blame(observed, {}, 1e-5) if finding.named]
    assert named == ["c1/m"]


def test_an_interrupted_run_ends_as_an_undisturbed_one(
    day: Scenario, network: Instance, undisturbed: Store, tmp_path: Path
) -> None:
    stops = iter([2, 5, 6, 9])
    stop = next(stops)

    def watch(run: str, period: int, periods: int, row: Any) -> bool:
        return period >= stop

    identity = identity_of(day, network, 0)
    for _ in range(12):
        with Store.open(tmp_path / "s.db", identity) as store:
            operate(day, network, store, policies=["fedopt", "minplus"], threads=2, watch=watch)
            if store.runs() == {"fedopt": 10, "minplus": 10}:
                break
        stop = next(stops, 99)
    with Store.read(tmp_path / "s.db") as store:
        assert store.fingerprint() == undisturbed.fingerprint()


def _child(scenario: Scenario, instance: Instance, file: Path) -> None:
    with Store.open(file, identity_of(scenario, instance, 0)) as store:
        operate(scenario, instance, store, policies=["fedopt"], threads=1)


LIMIT = 300.0
"""Seconds after which a child that has not ended is taken to hang."""


def _child_runs(context: Any, scenario: Scenario, instance: Instance, file: Path) -> None:
    child = context.Process(target=_child, args=(scenario, instance, file))
    child.start()
    child.join(LIMIT)
    if child.is_alive():
        child.kill()
    assert child.exitcode == 0


def _killed(scenario: Scenario, instance: Instance, file: Path, kills: int, seed: int) -> int:
    """Run in child processes, the first ones killed at random instants; returns how many kills met a run."""
    # a fork of this process, which has threads of numerical libraries, may wait for ever for their locks
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    rng = random.Random(seed)
    first = context.Process(target=int)  # starts the server of forks
    first.start()
    first.join(LIMIT)
    started = time.monotonic()
    _child_runs(context, scenario, instance, file.with_name("measure.db"))
    seconds = time.monotonic() - started
    met = 0
    for _ in range(4 * kills):
        if met == kills:
            break
        child = context.Process(target=_child, args=(scenario, instance, file))
        child.start()
        child.join(rng.uniform(0, seconds * 1.1))
        if child.is_alive():
            os.kill(child.pid or 0, signal.SIGKILL)
            met += 1
        child.join(LIMIT)
        if child.exitcode == 0 and met < kills:  # done before all kills: the next one starts over
            _compare(file, file.with_name("measure.db"))
            for suffix in ("", "-wal", "-shm"):
                file.with_name(file.name + suffix).unlink(missing_ok=True)
    _child_runs(context, scenario, instance, file)
    _compare(file, file.with_name("measure.db"))
    return met


def _compare(one: Path, two: Path) -> None:
    with Store.read(one) as first, Store.read(two) as second:
        assert first.fingerprint() == second.fingerprint()


def test_a_run_killed_at_random_instants_ends_as_an_undisturbed_one(
    day: Scenario, network: Instance, undisturbed: Store, tmp_path: Path
) -> None:
    short = day.model_copy(update={"periods": 7, "slots": 2000})
    assert _killed(short, network, tmp_path / "s.db", 3, 1) == 3


@pytest.mark.slow
def test_fifty_kills(day: Scenario, network: Instance, tmp_path: Path) -> None:
    assert _killed(day, network, tmp_path / "s.db", 50, 2) == 50


@pytest.mark.slow
def test_kills_while_it_learns(tmp_path: Path) -> None:
    scenario, instance = load_scenario(SCENARIOS / "hidden-cloud.yaml")
    assert _killed(scenario, instance, tmp_path / "s.db", 15, 3) == 15


def test_a_state_file_is_not_continued_with_another_seed(
    day: Scenario, network: Instance, tmp_path: Path
) -> None:
    Store.open(tmp_path / "s.db", identity_of(day, network, 0)).close()
    with pytest.raises(StateError, match="seed"):
        Store.open(tmp_path / "s.db", identity_of(day, network, 1))


def test_every_policy_runs_the_same_day(quick: tuple[Scenario, Instance], tmp_path: Path) -> None:
    scenario, instance = quick
    short = scenario.model_copy(update={"periods": 6, "slots": 4000})
    store = _run(short, instance, tmp_path / "s.db", policies=list(POLICIES))
    rows = summarize(store)
    assert [row.run for row in rows] == list(POLICIES)
    assert all(row.periods == 6 for row in rows)
    assert "best-effort" in table(rows)
    # the same tenants send the same packets, whoever plans
    sent = {
        run: {(r["tenant"], r["period"]): r["sent"] for r in store.rows("tallies", run)} for run in POLICIES
    }
    for run in ("minplus", "peak", "mean-rate"):
        common = sent["fedopt"].keys() & sent[run].keys()
        assert common
        assert all(sent["fedopt"][key] == sent[run][key] for key in common)
    by_run = {row.run: row for row in rows}
    assert by_run["peak"].cost > by_run["mean-rate"].cost * 0.5
    assert by_run["best-effort"].cost < by_run["minplus"].cost
    with pytest.raises(PolicyError, match="there are fedopt"):
        check_policy("fedup")


def test_verdicts_of_whole_sessions(undisturbed: Store) -> None:
    for stay in sessions(undisturbed, "fedopt"):
        tallies = undisturbed.rows("tallies", "fedopt", "tenant = ?", (stay.tenant,))
        assert stay.sent == pytest.approx(sum(t["sent"] for t in tallies))
        assert stay.share * stay.sent == pytest.approx(sum(t["late"] for t in tallies))
        low, high = stay.interval
        assert low <= high
        assert (stay.verdict == "kept") == (high <= stay.epsilon * (1 + 1e-6))
        assert stay.to_dict()["tenant"] == stay.tenant


def test_what_is_proven_is_proven_at_the_true_laws(
    undisturbed: Store, day: Scenario, network: Instance
) -> None:
    """Bounds that a file holds, found again by hand in a calm period and in one that nobody knew of."""
    plans = undisturbed.select("plans", run="minplus")
    for period in (1, 3):  # c1 is degraded in the second
        row = [row for row in plans if row["period"] <= period][-1]
        plan, instance = Plan.model_validate(row["plan"]), loads(_json(row["instance"]))
        moment = Timeline(day, network, 0).at(period)
        truth = true_instance(instance.with_({"domains.a2.offers.s.latency": 1.5}), moment)
        paths = Paths(truth)
        rows = {row["tenant"]: row for row in undisturbed.rows("tallies", "minplus", "period = ?", (period,))}
        for entry in plan.tenants:
            path, rates = paths.entry(entry), paths.rates(entry)
            stated = minplus.Evaluation(math.inf, entry.form, entry.theta, entry.block, entry.parameters)
            found = (minplus.evaluate(path, rates).log_bound, minplus.verify(path, rates, stated))
            bound = math.exp(min(*found, 0.0))  # a plan's own proof holds beside what a search finds
            assert rows[entry.id]["bound"] == pytest.approx(bound, rel=1e-9)
            epsilon = truth.tenant(entry.id).slo.epsilon
            through = "c1/m" in entry.path and period == 3
            assert (bound > epsilon * (1 + 1e-6)) == through
            low, high = rows[entry.id]["low"], rows[entry.id]["high"]
            assert (low is None) == (high is None) == (not through)
            if through:  # what a replay found lies below the theorem
                assert 0 <= low < high
                assert low <= bound
    for stay in sessions(undisturbed, "fedopt"):
        tallies = undisturbed.rows("tallies", "fedopt", "tenant = ?", (stay.tenant,))
        weighted = sum(t["sent"] * t["bound"] for t in tallies) / sum(t["sent"] for t in tallies)
        assert stay.bound == pytest.approx(weighted)
    by_run = {row.run: row for row in summarize(undisturbed)}
    assert by_run["fedopt"].proven > by_run["minplus"].proven


def test_cost_falls_and_backlog_grows_with_v(network: Instance, tmp_path: Path) -> None:
    scenario = Scenario.model_validate(
        {
            "instance": "x",
            "periods": 8,
            "period": 4000,
            "slots": 4000,
            "residents": True,
            "budgets": {"v": 1.0, "menu": [6.0, 1.0, 0.2], "domains": {"c1": 0.5}},
        }
    )
    store = _run(scenario, network, tmp_path / "s.db", policies=[], weights=[0.01, 1000.0])
    low, high = trade_off(store)
    assert [low["v"], high["v"]] == [0.01, 1000.0]
    assert high["cost"] <= low["cost"]
    assert high["late_backlog"] + high["cost_backlog"] > low["late_backlog"] + low["cost_backlog"]
    assert set(store.runs()) == {run_name(0.01), run_name(1000.0)}
    assert Budgets(v=2).menu[0] > 1


def test_lines_of_settlements_are_those_of_the_room_that_settles(undisturbed: Store) -> None:
    row = undisturbed.select("plans", run="minplus", period=0)[0]
    plan, instance = Plan.model_validate(row["plan"]), loads(_json(row["instance"]))
    verdicts = {e.id: ("broken" if i % 2 else "kept") for i, e in enumerate(plan.tenants)}
    whole = settle(instance, plan, verdicts, salt="")
    ours = Settler(0).settle(instance, list(plan.tenants), verdicts, [], 0)
    assert ours.lines == whole.lines
    assert ours.net == whole.net


def test_resuming_takes_up_the_carried_state(day: Scenario, network: Instance, undisturbed: Store) -> None:
    run = Run(day, network, POLICIES["fedopt"], undisturbed, 0, 1)
    assert run.period == day.periods
    assert run.standing is not None
    assert np.isclose(run.standing.plan.cost, undisturbed.carry("fedopt")["plan"]["cost"])
