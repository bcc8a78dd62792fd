//! Every reason to refuse a message, and the one table from reason to status.
//!
//! A message with two possible meanings is refused and its connection closed; it is never repaired.
//! The names are fine-grained so that a log line or a test says exactly which rule was broken.

use thiserror::Error;

/// Why a request, a response or a chunked body is refused. All of them mean: answer (if that is
/// still possible) and close.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum Malformed {
    /// More than the one empty line that RFC 9112 §2.2 lets a server skip, or any before a
    /// response.
    #[error("empty line before the message")]
    EmptyLine,
    /// A line that ends in LF without CR.
    #[error("line feed without carriage return")]
    BareLf,
    /// A CR that is not followed by LF.
    #[error("carriage return without line feed")]
    BareCr,
    /// A NUL byte in the head.
    #[error("NUL byte in the head")]
    Nul,
    /// Another control character in the target, a field value or the reason phrase.
    #[error("control character in the head")]
    ControlCharacter,
    /// Not `method SP target SP version`.
    #[error("request line is not method, target and version")]
    RequestLine,
    /// The method is not a token.
    #[error("method is not a token")]
    Method,
    /// A character that no target has, or a form that does not fit the method (RFC 9112 §3.2).
    #[error("bad request target")]
    Target,
    /// The target exceeds the limit.
    #[error("request target too long")]
    TargetTooLong,
    /// An absolute target whose scheme is neither http nor https.
    #[error("scheme is neither http nor https")]
    Scheme,
    /// The target's authority is not `host[:port]`, or has user information.
    #[error("bad authority in the request target")]
    Authority,
    /// A request line without version: HTTP/0.9.
    #[error("request line without version")]
    NoVersion,
    /// The version is not `HTTP/DIGIT.DIGIT` in upper case.
    #[error("bad version")]
    VersionSyntax,
    /// A version that is not HTTP/1, the HTTP/2 preface among them.
    #[error("version is not HTTP/1")]
    Version,
    /// Not `version SP status SP reason`.
    #[error("bad status line")]
    StatusLine,
    /// The status is not three digits, 100 or more.
    #[error("bad status code")]
    StatusCode,
    /// A field line without colon.
    #[error("field line without colon")]
    NoColon,
    /// A field line that begins with a colon.
    #[error("empty field name")]
    EmptyFieldName,
    /// White space between field name and colon of a request.
    #[error("white space before the colon")]
    SpaceBeforeColon,
    /// A field name that is not a token.
    #[error("field name is not a token")]
    FieldName,
    /// A field name of more than 255 bytes.
    #[error("field name too long")]
    FieldNameTooLong,
    /// White space before the first field line.
    #[error("white space before the first field")]
    LeadingWhitespace,
    /// A line folded onto the one before (RFC 9112 §5.2).
    #[error("folded field line")]
    ObsFold,
    /// More field lines than the limit.
    #[error("too many fields")]
    TooManyFields,
    /// The head exceeds the limit.
    #[error("head too large")]
    HeadTooLarge,
    /// More options in Connection than any honest peer sends.
    #[error("too many connection options")]
    TooManyConnectionOptions,
    /// HTTP/1.1 without Host.
    #[error("no Host field")]
    MissingHost,
    /// More than one Host.
    #[error("several Host fields")]
    SeveralHosts,
    /// Host is not `host[:port]`.
    #[error("bad Host field")]
    BadHost,
    /// Content-Length is empty, signed, too large, or a list in a request.
    #[error("bad Content-Length")]
    ContentLength,
    /// More than one Content-Length; in a response, different ones.
    #[error("several Content-Length fields")]
    SeveralContentLengths,
    /// Content-Length together with Transfer-Encoding.
    #[error("both Content-Length and Transfer-Encoding")]
    LengthAndCoding,
    /// More than one Transfer-Encoding.
    #[error("several Transfer-Encoding fields")]
    SeveralTransferEncodings,
    /// Transfer-Encoding is not exactly `chunked`.
    #[error("transfer coding is not chunked")]
    TransferCoding,
    /// Transfer-Encoding in an HTTP/1.0 message.
    #[error("Transfer-Encoding on HTTP/1.0")]
    CodingOnOldVersion,
    /// A body where none may be: CONNECT, TRACE.
    #[error("a body where none may be")]
    UnexpectedBody,
    /// 101 that was not asked for, or to another protocol.
    #[error("protocol switched without being asked")]
    SwitchingProtocols,
    /// More bytes of interim responses than any honest server sends before its final one, or for
    /// longer.
    #[error("interim responses without end")]
    TooManyInterims,
    /// A chunk size that is not 1 to 16 hexadecimal digits, or exceeds 2^63 - 1.
    #[error("bad chunk size")]
    ChunkSize,
    /// A chunk extension outside the grammar.
    #[error("bad chunk extension")]
    ChunkExtension,
    /// Chunk extensions beyond the limit.
    #[error("chunk extensions too long")]
    ChunkExtensionTooLong,
    /// A chunk's data is not followed by CRLF.
    #[error("chunk longer than its size")]
    ChunkData,
    /// The body of a request exceeds the limit.
    #[error("request body too large")]
    BodyTooLarge,
    /// A trailer section beyond the limits.
    #[error("trailer section too large")]
    TrailerTooLarge,
    /// A trailer field that decides framing, routing or identity (RFC 9110 §6.5.1).
    #[error("field not allowed in a trailer section")]
    ForbiddenTrailer,
    /// The tokeniser refused what the line rules accept: never seen, and refused all the same.
    #[error("bad syntax")]
    Syntax,
}

impl Malformed {
    /// The status that answers a request refused for this reason.
    pub const fn request_status(self) -> u16 {
        match self {
            Self::BodyTooLarge => 413,
            Self::TargetTooLong => 414,
            Self::HeadTooLarge
            | Self::TooManyFields
            | Self::FieldNameTooLong
            | Self::TrailerTooLarge
            | Self::TooManyConnectionOptions => 431,
            Self::TransferCoding | Self::Scheme => 501,
            Self::Version => 505,
            _ => 400,
        }
    }

    /// The status that the client gets when a response is refused: the fault is upstream's,
    /// whatever it was.
    pub const fn response_status(self) -> u16 {
        502
    }
}
