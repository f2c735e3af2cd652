"""Sphinx configuration: MyST reads the Markdown pages, autodoc the docstrings of the API reference."""

from __future__ import annotations

import enum
import inspect
import re
from importlib.metadata import version as version_of
from typing import TYPE_CHECKING

import attrs

from swarmguard import AgentHandle, Permit
from swarmguard.bus import Subscription

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "swarmguard"
author = "swarmguard contributors"
copyright = "2026, swarmguard contributors"  # noqa: A001 - Sphinx reads this name
release = version = version_of("swarmguard")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
exclude_patterns = ["_build", "performance"]

html_theme = "furo"
html_title = f"swarmguard {release}"
html_logo = html_favicon = "_static/logo.svg"
html_static_path = ["_static"]
html_css_files = ["custom.css"]
html_theme_options = {
    "source_repository": "https://github.com/swarmguard/swarmguard",
    "source_branch": "main",
    "source_directory": "docs/",
}

# Copy what a reader types, without prompts; there is no button on output.
copybutton_prompt_text = ">>> "
copybutton_selector = "div:not(.highlight-text) > div.highlight > pre"

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 100
python_use_unqualified_type_names = True
napoleon_use_ivar = True
autodoc_type_aliases = {name: name for name in ("ExceptionFilter", "Heartbeat", "JSON", "Observer", "Seconds", "Sink")}
# Single backticks in docstrings are code, as they are in Markdown.
default_role = "code"

NEVER_CONSTRUCTED = (AgentHandle, Permit, Subscription, enum.Enum)
"""Classes that users do not instantiate."""


def property_as_written(_app: Sphinx, what: str, _name: str, obj: object, _options: object, lines: list[str]) -> None:
    """Restore the docstring of a property: napoleon reads text before a colon as a type."""
    if what == "property":
        lines[:] = [*(inspect.getdoc(obj) or "").splitlines(), ""]


def default_of(field: attrs.Attribute[object]) -> str:
    """Return the default of an attrs field as users write it."""
    default = field.default.factory() if isinstance(field.default, attrs.Factory) else field.default
    return default.__name__ if inspect.isclass(default) else repr(default)


def without_marks(text: str | None) -> str | None:
    """Replace Sphinx's internal representation of a type alias by its name."""
    return None if text is None else re.sub(r"TypeAliasForwardRef\('(\w+)'\)", r"\1", text)


def readable_signature(
    _app: Sphinx, _what: str, _name: str, obj: object, _options: object, signature: str | None, returns: str | None
) -> tuple[str | None, str | None]:
    """Return a readable signature, and none for classes that users do not instantiate."""
    if inspect.isclass(obj) and (issubclass(obj, NEVER_CONSTRUCTED) or getattr(obj, "_is_protocol", False)):
        return "", None
    if signature is not None:
        if attrs.has(obj):
            fields = attrs.fields_dict(obj)
            signature = re.sub(r"attr_dict\['(\w+)'\]\.default", lambda at: default_of(fields[at[1]]), signature)
            signature = re.sub(
                r"(\w+)(: [^=,]*) = NOTHING", lambda at: f"{at[1]}{at[2]} = {default_of(fields[at[1]])}", signature
            )
        # Show a ParamSpec by its name, without the module.
        signature = re.sub(r"\*args: [~.\w]+~P\b", "*args: P.args", signature)
        signature = re.sub(r"\*\*kwargs: [~.\w]+~P\b", "**kwargs: P.kwargs", signature)
    return without_marks(signature), without_marks(returns)


def setup(app: Sphinx) -> None:
    """Connect the two handlers; the first one after napoleon's, which has priority 500."""
    app.connect("autodoc-process-docstring", property_as_written, priority=600)
    app.connect("autodoc-process-signature", readable_signature)
