import pytest

from fedopt.contracts import Registry, contract_of, generate_key, sign, signed_digest

AT = "2026-06-01T00:00:00Z"


def fields(**changes):
    return {
        "issuer": "opA",
        "domain": "edge-1",
        "offer": "gold",
        "version": 1,
        "issued": "2026-01-01T00:00:00Z",
        "valid_from": "2026-01-01T00:00:00Z",
        "valid_until": "2027-01-01T00:00:00Z",
        "latency": 2.0,
        "impairment": {
            "model": "table",
            "theta": [-0.5, 0.1, 0.5],
            "kappa": [0.25, 0.31, 0.4],
            "eta": [0.0, 0.1, 0.2],
            "monotone": True,
        },
        **changes,
    }


class World:
    """A registry with a trusted issuer and two registered versions of one contract."""

    def __init__(self, folder):
        self.registry = Registry(folder)
        self.key = generate_key("opA")
        self.registry.trust(self.key.public())
        self.first = sign(contract_of(fields()), self.key)
        self.registry.add(self.first, AT)
        self.second = self.next_version(latency=1.5)
        self.registry.add(self.second, AT)

    def next_version(self, key=None, **changes):
        latest = self.registry.state().latest("edge-1/gold")
        data = fields(version=latest.version + 1, parent=latest.sha256) | changes
        return sign(contract_of(data), key or self.key)

    @staticmethod
    def digest(token):
        return signed_digest(token)


@pytest.fixture
def world(tmp_path):
    return World(tmp_path / "registry")
