"""docker/compose.yaml as Compose reads it: merged, with the values of a made-up .env in their places."""

from __future__ import annotations

import re
from typing import Any

from conftest import REPOSITORY
from ruamel.yaml import YAML

FOLDER = REPOSITORY / "docker"
COMPOSE = FOLDER / "compose.yaml"
ENV = {
    "POSTGRES_PASSWORD": "p@ss/w:rd",
    "STORE_ACCESS_KEY": "team",
    "STORE_SECRET_KEY": "open-sesame",
    "RAY_AUTH_TOKEN": "t" * 64,
}
VARIABLE = re.compile(r"\$\{(\w+)(?::([?-])([^}]*))?\}")


def services(env: dict[str, str] = ENV) -> dict[str, dict[str, Any]]:
    """Return the services by name, with `${NAME:-default}` and `${NAME:?what is wrong}` replaced.

    Raises:
        KeyError: A variable that must be set is not.
    """
    found: dict[str, dict[str, Any]] = _filled(YAML(typ="safe").load(COMPOSE)["services"], env)
    return found


def _filled(value: Any, env: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {name: _filled(one, env) for name, one in value.items()}
    if isinstance(value, list):
        return [_filled(one, env) for one in value]
    return VARIABLE.sub(lambda match: _value(match, env), value) if isinstance(value, str) else value


def _value(match: re.Match[str], env: dict[str, str]) -> str:
    name, sign, rest = match.groups()
    if env.get(name):
        return env[name]
    if sign == "?":
        raise KeyError(f"{name} {rest}")
    return rest or ""
