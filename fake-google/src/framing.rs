//! How answers travel: server-sent events, a streamed array, or one document, and where scripts break them.

use std::time::Duration;

use bytes::Bytes;
use http::Response;

use crate::fault::{Action, Plan, StreamErrorForm};
use crate::json::Json;
use crate::named::Rendered;
use crate::reply::{self, Body, Cut, Step};
use crate::router::Exchange;

/// Events as `data: …\r\n\r\n`, or without `alt=sse` as an array that grows.
pub(crate) fn stream(
    exchange: &Exchange,
    plan: &Plan,
    events: &[Json],
    model: &str,
) -> Response<Body> {
    let sse = exchange.event_stream();
    let config = exchange.fake.config();
    let first = config.first_event_delay + plan.before_first_event;
    let between = config.event_delay + plan.between_events;
    let ending = ending(exchange, plan, model, sse);
    let sent = ending
        .as_ref()
        .map_or(events.len(), |(after, _)| (*after).min(events.len()));
    let mut steps = Vec::new();
    for (nth, event) in events.iter().take(sent).enumerate() {
        pause(&mut steps, if nth == 0 { first } else { between });
        steps.push(Step::Send(if sse {
            frame(event)
        } else {
            array_item(event, nth)
        }));
    }
    if sent == 0 {
        pause(&mut steps, first);
    }
    match ending {
        Some((_, end)) => {
            if sent > 0 {
                // It breaks where the next event would have come.
                pause(&mut steps, between);
            }
            steps.extend(end);
        }
        None if sse => {}
        None => steps.push(Step::Send(Bytes::from_static(if sent == 0 {
            b"[]"
        } else {
            b"\n]"
        }))),
    }
    let content_type = if sse {
        reply::EVENT_STREAM
    } else {
        reply::JSON
    };
    reply::steps(content_type, steps, exchange.connection.clone())
}

/// One document. Where a stream would break after some events, half of it is sent.
pub(crate) fn document(exchange: &Exchange, plan: &Plan, document: &Json) -> Response<Body> {
    let body = Bytes::from(document.to_pretty() + "\n");
    let mut steps = Vec::new();
    pause(
        &mut steps,
        exchange.fake.config().first_event_delay + plan.before_first_event,
    );
    let half = body.slice(..body.len() / 2);
    match plan.action.as_ref().and_then(cut) {
        Some((0, end)) => steps.push(end),
        Some((_, end)) => steps.extend([Step::Send(half), end]),
        None if steps.is_empty() => return reply::whole(200, reply::JSON, body),
        None => steps.push(Step::Send(body)),
    }
    reply::steps(reply::JSON, steps, exchange.connection.clone())
}

fn pause(steps: &mut Vec<Step>, time: Duration) {
    if !time.is_zero() {
        steps.push(Step::Wait(time));
    }
}

fn cut(action: &Action) -> Option<(usize, Step)> {
    match action {
        Action::Reset { after_events } => Some((*after_events, Step::Cut(Cut::Reset))),
        Action::Close { after_events } => Some((*after_events, Step::Cut(Cut::Close))),
        Action::ResetStream { after_events } => Some((*after_events, Step::Cut(Cut::Stream))),
        Action::Stall { after_events } => Some((*after_events, Step::Stall)),
        _ => None,
    }
}

/// How a stream ends other than well, and after how many events.
fn ending(exchange: &Exchange, plan: &Plan, model: &str, sse: bool) -> Option<(usize, Vec<Step>)> {
    match plan.action.as_ref()? {
        Action::StreamError {
            error,
            after_events,
            form,
        } => {
            let Rendered::Status(status) = exchange.context(model).named(*error, None) else {
                return None;
            };
            let text = match form {
                StreamErrorForm::Event if sse => {
                    return Some((*after_events, vec![Step::Send(frame(&status.to_json()))]));
                }
                StreamErrorForm::Raw | StreamErrorForm::Event if sse => {
                    status.to_json().to_pretty() + "\n"
                }
                StreamErrorForm::Raw | StreamErrorForm::Event => {
                    let open = if *after_events == 0 { "[" } else { "\n,\r\n" };
                    format!("{open}{}\n]", status.to_json().to_pretty())
                }
            };
            Some((*after_events, vec![Step::Send(text.into())]))
        }
        Action::Truncate { after_events } if sse => Some((*after_events, Vec::new())),
        Action::Truncate { after_events } => {
            Some((*after_events, vec![Step::Send(Bytes::from_static(b"\n]"))]))
        }
        action => cut(action).map(|(after, step)| (after, vec![step])),
    }
}

pub(crate) fn frame(event: &Json) -> Bytes {
    Bytes::from(format!("data: {}\r\n\r\n", event.to_line()))
}

pub(crate) fn array_item(event: &Json, nth: usize) -> Bytes {
    let before = if nth == 0 { "[" } else { "\n,\r\n" };
    Bytes::from(format!("{before}{}", event.to_pretty()))
}
