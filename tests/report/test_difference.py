import fedopt
from fedopt.report import Given, render
from fedopt.report.difference import difference_tables


def test_only_what_differs_is_listed(plan, instance):
    assert [len(table.rows) for table in difference_tables(plan, plan)] == [4, 0, 0]
    nearer = fedopt.solve(instance.with_({"tenants.chat.policy.forbid": ["far"]}), gap=1e-3)
    totals, domains, tenants = difference_tables(plan, nearer)
    assert totals.keys[3][0] == nearer.cost - plan.cost > 0
    reserved = {domain.id: domain.reserved for domain in plan.domains}
    for (name, *_), before, after, step in zip(
        domains.rows, domains.keys[1], domains.keys[2], domains.keys[3], strict=True
    ):
        assert before == reserved[name]
        assert step == after - before
    assert [row[0] for row in tenants.rows] == ["chat"]
    assert "far" in tenants.rows[0][1]
    assert "near" in tenants.rows[0][2]


def test_the_page_says_what_changed_or_that_nothing_was_given(plan, instance):
    page = render(Given(plan, instance, against=plan), explain_seconds=0.0)
    assert "Domains whose reservation changed: none." in page
    assert "No other plan was given" in render(Given(plan, instance), explain_seconds=0.0)


def test_what_the_time_left_out_is_said(plan, instance):
    assert "no time was given" in render(Given(plan, instance), explain_seconds=0.0)
    assert "was used up" in render(Given(plan, instance), explain_seconds=1e-6)
