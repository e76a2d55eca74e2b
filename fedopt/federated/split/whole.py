"""Whole heads under agreed shares: a program over tangents assigns them to lanes, their domains come to terms
at the prices of these lanes, the operators confirm."""

from __future__ import annotations

from fedopt.federated.split.agreements import Agreements
from fedopt.federated.split.whole_program import Mixed, assigned, mixed
from fedopt.federated.whole import Choice, Confirming

__all__ = ["whole_lanes"]

_SETTLING = 16  # rounds about shares at the prices of chosen lanes, at most
_FRUITLESS = 12  # assignments in a row that brought nothing better
_ROOM = 0.08  # how much dearer than the cheapest, relative to a head's cost, the lanes looked at are at most


def whole_lanes(search: Confirming, shares: Agreements, most: int) -> Choice | None:
    """The best plan of whole heads that the operators confirm; None where none was confirmed in `most`
    assignments."""
    run, flows, gap = search.run, search.flows, search.gap
    fruitless = 0
    for _ in range(most):
        run.lower_bound = max(run.lower_bound, search.evidence.lower)
        if run.expired() or search.proven() or fruitless >= _FRUITLESS:
            break
        lower = search.evidence.below
        served = max(float(flows.counts.sum()), 1.0)
        missing = search.cutoff - lower.best  # what any head of a better plan can be dearer by
        room = min(missing, _ROOM * abs(lower.best) / served)
        lanes = shares.near(lower.prices, lower.least + flows.payments + room)
        found = assigned(search.evidence, lanes, search.room, gap, run)
        if found is None:
            break
        if room >= missing:
            run.lower_bound = max(run.lower_bound, min(found.bound, search.cutoff))
        if not found.heads:
            break
        before = search.best
        settled = _settle(search, shares, found.heads)
        if settled is not None and not settled.overloads:
            columns, heads = flows.whole(settled.x)
            asked = shares.ask_again(columns)
            columns = shares.told_again(columns, search.session.ask_shares(asked))
            if not search.confirm(columns, heads):
                search.learn_room(columns, heads)
        better = search.best is not None and (
            before is None or search.best.cost < before.cost - 0.05 * gap * abs(before.cost)
        )
        fruitless = 0 if better else fruitless + 1
    return search.best


def _settle(search: Confirming, shares: Agreements, heads: dict[tuple[int, int, int], int]) -> Mixed | None:
    """The cheapest mixture on the lanes assigned, after their domains have come to terms at its prices."""
    pieces = {shares.piece(*key): count for key, count in heads.items()}
    prices, found = search.evidence.below.prices, None
    for _ in range(_SETTLING):
        last, found = found, mixed(search.evidence, pieces, search.room)
        if found is not None:
            prices = found.prices
            if (
                last is not None
                and not last.overloads
                and last.value - found.value < 0.02 * search.gap * abs(found.value)
            ):
                break
        questions = shares.refine(heads, prices)
        if questions is None or search.run.expired():
            break
        search.flows.add(shares.learn(questions, search.session.ask_shares(questions)))
        search.run.record(search.evidence)
    return found
