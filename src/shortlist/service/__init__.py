"""The recommender behind HTTP."""

from __future__ import annotations

from pathlib import Path


def serve(bundle: str | Path, *, host: str = "127.0.0.1", port: int = 8000) -> None:
    """Load ``bundle`` and answer HTTP requests until told to stop."""
    import uvicorn

    from shortlist.accelerating import accelerated
    from shortlist.service.app import create_app
    from shortlist.workflow import load

    recommender = load(bundle)
    recommender.funnel = accelerated(recommender.funnel)
    uvicorn.run(create_app(recommender), host=host, port=port, log_level="info")
