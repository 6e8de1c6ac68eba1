"""One question to an endpoint of OpenAI's chat interface, tried again where that may help."""

import json
import random
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Self
from urllib.parse import urlsplit

import httpx

from data_specs.errors import SpecError
from data_specs.json_text import parse_json
from data_specs.judging import OpenAIChatJudge
from data_specs.wording import one_line
from tasks.captioning.judges.answers import Reply
from tasks.captioning.judges.pace import Pace, asked_to_wait
from tasks.captioning.judges.verdict import SCHEMA
from tasks.lineage.progress import notice

_LARGEST_ANSWER = 1 << 20
_MAY_PASS = frozenset({408, 409, 425, 429})
_NOT_UNDERSTOOD = frozenset({400, 404, 415, 422, 501})
_LONGEST_BACKOFF = 20.0
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_ANSWERED, _SERVER_FAULT = 200, 500


class NoAnswer(Exception):
    """An endpoint gave none, however often it was asked."""


class _MayPass(Exception):
    def __init__(self, why: str, wait: float | None = None) -> None:
        super().__init__(why)
        self.wait = wait


class _NotUnderstood(Exception):
    """A request with a schema is refused; one without may not be."""


def request_body(judge: OpenAIChatJudge, caption: str) -> dict[str, Any]:
    """What is asked; all that can decide the answer, and neither where nor with which key."""
    body: dict[str, Any] = {
        "model": judge.model,
        "messages": [
            {"role": "system", "content": judge.instruction_text},
            {"role": "user", "content": caption},
        ],
        "temperature": 0,
        "top_p": 1,
        "seed": judge.seed,
        "max_tokens": judge.max_tokens,
    }
    return body | ({"response_format": SCHEMA} if judge.structured else {})


def request_digest(judge: OpenAIChatJudge, caption: str) -> str:
    """SHA-256 of the body of a request."""
    return sha256(_bytes(request_body(judge, caption))).hexdigest()


class Endpoint:
    """A judge's endpoint, asked by several threads."""

    def __init__(self, judge: OpenAIChatJudge, pace: Pace) -> None:
        """Open connections.

        Raises:
            SpecError: its key is not in the environment.
        """
        self.judge, self._pace = judge, pace
        self._key = judge.key()
        self._url = judge.url.rstrip("/") + "/chat/completions"
        self._structured = judge.structured
        self._rng = random.Random(judge.seed)
        self._client = httpx.Client(
            headers={"Content-Type": "application/json"}
            | ({"Authorization": f"Bearer {self._key}"} if self._key else {}),
            timeout=httpx.Timeout(judge.timeout_seconds, connect=min(10.0, judge.timeout_seconds)),
            limits=httpx.Limits(max_connections=judge.concurrency, max_keepalive_connections=judge.concurrency),
            trust_env=urlsplit(judge.url).hostname not in _LOOPBACK,  # no proxy leads to this machine
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End what is under way."""
        self._client.close()

    def ask(self, caption: str) -> Reply:
        """The answer about a caption.

        Raises:
            NoAnswer: it failed as often as the settings allow.
            SpecError: the endpoint refuses the request, the key or the model, or wants to be left alone for longer than the
                settings allow.
            Stopped: another thread failed.
        """
        why = ""
        for attempt in range(self.judge.tries):
            self._pace.wait()
            try:
                return self._asked(caption)
            except _MayPass as passing:
                why = str(passing)
                self._wait(attempt, passing)
        raise NoAnswer(why)

    def _wait(self, attempt: int, passing: _MayPass) -> None:
        if passing.wait is None:
            if attempt + 1 < self.judge.tries:
                self._pace.pause(min(_LONGEST_BACKOFF, 0.25 * 2**attempt) * (0.5 + self._rng.random()))
            return
        if passing.wait > self.judge.longest_wait_seconds:
            raise self._refused(
                f"{passing} and asks to wait {passing.wait:.0f} s, longer than longest_wait_seconds"
                f" {self.judge.longest_wait_seconds:g}; start again then: what was answered is kept"
            )
        self._pace.hold(passing.wait)  # no other thread is welcome either

    def _asked(self, caption: str) -> Reply:
        if self._structured:
            try:
                return self._once(caption, structured=True)
            except _NotUnderstood:
                answer = self._once(caption, structured=False)  # raises, too, where it is not the schema
            if self._structured:
                notice(f"judge {self.judge.name}: the endpoint takes no response_format; its answers are read as words")
            self._structured = False
            return answer
        return self._once(caption, structured=False)

    def _once(self, caption: str, *, structured: bool) -> Reply:
        body = request_body(self.judge, caption)
        if not structured:
            body.pop("response_format", None)
        status, headers, content = self._post(_bytes(body))
        if status == _ANSWERED:
            return self._read(content, caption, structured)
        why = f"HTTP {status}"
        if status in _MAY_PASS or (status >= _SERVER_FAULT and status not in _NOT_UNDERSTOOD):
            raise _MayPass(why, asked_to_wait(headers.get("Retry-After"), headers.get("Date")))
        if _is_filter(content):
            return self._answer(caption, structured, finish="content_filter")
        if structured and status in _NOT_UNDERSTOOD:
            raise _NotUnderstood
        raise self._refused(f"{why} {self._shown(content)}".strip())

    def _post(self, data: bytes) -> tuple[int, Mapping[str, str], bytes]:
        # A timeout of httpx is of each read: an answer that drips would never end.
        deadline = time.monotonic() + self.judge.timeout_seconds
        content = bytearray()
        try:
            with self._client.stream("POST", self._url, content=data) as answer:
                for chunk in answer.iter_bytes():
                    content += chunk
                    if len(content) > _LARGEST_ANSWER:
                        raise _MayPass(f"an answer of over {_LARGEST_ANSWER >> 20} MiB")
                    if time.monotonic() > deadline:
                        raise _MayPass(f"no whole answer in {self.judge.timeout_seconds:g} s")
                return answer.status_code, answer.headers, bytes(content)
        except (httpx.TransportError, httpx.DecodingError) as error:
            raise _MayPass(f"{type(error).__name__} {one_line(str(error), 120)}".strip()) from error
        except RuntimeError as error:  # the client was closed by the thread that ends all
            raise _MayPass("closed") from error

    def _read(self, content: bytes, caption: str, structured: bool) -> Reply:
        try:
            found = parse_json(content)
            choice = found["choices"][0]
            message = choice["message"]
            return self._answer(
                caption,
                structured,
                content=_text(message.get("content")),
                finish=_text(choice.get("finish_reason")),
                refusal=_text(message.get("refusal")),
                served_by=_text(found.get("model")),
                fingerprint=_text(found.get("system_fingerprint")),
            )
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise _MayPass("an answer that is no chat completion") from error

    def _answer(self, caption: str, structured: bool, **said: str | None) -> Reply:
        when = datetime.now(UTC).isoformat(timespec="seconds")
        known = {"content": None, "finish": None, "served_by": None} | said
        return Reply(request=request_digest(self.judge, caption), structured=structured, when=when, **known)

    def _refused(self, why: str) -> SpecError:
        return SpecError(
            f"judges.{self.judge.name}: {self.judge.url} answers {why}; check url, model and the key"
            f"{f' in {self.judge.api_key_env}' if self.judge.api_key_env else ''}"
        )

    def _shown(self, content: bytes) -> str:
        text = content[:2000].decode("utf-8", "replace")
        return one_line(text.replace(self._key, "…") if self._key else text, 200)


def _bytes(body: Mapping[str, Any]) -> bytes:
    return json.dumps(body, sort_keys=True, separators=(",", ":")).encode()


def _text(value: object) -> str | None:
    """A text of an answer; several parts of one are joined."""
    if isinstance(value, list):
        return "".join(part.get("text") or "" for part in value)
    if value is None or isinstance(value, str):
        return value
    raise TypeError(value)


def _is_filter(content: bytes) -> bool:
    """Whether a refused request was refused for what its caption says, as Azure's endpoints do."""
    try:
        error = parse_json(content)["error"]
        return "content_filter" in (error.get("code"), error.get("type"))
    except (ValueError, LookupError, TypeError, AttributeError):
        return False
