"""Spans, when OpenTelemetry's own variables name a collector. Otherwise nothing is loaded, and a span costs nothing."""

import importlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from opentelemetry import propagate, trace

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
"""One of them set, and OTEL_SDK_DISABLED not: spans are exported over OTLP/HTTP. The SDK reads the others itself."""

_tracer = trace.get_tracer("cairn")
_on = False


def configure(environ: Mapping[str, str], service: str) -> bool:
    """Starts exporting spans if the environment asks for it. Answers whether it does. Once per process."""
    global _on  # noqa: PLW0603  the SDK's tracer provider is one per process too
    disabled = environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
    if not disabled and any(environ.get(name) for name in ENDPOINTS):
        # By name: the SDK and its exporter take 20 MB, which a process without traces keeps for better things.
        importlib.import_module("eventstore.traces_export").start(environ.get("OTEL_SERVICE_NAME", service))
        _on = True
    return _on


def wanted() -> bool:
    """Whether spans are exported: for hot paths, which save themselves even the words of a span."""
    return _on


@contextmanager
def span(name: str, **attributes: Any) -> Iterator[None]:
    """A span around a block, child of the one around it. An exception that leaves the block is recorded on it."""
    if not _on:
        yield
        return
    with _tracer.start_as_current_span(name, attributes=attributes):
        yield


@contextmanager
def request_span(name: str, headers: Mapping[str, str], **attributes: Any) -> Iterator[None]:
    """A span for a request, child of the caller's if its `traceparent` header says so."""
    if not _on:
        yield
        return
    context = propagate.extract(headers)
    with _tracer.start_as_current_span(name, context=context, kind=trace.SpanKind.SERVER, attributes=attributes):
        yield
