"""HTML templates that escape every value and raise an error for an undefined name."""

from __future__ import annotations

from collections.abc import Callable

from jinja2 import Environment, PackageLoader, StrictUndefined, Template


def template(name: str, filters: dict[str, Callable[..., object]]) -> Template:
    """Return a template of this package, with these filters."""
    environment = Environment(
        loader=PackageLoader("dataflows.reports", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(filters)
    return environment.get_template(name)
