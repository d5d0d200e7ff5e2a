//! Sessions over WebSocket: which requests open one, and the loop from one message of the client to the
//! next. What is answered on `/v1/responses` are the events of the HTTP stream, one a message.

use std::io;

use http::request::Parts;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};

use super::ask::Ask;
use super::realtime::Realtime;
use super::refusal::{Fault, Refusal};
use super::websocket::{self, Socket};
use super::{Demo, cut, responses};
use crate::body::Step;

/// A session that was agreed to.
#[derive(Debug)]
pub(super) enum Session {
    /// `/v1/realtime`, with the model in the query.
    Realtime { model: String, serial: u64 },
    /// `/v1/responses`, with the model in each message.
    Responses,
}

impl Session {
    /// Reads a request that may open a session. A path without sessions opens none.
    ///
    /// # Errors
    /// The request names no model where it must, or one that stands for an error.
    pub(super) fn parse(head: &Parts, serial: u64) -> Result<Option<Self>, Refusal> {
        if !websocket::is_wanted(head) {
            return Ok(None);
        }
        match head.uri.path() {
            "/v1/responses" => Ok(Some(Self::Responses)),
            "/v1/realtime" => {
                let mut pairs = head.uri.query().unwrap_or_default().split('&');
                let model =
                    pairs.find_map(|pair| pair.strip_prefix("model=")).filter(|name| !name.is_empty());
                let model = model.ok_or_else(|| Refusal::parameter("model", "is required in the query"))?;
                match Fault::of(model) {
                    Some(Fault::Status(status)) => Err(Refusal::on_demand(status)),
                    _ => Ok(Some(Self::Realtime { model: model.to_owned(), serial })),
                }
            }
            _ => Ok(None),
        }
    }

    /// Runs the session until either side ends it.
    pub(super) async fn run<I>(self, demo: &Demo, mut socket: Socket<I>)
    where
        I: AsyncRead + AsyncWrite + Unpin,
    {
        // Where the connection breaks there is nobody to tell.
        let _ = match self {
            Self::Realtime { model, serial } => realtime(demo, &mut socket, &model, serial).await,
            Self::Responses => responses(demo, &mut socket).await,
        };
    }
}

async fn realtime<I>(demo: &Demo, socket: &mut Socket<I>, model: &str, serial: u64) -> io::Result<()>
where
    I: AsyncRead + AsyncWrite + Unpin,
{
    let fault = Fault::of(model);
    let mut session = Realtime::new(model, serial, demo.pace.word);
    socket.send(session.created().to_string().as_bytes()).await?;
    while let Some(text) = socket.read().await {
        let events = session.answer(&text);
        play(demo, socket, events.into_messages(), fault).await?;
    }
    Ok(())
}

async fn responses<I>(demo: &Demo, socket: &mut Socket<I>) -> io::Result<()>
where
    I: AsyncRead + AsyncWrite + Unpin,
{
    while let Some(text) = socket.read().await {
        let answer = create(&text, demo).and_then(|ask| match Fault::of(&ask.model) {
            Some(Fault::Status(status)) => Err(Refusal::on_demand(status)),
            fault => Ok((responses::events(&ask)?.into_messages(), fault)),
        });
        match answer {
            Ok((steps, fault)) => play(demo, socket, steps, fault).await?,
            Err(refusal) => {
                let (status, error) = refusal.openai_error();
                let event = json!({ "type": "error", "status": status, "error": error });
                socket.send(event.to_string().as_bytes()).await?;
            }
        }
    }
    Ok(())
}

/// Reads a `response.create`: what it asks for stands beside its type or in `response`.
fn create(text: &str, demo: &Demo) -> Result<Ask, Refusal> {
    let event: Value = serde_json::from_str(text)
        .map_err(|error| Refusal::invalid(format!("the message is not valid JSON: {error}")))?;
    let Some("response.create") = event.get("type").and_then(Value::as_str) else {
        return Err(Refusal::parameter("type", "must be `response.create`"));
    };
    let body = event.get("response").filter(|response| response.is_object()).unwrap_or(&event);
    Ask::of(body.clone(), demo.next_serial(), demo.pace.word)
}

/// Sends messages at their pace. The model `cut` breaks the connection half-way through an answer, between
/// two messages.
async fn play<I>(
    demo: &Demo,
    socket: &mut Socket<I>,
    steps: Vec<Step>,
    fault: Option<Fault>,
) -> io::Result<()>
where
    I: AsyncRead + AsyncWrite + Unpin,
{
    let is_answer = steps.len() > 3;
    let steps = match fault {
        Some(Fault::Slow) if is_answer => {
            tokio::time::sleep(demo.pace.slow).await;
            steps
        }
        Some(Fault::Cut) if is_answer => cut(steps),
        _ => steps,
    };
    for step in steps {
        match step {
            Step::Data(text) => socket.send(&text).await?,
            Step::Wait(time) => tokio::time::sleep(time).await,
            Step::Stall | Step::Abort => return Err(io::ErrorKind::ConnectionAborted.into()),
        }
    }
    Ok(())
}
