import json
import shutil

import pytest

from fedopt.contracts import ContractError, Registry, generate_key, load_key, save_key, with_registry
from fedopt.contracts.document import digest
from fedopt.contracts.registry import describe, fingerprint
from fedopt.instance import loads
from fedopt.storage import canonical_json
from tests.contracts.conftest import AT


def lines(world):
    return world.registry.log.path.read_bytes().splitlines(keepends=True)


def refused(world):
    with pytest.raises(ContractError) as caught:
        world.registry.state()
    return caught.value


def test_the_log_tells_what_happened(world):
    events = [entry.event for entry in world.registry.log.entries()]
    assert events == ["key-trusted", "contract-registered", "contract-registered"]
    assert "edge-1/gold" in describe(world.registry.log.entries()[1])
    assert world.registry.current("edge-1/gold", AT).version == 2
    assert world.registry.state().head == world.registry.log.head()
    assert fingerprint(world.registry.state()) == fingerprint(Registry(world.registry.folder).state())


@pytest.mark.parametrize("index", [0, 1])
def test_a_changed_entry_is_found(world, index):
    parts = lines(world)
    entry = json.loads(parts[index])
    entry["time"] = "2020-01-01T00:00:00Z"
    parts[index] = (
        json.dumps(entry, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"
    )
    world.registry.log.path.write_bytes(b"".join(parts))
    assert f"entry {index}" in str(refused(world))


def test_an_entry_changed_with_a_right_hash_of_its_own_is_found(world):
    """What follows it still names the old hash: the link is compared, not only each entry by itself."""
    parts = lines(world)
    entry = json.loads(parts[1])
    del entry["hash"]
    entry["time"] = "2020-01-01T00:00:00Z"
    parts[1] = canonical_json(entry | {"hash": digest(canonical_json(entry))}) + b"\n"
    world.registry.log.path.write_bytes(b"".join(parts))
    assert "entry 2 does not follow" in str(refused(world))


def test_a_removed_or_moved_entry_is_found(world):
    parts = lines(world)
    world.registry.log.path.write_bytes(parts[0] + parts[2])
    assert "entry 1 does not follow" in str(refused(world))
    world.registry.log.path.write_bytes(parts[1] + parts[0] + parts[2])
    assert refused(world).reason == "log"


def test_a_line_half_written_by_a_crash_is_dropped(world):
    path = world.registry.log.path
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"data":{"kid"')
    assert world.registry.state().latest("edge-1/gold").version == 2
    world.registry.trust(generate_key("opC").public())
    assert path.read_bytes().startswith(whole)
    assert len(world.registry.log.entries()) == 4


def test_a_changed_or_missing_text_is_found(world):
    latest = world.registry.state().latest("edge-1/gold")
    file = world.registry.contract_file(latest.sha256)
    file.write_text(world.first)
    with pytest.raises(ContractError, match="was changed"):
        world.registry.current("edge-1/gold", AT)
    file.unlink()
    with pytest.raises(ContractError, match="missing"):
        world.registry.current("edge-1/gold", AT)
    with pytest.raises(ContractError, match="no contract"):
        world.registry.current("edge-9/gold", AT)


def test_keys_are_trusted_once_and_ended_once(world):
    with pytest.raises(ContractError, match="registered already"):
        world.registry.trust(world.key.public())
    with pytest.raises(ContractError, match="unknown-key"):
        world.registry.revoke("nobody", "")
    world.registry.revoke(world.key.kid, "lost")
    with pytest.raises(ContractError, match="revoked already"):
        world.registry.retire(world.key.kid)
    other = generate_key("opB")
    with pytest.raises(ContractError, match="issuer"):
        world.registry.rotate(world.key.kid, other.public())


def test_private_keys_stay_private(tmp_path, world):
    file = tmp_path / "opA.key"
    save_key(world.key, file)
    assert file.stat().st_mode & 0o077 == 0
    assert load_key(file).kid == world.key.kid
    with pytest.raises(FileExistsError):
        save_key(world.key, file)
    with pytest.raises(ContractError, match="share the public one"):
        world.registry.trust(json.loads(file.read_text()))
    assert "d" not in world.key.public()


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"kty":"OKP","crv":"X25519","x":"a","d":"b","issuer":"q"}', "\x00"]
)
def test_broken_key_files_are_refused(tmp_path, text):
    (tmp_path / "k").write_text(text)
    with pytest.raises(ContractError, match="key"):
        load_key(tmp_path / "k")
    with pytest.raises(ContractError, match="key"):
        load_key(tmp_path / "none")


def test_a_log_that_was_cut_short_is_found(world):
    world.registry.log.path.write_bytes(b"".join(lines(world)[:2]))
    assert "cut short" in str(refused(world))


def test_a_fork_is_found(world, tmp_path):
    """The same history continued in two ways: the head of one does not fit the log of the other."""
    copy = tmp_path / "copy"
    shutil.copytree(world.registry.folder, copy)
    world.registry.trust(generate_key("opC").public())
    Registry(copy).trust(generate_key("opD").public())
    world.registry.log.path.write_bytes((copy / "log.jsonl").read_bytes())
    assert "forked" in str(refused(world))


def test_an_entry_added_by_hand_does_not_count(world):
    """Hashes are no secret, the registry's key is: what lies beyond the signed head was never registered."""
    last = world.registry.log.entries()[-1]
    forged = generate_key("opZ").public()
    body = {
        "index": last.index + 1,
        "time": AT,
        "event": "key-trusted",
        "data": {"kid": forged["kid"], "issuer": "opZ", "key": forged},
        "previous": last.hash,
    }
    line = canonical_json(body | {"hash": digest(canonical_json(body))}) + b"\n"
    path = world.registry.log.path
    path.write_bytes(path.read_bytes() + line)
    assert forged["kid"] not in world.registry.state().keys
    world.registry.trust(generate_key("opC").public())
    assert forged["kid"] not in world.registry.state().keys
    assert len(world.registry.log.entries()) == 4


def test_a_head_that_is_missing_or_of_another_key_is_found(world, tmp_path):
    head = world.registry.folder / "head.jws"
    other = Registry(tmp_path / "other")
    other.trust(generate_key("opC").public())
    head.write_text((tmp_path / "other" / "head.jws").read_text())
    assert "does not belong" in str(refused(world))
    head.unlink()
    assert "head is missing" in str(refused(world))


def test_only_the_owner_of_the_key_adds(world):
    (world.registry.folder / "registry.key").unlink()
    with pytest.raises(ContractError, match="only its owner"):
        world.registry.trust(generate_key("opC").public())


def test_current_contracts_are_put_into_an_instance(world):
    text = """
fedopt: 1
name: signed
stages: [compute]
domains:
  - {id: edge-1, stage: compute, capacity: 9, offers: [
      {id: gold, latency: 5, impairment: {model: exponential, mean: 0.1}, cost: {model: linear, rate: 1}},
      {id: tin, latency: 7, impairment: {model: exponential, mean: 0.1}, cost: {model: linear, rate: 1}}]}
tenants:
  - {id: chat, arrivals: {model: poisson, rate: 0.5}, slo: {deadline: 40, epsilon: 0.001}}
"""
    signed, used = with_registry(loads(text, "i.yaml"), world.registry, AT)
    assert [contract.version for contract in used] == [2]
    assert signed.offer("edge-1/gold")[1].latency == 1.5
    assert signed.offer("edge-1/tin")[1].latency == 7
    with pytest.raises(ContractError, match="expired"):
        with_registry(loads(text, "i.yaml"), world.registry, "2030-01-01T00:00:00Z")
