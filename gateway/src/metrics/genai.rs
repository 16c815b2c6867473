//! OpenTelemetry's metrics of generative AI in the spelling of Prometheus: of the requests that
//! we serve (`gen_ai.server`), and of those that Google serves us (`gen_ai.client`).

use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::{Duration, SystemTime},
};

use antigravity_proto::v1::Upstream;
use antigravity_traces::TraceId;
use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder},
    metrics::{
        exemplar::HistogramWithExemplars,
        family::{Family, MetricConstructor},
    },
    registry::Registry,
};
use translate::gemini::usage::Usage;

use super::{
    gaps::{AllGaps, Gaps},
    names::Names,
};

/// As the conventions have them for each metric.
const DURATION: &[f64] = &[
    0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92,
];
const FIRST_TOKEN: &[f64] = &[
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];
const PER_TOKEN: &[f64] = &[
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5,
];
const TOKENS: &[f64] = &[
    1.0,
    4.0,
    16.0,
    64.0,
    256.0,
    1024.0,
    4096.0,
    16384.0,
    65536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
];

/// Models that have labels of their own: until half of them are known any model gets one, then
/// those alone that Google has answered for. So nobody uses them up with names that are none.
const MODELS: usize = 200;
const UNANSWERED: usize = MODELS / 2;

/// The trace that a value came of, to be told beside it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Exemplar {
    trace_id: Hex,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Hex(TraceId);

impl EncodeLabelValue for Hex {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
        use fmt::Write as _;
        write!(encoder, "{}", self.0)
    }
}

/// A histogram with the boundaries of its buckets.
#[derive(Clone, Copy)]
pub(super) struct Buckets(pub(super) &'static [f64]);

type Histogram = HistogramWithExemplars<Exemplar>;

impl MetricConstructor<Histogram> for Buckets {
    fn new_metric(&self) -> Histogram {
        Histogram::new(self.0.iter().copied())
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    gen_ai_operation_name: &'static str,
    gen_ai_provider_name: &'static str,
    gen_ai_request_model: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ended {
    gen_ai_operation_name: &'static str,
    gen_ai_provider_name: &'static str,
    gen_ai_request_model: Arc<str>,
    /// Empty, which is to Prometheus as if it were not there: it went well.
    error_type: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Counted {
    gen_ai_operation_name: &'static str,
    gen_ai_provider_name: &'static str,
    gen_ai_request_model: Arc<str>,
    gen_ai_token_type: &'static str,
}

impl Labels {
    fn ended(&self, error_type: &'static str) -> Ended {
        Ended {
            gen_ai_operation_name: self.gen_ai_operation_name,
            gen_ai_provider_name: self.gen_ai_provider_name,
            gen_ai_request_model: Arc::clone(&self.gen_ai_request_model),
            error_type,
        }
    }

    fn counted(&self, gen_ai_token_type: &'static str) -> Counted {
        Counted {
            gen_ai_operation_name: self.gen_ai_operation_name,
            gen_ai_provider_name: self.gen_ai_provider_name,
            gen_ai_request_model: Arc::clone(&self.gen_ai_request_model),
            gen_ai_token_type,
        }
    }
}

struct Families {
    request: Family<Ended, Histogram, Buckets>,
    first_token: Family<Labels, Histogram, Buckets>,
    per_token: Family<Labels, Histogram, Buckets>,
    operation: Family<Ended, Histogram, Buckets>,
    first_chunk: Family<Labels, Histogram, Buckets>,
    per_chunk: Family<Labels, AllGaps>,
    tokens: Family<Counted, Histogram, Buckets>,
}

/// Google's APIs, under the conventions' names for them. Code Assist has none of its own.
#[derive(Clone, Copy)]
pub(crate) enum Provider {
    GenAi,
    Gemini,
    Vertex,
}

impl Provider {
    const COUNT: usize = 3;

    pub(crate) fn of(upstream: Upstream) -> Self {
        match upstream {
            Upstream::Gemini => Self::Gemini,
            Upstream::Vertex => Self::Vertex,
            Upstream::Antigravity | Upstream::Unspecified => Self::GenAi,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::GenAi => "gcp.gen_ai",
            Self::Gemini => "gcp.gemini",
            Self::Vertex => "gcp.vertex_ai",
        }
    }
}

/// All of them.
pub(super) struct GenAi {
    families: Arc<Families>,
    models: Names<Model>,
}

struct Model {
    name: Arc<str>,
    /// By provider.
    series: [OnceLock<Arc<Series>>; Provider::COUNT],
}

impl Model {
    fn new(name: Arc<str>) -> Self {
        Self {
            name,
            series: Default::default(),
        }
    }
}

/// Those of one model at one of Google's APIs, found once for a request and not for each value.
pub struct Series {
    labels: Labels,
    families: Arc<Families>,
    is_other: bool,
    request: OnceLock<Histogram>,
    first_token: OnceLock<Histogram>,
    per_token: OnceLock<Histogram>,
    operation: OnceLock<Histogram>,
    first_chunk: OnceLock<Histogram>,
    input: OnceLock<Histogram>,
    output: OnceLock<Histogram>,
}

impl fmt::Debug for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Series").field(&self.labels).finish()
    }
}

impl GenAi {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let ended = |buckets| Family::<Ended, Histogram, Buckets>::new_with_constructor(buckets);
        let plain = |buckets| Family::<Labels, Histogram, Buckets>::new_with_constructor(buckets);
        let families = Families {
            request: ended(Buckets(DURATION)),
            first_token: plain(Buckets(FIRST_TOKEN)),
            per_token: plain(Buckets(PER_TOKEN)),
            operation: ended(Buckets(DURATION)),
            first_chunk: plain(Buckets(DURATION)),
            per_chunk: Family::default(),
            tokens: Family::new_with_constructor(Buckets(TOKENS)),
        };
        for (name, help, family) in [
            (
                "gen_ai_server_request_duration_seconds",
                "A client's request, from its head to the end of its answer",
                &families.request,
            ),
            (
                "gen_ai_client_operation_duration_seconds",
                "A request to Google, from its sending to the end of the answer",
                &families.operation,
            ),
        ] {
            registry.register(name, help, family.clone());
        }
        for (name, help, family) in [
            (
                "gen_ai_server_time_to_first_token_seconds",
                "Streams: from the head of a client's request to the first piece for it",
                &families.first_token,
            ),
            (
                "gen_ai_server_time_per_output_token_seconds",
                "Streams that were whole: the time after the first piece, by output token",
                &families.per_token,
            ),
            (
                "gen_ai_client_operation_time_to_first_chunk_seconds",
                "Streams: from a request to Google to the first event of its answer",
                &families.first_chunk,
            ),
        ] {
            registry.register(name, help, family.clone());
        }
        registry.register(
            "gen_ai_client_operation_time_per_output_chunk_seconds",
            "Streams that are over: between one event of Google's and the next",
            families.per_chunk.clone(),
        );
        registry.register(
            "gen_ai_client_token_usage",
            "Tokens that a request to Google took in and gave out",
            families.tokens.clone(),
        );
        Self {
            families: Arc::new(families),
            models: Names::new(Model::new),
        }
    }

    /// Those of a model that is asked for.
    pub(super) fn of(&self, model: &str, upstream: Upstream) -> Arc<Series> {
        let model = self.models.get(model, UNANSWERED, Model::new);
        let provider = Provider::of(upstream);
        // There is one for each provider.
        let series = model.series[provider as usize].get_or_init(|| {
            Arc::new(Series {
                labels: Labels {
                    gen_ai_operation_name: "chat",
                    gen_ai_provider_name: provider.name(),
                    gen_ai_request_model: Arc::clone(&model.name),
                },
                families: Arc::clone(&self.families),
                is_other: self.models.is_other(&model),
                request: OnceLock::new(),
                first_token: OnceLock::new(),
                per_token: OnceLock::new(),
                operation: OnceLock::new(),
                first_chunk: OnceLock::new(),
                input: OnceLock::new(),
                output: OnceLock::new(),
            })
        });
        Arc::clone(series)
    }

    /// Google has answered for a model, so that there is such a model.
    pub(super) fn exists(&self, model: &str, series: &Series) {
        if series.is_other {
            self.models.get(model, MODELS, Model::new);
        }
    }
}

/// How a client's request went.
#[derive(Clone, Copy, Debug)]
pub struct Served {
    /// From its head to the end of its answer.
    pub duration: Duration,
    /// To the first piece, of a stream.
    pub first_piece: Option<Duration>,
    /// What the client was told instead of an answer.
    pub error: Option<&'static str>,
    /// What it took.
    pub usage: Option<Usage>,
}

impl Series {
    /// A client's request is over.
    pub fn served(&self, served: &Served, trace: Option<TraceId>) {
        let Served {
            duration,
            first_piece,
            error,
            usage,
        } = *served;
        let families = &self.families;
        if let Some(error) = error {
            let ended = self.labels.ended(error);
            observe(&families.request.get_or_create(&ended), duration, trace);
            return;
        }
        let request = self.request.get_or_init(|| {
            let ended = self.labels.ended("");
            families.request.get_or_create_owned(&ended)
        });
        observe(request, duration, trace);
        let Some(first_piece) = first_piece else {
            return;
        };
        let first = plain(&self.first_token, &families.first_token, &self.labels);
        observe(first, first_piece, trace);
        let later = usage.map_or(0, |usage| usage.completion_tokens().saturating_sub(1));
        if let Ok(later @ 1..) = u32::try_from(later) {
            let each = plain(&self.per_token, &families.per_token, &self.labels);
            observe(each, duration.saturating_sub(first_piece) / later, trace);
        }
    }

    /// A request to Google is over.
    pub(crate) fn ended(
        &self,
        error: Option<&'static str>,
        took: Duration,
        trace: Option<TraceId>,
    ) {
        let families = &self.families;
        match error {
            Some(error) => {
                let ended = self.labels.ended(error);
                observe(&families.operation.get_or_create(&ended), took, trace);
            }
            None => {
                let operation = self.operation.get_or_init(|| {
                    let ended = self.labels.ended("");
                    families.operation.get_or_create_owned(&ended)
                });
                observe(operation, took, trace);
            }
        }
    }

    /// The first event of a stream of Google's has come.
    pub(crate) fn first_chunk(&self, after: Duration, trace: Option<TraceId>) {
        let first = plain(&self.first_chunk, &self.families.first_chunk, &self.labels);
        observe(first, after, trace);
    }

    /// A stream of Google's is over, whose events came with these times between them.
    pub(crate) fn chunks(&self, gaps: &Gaps) {
        if !gaps.is_empty() {
            self.families
                .per_chunk
                .get_or_create(&self.labels)
                .add(gaps);
        }
    }

    /// What a request to Google took.
    pub(crate) fn used(&self, usage: Usage, trace: Option<TraceId>) {
        let tokens = &self.families.tokens;
        for (of, kind, count) in [
            (&self.input, "input", usage.prompt_tokens()),
            (&self.output, "output", usage.completion_tokens()),
        ] {
            let histogram =
                of.get_or_init(|| tokens.get_or_create_owned(&self.labels.counted(kind)));
            observe_value(histogram, count as f64, trace);
        }
    }
}

fn plain<'a>(
    of: &'a OnceLock<Histogram>,
    family: &Family<Labels, Histogram, Buckets>,
    labels: &Labels,
) -> &'a Histogram {
    of.get_or_init(|| family.get_or_create_owned(labels))
}

fn observe(histogram: &Histogram, time: Duration, trace: Option<TraceId>) {
    observe_value(histogram, time.as_secs_f64(), trace);
}

fn observe_value(histogram: &Histogram, value: f64, trace: Option<TraceId>) {
    let at = trace.map(|_| SystemTime::now());
    histogram.observe(
        value,
        trace.map(|trace_id| Exemplar {
            trace_id: Hex(trace_id),
        }),
        at,
    );
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;

    use super::*;

    #[test]
    fn a_trace_is_told_beside_its_value() {
        let mut registry = Registry::default();
        let genai = GenAi::register(&mut registry);
        let series = genai.of("gemini-3-pro", Upstream::Vertex);
        series.first_chunk(Duration::from_millis(30), Some(TraceId::of([0xab; 16])));
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        let bucket = "gen_ai_client_operation_time_to_first_chunk_seconds_bucket{le=\"0.04\",\
                      gen_ai_operation_name=\"chat\",gen_ai_provider_name=\"gcp.vertex_ai\",\
                      gen_ai_request_model=\"gemini-3-pro\"} 1 # {trace_id=\"abababababababababababababababab\"} 0.03";
        assert!(text.contains(bucket), "{text}");
    }

    #[test]
    fn names_that_are_no_models_leave_room_for_models() {
        let genai = GenAi::register(&mut Registry::default());
        for number in 0..1000 {
            genai.of(&format!("made-up-{number}"), Upstream::Gemini);
        }
        let model = "gemini-3-pro";
        let series = genai.of(model, Upstream::Gemini);
        assert!(series.is_other);
        genai.exists(model, &series);
        assert_eq!(
            &*genai
                .of(model, Upstream::Gemini)
                .labels
                .gen_ai_request_model,
            model
        );
        assert!(genai.of("made-up-500", Upstream::Gemini).is_other);
    }
}
