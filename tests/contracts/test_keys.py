"""Keys: their names are safe on a command line, stable, and checked when a public key is read."""

from __future__ import annotations

import pytest

from fedopt.contracts.document import ContractError
from fedopt.contracts.signing import generate_key, public_key


def test_a_key_name_never_looks_like_an_option():
    for _ in range(200):  # one thumbprint in 64 begins with a dash
        assert generate_key("opA").kid.startswith("ed25519-")


def test_a_public_key_with_another_name_is_refused():
    members = generate_key("opA").public()
    assert public_key(members)[0] == members["kid"]
    with pytest.raises(ContractError):
        public_key(members | {"kid": generate_key("opA").kid})
