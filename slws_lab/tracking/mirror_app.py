"""Pages of ours in one server with MLflow's UI, or without it, behind the checks that MLflow's own server makes of each request."""

from __future__ import annotations

from starlette.routing import Mount
from starlette.types import ASGIApp

PLACE = "/slws"


def before_mlflow(pages: ASGIApp) -> ASGIApp:
    """Return the app of MLflow's server with pages of ours under `/slws`.

    They are a part of that app, so that what it asks of each request (its host, its origin) is asked for them too.
    """
    from mlflow.server.fastapi_app import app

    app.router.routes.insert(0, Mount(PLACE, pages))
    made: ASGIApp = app
    return made


def without_mlflow(pages: ASGIApp) -> ASGIApp:
    """Return an app with pages of ours under `/slws`, where MLflow's server is another machine's, and the same checks."""
    from fastapi import FastAPI
    from mlflow.server.fastapi_security import init_fastapi_security

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    init_fastapi_security(app)
    app.mount(PLACE, pages)
    return app
