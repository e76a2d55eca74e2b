"""The suites by name: what each measures and how it is run, every case in a process of its own."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fedopt.bench.row import Row, in_fresh_process
from fedopt.errors import InputError

if TYPE_CHECKING:
    from fedopt.bench.central import Case


class UnknownSuite(InputError):
    """A suite that does not exist; the message lists those that do."""


@dataclass(frozen=True)
class Settings:
    """What a run of the benchmarks may be told: sizes of the central suite (none: its own), seconds for each
    solve, the seed, and whether small sizes will do."""

    cases: tuple[Case, ...] = ()
    time_limit: float | None = None
    seed: int = 0
    quick: bool = False


def run(suite: str, settings: Settings | None = None) -> Iterator[Row]:
    """The rows of a suite, as they are measured. Raises UnknownSuite."""
    if suite not in SUITES:
        near = difflib.get_close_matches(suite, SUITES, n=1)
        hint = f"did you mean {near[0]!r}? There" if near else "there"
        raise UnknownSuite(f"there is no suite {suite!r}; {hint} are {', '.join(SUITES)}")
    return SUITES[suite](settings or Settings())


def _bounds(settings: Settings) -> Iterator[Row]:
    from fedopt.bench import bounds

    yield from in_fresh_process(bounds.rows, 200 if settings.quick else bounds.BOUNDS, settings.seed)


def _simulate(settings: Settings) -> Iterator[Row]:
    from fedopt.bench import simulation

    sizes = (100_000, 8, 2_000) if settings.quick else (1_000_000, 60, 20_000)
    yield from simulation.rows(*sizes, run=in_fresh_process)


def _central(settings: Settings) -> Iterator[Row]:
    from fedopt.bench import central

    seconds: dict[tuple[int, int, int], tuple[str, float]] = {}
    for case in settings.cases or (central.CASES[:1] if settings.quick else central.CASES):
        (row,) = in_fresh_process(central.rows, case, settings.time_limit, settings.seed)
        if case.kinds is None:
            seconds[case.tenants, case.stages, case.domains] = (str(case), row.seconds)
        elif (case.kinds, case.stages, case.domains) in seconds:  # as many tenants as here are kinds
            other, taken = seconds[case.kinds, case.stages, case.domains]
            row = replace(row, ratio_to=other, ratio=taken / row.seconds)
        yield row


def _against(settings: Settings) -> Iterator[Row]:
    from fedopt.bench import against

    sizes, domains = (against.QUICK, 2) if settings.quick else (against.SIZES, against.DOMAINS)
    limit = settings.time_limit or 60.0
    yield from against.rows(sizes, domains, limit, settings.seed, run=in_fresh_process)


def _growth(settings: Settings) -> Iterator[Row]:
    from fedopt.bench import growth

    yield from growth.rows(settings.quick, settings.time_limit, settings.seed, run=in_fresh_process)


def _federation(settings: Settings) -> Iterator[Row]:
    from fedopt.bench import federation

    size = federation.QUICK if settings.quick else federation.CASE
    for alone in (False, True)[: 1 if settings.quick else 2]:
        yield from in_fresh_process(federation.rows, size, settings.seed, alone)


def _admm(settings: Settings) -> Iterator[Row]:
    from fedopt.bench import federated

    yield from federated.rows(settings.seed, settings.quick, settings.time_limit, run=in_fresh_process)


def _audit(settings: Settings) -> Iterator[Row]:
    from fedopt.bench import audit

    size = (10_000, 20) if settings.quick else (100_000, 200)
    for name in list(audit.SERIES)[: 2 if settings.quick else None]:
        yield from in_fresh_process(audit.rows, name, *size, settings.seed)


def _operate(settings: Settings) -> Iterator[Row]:
    from fedopt.bench import operate

    sizes = (40, 4, 4) if settings.quick else (1000, 24, 20)
    yield from in_fresh_process(operate.rows, *sizes, settings.seed)


def _serve(settings: Settings) -> Iterator[Row]:
    from fedopt.bench import serving

    yield from in_fresh_process(serving.rows, *((80, 8) if settings.quick else (2000, 200)))


def _day(settings: Settings) -> Iterator[Row]:
    from fedopt.bench import operate
    from fedopt.control.policies import POLICIES

    for policy in POLICIES:
        scenario = "quick-day" if settings.quick else "city-day"
        yield from in_fresh_process(operate.day, policy, scenario, settings.seed)


def _learn(settings: Settings) -> Iterator[Row]:
    from fedopt.bench import learning
    from fedopt.papers.rade_worlds import worlds

    quick = settings.quick
    sizes = (2000, 50, 5) if quick else (1_000_000, 1000, 40)
    yield from in_fresh_process(learning.speeds, *sizes, settings.seed)
    for name in list(worlds(1, 10))[: 1 if quick else None]:
        yield from in_fresh_process(learning.lost, name, *((2, 30) if quick else (10, 400)), settings.seed)


SUITES: dict[str, Callable[[Settings], Iterator[Row]]] = {
    "bounds": _bounds,
    "simulate": _simulate,
    "central": _central,
    "against": _against,
    "growth": _growth,
    "operate": _operate,
    "serve": _serve,
    "day": _day,
    "federation": _federation,
    "admm": _admm,
    "audit": _audit,
    "learn": _learn,
}
"""bounds: µs per minplus bound; simulate: packets a second; central: time, memory and gap of solves; against:
the same beside SCIP and HiGHS; growth: time over tenants, stages and domains; operate: one arrival beside a
thousand tenants; day: 288 periods under each policy; serve: requests a second of the HTTP service, and a plan
over HTTP beside one in process; federation: negotiated plans in process and over HTTPS beside the central
one; admm: rounds of the federated methods and of each switch; audit: coverage of the audit's intervals;
learn: decomposing and observing, and what is lost against knowing in six worlds."""
