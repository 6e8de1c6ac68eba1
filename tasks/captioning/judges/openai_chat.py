"""A judge behind an endpoint: every distinct caption is asked about once, by whatever run came first."""

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import pyarrow as pa

from data_specs.caption_rows import JUDGEMENTS
from data_specs.errors import DataError, MachineError
from data_specs.judging import OpenAIChatJudge
from data_specs.wording import shown
from tasks.captioning.judges.answers import AnswerLog, Reply
from tasks.captioning.judges.endpoint import Endpoint, NoAnswer, request_digest
from tasks.captioning.judges.pace import Pace
from tasks.captioning.judges.verdict import read_verdict
from tasks.lineage.digest import canonical_json, text_sha256
from tasks.lineage.progress import advance, notice

# That nobody answers so many captions in a row ends all: an endpoint that is down would be asked for hours.
_FAILURES_IN_A_ROW = 8


def answers_file(folder: Path, judge: OpenAIChatJudge, again: int = 0) -> Path:
    """Where a judge's answers are kept, of each time that all was asked anew."""
    return folder / f"{_asked_digest(judge)}{f'-{again}' if again else ''}.jsonl"


def times_asked(folder: Path, judge: OpenAIChatJudge) -> int:
    """The newest time that a judge was asked anew, 0 for the first."""
    found = [path.stem.rpartition("-")[2] for path in folder.glob(f"{_asked_digest(judge)}-*.jsonl")]
    return max((int(number) for number in found if number.isdecimal()), default=0)


def _asked_digest(judge: OpenAIChatJudge) -> str:
    # The endpoint knows nothing of how its answers are read.
    asked = {name: value for name, value in answer_settings(judge).items() if name != "read"}
    return text_sha256(canonical_json(asked))[:32]


def answer_settings(judge: OpenAIChatJudge) -> dict[str, Any]:
    """What can decide a judge's answers, and how they are read."""
    return {
        "model": judge.model,
        "instruction": judge.instruction_text,
        "structured": judge.structured,
        "max_tokens": judge.max_tokens,
        "seed": judge.seed,
        "read": judge.read,
    }


def unanswered(judge: OpenAIChatJudge, captions: Sequence[str], log: AnswerLog) -> list[str]:
    """The captions of which a log has no answer, in their order."""
    return [caption for caption in captions if request_digest(judge, caption) not in log.answers]


def ask_endpoint(judge: OpenAIChatJudge, captions: Sequence[str], log: AnswerLog, stage: str = "") -> pa.Table:
    """What a judge says of captions, asking about those of which the log has nothing.

    Args:
        judge: its settings.
        captions: distinct.
        log: what is known, and takes each answer as it comes.
        stage: whose progress this is.

    Returns:
        Rows of JUDGEMENTS in the order of the captions.

    Raises:
        SpecError: see `Endpoint.ask`.
        DataError: another model answers than before.
        MachineError: the endpoint gave no answer to some; those that came are kept.
    """
    digests = {caption: request_digest(judge, caption) for caption in captions}
    if log.n_unreadable:
        notice(
            f"judge {judge.name}: {log.n_unreadable} lines of {log.path} cannot be read; what they were of is asked again"
        )
    known = [caption for caption in captions if digests[caption] in log.answers]
    advance(stage, len(known))
    served = _Served(judge, [log.answers[digests[caption]] for caption in known])
    missing = unanswered(judge, captions, log)
    if missing:
        _ask_all(judge, missing, log, served, stage)
    return pa.Table.from_pylist([_row(judge, c, log.answers[digests[c]]) for c in captions], schema=JUDGEMENTS)


class _Served:
    """The one model that answers."""

    def __init__(self, judge: OpenAIChatJudge, answers: Sequence[Reply]) -> None:
        self._judge = judge
        self._model: list[str | None] = []
        for answer in answers:
            self.require(answer)

    def require(self, answer: Reply) -> None:
        if answer.served_by is None and answer.finish == "content_filter":
            return  # no model saw the caption
        if self._model and self._model[0] != answer.served_by:
            raise DataError(
                f"judge {self._judge.name}: {shown(answer.served_by)} answers now, and {shown(self._model[0])} answered before;"
                " serve that model again, or ask all anew (--judge-again)"
            )
        self._model = self._model or [answer.served_by]


def _ask_all(judge: OpenAIChatJudge, captions: Sequence[str], log: AnswerLog, served: _Served, stage: str) -> None:
    pace, failed, in_a_row = Pace(judge.per_second), 0, 0
    why = ""
    with Endpoint(judge, pace) as endpoint:
        try:
            for answer in _as_they_come(endpoint, captions):
                advance(stage)
                if isinstance(answer, NoAnswer):
                    why, failed, in_a_row = str(answer), failed + 1, in_a_row + 1
                    if in_a_row == _FAILURES_IN_A_ROW:
                        break
                    continue
                served.require(answer)
                log.add(answer)
                in_a_row = 0
        finally:
            pace.stop()
    if failed:
        left = len(unanswered(judge, captions, log))
        raise MachineError(
            f"judge {judge.name}: {judge.url} gave no answer about {left} of {len(captions)} captions ({why}); what it answered"
            " is kept: start the same command again"
        )


def _as_they_come(endpoint: Endpoint, captions: Sequence[str]) -> Iterator[Reply | NoAnswer]:
    """Answers of several threads, in any order. They are daemons: who is interrupted does not wait for a slow answer."""
    asked: SimpleQueue[str] = SimpleQueue()
    said: SimpleQueue[Reply | BaseException] = SimpleQueue()
    for caption in captions:
        asked.put(caption)

    def work() -> None:
        try:
            while True:
                caption = asked.get_nowait()
                try:
                    said.put(endpoint.ask(caption))
                except NoAnswer as error:
                    said.put(error)
        except Empty:
            return
        except BaseException as error:  # raised again in the thread that waits
            said.put(error)

    for _ in range(min(endpoint.judge.concurrency, len(captions))):
        threading.Thread(target=work, daemon=True, name=f"judge {endpoint.judge.name}").start()
    for _ in captions:
        found = said.get()
        if isinstance(found, BaseException) and not isinstance(found, NoAnswer):
            raise found
        yield found


def _row(judge: OpenAIChatJudge, caption: str, answer: Reply) -> dict[str, Any]:
    return {
        "caption": caption,
        "outcome": read_verdict(answer.content, answer.finish, answer.refusal, judge.read),
        "answer": answer.content if answer.content is not None else answer.refusal,
        "score": None,
        "served_by": answer.served_by,
        "fingerprint": answer.fingerprint,
        "structured": answer.structured,
    }
