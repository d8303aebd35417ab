"""The routes and their messages as an OpenAPI document."""

from __future__ import annotations

from functools import cache
from importlib.metadata import version
from typing import Any

import msgspec

from shortlist.service.messages import (
    ErrorResponse,
    EventsRequest,
    EventsResponse,
    ItemsRequest,
    ItemsResponse,
    RankRequest,
    ReadyResponse,
    RecommendRequest,
    RecommendResponse,
    ReloadRequest,
    SimilarResponse,
    SwapResponse,
)

_ROUTES: list[tuple[str, str, str, Any, Any, str | None]] = [
    ("post", "/recommend", "The best items for a user or a session.", RecommendRequest, RecommendResponse, "recommend"),
    ("post", "/rank", "Given items in the order of the funnel.", RankRequest, RecommendResponse, "recommend"),
    ("get", "/items/{item_id}/similar", "The items nearest to an item.", None, SimilarResponse, "recommend"),
    ("post", "/events", "Store events durably.", EventsRequest, EventsResponse, "write"),
    ("put", "/items", "Add or change items.", ItemsRequest, ItemsResponse, "write"),
    ("delete", "/items/{item_id}", "Withdraw an item.", None, ItemsResponse, "write"),
    ("post", "/admin/reload", "Load a bundle and swap it in.", ReloadRequest, SwapResponse, "admin"),
    ("post", "/admin/rollback", "Go back to the bundle before.", None, SwapResponse, "admin"),
    ("get", "/health/ready", "What serves now.", None, ReadyResponse, None),
]
_PARAMETERS: dict[str, dict[str, Any]] = {
    "item_id": {"name": "item_id", "in": "path", "required": True, "schema": {"type": "string"}},
    "k": {
        "name": "k", "in": "query", "schema": {"type": "integer", "minimum": 1, "maximum": 500, "default": 10}
    },
}  # fmt: skip


@cache
def document() -> dict[str, Any]:
    """OpenAPI 3.1 for all routes that take or give JSON."""
    types = [kind for route in _ROUTES for kind in route[3:5] if kind is not None]
    _, components = msgspec.json.schema_components(
        dict.fromkeys([*types, ErrorResponse]), ref_template="#/components/schemas/{name}"
    )
    paths: dict[str, dict[str, Any]] = {
        "/health/live": {"get": _operation("Whether the process answers.", None, None, None, [])},
        "/metrics": {"get": _operation("Figures for Prometheus.", None, None, "admin", [])},
    }
    for method, path, summary, asked, answered, right in _ROUTES:
        names = (["item_id"] if "{item_id}" in path else []) + (["k"] if path.endswith("similar") else [])
        paths.setdefault(path, {})[method] = _operation(summary, asked, answered, right, names)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Shortlist", "version": version("shortlist")},
        "paths": paths,
        "components": {"schemas": components, "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
    }


def _operation(summary: str, asked: Any, answered: Any, right: str | None, parameters: list[str]) -> dict[str, Any]:
    content = {} if answered is None else {"content": _json(answered)}
    operation: dict[str, Any] = {
        "summary": summary if right is None else f"{summary} Needs the right to {right}.",
        "responses": {
            "200": {"description": "Done.", **content},
            "4XX": {"description": "The caller's mistake, or too many callers.", "content": _json(ErrorResponse)},
            "5XX": {"description": "Not to be had now.", "content": _json(ErrorResponse)},
        },
    }
    if asked is not None:
        operation["requestBody"] = {"required": True, "content": _json(asked)}
    if right is not None:
        operation["security"] = [{"token": []}]
    if parameters:
        operation["parameters"] = [_PARAMETERS[name] for name in parameters]
    return operation


def _json(kind: Any) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{kind.__name__}"}}}
