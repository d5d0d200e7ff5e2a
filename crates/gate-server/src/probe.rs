//! Asks a provider for its list of models: is it there, does it take our key, how far is it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use gate_config::ProviderIndex;
use gate_upstream::{RequestBody, RequestCredential, UpstreamError, UpstreamRequest};
use http::{Method, StatusCode};
use http_body_util::{BodyExt, Limited};
use tokio::time::timeout;

use crate::failure;
use crate::gateway::Gateway;

/// The longest list of models that is read.
const MAX_LIST_BYTES: usize = 4 * 1024 * 1024;

/// What a provider said when it was asked for its models.
#[derive(Debug)]
pub struct Probe {
    /// The status of its answer.
    pub status: StatusCode,
    /// The time to the answer's head, a new connection included.
    pub latency: Duration,
    /// How many models it lists, if its answer says so.
    pub models: Option<usize>,
}

/// Why a provider could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// No answer within the limit.
    #[error("no answer within {} s", .0.as_secs())]
    TimedOut(Duration),
    /// The connection, or the answer, failed.
    #[error("{}", failure::chain(.0))]
    Failed(#[source] Box<UpstreamError>),
}

impl Gateway {
    /// Asks a provider for its list of models, with its configured key.
    ///
    /// # Errors
    /// There is no answer within `limit`. An answer that refuses the key is one.
    pub async fn probe(&self, provider: ProviderIndex, limit: Duration) -> Result<Probe, ProbeError> {
        let snapshot = self.snapshot();
        let endpoint = snapshot.endpoint(provider);
        let credential =
            if endpoint.has_credential() { RequestCredential::Configured } else { RequestCredential::None };
        let request = UpstreamRequest {
            method: Method::GET,
            path: "/models".to_owned(),
            query: None,
            headers: Arc::default(),
            credential,
            body: RequestBody::empty(),
        };
        let started = Instant::now();
        let asked = async {
            let response = self.upstream().send(endpoint, request).await?;
            let latency = started.elapsed();
            let status = response.status;
            let list = Limited::new(response.body, MAX_LIST_BYTES).collect().await;
            let models = list.ok().and_then(|list| count_models(&list.to_bytes()));
            Ok(Probe { status, latency, models })
        };
        timeout(limit, asked)
            .await
            .map_err(|_| ProbeError::TimedOut(limit))?
            .map_err(|error| ProbeError::Failed(Box::new(error)))
    }
}

/// Both vendors list models in `data`.
fn count_models(json: &[u8]) -> Option<usize> {
    let list: serde_json::Value = serde_json::from_slice(json).ok()?;
    Some(list.get("data")?.as_array()?.len())
}
