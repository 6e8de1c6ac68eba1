"""The report as HTML; every text is escaped by the template engine."""

from importlib.resources import files

from jinja2 import Environment, StrictUndefined

from tasks.reporting.content import Report


def render_report(report: Report) -> str:
    """One self-contained HTML page: no script, no font, no picture from elsewhere."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(template_text()).render(report=report)


def template_text() -> str:
    """The page's template; part of a report's recipe."""
    return (files("tasks.reporting") / "templates" / "report.html").read_text(encoding="utf-8")
