//! Azure's older form of URL, which names the model in the path: `…/deployments/{model}`. It decides
//! which operations have the model there, and writes it so that it stays one segment.

use std::borrow::Cow;

use super::ApiBase;
use crate::query::encode;

/// What stands in an `api_base` for the model of each request.
pub(super) const MODEL: &str = "{model}";
/// The end of a base that has the model in its path. Nothing may follow: whatever has no model
/// goes to the part before it.
pub(super) const TEMPLATE: &str = "/deployments/{model}";

/// The operations that Azure has below a deployment, as its own SDK lists them. All others stand
/// beside `deployments`.
const BELOW_DEPLOYMENTS: [&str; 8] = [
    "/completions",
    "/chat/completions",
    "/embeddings",
    "/audio/transcriptions",
    "/audio/translations",
    "/audio/speech",
    "/images/generations",
    "/images/edits",
];

/// Why a request has no URL at a base that names the model in its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoDeployment {
    /// The request names no model.
    NoModel,
    /// The model is `.` or `..`, which servers read as a step in the path.
    DotSegment,
}

impl ApiBase {
    /// Tells whether the model stands in the path: the base ends in `/deployments/{model}`.
    pub fn has_model_in_path(&self) -> bool {
        self.path.ends_with(TEMPLATE)
    }

    /// Returns what follows the [prefix](Self::prefix) in the path of a request: `path_below_v1` as
    /// it is, or, where the base ends in `/deployments/{model}` and the operation stands below
    /// deployments, behind the model. The model is percent-encoded, so that it is one segment.
    ///
    /// ```
    /// # use gate_config::ApiBase;
    /// let base = ApiBase::parse("https://r.openai.azure.com/openai/deployments/{model}")?;
    /// let path = |path, model| base.request_path(path, model).map(String::from);
    /// assert_eq!(path("/embeddings", Some("a/b")), Ok("/deployments/a%2Fb/embeddings".to_owned()));
    /// assert_eq!(path("/files", None), Ok("/files".to_owned()));
    /// # Ok::<(), gate_config::ApiBaseError>(())
    /// ```
    ///
    /// # Errors
    /// The path needs a model, and there is none that could stand in it.
    pub fn request_path<'p>(
        &self,
        path_below_v1: &'p str,
        model: Option<&str>,
    ) -> Result<Cow<'p, str>, NoDeployment> {
        if !self.is_below_deployments(path_below_v1) {
            return Ok(Cow::Borrowed(path_below_v1));
        }
        match model {
            None | Some("") => Err(NoDeployment::NoModel),
            // Even encoded they are steps for the URL parsers of browsers and many servers.
            Some("." | "..") => Err(NoDeployment::DotSegment),
            Some(model) => Ok(Cow::Owned(below(&encode(model), path_below_v1))),
        }
    }

    /// Returns the same for people to read; a model that is not known is shown as `{model}`.
    pub(super) fn shown_path<'p>(&self, path_below_v1: &'p str, model: Option<&str>) -> Cow<'p, str> {
        if self.is_below_deployments(path_below_v1) {
            Cow::Owned(below(&model.map_or_else(|| MODEL.to_owned(), encode), path_below_v1))
        } else {
            Cow::Borrowed(path_below_v1)
        }
    }

    fn is_below_deployments(&self, path_below_v1: &str) -> bool {
        self.has_model_in_path() && BELOW_DEPLOYMENTS.contains(&path_below_v1)
    }
}

fn below(deployment: &str, path: &str) -> String {
    format!("/deployments/{deployment}{path}")
}
