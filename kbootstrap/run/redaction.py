"""Masks the events of a run. Every event passes here once, before it goes to a view or the journal."""

from __future__ import annotations

from dataclasses import replace

from kbootstrap.errors import Failure
from kbootstrap.events import Connection, Event, NetworkTested, Notice, StepEnded, StepOutput
from kbootstrap.redact import Redactor

MAX_TEXT = 4096
"""Longest line, command or hint of a host that is shown, in characters. The rest is dropped."""


def clean_text(redactor: Redactor, text: str) -> str:
    """The text with secrets masked, terminal escapes removed, and cut.

    It is cut after masking, because half a secret would not be recognised.
    """
    return redactor.clean(text)[:MAX_TEXT]


def clean_failure(redactor: Redactor, failure: Failure) -> Failure:
    """The failure with untrusted host output masked and cut."""
    return Failure(
        clean_text(redactor, failure.message),
        clean_text(redactor, failure.command),
        failure.exit_status,
        tuple(clean_text(redactor, line) for line in failure.output),
        clean_text(redactor, failure.hint),
    )


def clean_connection(redactor: Redactor, connection: Connection) -> Connection:
    """The connection with what its host said masked and cut."""
    detail, cause = (clean_text(redactor, text) for text in (connection.detail, connection.cause))
    return replace(connection, detail=detail, cause=cause)


def clean_event(redactor: Redactor, event: Event) -> Event:
    """The event with all text from a host masked and cut."""
    if isinstance(event, StepOutput):
        return replace(event, line=clean_text(redactor, event.line))
    if isinstance(event, Notice):
        return replace(event, text=clean_text(redactor, event.text))
    if isinstance(event, NetworkTested):
        return replace(event, connections=tuple(clean_connection(redactor, each) for each in event.connections))
    if isinstance(event, StepEnded) and (event.diff or event.failure):
        failure = clean_failure(redactor, event.failure) if event.failure else None
        return replace(event, diff=tuple(clean_text(redactor, line) for line in event.diff), failure=failure)
    return event
