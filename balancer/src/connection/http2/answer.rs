//! From an HTTP/1.1 answer to what goes out on a stream. Pure: bytes in, [`Event`]s out.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use relay::{
    chunked::ChunkedDecoder,
    field::{Field, FieldSet},
    framing::BodyFraming,
    head::{self, HeaderLine, Limits, Progress, ResponseHead},
    hygiene,
    malformed::Malformed,
    method::Method,
};

/// What HTTP/2 says otherwise, or not at all (RFC 9113 §8.2.2).
const LEFT_OUT: FieldSet = hygiene::HOP_BY_HOP.with(Field::TransferEncoding);

/// What comes next.
#[derive(Debug)]
pub enum Event {
    /// 1xx; another answer follows.
    Interim(Response<()>),
    /// The answer's head; whether nothing follows it.
    Head(Response<()>, bool),
    /// Some of its content, never none.
    Data(Bytes),
    /// Its end, in chunks with trailers.
    Trailers(HeaderMap),
    /// Its end.
    End,
}

/// Why an answer cannot go on.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// Not the balancer's spelling.
    #[error("{0}")]
    Malformed(#[from] Malformed),
    /// HTTP/2 has no way to say it.
    #[error("a field that HTTP/2 cannot carry")]
    Field,
    /// It broke off.
    #[error("the answer broke off")]
    Cut,
}

/// Reads one answer.
pub struct Answer {
    head: Box<ResponseHead>,
    method: Method,
    state: State,
}

enum State {
    Head,
    Length(u64),
    Chunked(Box<(ChunkedDecoder, Vec<u8>)>),
    UntilEnd,
    Done,
}

impl Answer {
    /// To a request of this method.
    #[must_use]
    pub fn to(method: Method) -> Self {
        Self { head: Box::default(), method, state: State::Head }
    }

    /// Whether it has come to its end.
    #[must_use]
    pub fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// What is at the beginning of `input` goes out; none: more is needed.
    ///
    /// # Errors
    /// See [`Broken`].
    pub fn next(&mut self, input: &mut BytesMut) -> Result<Option<Event>, Broken> {
        match &mut self.state {
            State::Head => self.head(input),
            State::Done => Ok(None),
            _ if input.is_empty() => Ok(None),
            State::UntilEnd => Ok(Some(Event::Data(input.split().freeze()))),
            State::Length(left) => {
                let n = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                *left -= n as u64;
                if *left == 0 {
                    self.state = State::Done;
                }
                Ok(Some(Event::Data(input.split_to(n).freeze())))
            }
            State::Chunked(_) => self.chunk(input),
        }
    }

    /// Nothing more comes.
    ///
    /// # Errors
    /// It broke off.
    pub fn end(&mut self) -> Result<Event, Broken> {
        match self.state {
            State::UntilEnd => {
                self.state = State::Done;
                Ok(Event::End)
            }
            _ => Err(Broken::Cut),
        }
    }

    fn head(&mut self, input: &mut BytesMut) -> Result<Option<Event>, Broken> {
        if input.is_empty() {
            return Ok(None);
        }
        let Progress::Complete(length) = self.head.parse(input, &Limits::most())? else {
            return Ok(None);
        };
        let bytes = input.split_to(length);
        let interim = self.head.is_interim();
        let status = self.head.status();
        let tunnel = self.method == Method::Connect && (200..=299).contains(&status);
        let response = response(self.head.view(&bytes), tunnel)?;
        if interim {
            self.head.reset();
            return Ok(Some(Event::Interim(response)));
        }
        self.state = match self.head.framing(self.method) {
            _ if tunnel => State::UntilEnd,
            BodyFraming::Empty | BodyFraming::Length(0) => State::Done,
            BodyFraming::Length(length) => State::Length(length),
            BodyFraming::Chunked => {
                let decoder = ChunkedDecoder::new(self.head.dialect());
                State::Chunked(Box::new((decoder, Vec::new())))
            }
            BodyFraming::UntilClose => State::UntilEnd,
        };
        Ok(Some(Event::Head(response, self.is_done())))
    }

    fn chunk(&mut self, input: &mut BytesMut) -> Result<Option<Event>, Broken> {
        let State::Chunked(chunked) = &mut self.state else { return Ok(None) };
        let (decoder, trailers) = &mut **chunked;
        while !input.is_empty() {
            let piece = decoder.next_with_trailers(input, trailers)?;
            let mut taken = input.split_to(piece.consumed);
            if piece.done {
                let trailers = fields_of(trailers)?;
                self.state = State::Done;
                return Ok(Some(match trailers {
                    Some(trailers) => Event::Trailers(trailers),
                    None => Event::End,
                }));
            }
            if !piece.payload.is_empty() {
                let payload = taken.split_off(piece.payload.start);
                return Ok(Some(Event::Data(payload.freeze())));
            }
        }
        Ok(None)
    }
}

fn response(head: head::Response<'_>, tunnel: bool) -> Result<Response<()>, Broken> {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::from_u16(head.status()).map_err(|_| Broken::Field)?;
    let map = response.headers_mut();
    map.reserve(head.lines().count());
    for HeaderLine { field, name, value, nominated, .. } in head.fields() {
        // What follows a 2xx to CONNECT has no length (RFC 9110 §9.3.6).
        let of_tunnel = tunnel && field == Field::ContentLength;
        if !nominated && !LEFT_OUT.contains(field) && !of_tunnel {
            add(map, name, value)?;
        }
    }
    Ok(response)
}

fn add(map: &mut HeaderMap, name: &[u8], value: &[u8]) -> Result<(), Broken> {
    let name = HeaderName::from_bytes(name).map_err(|_| Broken::Field)?;
    let value = HeaderValue::from_bytes(value).map_err(|_| Broken::Field)?;
    map.try_append(name, value).map(drop).map_err(|_| Broken::Field)
}

/// The fields of a trailer section that the decoder has let pass, the empty line at its end
/// included.
fn fields_of(section: &[u8]) -> Result<Option<HeaderMap>, Broken> {
    let lines = section.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let mut map = HeaderMap::new();
    for line in lines.filter(|line| !line.is_empty()) {
        let colon = line.iter().position(|byte| *byte == b':').ok_or(Broken::Field)?;
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if !LEFT_OUT.contains(Field::classify(name)) {
            add(&mut map, name, value)?;
        }
    }
    Ok((!map.is_empty()).then_some(map))
}

#[cfg(test)]
mod tests;
