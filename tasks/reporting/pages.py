"""Pages that are no artifacts: of a watch, and of several runs; in the looks of a run's report."""

from importlib.resources import files
from typing import Any

from jinja2 import DictLoader, Environment, StrictUndefined

from data_specs.wording import printable

_FOLDER = "watch"
_SHARED = ("style.css", "macros.html", "plot.html")


def render_watch_template(template: str, /, **content: Any) -> str:
    """One of the templates of `templates/watch`; every text is escaped.

    A change of them leaves the versions of reports as they are: they stand in a folder of their own.
    """
    folder = files("tasks.reporting") / "templates"
    sources = {name: (folder / name).read_text(encoding="utf-8") for name in _SHARED}
    sources |= {item.name: item.read_text(encoding="utf-8") for item in (folder / _FOLDER).iterdir() if item.is_file()}
    environment = Environment(
        loader=DictLoader(sources), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    # For attributes and drawings, in which no element can keep a text from turning what stands around it.
    environment.filters["literal"] = printable
    return environment.get_template(template).render(**content)
