"""An OTLP collector in LiteLLM's environment: `span_collector.py <address>`; prints each span as a line of JSON."""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceServicer, add_TraceServiceServicer_to_server


class Collector(TraceServiceServicer):  # type: ignore[misc]
    def Export(self, request: Any, context: Any) -> ExportTraceServiceResponse:  # noqa: N802
        metadata = dict(context.invocation_metadata())
        for resource in request.resource_spans:
            of_resource = {a.key: a.value.string_value for a in resource.resource.attributes}
            for span in (s for scope in resource.scope_spans for s in scope.spans):
                attributes = {a.key: a.value.string_value for a in span.attributes if a.value.string_value}
                line = {"name": span.name, "key": metadata.get("authorization"), "resource": of_resource, "attributes": attributes}
                print(json.dumps(line), flush=True)
        return ExportTraceServiceResponse()


if __name__ == "__main__":
    server = grpc.server(ThreadPoolExecutor(2))
    add_TraceServiceServicer_to_server(Collector(), server)
    server.add_insecure_port(sys.argv[1])
    server.start()
    server.wait_for_termination()
