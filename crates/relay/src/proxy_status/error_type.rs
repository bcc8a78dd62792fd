//! The error types of Proxy-Status that RFC 9209 §2.3 defines, and no others: an intermediary that
//! reads one of ours has to know it.

/// Why an intermediary could not answer as it was asked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorType {
    /// The name server did not answer in time.
    DnsTimeout,
    /// A name server answered with an error.
    DnsError,
    /// The next hop to use could not be determined.
    DestinationNotFound,
    /// The next hop is considered unavailable.
    DestinationUnavailable,
    /// Connecting to the next hop's address is forbidden.
    DestinationIpProhibited,
    /// There is no route to the next hop's address.
    DestinationIpUnroutable,
    /// The next hop refused the connection.
    ConnectionRefused,
    /// The connection was closed before the whole response had been received.
    ConnectionTerminated,
    /// Connecting took too long.
    ConnectionTimeout,
    /// The next hop sent nothing for too long.
    ConnectionReadTimeout,
    /// The next hop took nothing for too long.
    ConnectionWriteTimeout,
    /// There may be no more connections to the next hop.
    ConnectionLimitReached,
    /// The next hop broke the rules of TLS.
    TlsProtocolError,
    /// The next hop's certificate cannot be verified.
    TlsCertificateError,
    /// The next hop sent a TLS alert.
    TlsAlertReceived,
    /// The client's request is at fault.
    HttpRequestError,
    /// The client's request is forbidden.
    HttpRequestDenied,
    /// The response broke off.
    HttpResponseIncomplete,
    /// The response's header section is too large.
    HttpResponseHeaderSectionSize,
    /// A field of the response's header section is too large.
    HttpResponseHeaderSize,
    /// The response's body is too large.
    HttpResponseBodySize,
    /// The response's trailer section is too large.
    HttpResponseTrailerSectionSize,
    /// A field of the response's trailer section is too large.
    HttpResponseTrailerSize,
    /// The response's transfer coding cannot be decoded.
    HttpResponseTransferCoding,
    /// The response's content coding cannot be decoded.
    HttpResponseContentCoding,
    /// The whole response did not come in time.
    HttpResponseTimeout,
    /// The change of protocol failed.
    HttpUpgradeFailed,
    /// The next hop broke the rules of HTTP.
    HttpProtocolError,
    /// The intermediary answered itself, without trying to connect.
    ProxyInternalResponse,
    /// The intermediary failed, and no other type fits.
    ProxyInternalError,
    /// The intermediary is configured wrongly.
    ProxyConfigurationError,
    /// The request has passed the intermediary before.
    ProxyLoopDetected,
}

impl ErrorType {
    /// Every one, in the order of the RFC.
    pub const ALL: [Self; 32] = [
        Self::DnsTimeout,
        Self::DnsError,
        Self::DestinationNotFound,
        Self::DestinationUnavailable,
        Self::DestinationIpProhibited,
        Self::DestinationIpUnroutable,
        Self::ConnectionRefused,
        Self::ConnectionTerminated,
        Self::ConnectionTimeout,
        Self::ConnectionReadTimeout,
        Self::ConnectionWriteTimeout,
        Self::ConnectionLimitReached,
        Self::TlsProtocolError,
        Self::TlsCertificateError,
        Self::TlsAlertReceived,
        Self::HttpRequestError,
        Self::HttpRequestDenied,
        Self::HttpResponseIncomplete,
        Self::HttpResponseHeaderSectionSize,
        Self::HttpResponseHeaderSize,
        Self::HttpResponseBodySize,
        Self::HttpResponseTrailerSectionSize,
        Self::HttpResponseTrailerSize,
        Self::HttpResponseTransferCoding,
        Self::HttpResponseContentCoding,
        Self::HttpResponseTimeout,
        Self::HttpUpgradeFailed,
        Self::HttpProtocolError,
        Self::ProxyInternalResponse,
        Self::ProxyInternalError,
        Self::ProxyConfigurationError,
        Self::ProxyLoopDetected,
    ];

    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DnsTimeout => "dns_timeout",
            Self::DnsError => "dns_error",
            Self::DestinationNotFound => "destination_not_found",
            Self::DestinationUnavailable => "destination_unavailable",
            Self::DestinationIpProhibited => "destination_ip_prohibited",
            Self::DestinationIpUnroutable => "destination_ip_unroutable",
            Self::ConnectionRefused => "connection_refused",
            Self::ConnectionTerminated => "connection_terminated",
            Self::ConnectionTimeout => "connection_timeout",
            Self::ConnectionReadTimeout => "connection_read_timeout",
            Self::ConnectionWriteTimeout => "connection_write_timeout",
            Self::ConnectionLimitReached => "connection_limit_reached",
            Self::TlsProtocolError => "tls_protocol_error",
            Self::TlsCertificateError => "tls_certificate_error",
            Self::TlsAlertReceived => "tls_alert_received",
            Self::HttpRequestError => "http_request_error",
            Self::HttpRequestDenied => "http_request_denied",
            Self::HttpResponseIncomplete => "http_response_incomplete",
            Self::HttpResponseHeaderSectionSize => "http_response_header_section_size",
            Self::HttpResponseHeaderSize => "http_response_header_size",
            Self::HttpResponseBodySize => "http_response_body_size",
            Self::HttpResponseTrailerSectionSize => "http_response_trailer_section_size",
            Self::HttpResponseTrailerSize => "http_response_trailer_size",
            Self::HttpResponseTransferCoding => "http_response_transfer_coding",
            Self::HttpResponseContentCoding => "http_response_content_coding",
            Self::HttpResponseTimeout => "http_response_timeout",
            Self::HttpUpgradeFailed => "http_upgrade_failed",
            Self::HttpProtocolError => "http_protocol_error",
            Self::ProxyInternalResponse => "proxy_internal_response",
            Self::ProxyInternalError => "proxy_internal_error",
            Self::ProxyConfigurationError => "proxy_configuration_error",
            Self::ProxyLoopDetected => "proxy_loop_detected",
        }
    }

    /// The type of this name. None for other registered types: nothing here acts on them.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|error| error.as_str() == text)
    }

    /// Whether the intermediary reports itself, and not what is behind it: an internal error or a
    /// limit.
    pub const fn is_own_failure(self) -> bool {
        matches!(
            self,
            Self::ProxyInternalError | Self::ProxyConfigurationError | Self::ConnectionLimitReached
        )
    }
}

impl std::fmt::Display for ErrorType {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for error in ErrorType::ALL {
            assert_eq!(ErrorType::parse(error.as_str()), Some(error));
            let all = ErrorType::ALL.into_iter();
            assert_eq!(all.filter(|other| other.as_str() == error.as_str()).count(), 1);
        }
        for foreign in ["", "proxy_internal_limit", "DNS_ERROR", "x_unregistered"] {
            assert_eq!(ErrorType::parse(foreign), None);
        }
    }

    #[test]
    fn few_speak_against_who_reports_them() {
        let own = ErrorType::ALL.into_iter().filter(|error| error.is_own_failure());
        assert_eq!(
            own.map(ErrorType::as_str).collect::<Vec<_>>(),
            ["connection_limit_reached", "proxy_internal_error", "proxy_configuration_error"]
        );
    }
}
