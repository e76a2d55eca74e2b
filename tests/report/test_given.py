import pytest

from fedopt.report import Given, ReportError, Simulation, read_settlement, read_simulation
from tests.report import documents


def test_documents_of_another_plan_are_refused(plan, instance, everything):
    with pytest.raises(ReportError, match=r"another instance than small\.yaml"):
        Given(plan, instance.with_(name="other"), names={"instance": "small.yaml"})
    other = everything.simulation.model_copy(
        update={"tenants": [t.model_copy(update={"id": "x"}) for t in everything.simulation.tenants]}
    )
    with pytest.raises(ReportError, match="of another plan"):
        Given(plan, simulation=other)
    paid = documents.settlement()
    with pytest.raises(ReportError, match="of another plan"):
        Given(
            plan,
            settlement=paid.model_copy(update={"lines": [paid.lines[0].model_copy(update={"tenant": "x"})]}),
        )


def test_entries_of_one_tenant_on_one_path_are_matched_in_order(plan, everything):
    twice = plan.model_copy(
        update={
            "tenants": type(plan.tenants)([*plan.tenants, *(entry.model_copy() for entry in plan.tenants)])
        }
    )
    seen = everything.simulation.tenants
    again = [tenant.model_copy(update={"verdict": "second"}) for tenant in seen]
    given = Given(twice, simulation=Simulation(tenants=[*seen, *again], seed=1, trials=2, confidence=0.9))
    verdicts = [given.simulated(entry).verdict for entry in given.plan.tenants]
    assert verdicts == [*(tenant.verdict for tenant in seen), *(["second"] * len(seen))]


def test_the_audit_of_a_tenant_is_its_own_series(everything, plan, instance):
    chat = plan.tenants.of("chat")[0]
    assert everything.audited(chat).name == "chat"
    whole = everything.audit.model_copy(update={"series": {}})
    assert Given(plan, instance, audit=whole).audited(chat) is None


def test_files_that_are_no_such_documents(tmp_path):
    file = tmp_path / "x.json"
    for read, maker in ((read_simulation, "simulate"), (read_settlement, "settle")):
        with pytest.raises(ReportError, match="cannot be read"):
            read(tmp_path / "absent.json")
        file.write_text("{")
        with pytest.raises(ReportError, match="not JSON"):
            read(file)
        file.write_text('{"tenants": 3}')
        with pytest.raises(ReportError, match=rf"(?s)write one with fedopt {maker}.*tenants|lines"):
            read(file)
        file.write_bytes(b"\xff\xfe")
        with pytest.raises(ReportError, match="UTF-8"):
            read(file)
