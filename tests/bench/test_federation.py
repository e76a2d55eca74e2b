"""The federation suite: the same instance whatever the operators are called, and rows that agree."""

from __future__ import annotations

import pytest

from fedopt.bench.federation import QUICK, each_its_own, rows
from fedopt.instance import admissible
from fedopt.instance.generating import generate


def test_an_operator_for_every_domain_admits_what_was_admitted():
    whole = generate(tenants=20, stages=3, domains=3, seed=2)
    apart = each_its_own(whole)
    assert len({domain.operator for domain in apart.domains}) == 9
    for tenant, same in zip(whole.tenants, apart.tenants, strict=True):
        for domain, alike in zip(whole.domains, apart.domains, strict=True):
            for offer in domain.offers:
                here = admissible(tenant, domain, offer, whole.rated)
                assert bool(here) == bool(admissible(same, alike, offer, apart.rated))


@pytest.mark.slow
def test_the_rows_agree_where_they_must():
    found = {row.case.partition(": ")[2]: row for row in rows(QUICK, 0, False)}
    for method in ("admm", "bundle"):
        here, there = found[f"{method} in process"], found[f"{method} over HTTPS, reserved"]
        assert there.more["cost"] == pytest.approx(here.more["cost"], rel=1e-9)
        assert there.more["rounds"] == here.more["rounds"]
        assert there.more["wire_bytes"] >= there.more["bytes"]
        assert abs(there.more["dearer_than_central"]) < 0.02
