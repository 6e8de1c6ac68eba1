import base64
import hashlib
import io
import re

import pytest
from PIL import Image

from tasks.lineage.store import Store
from tasks.reporting.sources import ModelName, Reported
from tasks.reporting.task import write_report
from tests.cases.report_cases import (
    SVG,
    comparison,
    flipped,
    full_report,
    gallery,
    inputs,
    put_experiment,
    sweep,
    text_of,
)
from tests.cases.report_files import CONTEXT, HOSTILE, Page, put_scores

JPEG = "data:image/jpeg;base64,"


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    return full_report(tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="module")
def page(full):
    return Page(full[0].read_text(encoding="utf-8"))


def hostile_page(store, folder):
    """A page whose every free text is hostile: run, models, tags, keys, captions, layers, settings."""
    models = (*HOSTILE[:2], "edited")
    tags = [*HOSTILE, None]
    _, evaluations = inputs(store, models, [(tag, 3) for tag in tags])
    captions = [(text, text[::-1] + text) for text in HOSTILE]
    keys = ["a<b>c", '"><img src=y>', "d&e;", "f'g", "h`i"]
    flips, flip_gallery = flipped(store, folder, tags, sizes=(5,), captions=captions, keys=keys)
    reported = Reported(
        evaluations,
        put_scores(store, (HOSTILE[0], HOSTILE[1])),
        experiments=[
            put_experiment(store, comparison(HOSTILE[:4])),
            put_experiment(store, sweep(limits=[HOSTILE[0]], encoders=[HOSTILE[1]]), sweep_svg=SVG),
        ],
        gallery=gallery(store, folder, models, tags, sizes=(5,), captions=captions, keys=keys),
        flips={HOSTILE[1]: flips},
        flip_gallery=flip_gallery,
        model=ModelName(HOSTILE[0], HOSTILE[1], HOSTILE[2], HOSTILE[3]),
    )
    return write_report.fn(HOSTILE[3], reported, store, CONTEXT)


# Every element that the page may have, with its attributes.
ALLOWED = {
    "html": "lang", "head": "", "meta": "charset http-equiv content name", "title": "", "style": "", "body": "",
    "h1": "", "h2": "", "h3": "", "h4": "", "p": "class role", "dl": "class", "dt": "", "dd": "", "strong": "", "small": "", "code": "", "bdi": "", "i": "",
    "br": "", "wbr": "", "span": "class aria-hidden", "div": "class data-of data-unit tabindex role aria-label hidden", "section": "class aria-label", "article": "class aria-label",
    "table": "class id", "thead": "", "tbody": "", "tr": "class hidden data-flips data-tag data-third data-side data-what data-outcome", "th": "class scope rowspan colspan", "td": "class rowspan",
    "ol": "class", "li": "", "figure": "", "figcaption": "", "img": "class alt src", "label": "class", "input": "type data-by",
    "select": "data-by", "option": "value", "output": "aria-live", "script": "",
    "details": "class", "summary": "", "svg": "class role aria-label width height viewbox", "line": "class x1 x2 y1 y2",
    "rect": "class x y width height rx", "text": "class x y text-anchor", "circle": "class cx cy r", "path": "class d",
}  # fmt: skip


@pytest.mark.slow
def test_hostile_texts_are_escaped_everywhere(tmp_path, store):
    text = text_of(hostile_page(store, tmp_path))
    page = Page(text)
    for element in page.elements:
        assert element.tag in ALLOWED, element
        assert set(element.attributes) <= set(ALLOWED[element.tag].split()), element
    everything = page.all("body")[0].text
    for hostile in HOSTILE:
        assert hostile in everything
        assert hostile[::-1] in everything
    assert "49 & a" not in everything
    assert "<iframe" not in text
    # The page's own script, which its policy names by its digest; no other can run.
    (script,) = page.all("script")
    digest = base64.b64encode(hashlib.sha256(script.text.encode()).digest()).decode()
    policy = next(item for item in page.all("meta") if "http-equiv" in item.attributes)
    assert f"; script-src 'sha256-{digest}';" in policy.attributes["content"]


@pytest.mark.slow
def test_captions_and_tags_cannot_turn_the_text_around_them(tmp_path, store):
    page = Page(text_of(hostile_page(store, tmp_path)))
    turning = [element for element in page.elements if "\u202e" in element.text and element.tag == "bdi"]
    assert len(turning) > 3
    leaves = [
        item for item in page.elements if "\u202e" in item.text and not any(item in t.around for t in page.elements)
    ]
    assert {item.tag for item in leaves} == {"bdi"}


@pytest.mark.slow
def test_no_text_of_any_kind_can_turn_the_text_around_it(tmp_path, store):
    turned = [
        f"\u202e{name}\u2066"
        for name in ("run", "model", "layer", "limit", "encoder", "first", "second", "third", "last")
    ]
    _, evaluations = inputs(store, (turned[1], turned[2], "edited"), [(turned[0], 3), (None, 1)])
    flips, flip_gallery = flipped(store, tmp_path, [turned[0]], keys=[turned[1]], captions=[turned[:2]])
    reported = Reported(
        evaluations,
        put_scores(store, (turned[2],)),
        experiments=[
            put_experiment(store, comparison(turned[5:])),
            put_experiment(store, sweep(limits=[turned[3]], encoders=[turned[4]]), sweep_svg=SVG),
        ],
        gallery=gallery(store, tmp_path, (turned[1], turned[2]), [turned[0]], keys=[turned[1]], captions=[turned[:2]]),
        flips={turned[2]: flips},
        flip_gallery=flip_gallery,
        model=ModelName(turned[1], turned[2], turned[5], turned[6]),
    )
    page = Page(text_of(write_report.fn(turned[0], reported, store, CONTEXT)))
    for element in page.elements:
        assert not {"\u202e", "\u2066"} & set("".join(map(str, element.attributes.values()))), element
        inner = [item.text for item in page.elements if element in item.around and item.tag == "bdi"]
        alone = element.text
        for text in sorted(inner, key=len, reverse=True):
            alone = alone.replace(text, "")
        assert element.tag == "bdi" or not {"\u202e", "\u2066"} & set(alone), element
    assert len(page.all("bdi")) > 50


@pytest.mark.slow
def test_a_page_loads_nothing_from_elsewhere(full, page):
    text = full[0].read_text(encoding="utf-8")
    for element in page.elements:
        for name in ("src", "href", "srcset", "action", "data", "poster"):
            value = element.attributes.get(name)
            assert value is None or value.startswith((JPEG, "data:image/svg+xml;base64,", "#"))
    style = page.all("style")[0].text
    assert "url(" not in style
    assert "@import" not in style
    assert "http:" not in text
    assert "https:" not in text
    policy = next(item for item in page.all("meta") if "http-equiv" in item.attributes)
    assert policy.attributes["content"].startswith("default-src 'none'; img-src data:;")


def pictures(page):
    return [item for item in page.all("img", "thumb") if item.attributes["src"].startswith(JPEG)]


@pytest.mark.slow
def test_every_embedded_picture_is_small(page):
    found = pictures(page)
    assert len(found) > 50
    for item in found:
        data = base64.b64decode(item.attributes["src"].removeprefix(JPEG), validate=True)
        with Image.open(io.BytesIO(data)) as image:
            assert max(image.size) == 128


def test_unsafe_pictures_are_veiled_and_safe_ones_are_not(page):
    found = pictures(page)
    unsafe = [item for item in found if "unsafe picture of pair" in item.attributes["alt"]]
    safe = [item for item in found if item.attributes["alt"].startswith("safe picture of pair")]
    assert len(safe) + len(unsafe) == len(found)
    assert len(safe) > 10
    assert len(unsafe) > 10
    assert all(item.inside("label", "veil") for item in unsafe)
    assert not any(item.inside("label") for item in safe)
    boxes = [item for item in page.all("input") if item.attributes["type"] == "checkbox"]
    assert len(boxes) == len(unsafe)
    assert all(box.attributes == {"type": "checkbox"} and box.inside("label", "veil") for box in boxes)
    style = page.all("style")[0].text
    assert re.search(r"\.veil \.thumb \{[^}]*filter: blur\(1\dpx\)", style)
    assert ".veil input:checked + .thumb { filter: none; }" in style


def test_unsafe_captions_are_folded_and_safe_ones_are_not(page):
    captions = [item for item in page.all("bdi") if item.inside("div", "said") and not item.inside("summary")]
    words = ("angry", "violent", "dangerous")
    folded = [item for item in captions if item.inside("details", "hidden")]
    assert len(folded) > 10
    assert len(captions) - len(folded) > 10
    assert all("open" not in item.attributes for item in page.all("details"))
    for item in captions:
        if item.text.startswith(words):
            assert item in folded
    assert all("Unsafe caption, tag" in item.inside("details").text for item in folded)


def test_the_gallery_says_how_its_queries_were_picked(page):
    text = page.all("body")[0].text
    assert page.all("p", "warning")[0].text.startswith("Content warning.")
    assert "no random sample" in text
    assert "Of 8 such queries in random order" in text
    reasons = [item.text for item in page.all("span", "why")]
    assert len(reasons) == 32
    assert set(reasons) == {"drawn at random", "shown because its first answer changed"}
    assert "own pair" in text
