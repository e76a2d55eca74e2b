import pytest

from fedopt.plan import GUARANTEES, GuaranteeError, check_guarantee


@pytest.mark.parametrize("name", GUARANTEES)
def test_known_names_pass(name):
    assert check_guarantee(name) == name


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("minplus:vile", "did you mean 'minplus:ville'"),
        ("fine", "minplus:fine"),
        ("zzz", "there are minplus"),
    ],
)
def test_unknown_names_are_refused_with_what_there_is(name, hint):
    with pytest.raises(GuaranteeError, match=hint) as caught:
        check_guarantee(name)
    assert caught.value.exit_code == 2
    assert "paper-local" in str(caught.value)
