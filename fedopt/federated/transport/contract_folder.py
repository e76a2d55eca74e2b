"""The signed contracts that an agent publishes: the files of a folder, read again whenever one changes."""

from __future__ import annotations

from pathlib import Path

from fedopt.contracts import ContractError, signed_digest
from fedopt.contracts.canonical import parse_canonical
from fedopt.contracts.reading import read_token
from fedopt.contracts.signing import header_of, unchecked_payload

__all__ = ["ContractFolder"]


class ContractFolder:
    """The `*.jws` files of a folder, by what they are about ("domain/offer"); the highest version counts.

    The agent publishes what its operator signed; verifying is up to who relies on it.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._seen: list[tuple[str, int, int]] | None = None
        self._tokens: dict[str, str] = {}

    def tokens(self) -> dict[str, str]:
        """The signed text by subject. Raises ContractError for a file that is no signed contract."""
        if self._folder is None:
            return {}
        files = sorted(self._folder.glob("*.jws"))
        seen = [(file.name, (stat := file.stat()).st_mtime_ns, stat.st_size) for file in files]
        if seen != self._seen:
            newest: dict[str, tuple[int, str]] = {}
            for file in files:
                version, subject, token = _read(file)
                if version > newest.get(subject, (0, ""))[0]:
                    newest[subject] = (version, token)
            self._tokens = {subject: token for subject, (_, token) in newest.items()}
            self._seen = seen
        return self._tokens

    def digests(self) -> dict[str, str]:
        """What the folder holds now: SHA-256 of the signed text by subject."""
        return {subject: signed_digest(token) for subject, token in self.tokens().items()}


def _read(file: Path) -> tuple[int, str, str]:
    token = read_token(file)
    header_of(token)
    try:
        said = parse_canonical(unchecked_payload(token))
        return int(said["version"]), f"{said['domain']}/{said['offer']}", token
    except (ValueError, KeyError, TypeError) as error:
        raise ContractError("malformed", f"{file}: not a signed contract: {error}") from error
