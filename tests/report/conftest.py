import pytest

import fedopt
from fedopt.report import Given
from tests.report import documents


@pytest.fixture(scope="session")
def instance():
    return documents.instance()


@pytest.fixture(scope="session")
def plan(instance):
    return fedopt.solve(instance, gap=1e-3)


@pytest.fixture(scope="session")
def split_plan(instance):
    return fedopt.solve(instance, guarantee="split", gap=1e-2)


@pytest.fixture(scope="session")
def everything(instance, plan):
    return Given(
        plan=plan.model_copy(
            update={"ledger": {"rounds": 4, "boundaries": {"metro": {"numbers": 12, "bytes": 96}}}}
        ),
        instance=instance,
        simulation=documents.simulation(plan, instance),
        audit=documents.audited(),
        settlement=documents.settlement(),
        names={"plan": "plan.json"},
    )
