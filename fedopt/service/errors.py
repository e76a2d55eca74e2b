"""What is said when a request is refused: `status`, `code` and `message`, as CAMARA's design guide has it.

A generic code is CAMARA's own; one that only this service knows begins with `FEDOPT.`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from fedopt.instance.errors import Problem

__all__ = ["CODES", "LONGEST_MESSAGE", "MOST_PROBLEMS", "ApiError", "plain_problems"]

LONGEST_MESSAGE = 512
"""Characters of a message, CAMARA's limit."""

MOST_PROBLEMS = 50
"""Problems of a document that an answer lists."""

CODES: dict[str, tuple[int, str]] = {
    "INVALID_ARGUMENT": (400, "a parameter, a header or the document in the body is not right"),
    "OUT_OF_RANGE": (400, "a number is right in itself but beyond what this server allows"),
    "FEDOPT.FILE_NOT_ALLOWED": (400, "the document names a file, or the method a model file"),
    "UNAUTHENTICATED": (401, "no valid token or certificate came with the request"),
    "PERMISSION_DENIED": (403, "the request came under a host name that this server does not answer to"),
    "NOT_FOUND": (404, "there is no such resource, or it is another caller's"),
    "METHOD_NOT_ALLOWED": (405, "the resource does not know this HTTP method"),
    "FEDOPT.TOO_SLOW": (408, "the body did not arrive in time"),
    "INCOMPATIBLE_STATE": (409, "the job is not in a state that allows this"),
    "FEDOPT.TOO_LARGE": (413, "the body is larger than this server takes"),
    "UNSUPPORTED_MEDIA_TYPE": (415, "the body is neither JSON nor YAML"),
    "FEDOPT.KEY_REUSED": (422, "the idempotency key was used before, with another request"),
    "FEDOPT.TOO_COMPLEX": (422, "the document takes longer to read, or more memory, than this server allows"),
    "QUOTA_EXCEEDED": (429, "queue quota exceeded"),
    "TOO_MANY_REQUESTS": (429, "rate limit exceeded"),
    "INTERNAL": (500, "a defect of the server; its log knows more under the correlation id"),
    "UNAVAILABLE": (503, "the server is starting, ending, or overloaded"),
    "TIMEOUT": (504, "the answer took longer than a request may"),
}
"""Every code with its HTTP status and what it means."""


class ApiError(Exception):
    """A request that is refused. `problems` are the wrong places of a document, `headers` go with the
    answer.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        problems: Iterable[Problem | Mapping[str, Any]] = (),
        retry_after: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.code = code
        self.status = CODES[code][0]
        self.message = message if len(message) <= LONGEST_MESSAGE else message[: LONGEST_MESSAGE - 1] + "…"
        self.problems = plain_problems(problems)
        self.headers = dict(headers or {})
        if retry_after is not None:
            self.headers["Retry-After"] = str(max(1, round(retry_after)))
        super().__init__(f"{code}: {self.message}")

    def body(self) -> dict[str, Any]:
        """The answer's document."""
        body: dict[str, Any] = {"status": self.status, "code": self.code, "message": self.message}
        return {**body, "problems": self.problems} if self.problems else body


def plain_problems(problems: Iterable[Problem | Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Problems as plain data, not more than an answer lists."""
    found: list[dict[str, Any]] = []
    for problem in problems:
        if len(found) == MOST_PROBLEMS:
            break
        if isinstance(problem, Problem):
            problem = {
                "place": problem.place[:500],
                "line": problem.line,
                "message": problem.message[:500],
                "remedy": problem.remedy[:500],
            }
        found.append(dict(problem))
    return found
