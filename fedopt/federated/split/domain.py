"""A domain's side of the split guarantee: which rate keeps a promise, and which shares it would rather have.

Latency, impairment, cost and capacity stay here. Rates leave in a unit of the domain's own, a number that
only the operator knows and that stays the same during a run.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from fedopt.federated.protocol.messages import MessageError, Promise, Service, ShareAnswers, ShareQuestions
from fedopt.instance import Domain
from fedopt.kernels import kernel
from fedopt.laws import build

__all__ = ["HOP", "REFUSED", "ContractSide", "least_margins", "share_steps", "unit_of"]

Floats = npt.NDArray[np.float64]
BURST_STEP = 0.01
"""Nats; what a domain says of its base burst is rounded up to a multiple: it never says it exactly."""

_SPREAD = 1.0  # decades on either side of one within which a unit lies


def unit_of(secret: bytes, run: str, domain: str) -> float:
    """How much of the domain's own unit a unit of rate is: the same whenever the run is told again."""
    digest = hashlib.blake2b(f"{run}\n{domain}".encode(), key=secret[:64], digest_size=8).digest()
    uniform = int.from_bytes(digest) / 2**64
    return float(10.0 ** (_SPREAD * (2.0 * uniform - 1.0)))


class ContractSide:
    """The contracts of an operator's offers in one run. `slot`: length of a slot in units of time; `units`:
    of each offer's rates.
    """

    def __init__(
        self, domains: Sequence[Domain], slot: float, units: npt.ArrayLike, services: Sequence[Service]
    ) -> None:
        self._slot, self._services = slot, list(services)
        self._units = np.asarray(units, float)
        offers = [(domain, offer) for domain in domains for offer in domain.offers]
        latency = np.array([offer.latency / slot for _, offer in offers])
        queued = np.array([offer.latency_kind == "rate" for _, offer in offers])
        self._guardrail = np.where(queued, latency, 0.0)
        self._delay = np.where(queued, 0.0, np.ceil(latency - 1e-9))  # whole slots: see split.md
        self._models = [build(offer.impairment, slot) for _, offer in offers]
        most = [domain.capacity / offer.work_factor for domain, offer in offers]
        named = [math.inf if offer.max_rate is None else offer.max_rate for _, offer in offers]
        self._most = np.minimum(most, named) * slot
        self._known: dict[tuple[int, int, int, float], tuple[float, ...]] = {}

    def answer(self, asked: ShareQuestions) -> ShareAnswers:
        """The domain step of every hop asked, and the rates. Raises MessageError."""
        offers = np.array(asked.offer, dtype=np.int64)
        hops, theta, isolation, bursts = self._hops(asked)
        proposed = np.stack([asked.time, asked.risk, asked.margin], axis=1).reshape(len(offers), 3)
        wanted = share_steps(hops)
        rates = [self._rates(least_margins(hops, s), theta, isolation, offers) for s in (wanted, proposed)]
        time, risk, margin = wanted.T.tolist() if len(offers) else ([], [], [])
        return ShareAnswers(
            time=tuple(max(t, 0.0) for t in time),
            risk=tuple(risk),
            margin=tuple(max(z, 0.0) for z in margin),
            burst=tuple(bursts.tolist()),
            rate=tuple(rates[0].tolist()),
            proposed=tuple(rates[1].tolist()),
        )

    def rate(self, promise: Promise, offer: int) -> float:
        """The rate that keeps a promise, work per unit of time; negative where none does."""
        one = ShareQuestions(
            service=(promise.service,),
            theta=(promise.theta,),
            offer=(offer,),
            power=(promise.power,),
            burst=(promise.burst,),
            slots=(promise.slots,),
            time=(promise.time,),
            risk=(promise.risk,),
            margin=(promise.margin,),
            worth=(1.0,),
            **dict.fromkeys(("price_time", "price_risk", "price_margin"), (0.0,)),
            **dict.fromkeys(("pull_time", "pull_risk", "pull_margin"), (1.0,)),
        )
        return float(self.answer(one).proposed[0]) / float(self._units[offer])

    def _hops(self, asked: ShareQuestions) -> tuple[Floats, Floats, Floats, Floats]:
        """The table of hops of `step`; θ, ρ + κ and the base burst of each, (N,)."""
        count = len(asked.offer)
        hops = np.empty((count, len(HOP)))
        theta, isolation, bursts = np.empty((3, count))
        at = {name: k for k, name in enumerate(HOP)}
        for n, key in enumerate(zip(asked.service, asked.theta, asked.offer, asked.power, strict=True)):
            theta[n], load, need, own, bursts[n], kappa = self._terms(key)
            offer = key[2]
            isolation[n] = load / theta[n] + kappa
            hops[n, at["load"]], hops[n, at["need"]] = load, need + own
            hops[n, at["spent"]] = self._delay[offer] + self._guardrail[offer]
            with np.errstate(invalid="ignore"):
                most = theta[n] * (self._most[offer] - isolation[n])
            hops[n, at["most"]] = most if math.isfinite(own) and math.isfinite(kappa) else REFUSED
            hops[n, at["cost"]] = self._units[offer] / (theta[n] * self._slot)
        hops[:, at["cost"]] *= asked.worth
        hops[:, at["need"]] += asked.burst
        hops[:, at["room"]] = asked.slots
        for name, column in (("price", "price_"), ("pull", "pull_"), ("", "")):
            for share in ("time", "risk", "margin"):
                hops[:, at[f"{column}{share}"]] = getattr(asked, f"{name}_{share}" if name else share)
        return hops, theta, isolation, bursts

    def _rates(
        self, margins: Floats, theta: Floats, isolation: Floats, offers: npt.NDArray[np.int64]
    ) -> Floats:
        rates = (isolation + margins / theta) / self._slot * self._units[offers]
        return np.where(margins > 0.0, rates * (1.0 + 1e-12), REFUSED)

    def _terms(self, key: tuple[int, int, int, float]) -> tuple[float, ...]:
        """(θ, θρ, start − log ε, θρ + θ(η + κT), base burst, κ) of a service at a θ on an offer."""
        if key not in self._known:
            service, at, offer, power = key
            if not (service < len(self._services) and offer < len(self._models) and power >= 1.0):
                raise MessageError("a hop names a service, an offer or an exponent that is none")
            asked = self._services[service]
            if not at < len(asked.theta):
                raise MessageError("a hop names a θ that the opening did not")
            theta, load, start = asked.theta[at], asked.load[at], asked.start[at]
            with np.errstate(all="ignore"):
                kappa = float(self._models[offer].kappa(power * theta))
                eta = float(self._models[offer].eta(power * theta))
            latency = float(self._guardrail[offer])
            own = theta * (eta + kappa * latency)
            burst = own + load * latency + math.log1p(_early_slots(load, latency))
            burst = math.ceil(burst / BURST_STEP) * BURST_STEP if math.isfinite(burst) else 0.0
            self._known[key] = (theta, load, start - asked.log_epsilon, load + own, burst, kappa)
        return self._known[key]


def _early_slots(load: float, latency: float) -> float:
    """c = e^{−θρT}(e^{θρ⌈T⌉} − 1)/(e^{θρ} − 1), without overflow; ⌈T⌉ where θρ = 0."""
    steps = math.ceil(latency)
    if not load > 0.0:
        return float(steps)
    return math.exp(load * (steps - latency - 1.0)) * math.expm1(-load * steps) / math.expm1(-load)


REFUSED = -1.0
"""Stands for a margin where none will do."""

HOP = (
    "cost",
    "load",
    "need",
    "spent",
    "room",
    "most",
    *("time", "risk", "margin"),
    *("price_time", "price_risk", "price_margin"),
    *("pull_time", "pull_risk", "pull_margin"),
)
"""The columns of a table of hops: money per nat of margin, a, N, slots that latency takes, slots in all, the
largest x; the shares proposed, their prices, their penalties."""

_COST, _LOAD, _NEED, _SPENT, _ROOM, _MOST = range(6)
_SHARES, _PRICES, _PULLS = 6, 9, 12
_HALVINGS = 100
_SAFE = 1e-12


@kernel
def _phi(x: float) -> float:
    return -math.log(-math.expm1(-x)) if x > 0.0 else math.inf


@kernel
def _margin(hop: np.ndarray, slots: float, risk: float, state: float) -> float:
    """The least x that suffices for so many slots, a share of the risk and a stated margin."""
    need, load, most = hop[_NEED] - math.log(risk), hop[_LOAD], hop[_MOST]
    low = state
    if not (slots > 0.0 and low <= most):
        return REFUSED
    high = max(low, 1e-6)
    while (high + load) * slots - _phi(high) < need and high < most:
        low, high = high, 2.0 * high
    high = min(high, most)
    if not (high + load) * slots - _phi(high) >= need:
        return REFUSED
    if (low + load) * slots - _phi(low) >= need:
        return min(low * (1.0 + _SAFE), most)
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        if not low < middle < high:
            break
        if (middle + load) * slots - _phi(middle) >= need:
            high = middle
        else:
            low = middle
    return min(high * (1.0 + _SAFE), most)


@kernel
def least_margins(hops: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """The least margin of each hop at shares (N, 3) of time, risk and margin; REFUSED where none will do.

    hops: (N, len(HOP)), of which shares, prices and penalties are not looked at.
    """
    answer = np.empty(len(hops))
    for n in range(len(hops)):
        hop = hops[n]
        slots = hop[_ROOM] * shares[n, 0] - hop[_SPENT]
        answer[n] = _margin(hop, slots, shares[n, 1], shares[n, 2])
    return answer


@kernel
def _best_shares(x: float, hop: np.ndarray, answer: np.ndarray) -> float:
    """The best shares at the margin x, into `answer`; the slope of the least objective in x.

    With the multiplier m of the promise the time share is linear in m and the risk share the root of a
    quadratic; what they leave of the promise grows with m and is concave, so Newton's steps from 0 never
    overshoot. The margin stated is x: stating all there is costs nothing.
    """
    pull_time, pull_risk, pull_margin = hop[_PULLS], hop[_PULLS + 1], hop[_PULLS + 2]
    t0 = hop[_SHARES] + hop[_PRICES] / pull_time
    e0 = hop[_SHARES + 1] + hop[_PRICES + 1] / pull_risk
    wanted = hop[_SHARES + 2] + hop[_PRICES + 2] / pull_margin
    weight = (x + hop[_LOAD]) * hop[_ROOM]
    right = hop[_NEED] + _phi(x) + (x + hop[_LOAD]) * hop[_SPENT]
    m, t, e = 0.0, t0, e0
    if not (e0 > 0.0 and weight * t0 + math.log(e0) >= right):
        m = 1e-300
        if not e0 > 1e-12:  # start where the logarithm is finite
            m = 1e-24 * pull_risk
        for _ in range(200):
            root = math.sqrt(e0 * e0 + 4.0 * m / pull_risk)
            # of the two forms of the root the one that does not cancel
            e = 0.5 * (e0 + root) if e0 >= 0.0 else 2.0 * m / pull_risk / (root - e0)
            t = t0 + m * weight / pull_time
            short = right - weight * t - math.log(e)
            step = short / (weight * weight / pull_time + 1.0 / (pull_risk * root * e))
            m += step
            if not step > 1e-14 * m:
                break
    held = max(pull_margin * (wanted - x), 0.0)  # what it would be worth to state more than there is
    answer[0], answer[1], answer[2] = t, e, x
    slots = hop[_ROOM] * t - hop[_SPENT]
    return hop[_COST] - m * (slots + 1.0 / math.expm1(x)) - held


@kernel
def share_steps(hops: np.ndarray) -> np.ndarray:
    """The domain step of each hop: its best shares (N, 3); the proposed ones where no margin is allowed.

    minimise  cost·x − prices·S + ½ Σ penalties (S − proposed)²  over x ≤ most and S = (t, e, z) such that x
    suffices for y = room·t − spent, e and z. The least over S is convex in x; x is found by bisection. The
    third share answered is x: stating a margin up to it costs nothing, and where z < x its price is zero.
    """
    answer = np.empty((len(hops), 3))
    for n in range(len(hops)):
        hop, best = hops[n], answer[n]
        if not hop[_MOST] > 0.0:
            best[:] = hop[_SHARES : _SHARES + 3]
            continue
        low, high = 0.0, min(1e-3, hop[_MOST])
        while high < hop[_MOST] and _best_shares(high, hop, best) < 0.0:
            low, high = high, min(2.0 * high, hop[_MOST])
        for _ in range(_HALVINGS):
            middle = 0.5 * (low + high)
            if not low < middle < high:
                break
            if _best_shares(middle, hop, best) >= 0.0:
                high = middle
            else:
                low = middle
        _best_shares(high, hop, best)
    return answer
