//! The field names that relaying, caching and logging look at, recognised once, when a head is
//! parsed.
//!
//! A parsed field line carries its [`Field`], so that nobody downstream compares strings; a
//! [`FieldSet`] is a set of them in one word.

mod set;

pub use self::set::FieldSet;

/// A field name that somebody in the data path cares about; everything else is [`Field::Other`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum Field {
    /// A name without a role here.
    #[default]
    Other = 0,
    Host,
    ContentLength,
    TransferEncoding,
    Connection,
    ProxyConnection,
    KeepAlive,
    Te,
    Trailer,
    Upgrade,
    Expect,
    Via,
    XForwardedFor,
    XForwardedProto,
    XForwardedHost,
    Forwarded,
    MaxForwards,
    ProxyAuthorization,
    ProxyAuthenticate,
    ProxyAuthenticationInfo,
    Authorization,
    WwwAuthenticate,
    ShoalRequestId,
    ShoalOriginTime,
    ShoalTunnel,
    ProxyStatus,
    CacheStatus,
    CacheControl,
    Pragma,
    Expires,
    Date,
    Age,
    Vary,
    ETag,
    LastModified,
    IfMatch,
    IfNoneMatch,
    IfModifiedSince,
    IfUnmodifiedSince,
    IfRange,
    Range,
    ContentRange,
    AcceptRanges,
    ContentType,
    ContentEncoding,
    Location,
    ContentLocation,
    SetCookie,
    Cookie,
    AcceptEncoding,
    UserAgent,
    Referer,
    Accept,
    Warning,
    Server,
    RetryAfter,
    Allow,
    SurrogateControl,
    SurrogateCapability,
    Http2Settings,
    CdnCacheControl,
    Priority,
    Traceparent,
    ShoalClientCertificate,
}

impl Field {
    /// All of them, [`Field::Other`] first, in the order of their discriminants.
    pub const ALL: [Field; 64] = [
        Self::Other,
        Self::Host,
        Self::ContentLength,
        Self::TransferEncoding,
        Self::Connection,
        Self::ProxyConnection,
        Self::KeepAlive,
        Self::Te,
        Self::Trailer,
        Self::Upgrade,
        Self::Expect,
        Self::Via,
        Self::XForwardedFor,
        Self::XForwardedProto,
        Self::XForwardedHost,
        Self::Forwarded,
        Self::MaxForwards,
        Self::ProxyAuthorization,
        Self::ProxyAuthenticate,
        Self::ProxyAuthenticationInfo,
        Self::Authorization,
        Self::WwwAuthenticate,
        Self::ShoalRequestId,
        Self::ShoalOriginTime,
        Self::ShoalTunnel,
        Self::ProxyStatus,
        Self::CacheStatus,
        Self::CacheControl,
        Self::Pragma,
        Self::Expires,
        Self::Date,
        Self::Age,
        Self::Vary,
        Self::ETag,
        Self::LastModified,
        Self::IfMatch,
        Self::IfNoneMatch,
        Self::IfModifiedSince,
        Self::IfUnmodifiedSince,
        Self::IfRange,
        Self::Range,
        Self::ContentRange,
        Self::AcceptRanges,
        Self::ContentType,
        Self::ContentEncoding,
        Self::Location,
        Self::ContentLocation,
        Self::SetCookie,
        Self::Cookie,
        Self::AcceptEncoding,
        Self::UserAgent,
        Self::Referer,
        Self::Accept,
        Self::Warning,
        Self::Server,
        Self::RetryAfter,
        Self::Allow,
        Self::SurrogateControl,
        Self::SurrogateCapability,
        Self::Http2Settings,
        Self::CdnCacheControl,
        Self::Priority,
        Self::Traceparent,
        Self::ShoalClientCertificate,
    ];

    /// The name in its usual spelling; empty for [`Field::Other`].
    pub const fn name(self) -> &'static str {
        match self {
            Self::Other => "",
            Self::Host => "Host",
            Self::ContentLength => "Content-Length",
            Self::TransferEncoding => "Transfer-Encoding",
            Self::Connection => "Connection",
            Self::ProxyConnection => "Proxy-Connection",
            Self::KeepAlive => "Keep-Alive",
            Self::Te => "TE",
            Self::Trailer => "Trailer",
            Self::Upgrade => "Upgrade",
            Self::Expect => "Expect",
            Self::Via => "Via",
            Self::XForwardedFor => "X-Forwarded-For",
            Self::XForwardedProto => "X-Forwarded-Proto",
            Self::XForwardedHost => "X-Forwarded-Host",
            Self::Forwarded => "Forwarded",
            Self::MaxForwards => "Max-Forwards",
            Self::ProxyAuthorization => "Proxy-Authorization",
            Self::ProxyAuthenticate => "Proxy-Authenticate",
            Self::ProxyAuthenticationInfo => "Proxy-Authentication-Info",
            Self::Authorization => "Authorization",
            Self::WwwAuthenticate => "WWW-Authenticate",
            Self::ShoalRequestId => "Shoal-Request-Id",
            Self::ShoalOriginTime => "Shoal-Origin-Time",
            Self::ShoalTunnel => "Shoal-Tunnel",
            Self::ProxyStatus => "Proxy-Status",
            Self::CacheStatus => "Cache-Status",
            Self::CacheControl => "Cache-Control",
            Self::Pragma => "Pragma",
            Self::Expires => "Expires",
            Self::Date => "Date",
            Self::Age => "Age",
            Self::Vary => "Vary",
            Self::ETag => "ETag",
            Self::LastModified => "Last-Modified",
            Self::IfMatch => "If-Match",
            Self::IfNoneMatch => "If-None-Match",
            Self::IfModifiedSince => "If-Modified-Since",
            Self::IfUnmodifiedSince => "If-Unmodified-Since",
            Self::IfRange => "If-Range",
            Self::Range => "Range",
            Self::ContentRange => "Content-Range",
            Self::AcceptRanges => "Accept-Ranges",
            Self::ContentType => "Content-Type",
            Self::ContentEncoding => "Content-Encoding",
            Self::Location => "Location",
            Self::ContentLocation => "Content-Location",
            Self::SetCookie => "Set-Cookie",
            Self::Cookie => "Cookie",
            Self::AcceptEncoding => "Accept-Encoding",
            Self::UserAgent => "User-Agent",
            Self::Referer => "Referer",
            Self::Accept => "Accept",
            Self::Warning => "Warning",
            Self::Server => "Server",
            Self::RetryAfter => "Retry-After",
            Self::Allow => "Allow",
            Self::SurrogateControl => "Surrogate-Control",
            Self::SurrogateCapability => "Surrogate-Capability",
            Self::Http2Settings => "HTTP2-Settings",
            Self::CdnCacheControl => "CDN-Cache-Control",
            Self::Priority => "Priority",
            Self::Traceparent => "traceparent",
            Self::ShoalClientCertificate => "Shoal-Client-Certificate",
        }
    }

    /// Recognises a name, whatever its case: by length and first letter, then by one comparison or
    /// two.
    #[inline]
    pub fn classify(name: &[u8]) -> Self {
        let Some(first) = name.first() else { return Self::Other };
        match (name.len(), first | 0x20) {
            (2, b't') => among(name, &[(b"te", Self::Te)]),
            (3, b'a') => among(name, &[(b"age", Self::Age)]),
            (3, b'v') => among(name, &[(b"via", Self::Via)]),
            (4, b'd') => among(name, &[(b"date", Self::Date)]),
            (4, b'e') => among(name, &[(b"etag", Self::ETag)]),
            (4, b'h') => among(name, &[(b"host", Self::Host)]),
            (4, b'v') => among(name, &[(b"vary", Self::Vary)]),
            (5, b'a') => among(name, &[(b"allow", Self::Allow)]),
            (5, b'r') => among(name, &[(b"range", Self::Range)]),
            (6, b'a') => among(name, &[(b"accept", Self::Accept)]),
            (6, b'c') => among(name, &[(b"cookie", Self::Cookie)]),
            (6, b'e') => among(name, &[(b"expect", Self::Expect)]),
            (6, b'p') => among(name, &[(b"pragma", Self::Pragma)]),
            (6, b's') => among(name, &[(b"server", Self::Server)]),
            (7, b'e') => among(name, &[(b"expires", Self::Expires)]),
            (7, b'r') => among(name, &[(b"referer", Self::Referer)]),
            (7, b't') => among(name, &[(b"trailer", Self::Trailer)]),
            (7, b'u') => among(name, &[(b"upgrade", Self::Upgrade)]),
            (7, b'w') => among(name, &[(b"warning", Self::Warning)]),
            (8, b'i') => among(name, &[(b"if-match", Self::IfMatch), (b"if-range", Self::IfRange)]),
            (8, b'l') => among(name, &[(b"location", Self::Location)]),
            (8, b'p') => among(name, &[(b"priority", Self::Priority)]),
            (9, b'f') => among(name, &[(b"forwarded", Self::Forwarded)]),
            (10, b'c') => among(name, &[(b"connection", Self::Connection)]),
            (10, b'k') => among(name, &[(b"keep-alive", Self::KeepAlive)]),
            (10, b's') => among(name, &[(b"set-cookie", Self::SetCookie)]),
            (10, b'u') => among(name, &[(b"user-agent", Self::UserAgent)]),
            (11, b'r') => among(name, &[(b"retry-after", Self::RetryAfter)]),
            (11, b't') => among(name, &[(b"traceparent", Self::Traceparent)]),
            (12, b'c') => among(
                name,
                &[(b"cache-status", Self::CacheStatus), (b"content-type", Self::ContentType)],
            ),
            (12, b'm') => among(name, &[(b"max-forwards", Self::MaxForwards)]),
            (12, b'p') => among(name, &[(b"proxy-status", Self::ProxyStatus)]),
            (12, b's') => among(name, &[(b"shoal-tunnel", Self::ShoalTunnel)]),
            (13, b'a') => among(
                name,
                &[(b"authorization", Self::Authorization), (b"accept-ranges", Self::AcceptRanges)],
            ),
            (13, b'c') => among(
                name,
                &[(b"cache-control", Self::CacheControl), (b"content-range", Self::ContentRange)],
            ),
            (13, b'i') => among(name, &[(b"if-none-match", Self::IfNoneMatch)]),
            (13, b'l') => among(name, &[(b"last-modified", Self::LastModified)]),
            (14, b'c') => among(name, &[(b"content-length", Self::ContentLength)]),
            (14, b'h') => among(name, &[(b"http2-settings", Self::Http2Settings)]),
            (15, b'a') => among(name, &[(b"accept-encoding", Self::AcceptEncoding)]),
            (15, b'x') => among(name, &[(b"x-forwarded-for", Self::XForwardedFor)]),
            (16, b'c') => among(
                name,
                &[
                    (b"content-encoding", Self::ContentEncoding),
                    (b"content-location", Self::ContentLocation),
                ],
            ),
            (16, b'p') => among(name, &[(b"proxy-connection", Self::ProxyConnection)]),
            (16, b's') => among(name, &[(b"shoal-request-id", Self::ShoalRequestId)]),
            (16, b'w') => among(name, &[(b"www-authenticate", Self::WwwAuthenticate)]),
            (16, b'x') => among(name, &[(b"x-forwarded-host", Self::XForwardedHost)]),
            (17, b'c') => among(name, &[(b"cdn-cache-control", Self::CdnCacheControl)]),
            (17, b'i') => among(name, &[(b"if-modified-since", Self::IfModifiedSince)]),
            (17, b's') => among(
                name,
                &[
                    (b"shoal-origin-time", Self::ShoalOriginTime),
                    (b"surrogate-control", Self::SurrogateControl),
                ],
            ),
            (17, b't') => among(name, &[(b"transfer-encoding", Self::TransferEncoding)]),
            (17, b'x') => among(name, &[(b"x-forwarded-proto", Self::XForwardedProto)]),
            (18, b'p') => among(name, &[(b"proxy-authenticate", Self::ProxyAuthenticate)]),
            (19, b'i') => among(name, &[(b"if-unmodified-since", Self::IfUnmodifiedSince)]),
            (19, b'p') => among(name, &[(b"proxy-authorization", Self::ProxyAuthorization)]),
            (20, b's') => among(name, &[(b"surrogate-capability", Self::SurrogateCapability)]),
            (24, b's') => {
                among(name, &[(b"shoal-client-certificate", Self::ShoalClientCertificate)])
            }
            (25, b'p') => {
                among(name, &[(b"proxy-authentication-info", Self::ProxyAuthenticationInfo)])
            }
            _ => Self::Other,
        }
    }
}

/// The candidate that `name` is. All have the same, constant length, so that each comparison is a
/// few instructions.
#[inline(always)]
fn among<const N: usize>(name: &[u8], candidates: &[(&[u8; N], Field)]) -> Field {
    let Ok(name) = <&[u8; N]>::try_from(name) else { return Field::Other };
    for (lower, field) in candidates {
        // Setting this bit makes letters lower-case and leaves '-' and '2' alone; no token
        // character becomes one of them by it.
        let difference = name
            .iter()
            .zip(*lower)
            .fold(0, |difference, (byte, lower)| difference | ((byte | 0x20) ^ lower));
        if difference == 0 {
            return *field;
        }
    }
    Field::Other
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_recognised_in_any_case() {
        for (at, field) in Field::ALL.into_iter().enumerate() {
            assert_eq!(field as usize, at);
            if field != Field::Other {
                assert_eq!(Field::classify(field.name().as_bytes()), field);
                assert_eq!(Field::classify(field.name().to_ascii_lowercase().as_bytes()), field);
                assert_eq!(Field::classify(field.name().to_ascii_uppercase().as_bytes()), field);
                assert_eq!(Field::classify(format!("{}x", field.name()).as_bytes()), Field::Other);
            }
        }
        for other in ["", "x", "hos", "cookies", "Content_Length", "Content-Lengtg", "`ost"] {
            assert_eq!(Field::classify(other.as_bytes()), Field::Other, "{other}");
        }
    }
}
