"""The agent over HTTPS: routes, limits and the OpenAPI document. What a message means, `agent` decides."""

from __future__ import annotations

import asyncio
import json
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Annotated, Any, cast

import fedopt
from fedopt.errors import optional
from fedopt.federated.protocol.messages import answer_schema, message_schema
from fedopt.federated.transport.certificates import server_context
from fedopt.federated.transport.policy import REASONS, STATUS, Refusal
from fedopt.federated.transport.signed import HEADER

with optional("agents", "federation"):
    import uvicorn
    from fastapi import FastAPI, Path, Request, Response
    from fastapi.responses import JSONResponse, PlainTextResponse

    from fedopt.federated.transport.peer_protocol import PEER, PeerProtocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from fedopt.federated.transport.agent import Agent

__all__ = ["application", "openapi_document", "prepared", "serve"]

MOST_CONNECTIONS = 64
CLOSING_SECONDS = 10
KEPT_ALIVE_SECONDS = 600

RunName = Annotated[str, Path(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$", description="Name of the run.")]
Sequence = Annotated[
    int, Path(ge=0, le=1_000_000_000, description="Number of the message in the run, from 0.")
]
Id = Annotated[str, Path(min_length=1, max_length=200)]


def application(agent: Agent) -> FastAPI:
    """The agent's HTTP application. Every request must come over mutual TLS from a known broker."""
    app = FastAPI(
        title="fedopt agent",
        summary="One operator's side of a federated planning run.",
        description=DESCRIPTION,
        version=fedopt.__version__,
        docs_url=None,
        redoc_url=None,
        responses={
            "4XX": {"description": "Refused; `reason` is one name of the list.", **_json(_ref("Refusal"))},
            "5XX": {"description": "A defect of the agent.", **_json(_ref("Refusal"))},
        },
    )
    one_at_a_time = ThreadPoolExecutor(1, "operator")

    @app.exception_handler(Refusal)
    async def refused(request: Request, refusal: Refusal) -> Response:
        body = {"reason": refusal.reason, "message": refusal.message}
        return JSONResponse(body, STATUS[refusal.reason])

    @app.exception_handler(Exception)
    async def defect(request: Request, error: Exception) -> Response:
        # The broker learns that it failed, not what the operator's numbers looked like when it did.
        return JSONResponse({"reason": "defect", "message": "this is a defect of the agent"}, 500)

    @app.get("/v1/agent", summary="Who this is", response_model=dict[str, Any])
    async def about(request: Request) -> dict[str, Any]:
        """The operator, the version of the messages and the limits that apply."""
        agent.known_broker(request.scope.get(PEER))
        return agent.about()

    @app.get("/v1/health", summary="Whether it is well", response_model=dict[str, Any])
    async def health(request: Request) -> dict[str, Any]:
        """`status` is "ok", or "overbooked" where less can be carried than was promised."""
        agent.known_monitor(request.scope.get(PEER))
        return await asyncio.to_thread(agent.health)

    @app.get("/v1/metrics", summary="Counts for a monitor", response_class=PlainTextResponse)
    async def metrics(request: Request) -> Response:
        """Answers, refusals and reservations in the text format of Prometheus."""
        agent.known_monitor(request.scope.get(PEER))
        return PlainTextResponse(await asyncio.to_thread(agent.metrics))

    @app.get(
        "/v1/contracts/{domain}/{offer}",
        summary="A signed contract",
        response_class=PlainTextResponse,
        responses={200: {"description": "The contract as JWS.", "content": {"application/jose": {}}}},
    )
    async def contract(request: Request, domain: Id, offer: Id) -> Response:
        """The tail-risk envelope of an offer as the operator signed it (JWS, compact form)."""
        agent.known_broker(request.scope.get(PEER))
        return Response(agent.contract(f"{domain}/{offer}"), media_type="application/jose")

    @app.post(
        "/v1/runs/{run}/messages/{sequence}",
        summary="One message of a run",
        response_class=Response,
        responses={
            200: {
                "description": "The answer, signed by the operator in the header `Fedopt-Signature`.",
                **_json(_ref("AnyAnswer")),
            }
        },
        openapi_extra={
            "parameters": [
                {
                    "name": HEADER,
                    "in": "header",
                    "required": True,
                    "schema": {"type": "string"},
                    "description": "Detached JWS of the broker over message, run, sequence and operator.",
                }
            ],
            "requestBody": {"required": True, **_json(_ref("AnyMessage"))},
        },
    )
    async def message(request: Request, run: RunName, sequence: Sequence) -> Response:
        """Answer a message. The same message again is given the same answer; another one under a number that
        was answered, or an older one, is refused as replayed.
        """
        broker = agent.known_broker(request.scope.get(PEER))
        body = await _body(request, agent.limits.message_bytes, agent.limits.body_seconds)
        signature = request.headers.get(HEADER)
        loop = asyncio.get_running_loop()
        answer, signed = await loop.run_in_executor(
            one_at_a_time, agent.answer, broker, run, sequence, body, signature
        )
        return Response(answer, media_type="application/json", headers={HEADER: signed})

    described = app.openapi

    def openapi() -> dict[str, Any]:
        document = described()
        document["components"] = {"schemas": _components()}
        return document

    app.openapi = openapi  # type: ignore[method-assign]
    return app


def openapi_document() -> dict[str, Any]:
    """The OpenAPI document of every agent; it says nothing of any one of them."""
    return application(cast("Agent", None)).openapi()


def prepared(agent: Agent) -> tuple[uvicorn.Server, socket.socket]:
    """A server of the agent and the socket that it is to listen on, bound already; port 0 took a free one."""
    config = agent.config
    host, port = config.address
    # asyncio sends small answers at once only on sockets that say that they are TCP
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise OSError(error.errno, f"cannot be listened on: {error.strerror}", config.listen) from None
    settings = uvicorn.Config(
        application(agent),
        http=PeerProtocol,
        lifespan="off",
        log_level="warning",
        access_log=False,
        server_header=False,
        limit_concurrency=MOST_CONNECTIONS,
        timeout_keep_alive=KEPT_ALIVE_SECONDS,
        timeout_graceful_shutdown=CLOSING_SECONDS,
    )
    settings.load()
    settings.ssl = server_context(
        config.file(config.tls.certificate),
        config.file(config.tls.key),
        [config.file(broker.certificate) for broker in config.brokers]
        + [config.file(monitor) for monitor in config.monitors],
    )
    listener.listen(128)
    return uvicorn.Server(settings), listener


def serve(agent: Agent, ready: Callable[[str, int], None]) -> None:
    """Serve until interrupted; `ready` is told host and port once connections are taken."""
    server, listener = prepared(agent)
    ready(*listener.getsockname()[:2])
    server.run(sockets=[listener])


async def _body(request: Request, most: int, seconds: float) -> bytes:
    """The body, as long as it is small enough and arrives in time."""
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared) > most:
        raise Refusal("too-large", f"a message has at most {most} bytes")
    parts, size = [], 0
    try:
        async with asyncio.timeout(seconds):
            async for part in request.stream():
                size += len(part)
                if size > most:
                    raise Refusal("too-large", f"a message has at most {most} bytes")
                parts.append(part)
    except TimeoutError:
        raise Refusal("too-slow", f"a message must arrive within {seconds:g} s") from None
    return b"".join(parts)


def _components() -> dict[str, Any]:
    """The messages, the answers and the refusal as OpenAPI has them."""
    found: dict[str, Any] = {"Refusal": REFUSAL_SCHEMA}
    for name, schema in (("AnyMessage", message_schema()), ("AnyAnswer", answer_schema())):
        found |= schema.pop("$defs", {})
        found[name] = schema
    text = json.dumps(found).replace("#/$defs/", "#/components/schemas/")
    return dict(json.loads(text))


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"content": {"application/json": {"schema": schema}}}


REFUSAL_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["reason", "message"],
    "properties": {
        "reason": {"type": "string", "enum": list(REASONS)},
        "message": {"type": "string"},
    },
}

DESCRIPTION = """\
An agent answers the messages of the brokers that it knows: mutual TLS with pinned certificates, and every
message and answer signed (detached JWS, Ed25519). It never sends a cost curve or a capacity. Messages of a
run are numbered; each may be sent again until it is answered.
"""
