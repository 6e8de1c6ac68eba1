"""The report as HTML; every text is escaped by the template engine."""

from importlib.resources import files

from jinja2 import DictLoader, Environment, StrictUndefined

from data_specs.wording import printable
from tasks.lineage.digest import digest_of, text_sha256
from tasks.reporting.content import Report

_PAGE = "report.html"


def render_report(report: Report) -> str:
    """One self-contained HTML page: no script, no font, no picture from elsewhere."""
    environment = Environment(
        loader=DictLoader(_templates()),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # For attributes and pictures, in which no element can keep a text from turning what stands around it.
    environment.filters["literal"] = printable
    return environment.get_template(_PAGE).render(report=report)


def template_digest() -> str:
    """Digest of the page's templates; part of a report's recipe."""
    return digest_of({name: text_sha256(text) for name, text in _templates().items()})


def _templates() -> dict[str, str]:
    folder = files("tasks.reporting") / "templates"
    return {item.name: item.read_text(encoding="utf-8") for item in folder.iterdir() if item.is_file()}
