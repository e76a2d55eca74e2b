"""Settings are checked when they are made."""

from __future__ import annotations

import pytest

from fedopt.control.settings import Settings


@pytest.mark.parametrize("change", [{"replays": 0}, {"detours": -1}, {"session_confidence": 1.0}])
def test_numbers_that_cannot_steer_anything_are_refused(change: dict[str, float]) -> None:
    (name,) = change
    with pytest.raises(ValueError, match=name):
        Settings(**change)
