"""Alpaca's own OpenAPI documents, and whether an answer is as they say.

They are loaded from the distribution ``alpaca-mcp-server``, which is looked up and not imported.
"""

from __future__ import annotations

import copy
import importlib.util
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest
import requests
from jsonschema_path import SchemaPath
from openapi_core import Config, OpenAPI
from openapi_core.contrib.requests import RequestsOpenAPIRequest, RequestsOpenAPIResponse
from openapi_core.exceptions import OpenAPIError

TRADING: Final = "trading-api.json"
DATA: Final = "market-data-api.json"
_PATH_OF_DATA: Final = ("/v2/stocks/", "/v1beta3/")

SERVED: Final[Mapping[str, tuple[str, ...]]] = {
    TRADING: (
        "/v2/account",
        "/v2/account/activities",
        "/v2/account/activities/{activity_type}",
        "/v2/assets",
        "/v2/assets/{symbol_or_asset_id}",
        "/v2/calendar",
        "/v2/clock",
        "/v2/orders",
        "/v2/orders/{order_id}",
        "/v2/orders:by_client_order_id",
        "/v2/positions",
        "/v2/positions/{symbol_or_asset_id}",
    ),
    DATA: (
        "/v2/stocks/bars",
        "/v2/stocks/bars/latest",
        "/v2/stocks/quotes/latest",
        "/v2/stocks/snapshots",
        "/v2/stocks/trades/latest",
        "/v1beta3/crypto/{loc}/bars",
        "/v1beta3/crypto/{loc}/latest/bars",
        "/v1beta3/crypto/{loc}/latest/quotes",
        "/v1beta3/crypto/{loc}/latest/trades",
        "/v1beta3/crypto/{loc}/snapshots",
    ),
}
"""The operations that the local Alpaca serves, by document; all methods of each path."""

UNDOCUMENTED_STATUSES: Final[Mapping[int, str]] = {
    400: "a body that is no JSON: the document lists only 403 and 422 for orders",
    401: "the document of the trading API lists it nowhere; the real one answers it (err_unauthorized.json)",
    403: "listed for new orders, without a body; the real one also refuses replacements and closings so",
    404: "listed for assets only; alpaca-py's users meet it for orders and positions",
    405: "HTTP's own answer to a method that a path does not have",
    422: "listed for new orders and cancellations, without a body; the real one answers it to any parameter",
}
"""Refusals that the documents leave out, and why the local Alpaca answers so all the same."""

DOCUMENT_ERRORS: Final[Mapping[str, str]] = {
    "/v2/account/activities/{activity_type}": (
        "each entry must match one of two schemas and not both, but no field of either is required: "
        "every fill matches both.  A fill is checked against TradingActivities alone."
    ),
}
"""Where a document contradicts itself or what the real service answers, and what is checked instead."""


@cache
def document(name: str) -> Mapping[str, Any]:
    """Return a document, corrected where ``DOCUMENT_ERRORS`` says so; skip where it is not installed."""
    found = importlib.util.find_spec("alpaca_mcp_server")
    if found is None or not found.submodule_search_locations:
        pytest.skip("needs Alpaca's OpenAPI documents: pip install alpaca-mcp-server")
    path = Path(found.submodule_search_locations[0]) / "specs" / name
    loaded: dict[str, Any] = json.loads(path.read_text("utf-8"))
    if name == TRADING:
        activities = loaded["paths"]["/v2/account/activities/{activity_type}"]["get"]["responses"]["200"]
        content = activities["content"]["application/json"]["schema"]
        content["items"] = {"$ref": "#/components/schemas/TradingActivities"}
    return loaded


def served(name: str) -> dict[str, Any]:
    """Return a document of only what the local Alpaca serves."""
    whole = copy.deepcopy(dict(document(name)))
    whole["paths"] = {path: whole["paths"][path] for path in SERVED[name]}
    return whole


def check_conforms(response: requests.Response) -> None:
    """Check an answer against the document of its path.

    Raises:
        AssertionError: A status of the server's own failure, a body that is not as the document says, or a
            refusal that tells no one what is wrong.
    """
    request = response.request
    at = f"{request.method} {request.path_url} -> {response.status_code} {response.text[:500]}"
    assert response.status_code < 500, at
    if response.status_code >= 400:
        assert response.status_code in UNDOCUMENTED_STATUSES, at
        body = response.json()
        assert isinstance(body.get("message"), str), at
        assert body["message"], at
        assert isinstance(body.get("code", 0), int), at
        return
    name = DATA if request.path_url.startswith(_PATH_OF_DATA) else TRADING
    try:
        _api(name, _origin(response)).validate_response(
            RequestsOpenAPIRequest(request), RequestsOpenAPIResponse(response)
        )
    except OpenAPIError as error:
        details = getattr(error.__cause__, "schema_errors", ())
        raise AssertionError(f"{at}: {error} {[detail.message for detail in details]}") from error


def _origin(response: requests.Response) -> str:
    return "/".join(response.url.split("/")[:3])


@cache
def _api(name: str, origin: str) -> OpenAPI:
    local = dict(document(name)) | {"servers": [{"url": origin}]}
    # That the documents are valid is Alpaca's business and takes seconds.
    unchecked = Config(spec_validator_cls=None)  # type: ignore[arg-type]  # its own way to say so
    return OpenAPI(SchemaPath.from_dict(local), config=unchecked)
