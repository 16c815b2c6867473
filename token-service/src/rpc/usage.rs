//! `UsageService`: the ledger for operators.

use std::sync::Arc;

use antigravity_proto::v1::{
    self, query_usage_request::Dimension, usage_service_server::UsageService,
};
use jiff::{SignedDuration, Timestamp};
use tonic::{Request, Response, Status};

use super::{check::Check, view};
use crate::{
    pool::Pool,
    store::{By, MAX_USAGE_ROWS, Span, StoreError, UsageQuery, UsageRow},
};

/// Bytes of a name.
const MAX_NAME: usize = 2048;
const A_DAY: SignedDuration = SignedDuration::from_hours(24);

/// The service over the pool.
#[derive(Clone)]
pub(crate) struct Usage {
    pub(crate) pool: Arc<Pool>,
}

#[tonic::async_trait]
impl UsageService for Usage {
    async fn query_usage(
        &self,
        request: Request<v1::QueryUsageRequest>,
    ) -> Result<Response<v1::QueryUsageResponse>, Status> {
        let query = self.query(request.into_inner())?;
        self.pool.keep_usage().await;
        let rows = self.pool.store.usage(&query).await.map_err(status)?;
        if rows.len() > MAX_USAGE_ROWS {
            let mut check = Check::default();
            check.wrong(
                "by",
                format!("makes more than {MAX_USAGE_ROWS} rows; ask for less time, or for less"),
            );
            check.done()?;
        }
        let oldest = self.pool.store.oldest_usage().await.map_err(status)?;
        Ok(Response::new(v1::QueryUsageResponse {
            rows: rows.into_iter().map(row).collect(),
            oldest: oldest.map(view::time),
        }))
    }
}

impl Usage {
    fn query(&self, request: v1::QueryUsageRequest) -> Result<UsageQuery, Status> {
        let mut check = Check::default();
        let mut by = By::default();
        let mut named = Vec::new();
        for (index, dimension) in request.by.iter().enumerate() {
            let field = format!("by[{index}]");
            let dimension = Dimension::try_from(*dimension).unwrap_or_default();
            let taken = named.contains(&dimension);
            named.push(dimension);
            match dimension {
                _ if taken => check.wrong(field, "is named twice"),
                Dimension::Unspecified => check.wrong(field, "is no dimension that is known"),
                Dimension::Key => by.key = true,
                Dimension::Project => by.project = true,
                Dimension::Model => by.model = true,
                Dimension::Hour | Dimension::Day if by.time.is_some() => {
                    check.wrong(field, "is a second span of time; name hours or days");
                }
                Dimension::Hour => by.time = Some(Span::Hour),
                Dimension::Day => by.time = Some(Span::Day),
            }
        }
        for (name, value) in [
            ("api_key_name", &request.api_key_name),
            ("project_id", &request.project_id),
            ("model", &request.model),
        ] {
            if value.len() > MAX_NAME {
                check.wrong(name, format!("has more than {MAX_NAME} bytes"));
            }
        }
        let now = self.pool.now();
        let since = check.time("since", request.since);
        // The present hour included.
        let until = check.time("until", request.until).unwrap_or(Timestamp::MAX);
        let since = since.unwrap_or_else(|| now.saturating_sub(A_DAY).unwrap_or(Timestamp::MIN));
        if until <= since {
            check.wrong("until", "is not after since");
        }
        check.done()?;
        Ok(UsageQuery {
            since,
            until,
            by,
            api_key_name: request.api_key_name,
            project: request.project_id,
            model: request.model,
        })
    }
}

fn row(row: UsageRow) -> v1::UsageRow {
    let used = row.used;
    v1::UsageRow {
        begins: row.begins.map(view::time),
        api_key_name: row.api_key_name,
        project_id: row.project,
        model: row.model,
        attempts: used.attempts,
        answers: used.answers,
        cancelled: used.cancelled,
        prompt_tokens: used.prompt_tokens,
        cached_tokens: used.cached_tokens,
        completion_tokens: used.completion_tokens,
        reasoning_tokens: used.reasoning_tokens,
        first_event: used.first_event.try_into().ok(),
        duration: used.duration.try_into().ok(),
    }
}

fn status(error: StoreError) -> Status {
    if error.is_passing() {
        return Status::unavailable(format!("the ledger cannot be read at present: {error}"));
    }
    tracing::error!(%error, "the ledger cannot be read");
    Status::internal(format!("the ledger cannot be read: {error}"))
}
