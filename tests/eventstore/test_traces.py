"""Spans reach a collector when the SDK's variables name one, and nothing is loaded when they don't."""

import asyncio
import os
import queue
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from uuid import uuid4

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from domain.project import CreateProject
from eventstore import traces
from tests.eventstore.conftest import open_store, send


class Collector(BaseHTTPRequestHandler):
    """What an OpenTelemetry collector is to its callers."""

    received: queue.Queue[bytes] = queue.Queue()

    def do_POST(self) -> None:
        """Takes an export."""
        self.received.put(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Keeps the test's output quiet."""


def test_spans_reach_a_collector(database_url: str) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    try:
        subprocess.run(
            [sys.executable, "-m", "tests.eventstore.test_traces", database_url],
            env=os.environ | {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint},
            check=True,
            timeout=60,
        )
        exported = ExportTraceServiceRequest.FromString(Collector.received.get(timeout=10))
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    spans = {
        span.name for resource in exported.resource_spans for scope in resource.scope_spans for span in scope.spans
    }
    assert {"transact project.CreateProject", "append"} <= spans


def test_without_a_collector_nothing_is_loaded() -> None:
    code = (
        "import sys; from eventstore import traces; traces.configure({}, ''); print('opentelemetry.sdk' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)
    assert ran.stdout == "False\n"


async def _one_command(database_url: str) -> None:
    async with open_store(database_url) as store:
        await send(store, uuid4(), "project", uuid4(), CreateProject(name="Road"))


if __name__ == "__main__":
    traces.configure(os.environ, "test")
    asyncio.run(_one_command(sys.argv[1]))
