//! What the two programs share: a provider of tracers that exports by OTLP/HTTP, or prints with
//! `OTEL_TRACES_EXPORTER=console`. Elsewhere `opentelemetry-otlp` does this; farspan does without it.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "it is for people"
)]

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_proto::transform::trace::tonic::group_spans_by_resource_and_scope;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanExporter};
use prost::Message;

/// The setting, or what examples/chain/farspan.json takes too.
pub(crate) fn setting(name: &str, default: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| default.to_owned())
}

pub(crate) fn provider(service: &'static str) -> SdkTracerProvider {
    SdkTracerProvider::builder()
        .with_resource(Resource::builder().with_service_name(service).build())
        .with_simple_exporter(Exporter::default())
        .build()
}

#[derive(Debug, Default)]
struct Exporter {
    resource: ResourceAttributesWithSchema,
}

impl SpanExporter for Exporter {
    /// Says what went wrong: the simple processor keeps it to itself.
    async fn export(&self, spans: Vec<SpanData>) -> OTelSdkResult {
        if setting("OTEL_TRACES_EXPORTER", "otlp") == "console" {
            for span in spans {
                let (context, parent) = (&span.span_context, span.parent_span_id);
                let (trace_id, span_id) = (context.trace_id(), context.span_id());
                println!("{} {trace_id} {span_id}, child of {parent}", span.name);
            }
            return Ok(());
        }
        let endpoint = setting("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4318");
        let resource_spans = group_spans_by_resource_and_scope(spans, &self.resource);
        let sent = ureq::post(format!("{endpoint}/v1/traces"))
            .content_type("application/x-protobuf")
            .send(ExportTraceServiceRequest { resource_spans }.encode_to_vec());
        sent.map(drop).map_err(|error| {
            eprintln!("cannot export to {endpoint}: {error}");
            OTelSdkError::InternalFailure(error.to_string())
        })
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.resource = resource.into();
    }
}
