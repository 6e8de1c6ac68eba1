"""Settings of judges: what is meant is taken, what cannot be is refused with what to do."""

import pytest
from pydantic import ValidationError

from data_specs.judging import JUDGE, require_different_names

CHAT = {"kind": "openai_chat", "name": "llama", "model": "m"}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"kind": "perspective", "name": "p"}, "not offered: Google closes that interface on 31 December 2026"),
        ({"kind": "perspective_api"}, "use a classifier in a folder or an openai_chat endpoint"),
        ({"kind": "gpt"}, "'openai_chat', 'classifier', 'words'"),
        (CHAT | {"url": "ftp://x"}, "url"),
        (CHAT | {"url": "http://u:secret@x/v1"}, "url"),
        (CHAT | {"name": "Llama-3"}, "name"),
        (CHAT | {"concurrency": 0}, "concurrency"),
        (CHAT | {"per_second": "2"}, "expected a number"),
        (CHAT | {"api_key_env": "sk-123"}, "api_key_env"),
        (CHAT | {"api_key": "sk"}, "api_key"),
        (CHAT | {"read": "first_line"}, "add structured: false"),
        (CHAT | {"structured": "yes"}, "structured"),
        ({"kind": "classifier", "name": "c", "path": "x"}, "unsafe_labels"),
        ({"kind": "classifier", "name": "c", "path": "x", "unsafe_labels": []}, "unsafe_labels"),
        ({"kind": "classifier", "name": "c", "path": "x", "unsafe_label": "a", "threshold": 1}, "threshold"),
    ],
)
def test_a_judge_that_cannot_be_is_refused(given, said):
    with pytest.raises(ValidationError) as refused:
        JUDGE.validate_python(given)
    assert said in str(refused.value)


def test_defaults_ask_this_machine_with_the_papers_classes():
    judge = JUDGE.validate_python(CHAT)
    assert judge.url.startswith("http://127.0.0.1:")
    assert "obscene gestures" in judge.instruction_text
    assert JUDGE.validate_python(CHAT | {"instruction": "Say safe."}).instruction_text == "Say safe."
    assert judge.key() is None
    assert JUDGE.validate_python({"kind": "words"}).name == "words"


def test_two_judges_of_one_name_are_refused():
    judges = [JUDGE.validate_python(CHAT), JUDGE.validate_python({"kind": "words", "name": "llama"})]
    with pytest.raises(ValueError, match="names of judges must differ"):
        require_different_names(judges)
    assert require_different_names(judges[:1]) == judges[:1]
