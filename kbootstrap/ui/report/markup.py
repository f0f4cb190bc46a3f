"""HTML from text. All text is escaped: what hosts print is not trusted."""

from __future__ import annotations

from html import escape


class Html(str):
    """Text that is HTML already. Only the functions here make it from other text."""

    __slots__ = ()


def text(value: str) -> Html:
    """The value as HTML that shows it."""
    return Html(escape(value, quote=True))


def joined(*parts: str) -> Html:
    """The parts one after the other; those that are not Html are escaped."""
    return Html("".join(part if isinstance(part, Html) else text(part) for part in parts))


def tag(name: str, *children: str, **attributes: str) -> Html:
    """An element. ``class_`` is the attribute class; ``_`` in other names is ``-``."""
    given = "".join(
        f' {key.removesuffix("_").replace("_", "-")}="{escape(value, quote=True)}"' for key, value in attributes.items()
    )
    return Html(f"<{name}{given}>{joined(*children)}</{name}>")
