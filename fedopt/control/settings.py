"""What steers the control loop, named and with its defaults; nothing here changes what a promise says."""

from __future__ import annotations

from dataclasses import dataclass, fields

__all__ = ["SETTINGS", "Settings"]


@dataclass(frozen=True)
class Settings:
    """Numbers of the control loop. Shares, factors and tolerances are relative; all are positive.

    Attributes:
        variant_rounds: how often the offers' variants are chosen anew for a full plan, at most.
        candidates: ways to serve a newcomer that are kept, cheapest first.
        cached_answers: priced answers that are kept between newcomers.
        detours: how often a newcomer that finds its domains full is priced again with those made dear.
        capacity_tolerance: by how much a load may exceed a capacity, for rounding.
        proof_tolerance: how far a bound that is found again may lie above the one that was planned with.
        failed_capacity: what is left of a failed domain's capacity in the plan.
        shrink_slots: slots that the policy `simulated` replays to find its rates.
        replays: how many times as long as the period itself a replay at the true laws is.
        replay_confidence: of each end of a replay's interval: a session of fifty different replays is judged
            at 95 %.
        session_confidence: of the interval of what was measured over a session.
        separate_periods: periods from which what is measured is judged by its periods, not their batches.
        measured_tenants: tenants of a degraded domain whose slots its recalibration measures.
        measured_tilts: tilts θ of the envelope measured there.
        tolerated_exceedances: a domain is named where its exceedances are significantly above this much of
            the reference share: the reference is itself measured, and a tenth more is not what a contract is
            recalibrated for.
        exceedance_change: a degraded domain measures anew where its exceedances have grown or fallen by this
            factor.
        published_step: risks are published rounded up to powers of this, so that they do not change with
            every answer.
        refined_delays: delays that are put between two of a grid of learned risks.
        published_fall: a risk that has fallen by this factor is published: everybody's plan is looked at
            again for it.
    """

    variant_rounds: int = 3
    candidates: int = 48
    cached_answers: int = 4096
    detours: int = 6
    capacity_tolerance: float = 1e-9
    proof_tolerance: float = 1e-6
    failed_capacity: float = 1e-9
    shrink_slots: int = 400_000
    replays: int = 256
    replay_confidence: float = 0.9995
    session_confidence: float = 0.95
    separate_periods: int = 8
    measured_tenants: int = 4
    measured_tilts: int = 32
    tolerated_exceedances: float = 1.15
    exceedance_change: float = 1.25
    published_step: float = 10.0**0.125
    refined_delays: int = 3
    published_fall: float = 2.3

    def __post_init__(self) -> None:
        for field in fields(self):
            if not getattr(self, field.name) > 0:
                raise ValueError(f"{field.name} must be positive, is {getattr(self, field.name)}")
        for name in ("replay_confidence", "session_confidence"):
            if not getattr(self, name) < 1:
                raise ValueError(f"{name} must be below 1, is {getattr(self, name)}")


SETTINGS = Settings()
