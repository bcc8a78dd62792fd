//! How a parent proxy is asked for a tunnel.

use bytes::Bytes;
use relay::{
    fault::Fault, framing::BodyFraming, head::ResponseHead, interims::Interims, method::Method,
    respond::reason, stream::Stream,
};

use crate::{
    config::Generation,
    parent::{self, Parent},
    respond,
};

/// How a parent failed to open a tunnel.
pub struct Error {
    /// What the client is told.
    pub failure: respond::Error,
    /// Whether another parent may do better: this one is broken, or says that it cannot just now.
    /// What it does not allow is not asked of others.
    pub elsewhere: bool,
    /// Its challenge, where clients are to answer it themselves.
    pub answer: Option<Box<(ResponseHead, Bytes)>>,
}

impl Error {
    fn broken(parent: &Parent, fault: Fault) -> Self {
        let failure = respond::Error::exchanging(&fault);
        parent.failed(failure);
        Self {
            failure: failure.of_parent(),
            elsewhere: parent::may_ask_another_for(Method::Connect, fault),
            answer: None,
        }
    }
}

/// Asks a parent for a tunnel by this head.
///
/// # Errors
/// It opens none.
pub async fn ask(
    stream: &mut Stream,
    parent: &Parent,
    generation: &Generation,
    request: &[u8],
) -> Result<(), Error> {
    let deadlines = generation.deadlines();
    stream
        .write_all(&[request], deadlines.write)
        .await
        .map_err(|fault| Error::broken(parent, fault))?;
    let mut head = ResponseHead::new();
    let bytes = stream
        .read_final_response(
            &mut head,
            &generation.reply_limits(),
            (deadlines.first_byte, deadlines.head),
            &mut Interims::new(deadlines.first_byte),
            // What it says in between is about its connection with us.
            |_| {},
        )
        .await
        .map_err(|fault| Error::broken(parent, fault))?;
    let status = head.status();
    if status < 500 {
        parent.answered();
    }
    if matches!(status, 200..=299) && head.framing(Method::Connect) == BodyFraming::Empty {
        return Ok(());
    }
    tracing::debug!(status, phrase = reason(status), %parent, "the parent proxy refused a tunnel");
    let answer = (status == 407 && parent.passes_credentials()).then(|| Box::new((head, bytes)));
    let failure = if status == 407 {
        respond::Error::ParentAuthentication
    } else {
        respond::Error::ParentRefused(status)
    };
    Err(Error { failure, elsewhere: status >= 500, answer })
}
