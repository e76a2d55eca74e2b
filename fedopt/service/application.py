"""The service over HTTP: the application, its OpenAPI document, and every error in one form."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

from fedopt.service.errors import ApiError
from fedopt.service.openapi import DESCRIPTION, VERSION, completed
from fedopt.service.parameters import known_parameters
from fedopt.service.routes import TAGS, routers
from fedopt.service.serve_extra import serve_extra
from fedopt.service.settings import BASE

with serve_extra():
    from fastapi import APIRouter, Depends, FastAPI, Request, Response
    from fastapi.exceptions import RequestValidationError
    from fastapi.responses import JSONResponse
    from starlette.exceptions import HTTPException

if TYPE_CHECKING:
    from fedopt.service.service import Service

__all__ = ["application", "openapi_document"]


def application(service: Service) -> FastAPI:
    """The service's HTTP application, without the gate that belongs before it."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await service.begin()
        yield
        await service.end()

    app = FastAPI(
        title="fedopt",
        summary="Plans federated AI services under tail-latency contracts.",
        description=DESCRIPTION,
        version=VERSION,
        openapi_tags=TAGS,
        lifespan=lifespan,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        dependencies=[Depends(known_parameters)],
    )
    described = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = completed(described())
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
    parts = routers(service, openapi)
    for part in parts:
        app.include_router(part, prefix=BASE)
    _answer_errors(app, parts)
    return app


def openapi_document() -> dict[str, Any]:
    """The OpenAPI document of every server."""
    return application(cast("Service", None)).openapi()


def _answer_errors(app: FastAPI, parts: Sequence[APIRouter]) -> None:
    """Every error in the same form."""

    @app.exception_handler(ApiError)
    async def refused(request: Request, error: ApiError) -> Response:
        return JSONResponse(error.body(), error.status, headers=error.headers)

    @app.exception_handler(Exception)
    async def defect(request: Request, error: Exception) -> Response:
        # what it was, the gate writes to the log; the caller learns that it was, and under which id
        return await refused(request, ApiError("INTERNAL", "this is a defect of the server"))

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return await refused(request, ApiError("INVALID_ARGUMENT", f"{where}: {first['msg']}"))

    @app.exception_handler(HTTPException)
    async def unrouted(request: Request, error: HTTPException) -> Response:
        code, words = {
            404: ("NOT_FOUND", "there is no such resource"),
            405: ("METHOD_NOT_ALLOWED", f"{request.method} is not for this resource"),
        }.get(error.status_code, ("INVALID_ARGUMENT", "the request cannot be understood"))
        headers = dict(error.headers or {})
        if code == "METHOD_NOT_ALLOWED":
            headers["Allow"] = ", ".join(sorted(_methods(parts, request.scope["path"])))
        return await refused(request, ApiError(code, words, headers=headers))


def _methods(parts: Sequence[APIRouter], path: str) -> set[str]:
    """The methods that a path knows, over all routes that share it."""
    found: set[str] = set()
    for route in (route for part in parts for route in part.routes):
        template = re.sub(r"{\w+}", "[^/]+", getattr(route, "path", ""))
        if re.fullmatch(BASE + template, path):
            found |= getattr(route, "methods", None) or set()
    return found or {"GET"}
