"""From a template to one self-contained page, written whole."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from medssl import __version__, files
from medssl.report import words


def render(template: str, context: dict[str, Any]) -> str:
    """Return the HTML of `medssl/report/<template>` with the style sheet inlined.

    Every value is escaped unless it is our own markup, and a name the template asks for must be there.
    """
    environment = Environment(
        loader=PackageLoader("medssl", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        {
            "number": words.number,
            "signed": words.signed,
            "significant": words.significant,
            "percent": words.percent,
            "count": words.count,
            "duration": words.duration,
            "shortened": words.shortened,
        }
    )
    environment.globals.update({"interval": words.interval, "plural": words.plural, "known": words.known})
    style = Markup((Path(__file__).parent / "style.css").read_text(encoding="utf-8"))  # noqa: S704  (ours)
    return environment.get_template(template).render(**context, style=style, version=__version__)


def write(path: Path, html: str) -> Path:
    """Write the page whole or not at all and return its path."""
    files.write_text(path, html)
    return path


def _finalize(value: Any) -> Any:
    """Make foreign text safe to lay out; escaping it is Jinja's part."""
    return words.clean(value) if isinstance(value, str) and not isinstance(value, Markup) else value
