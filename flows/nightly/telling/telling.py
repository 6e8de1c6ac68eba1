"""Telling people how a night ended: webhooks, and blocks of the Prefect server that send e-mail."""

import asyncio
import inspect
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import httpx

from data_specs.errors import SpecError
from data_specs.night import Night
from data_specs.notification import Event, Notification
from data_specs.watch import Watch
from data_specs.wording import first_line, one_line
from flows.nightly.telling.message import message_of, subject_of, told_text

if TYPE_CHECKING:
    from prefect.blocks.abstract import NotificationBlock

_P = ParamSpec("_P")
_R = TypeVar("_R")
_TIMEOUT = httpx.Timeout(10, connect=5)
_PAUSES = (1.0, 4.0)  # seconds before the second and the third try
_MAY_PASS = {408, 425, 429}  # and all from 500 on


class Untold(Exception):
    """One way to tell somebody failed; its text says why, without a secret."""

    def __init__(self, text: str, *, may_pass: bool = True) -> None:
        super().__init__(text)
        self.may_pass = may_pass


def tell(watch: Watch, night: Night, event: Event, *, patient: bool = True) -> list[str]:
    """Tell all whom the watch names for an event; what fails is said in the answer, and ends nothing.

    Args:
        watch: whose `notify` says who.
        night: as it ended.
        event: what is told.
        patient: whether what fails may be tried three times, which takes up to 45 s each.

    Returns:
        A sentence for each way, such as `webhook hooks.slack.com: told of failed`.
    """
    pauses = _PAUSES if patient else ()
    return [_told(way, night, event, pauses) for way in watch.notify if event in way.on]


def require_ways(notifications: Sequence[Notification]) -> None:
    """Make sure, before nights depend on it, that every way to tell somebody is there; nothing is sent.

    Raises:
        SpecError: a variable with a URL is not set, or the server has no such block, or one that cannot notify.
    """
    for way in notifications:
        try:
            if way.webhook is not None:
                _url(way.webhook)
            if way.email_block is not None:
                _without_loop(_block, way.email_block)
        except Untold as error:
            raise SpecError(f"notify: {_way_name(way)}: {error}") from error


def _told(way: Notification, night: Night, event: Event, pauses: Sequence[float]) -> str:
    name = _way_name(way)
    try:
        if way.webhook is not None:
            _post(_url(way.webhook), night, event, pauses)
        if way.email_block is not None:
            _without_loop(_notify, way.email_block, night, event, pauses)
    except Exception as error:  # whatever a server, a block or the way to it does
        return one_line(f"{name}: not told of {event}: {first_line(error)}", 400)
    return f"{name}: told of {event}"


def _way_name(way: Notification) -> str:
    if way.webhook is None:
        return f"email_block {way.email_block}"
    if way.webhook.startswith("$"):
        return f"webhook {way.webhook}"
    # The path of a webhook is its secret.
    return f"webhook {_host(way.webhook)}"


def _host(url: str) -> str:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        return "URL"
    return parsed.host if parsed.port is None else f"{parsed.host}:{parsed.port}"


def _url(webhook: str) -> str:
    if not webhook.startswith("$"):
        return webhook
    url = os.environ.get(webhook[1:], "").strip()
    if not url:
        raise Untold(f"variable {webhook[1:]} is not set; set it to the webhook's URL")
    if not url.startswith(("http://", "https://")):
        raise Untold(f"variable {webhook[1:]} holds no URL; expected http:// or https://")
    return url


def _post(url: str, night: Night, event: Event, pauses: Sequence[float]) -> None:
    message = message_of(night, event)

    def post() -> None:
        try:
            answer = httpx.post(url, json=message, timeout=_TIMEOUT)
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            # The text of an error may repeat the URL.
            raise Untold(type(error).__name__ if url in str(error) else first_line(error)) from error
        if not answer.is_success:
            may_pass = answer.status_code >= 500 or answer.status_code in _MAY_PASS
            raise Untold(f"it answered with status {answer.status_code}", may_pass=may_pass)

    _tried(post, pauses)


def _notify(name: str, night: Night, event: Event, pauses: Sequence[float]) -> None:
    block = _block(name)

    def notify() -> None:
        try:
            with block.raise_on_failure():
                said = block.notify(told_text(night, event), subject=subject_of(night, event))
                if inspect.isawaitable(said):
                    asyncio.run(_awaited(said))
        except Exception as error:  # whatever a block of any kind does
            raise Untold(getattr(error, "log", "") or first_line(error)) from error

    _tried(notify, pauses)


async def _awaited(said: Awaitable[object]) -> None:
    await said


def _block(name: str) -> "NotificationBlock":
    from prefect.blocks.abstract import NotificationBlock
    from prefect.blocks.core import Block
    from prefect.client.orchestration import get_client

    # On import the block type is known to Prefect.
    import flows.nightly.telling.smtp_block  # noqa: F401
    from flows.server.temporary import is_temporary

    if is_temporary():
        raise Untold("a block lies on a Prefect server, and none is configured; set PREFECT_API_URL", may_pass=False)
    chosen = {"block_documents": {"name": {"any_": [name]}, "is_anonymous": {"eq_": False}}}
    with get_client(sync_client=True) as client:
        found = client.request("POST", "/block_documents/filter", json=chosen).json()
    slugs = sorted(each["block_type"]["slug"] for each in found)
    blocks = [block for slug in slugs if isinstance(block := Block.load(f"{slug}/{name}"), NotificationBlock)]
    if len(blocks) != 1:
        told = f"there are {', '.join(f'{slug}/{name}' for slug in slugs)}" if slugs else "there is none of this name"
        raise Untold(f"{told}; expected one that sends notifications, such as smtp-email/{name}", may_pass=False)
    return blocks[0]


def _without_loop(call: Callable[_P, _R], *args: _P.args, **kwargs: _P.kwargs) -> _R:
    # Prefect's blocks ask whether an event loop runs, and a block is free to want one: a new thread has none.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(copy_context().run, partial(call, *args, **kwargs)).result()


def _tried(call: Callable[[], None], pauses: Sequence[float]) -> None:
    for pause in pauses:
        try:
            call()
            return
        except Untold as error:
            if not error.may_pass:
                raise
            time.sleep(pause)
    call()
