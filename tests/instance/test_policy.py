from __future__ import annotations

from typing import Any

import pytest

from fedopt.instance import SLO, Domain, Offer, Poisson, Policy, Tenant, admissible

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
    reasons = admissible(tenant, DOMAIN, DOMAIN.offers[0])
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
    assert admissible(tenant, bare, bare.offers[0]) == [
        "a domain without operator is not among opA",
        "a domain without region is not among north",
    ]
