"""The names of the guarantees: what a plan may promise its tenants."""

from __future__ import annotations

import difflib
from typing import Literal, cast

from fedopt.errors import InputError

FORMS = ("image", "ville", "block-ville", "fine", "monotone", "block")
"""The forms of minplus, each a valid bound; plain "minplus" takes the least that the models' assumptions
allow."""

THEOREMS = ("minplus", *(f"minplus:{form}" for form in FORMS), "split", "paper-path", "paper-local")
"""The guarantees that are proven; a method plans under one of these."""

MEASURED = "simulated"
"""The guarantee that is measured: a proven plan whose reservations simulation scaled down."""

GUARANTEES = (*THEOREMS, MEASURED)


Guarantee = Literal[
    "minplus",
    "minplus:image",
    "minplus:ville",
    "minplus:block-ville",
    "minplus:fine",
    "minplus:monotone",
    "minplus:block",
    "split",
    "paper-path",
    "paper-local",
    "simulated",
]
"""The names for type checkers; a test keeps them equal to `GUARANTEES`."""


class GuaranteeError(InputError):
    """A guarantee that does not exist; the message lists those that do."""


def check_guarantee(name: str) -> Guarantee:
    """The guarantee's name, if it exists. Raises GuaranteeError, with the nearest name, if it does not."""
    if name in GUARANTEES:
        return cast(Guarantee, name)
    near = difflib.get_close_matches(name, GUARANTEES, n=1) or [f"minplus:{name}"] * (name in FORMS)
    hint = f"did you mean {near[0]!r}? There" if near else "there"
    raise GuaranteeError(f"there is no guarantee {name!r}; {hint} are {', '.join(GUARANTEES)}")
