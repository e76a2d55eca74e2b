from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedopt.instance import SLO, Domain, Instance, Offer, Poisson, Policy, Tenant, admissible
from fedopt.instance.graph import RatedStages
from fedopt.plan.policy import policy_violations

DOMAIN = Domain(
    id="edge",
    stage="s",
    operator="opA",
    region="north",
    trust=2,
    capacity=1,
    offers=[Offer(id="llm", accuracy=0.9, staleness=600)],
)


@pytest.mark.parametrize(
    ("policy", "slo", "reason"),
    [
        ({}, {}, None),
        ({"operators": ["opA"]}, {}, None),
        ({"operators": ["opB"]}, {}, "operator opA is not among opB"),
        ({"operators": []}, {}, "operators"),
        ({"regions": ["south"]}, {}, "region north"),
        ({"min_trust": 2}, {}, None),
        ({"min_trust": 2.5}, {}, "trust 2 is below 2.5"),
        ({"forbid": ["edge"]}, {}, "domain edge is forbidden"),
        ({"forbid": ["edge/llm"]}, {}, "offer edge/llm is forbidden"),
        ({"forbid": ["edge/other"]}, {}, None),
        ({}, {"min_accuracy": 0.9}, None),
        ({}, {"min_accuracy": 0.91}, "accuracy 0.9 is below 0.91"),
        ({}, {"max_staleness": 600}, None),
        ({}, {"max_staleness": 599}, "staleness 600 s is above 599 s"),
    ],
)
def test_reasons(policy: dict[str, Any], slo: dict[str, Any], reason: str | None) -> None:
    tenant = Tenant(
        id="t", arrivals=Poisson(rate=1), slo=SLO(deadline=1, epsilon=0.1, **slo), policy=Policy(**policy)
    )
    reasons = admissible(tenant, DOMAIN, DOMAIN.offers[0], RatedStages.of(["s"], [DOMAIN]))
    assert len(reasons) == (reason is not None)
    assert reason is None or reason in reasons[0]


def test_what_is_not_stated() -> None:
    bare = Domain(id="d", stage="s", capacity=1, offers=[Offer(id="o")])
    tenant = Tenant(
        id="t",
        arrivals=Poisson(rate=1),
        slo=SLO(deadline=1, epsilon=0.1, min_accuracy=0.9, max_staleness=1),
        policy=Policy(operators=["opA"], regions=["north"]),
    )
    reasons = ["a domain without operator is not among opA", "a domain without region is not among north"]
    unstated = ["states no accuracy", "states no staleness"]
    # Nobody states a quality: nothing can keep a limit on it.
    assert admissible(tenant, bare, bare.offers[0], RatedStages.of(["s"], [bare])) == reasons + unstated
    # Another stage does: this one has no such quality.
    other = DOMAIN.model_copy(update={"stage": "t"})
    assert admissible(tenant, bare, bare.offers[0], RatedStages.of(["s", "t"], [bare, other])) == reasons
    # A neighbour on its stage does: here it is unknown.
    rated = RatedStages.of(["s"], [bare, DOMAIN])
    assert admissible(tenant, bare, bare.offers[0], rated) == reasons + unstated
    drained = bare.model_copy(update={"capacity": 0.0})
    assert "domain d is drained (capacity 0)" in admissible(tenant, drained, bare.offers[0], rated)


QUALITIES = st.one_of(st.none(), st.sampled_from([0.7, 0.8, 0.9]))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("ab"), QUALITIES, QUALITIES), min_size=2, max_size=6), QUALITIES)
def test_no_path_has_an_unknown_quality_where_one_is_asked_for(
    offers: list[tuple[str, float | None, float | None]], least: float | None
) -> None:
    domains = [
        Domain(id=f"d{i}", stage=stage, capacity=1, offers=[Offer(id="o", accuracy=accuracy, staleness=age)])
        for i, (stage, accuracy, age) in enumerate([("a", None, None), ("b", None, None), *offers])
    ]
    slo = SLO(deadline=1, epsilon=0.1, min_accuracy=least, max_staleness=None if least is None else 1 - least)
    tenant = Tenant(id="t", arrivals=Poisson(rate=1), slo=slo)
    instance = Instance(stages=["a", "b"], domains=domains, tenants=[tenant])
    graph = instance.graph(tenant)
    for quality, keeps in (("accuracy", lambda v: v >= least), ("staleness", lambda v: v <= 1 - least)):
        stages = {d.stage for d in domains for o in d.offers if getattr(o, quality) is not None}
        for _, data in graph.nodes(data=True):
            if least is not None:
                value = getattr(data["offer"], quality)
                assert value is None or keeps(value)
                assert value is not None or data["stage"] not in stages
                assert stages  # else nothing may be there at all
        # The check of plans, written apart, agrees hop by hop.
        for domain in domains:
            found = policy_violations(instance, tenant, [(domain, domain.offers[0])])
            assert bool(list(found)) == bool(admissible(tenant, domain, domain.offers[0], instance.rated))
