"""What steers the central method, named and with its defaults; nothing here changes what a plan proves."""

from __future__ import annotations

from dataclasses import dataclass, fields

__all__ = ["Settings"]


@dataclass(frozen=True)
class Settings:
    """Numbers of the central method. Shares and gaps are relative, times in seconds.

    Attributes:
        relaxing: share of the time limit after which what is left belongs to a plan.
        relaxation_share, large_relaxation_share: of the gap asked for, what the relaxation may leave open;
            the second where paths are too many to list.
        overflow_raises: how often the price of missing capacity is raised before an instance counts as
            infeasible.
        smoothing: weight of the duals with the best bound in those that the oracle is asked at.
        above: share by which a kind's dual is raised away from the master's own, so that something is found.
        rough_share, roughest: what the oracle may miss while bound and master are far apart: a share of
            their distance, at most so much.
        quick_paths: paths sized for a kind in a round, as long as that finds cheaper columns.
        initial_rounds: rounds of the rough relaxation that gives large programs their first columns.
        certificate_rounds, certificate_gap: rounds for the bound on all reservations, and how near to the
            optimum of its relaxation is near enough.
        free_columns: columns of the largest cost whose rates are searched at the end, in plans of more of
            them only those with guardrails; a number and no time, so that a plan depends on none.
        enumerated_columns: columns beyond which an enumeration is given up.
        local_search_units: units beyond which the local search is skipped.
        near, near_gap: reduced cost of the first columns near the relaxation, in gaps a unit; a larger gap
            than the second is not taken, for columns would be many.
        near_rounds, near_growth, near_columns: how often that room is widened, by which factor, and the
            columns beyond which it is not.
        likely: share of the distance to the cut-off within which a better plan is sought before a proof.
        first_search: time of the first mixed-integer search; each later one takes three times as long.
        grace, longest_grace: time beyond the end of a run for a first plan: a share of its limit, at most so
            many seconds.
        heuristic_effort: HiGHS's own, where cuts have come close to a good plan.
        pair_units: units up to which the local search tries all pairs.
        pairs: random pairs of a larger crowd between two looks at the clock.
        pair_columns: columns of a unit that a pair of units tries.
        shaken_columns: columns of its list that a shaken unit may land on.
        shakes: shakes of a crowd in a row without progress, before the search ends.
        rounds: shakes of few units between two looks at the clock.
        small_gain: part of what is missing that a sweep must gain, or the crowd is shaken.
        cost_cells: straight pieces by which the local search follows a curved cost.
    """

    relaxing: float = 0.8
    relaxation_share: float = 0.05
    large_relaxation_share: float = 0.2
    overflow_raises: int = 6
    smoothing: float = 0.5
    above: float = 0.02
    rough_share: float = 0.1
    roughest: float = 3e-3
    quick_paths: int = 16
    initial_rounds: int = 60
    certificate_rounds: int = 30
    certificate_gap: float = 1e-4
    free_columns: int = 16
    enumerated_columns: int = 400_000
    local_search_units: int = 200_000
    near: float = 3.0
    near_gap: float = 1e-3
    near_rounds: int = 4
    near_growth: float = 1.7
    near_columns: int = 30_000
    likely: float = 0.4
    first_search: float = 4.0
    grace: float = 0.05
    longest_grace: float = 3.0
    heuristic_effort: float = 0.01
    pair_units: int = 60
    pairs: int = 4000
    pair_columns: int = 64
    shaken_columns: int = 8
    shakes: int = 8
    rounds: int = 5
    small_gain: float = 0.02
    cost_cells: int = 2048

    def __post_init__(self) -> None:
        for field in fields(self):
            if not getattr(self, field.name) > 0:
                raise ValueError(f"{field.name} must be positive")
        for name in ("relaxing", "relaxation_share", "large_relaxation_share", "likely", "grace"):
            if not getattr(self, name) <= 1.0:
                raise ValueError(f"{name} is a share, at most 1")
        if not self.smoothing < 1.0:
            raise ValueError("smoothing is a weight below 1, or no new prices would ever be asked")
