"""Pages about a person are kept by no cache, neither a proxy's nor the browser's (threats.md, W13)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from asgiref.sync import iscoroutinefunction
from django.http import HttpRequest, HttpResponseBase
from django.utils.decorators import sync_and_async_middleware


@sync_and_async_middleware
def no_store(get_response: Callable[[HttpRequest], Any]) -> Callable[[HttpRequest], Any]:
    """Say ``no-store`` on every answer. Static files are served before this middleware and keep their own rule."""
    if iscoroutinefunction(get_response):

        async def answer_async(request: HttpRequest) -> HttpResponseBase:
            awaitable: Awaitable[HttpResponseBase] = get_response(request)
            return _marked(await awaitable)

        return answer_async

    def answer(request: HttpRequest) -> HttpResponseBase:
        response: HttpResponseBase = get_response(request)
        return _marked(response)

    return answer


def _marked(response: HttpResponseBase) -> HttpResponseBase:
    if "no-store" not in response.headers.get("Cache-Control", ""):
        response.headers["Cache-Control"] = "no-store, private"
    return response
