//! Logs and traces. Logs go to standard error: pretty on a terminal, one JSON object a line
//! otherwise. Traces go where `--otlp-endpoint` says, or the variables that OpenTelemetry has for
//! it: spans of gRPC calls through `tracing`, spans of requests as their data path made them
//! ([`SpanSink`]), both through one bounded queue and one connection.

use std::{io::IsTerminal, sync::Arc, time::Duration};

use cluster::Service;
use opentelemetry::{KeyValue, trace::TracerProvider};
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{BatchSpanProcessor, SdkTracerProvider, Span, SpanData, SpanProcessor},
};
use tracing_subscriber::{
    EnvFilter, Layer, Registry, filter::LevelFilter, layer::SubscriberExt, util::SubscriberInitExt,
};

use crate::{
    complaints::Complaints,
    error::{Error, ErrorContext},
    metrics,
    options::{LogFormat, Options},
};

type Boxed = Box<dyn Layer<Registry> + Send + Sync>;

/// Takes finished spans for export; never waits, and drops what does not fit into its queue.
pub type SpanSink = Arc<dyn Fn(SpanData) + Send + Sync>;

/// Keeps the exporter alive; flushes what it holds when dropped.
#[derive(Debug, Default)]
pub(crate) struct Telemetry(Option<(SdkTracerProvider, Shared)>, Complaints);

impl Telemetry {
    /// The errors that are logged from now on.
    pub(crate) fn complaints(&self) -> Complaints {
        self.1.clone()
    }

    /// Where spans go that are not made through `tracing`; none: nowhere.
    pub(crate) fn spans(&self) -> Option<SpanSink> {
        let (_, shared) = self.0.as_ref()?;
        let processor = Arc::clone(&shared.0);
        Some(Arc::new(move |span| processor.on_end(span)))
    }
}

/// One queue for spans from both sides.
#[derive(Clone, Debug)]
struct Shared(Arc<BatchSpanProcessor>);

impl SpanProcessor for Shared {
    fn on_start(&self, span: &mut Span, context: &opentelemetry::Context) {
        self.0.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        self.0.on_end(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.0.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.shutdown_with_timeout(timeout)
    }
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        if let Some((provider, _)) = &self.0
            && let Err(error) = provider.shutdown()
        {
            eprintln!("the last traces may be lost: {error}");
        }
    }
}

/// Begins to log. Has to be called inside a runtime when traces are exported. A second call in a
/// process (tests) changes nothing.
pub(crate) fn init(service: Service, name: &str, options: &Options) -> Result<Telemetry, Error> {
    let filter = EnvFilter::try_new(&options.log_level).context(
        format!("read --log-level {:?}", options.log_level),
        "give error, warn, info, debug, trace, or directives such as info,balancer=debug",
    )?;
    let exporting =
        endpoint(options).map(|endpoint| exporter(service, name, &endpoint)).transpose()?;
    let pretty = match options.log_format {
        LogFormat::Pretty => true,
        LogFormat::Json => false,
        LogFormat::Auto => std::io::stderr().is_terminal(),
    };
    let lines: Boxed = if pretty {
        tracing_subscriber::fmt::layer()
            .with_writer(std::io::stderr)
            .with_ansi(std::io::stderr().is_terminal())
            .with_filter(filter)
            .boxed()
    } else {
        tracing_subscriber::fmt::layer()
            .json()
            .flatten_event(true)
            .with_writer(std::io::stderr)
            .with_filter(filter)
            .boxed()
    };
    let complaints = Complaints::default();
    let mut layers = vec![lines, Troubles::default().boxed(), complaints.clone().boxed()];
    if let Some((provider, _)) = &exporting {
        let tracer = provider.tracer("shoal");
        layers.push(
            tracing_opentelemetry::layer()
                .with_tracer(tracer)
                .with_filter(EnvFilter::new("info"))
                .boxed(),
        );
    }
    let installed = Registry::default().with(layers).try_init().is_ok();
    if installed {
        log_panics();
    }
    Ok(Telemetry(exporting, complaints))
}

/// Counts errors and warnings, so that somebody who looks at the metrics knows when to look at the
/// log.
struct Troubles {
    errors: ::metrics::Counter,
    warnings: ::metrics::Counter,
}

impl Default for Troubles {
    fn default() -> Self {
        let counter = |level: &'static str| ::metrics::counter!(metrics::LOGGED, "level" => level);
        Self { errors: counter("error"), warnings: counter("warn") }
    }
}

impl Layer<Registry> for Troubles {
    fn on_event(
        &self,
        event: &tracing::Event<'_>,
        _: tracing_subscriber::layer::Context<'_, Registry>,
    ) {
        match *event.metadata().level() {
            tracing::Level::ERROR => self.errors.increment(1),
            tracing::Level::WARN => self.warnings.increment(1),
            _ => {}
        }
    }

    /// What is not counted is not asked for because of this layer.
    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::WARN)
    }
}

/// Where traces go: the flag, or what OpenTelemetry's own programs read.
fn endpoint(options: &Options) -> Option<String> {
    let variables = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
    let given = options
        .otlp_endpoint
        .clone()
        .or_else(|| variables.iter().find_map(|name| std::env::var(name).ok()));
    given.filter(|endpoint| !endpoint.trim().is_empty())
}

fn exporter(
    service: Service,
    name: &str,
    endpoint: &str,
) -> Result<(SdkTracerProvider, Shared), Error> {
    let exporter = SpanExporter::builder().with_tonic().with_endpoint(endpoint).build().context(
        format!("export traces to {endpoint:?}"),
        "give --otlp-endpoint as http://host:4317",
    )?;
    let resource = Resource::builder()
        .with_service_name(format!("shoal-{service}"))
        .with_attributes([
            KeyValue::new("service.instance.id", name.to_owned()),
            KeyValue::new("service.version", crate::version::VERSION),
        ])
        .build();
    let mut processor = BatchSpanProcessor::builder(exporter).build();
    processor.set_resource(&resource);
    let shared = Shared(Arc::new(processor));
    Ok((
        SdkTracerProvider::builder()
            .with_span_processor(shared.clone())
            .with_resource(resource)
            .build(),
        shared,
    ))
}

/// One line for a panic, in the log, without a backtrace; and a count, wherever it happened and
/// whoever catches it.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place =
            panic.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
        let thread = std::thread::current().name().unwrap_or("unnamed").to_owned();
        crate::metrics::panicked(&thread);
        tracing::error!(
            target: "panic",
            %place,
            thread,
            "{}",
            crate::supervise::message(panic.payload()),
        );
    }));
}
