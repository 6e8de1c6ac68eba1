"""The report as HTML; every text is escaped by the template engine."""

import base64
import hashlib
import re
from importlib.resources import files

from jinja2 import DictLoader, Environment, StrictUndefined

from data_specs.wording import printable
from tasks.lineage.digest import digest_of, text_sha256
from tasks.reporting.content import Report

_PAGE = "report.html"
_SCRIPT = "filter.js"
_BOX = re.compile(rb'<section class="box".*?</section>', re.DOTALL)


def render_report(report: Report) -> str:
    """One self-contained HTML page: no font and no picture from elsewhere, and one script, which the page's policy names by its digest."""
    templates = _templates()
    environment = Environment(
        loader=DictLoader(templates),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # For attributes and pictures, in which no element can keep a text from turning what stands around it.
    environment.filters["literal"] = printable
    return environment.get_template(_PAGE).render(report=report, digest=_digest(templates[_SCRIPT]))


def _digest(script: str) -> str:
    # An included file loses the line's end that closes it.
    script = script.removesuffix("\n")
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def without_box(page: bytes) -> bytes:
    """A report without the box that tells of machines and times, which is all in which reports of two stores differ."""
    return _BOX.sub(b"", page)


def template_digest() -> str:
    """Digest of the page's templates; part of a report's recipe."""
    return digest_of({name: text_sha256(text) for name, text in _templates().items()})


def _templates() -> dict[str, str]:
    folder = files("tasks.reporting") / "templates"
    return {item.name: item.read_text(encoding="utf-8") for item in folder.iterdir() if item.is_file()}
