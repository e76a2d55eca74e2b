import base64
import json

import numpy as np
import pytest
from joserfc import jws

from fedopt.contracts import ContractError, contract_of, generate_key, sign, verify
from fedopt.contracts.signing import ALGORITHM, TYPE
from fedopt.storage import canonical_json
from tests.contracts.conftest import AT, fields


def encoded(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def with_header(token, **changes):
    _, payload, signature = token.split(".")
    header = {"alg": ALGORITHM, "kid": "k", "typ": TYPE} | changes
    return ".".join([encoded(json.dumps(header).encode()), payload, signature])


def with_payload(token, **changes):
    header, payload, signature = token.split(".")
    data = json.loads(base64.urlsafe_b64decode(payload + "=="))
    return ".".join([header, encoded(canonical_json(data | changes)), signature])


def reason(world, token, at=AT, stage="registered"):
    with pytest.raises(ContractError) as caught:
        verify(token, world.registry.state(), at=at, stage=stage, folder=world.registry.folder)
    assert caught.value.reason in str(caught.value)
    return caught.value.reason


def test_the_newest_version_is_valid(world):
    contract, kid = verify(world.second, world.registry.state(), at=AT)
    assert contract.version == 2
    assert kid == world.key.kid
    assert contract.impairment.theta[0] == -0.5


def test_every_way_of_being_wrong_has_its_name(world):
    kid = world.key.kid
    assert reason(world, "not a token") == "malformed"
    assert reason(world, "a.b.c") == "malformed"
    assert reason(world, with_header(world.second, alg="none")) == "algorithm-none"
    assert reason(world, with_header(world.second, alg="NoNe")) == "algorithm-none"
    for algorithm in ("HS256", "RS256", "ES256", "EdDSA", "", None, 3):
        assert reason(world, with_header(world.second, alg=algorithm)) == "unknown-algorithm"
    assert reason(world, with_header(world.second, kid=kid, jwk={})) == "unknown-header"
    assert reason(world, with_header(world.second, kid=kid, crit=["exp"])) == "unknown-header"
    assert reason(world, with_header(world.second, kid=kid, typ="JWT")) == "unknown-header"
    assert reason(world, with_header(world.second)) == "unknown-key"
    assert reason(world, world.second.rsplit(".", 1)[0] + ".") == "signature"
    assert reason(world, with_payload(world.second, latency=1.0)) == "altered-field"
    assert reason(world, with_payload(world.second, offer="silver")) == "signature"
    assert reason(world, world.first) == "rolled-back"
    assert reason(world, world.second, stage="new") == "replayed"
    assert reason(world, world.second, at="2027-01-01T00:00:00Z") == "expired"
    assert reason(world, world.second, at="2025-12-31T23:59:59Z") == "not-yet-valid"
    assert reason(world, world.next_version(), stage="registered") == "parent"
    assert reason(world, world.next_version(parent="0" * 64), stage="new") == "parent"
    assert reason(world, world.next_version(version=7), stage="new") == "parent"
    assert reason(world, world.next_version(version=2), stage="new") == "rolled-back"


def test_the_altered_field_is_named(world):
    token = with_payload(world.second, latency=1.0, max_rate=3.0)
    with pytest.raises(ContractError, match="in: latency, max_rate"):
        verify(token, world.registry.state(), at=AT, folder=world.registry.folder)


def test_issuers_keep_to_their_own(world):
    other = generate_key("opB")
    world.registry.trust(other.public())
    with pytest.raises(ContractError, match="issuer"):
        sign(contract_of(fields()), other)
    assert reason(world, world.next_version(key=other, issuer="opB"), stage="new") == "issuer"
    forged = jws.serialize_compact(
        {"alg": ALGORITHM, "kid": other.kid, "typ": TYPE},
        contract_of(fields(offer="new")).payload(),
        other.key,
        algorithms=[ALGORITHM],
    )
    assert reason(world, forged, stage="new") == "issuer"


def test_a_signed_text_that_is_not_canonical_or_no_contract_is_refused(world):
    def signed(payload):
        header = {"alg": ALGORITHM, "kid": world.key.kid, "typ": TYPE}
        return jws.serialize_compact(header, payload, world.key.key, algorithms=[ALGORITHM])

    assert reason(world, signed(b'{"b": 1}')) == "not-canonical"
    assert reason(world, signed(b"{}")) == "schema"
    data = contract_of(fields()).to_dict()
    assert reason(world, signed(canonical_json(data | {"extra": 1}))) == "schema"
    assert reason(world, signed(canonical_json(data | {"latency": -1.0}))) == "schema"
    del data["time_unit"]
    assert reason(world, signed(canonical_json(data))) == "not-canonical"


def test_retired_and_revoked_keys(world):
    pending = world.next_version()
    fresh = generate_key("opA")
    world.registry.rotate(world.key.kid, fresh.public())
    assert reason(world, pending, stage="new") == "retired-key"
    assert verify(world.second, world.registry.state(), at=AT)[0].version == 2
    world.registry.add(world.next_version(key=fresh), AT)
    world.registry.revoke(world.key.kid, "lost")
    assert reason(world, world.second) == "revoked-key"
    assert world.registry.current("edge-1/gold", AT).version == 3


def test_1000_mutated_contracts_are_refused_by_name(world):
    """Bytes, characters, parts and fields changed at random; none is accepted unless it is the very same
    text.
    """
    rng = np.random.default_rng(1)
    state = world.registry.state()
    alphabet = "ABCabc019-_.=+/ \n\0é"
    names = list(fields())
    reasons = set()
    for number in range(1000):
        token = world.second
        match number % 5:
            case 0:
                place = int(rng.integers(len(token)))
                token = token[:place] + alphabet[int(rng.integers(len(alphabet)))] + token[place + 1 :]
            case 1:
                place, length = int(rng.integers(len(token))), int(rng.integers(1, 30))
                token = token[:place] + token[place + length :]
            case 2:
                parts = token.split(".")
                rng.shuffle(parts)
                token = ".".join(parts[: int(rng.integers(1, 4))])
            case 3:
                name = names[int(rng.integers(len(names)))]
                junk = [None, -1, "x", [], {}, 1e300, True, "0" * 64, 2, "2030-01-01T00:00:00Z"]
                token = with_payload(token, **{name: junk[int(rng.integers(len(junk)))]})
            case 4:
                raw = bytearray(base64.urlsafe_b64decode(token.split(".")[2] + "=="))
                raw[int(rng.integers(len(raw)))] ^= 1 << int(rng.integers(8))
                token = ".".join([*token.split(".")[:2], encoded(bytes(raw))])
        if token.strip() == world.second:
            continue
        same = False
        if number % 5 == 3:
            same = token == world.second
        if same:
            continue
        with pytest.raises(ContractError) as caught:
            verify(token, state, at=AT, folder=world.registry.folder)
        reasons.add(caught.value.reason)
    assert {"malformed", "signature", "altered-field"} <= reasons
