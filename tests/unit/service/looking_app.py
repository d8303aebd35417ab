"""The routes of the page's questions, with just enough of a service around them to ask."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.testclient import TestClient

import shortlist as sl
from shortlist.errors import ShortlistError
from shortlist.recommender import Recommender
from shortlist.service.looking import looking_routes

QUICK = sl.Training(epochs=1, batch_size=32, patience=None)


@dataclass
class Service:
    """What answers, which may be exchanged, and what came later than its histories."""

    recommender: Recommender
    events: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def recent(self, user_id: Any) -> list[dict[str, Any]]:
        return self.events.get(str(user_id), [])


def app_of(service: Service) -> Starlette:
    """The routes with what a service has around them: errors as answers."""

    def told(_: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 400
        return JSONResponse({"error": error.detail if isinstance(error, HTTPException) else str(error)}, status)

    routes = looking_routes(service, recent=service.recent)
    return Starlette(routes=routes, exception_handlers={HTTPException: told, ShortlistError: told})


def client_of(recommender: Recommender) -> TestClient:
    return TestClient(app_of(Service(recommender)))
