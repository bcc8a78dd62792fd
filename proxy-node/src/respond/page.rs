//! What a person reads who got such an answer.

use cluster::text;
use cluster_config::pages;
use relay::{respond::reason, tls};

use super::{Circumstances, Error, Unreached};
use crate::dns;

impl Error {
    /// What the client can do about it; empty where nothing.
    const fn advice(self) -> &'static str {
        match self {
            Self::NotForAProxy => {
                "To use it, set it as the proxy of your client: for example \
                 `http_proxy=http://HOST:PORT` and `https_proxy=http://HOST:PORT` in the \
                 environment, or `curl -x http://HOST:PORT URL`."
            }
            Self::Tls(tls::Error::Untrusted) => {
                "Nothing was sent to it. Where the authority is one to be trusted, whoever looks \
                 after this proxy adds its certificate (`ca_file` of proxy.origin_tls). A client \
                 that opens a tunnel (`https_proxy`, CONNECT) decides for itself whom it trusts."
            }
            Self::Tls(error) if error.is_certificate() => {
                "Nothing was sent to it. Check the name in the URL; where it is right, whoever \
                 looks after the destination has to mend its certificate."
            }
            Self::Tls(tls::Error::NotTls) => {
                "Check the port, or ask with http:// if the destination is meant to be spoken to \
                 without TLS."
            }
            Self::Tls(tls::Error::Alert(120)) => {
                "The destination speaks no HTTP/1.1 with TLS, and this proxy no other version: use \
                 a tunnel (`https_proxy`, CONNECT)."
            }
            Self::Tls(_) => {
                "A client that opens a tunnel (`https_proxy`, CONNECT) speaks TLS itself, and may \
                 have more in common with the destination."
            }
            Self::Dns(dns::Error::Busy) => {
                "Try again in a moment: many names are being looked up for this client, or below \
                 this domain, and none of them is answered quickly."
            }
            Self::Undecided(_) => {
                "The destination was not asked. Try again in a moment; if it lasts, whoever looks \
                 after this proxy has to see why its resolver does not answer."
            }
            Self::Dns(_) => {
                "Check the spelling of the name. Where it is right, this node's resolver does not \
                 know it."
            }
            Self::Parent(Unreached::Silent | Unreached::BadResponse(_) | Unreached::Incomplete) => {
                "This node asks its parent, and cannot see whether the parent or what the parent \
                 asked is at fault."
            }
            Self::ParentAuthentication => {
                "Whoever looks after this proxy has to give it credentials for its parent (`login` \
                 of the parent in proxy.hierarchy.parents)."
            }
            Self::Parent(Unreached::Terminated) => {
                "Whoever looks after this proxy has to see why its parent closes connections."
            }
            Self::Parent(_) => {
                "The destination was not asked. Whoever looks after this proxy has to see why its \
                 parent cannot be reached."
            }
            Self::Loop => {
                "A proxy on the way names this cluster as its parent, or a name of this proxy \
                 resolves to itself."
            }
            _ => "",
        }
    }
}

const PAGE: &str = "<!DOCTYPE html>
<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{{status}}</title></head><body>
<h1>{{status}}</h1>
<p>{{message}}</p>
{{advice}}{{denial}}<p><code>{{method}} {{url}}</code></p>
<hr><p><small>Shoal proxy {{node}}, revision {{revision}}, request {{request_id}}, \
client {{client}}</small></p>
</body></html>
";

pub(super) fn page(failure: Error, circumstances: &Circumstances<'_>) -> String {
    let explain = explain_command(circumstances);
    let value = |name: &str| {
        Some(match name {
            "url" => circumstances.url.to_owned(),
            "method" => circumstances.method.to_owned(),
            "client" => circumstances.client.to_owned(),
            "rule" => circumstances.rule.to_owned(),
            "revision" => circumstances.revision.to_owned(),
            "request_id" => circumstances.request_id.to_owned(),
            "node" => circumstances.visible_hostname.to_owned(),
            "explain" => explain.clone(),
            "status" => format!("{} {}", failure.status(), reason(failure.status())),
            "message" => failure.to_string(),
            _ => return None,
        })
    };
    if let Some(page) = circumstances.page {
        return pages::fill(page, value);
    }
    let advice = match failure.advice() {
        "" => String::new(),
        advice => format!("<p>{advice}</p>\n"),
    };
    let denial = if circumstances.rule.is_empty() {
        ""
    } else {
        "<p>The rule that decided: <code>{{rule}}</code>. \
         To see why: <code>{{explain}}</code></p>\n"
    };
    pages::fill(&PAGE.replace("{{advice}}", &advice).replace("{{denial}}", denial), value)
}

/// The command that explains the decision. All of it is quoted for a shell: URL and method are the
/// client's, and a method may hold `$`, `` ` `` and `&` (RFC 9110 §5.6.2). The URL is always in
/// quotes, so that people keep them when they change it.
pub(super) fn explain_command(circumstances: &Circumstances<'_>) -> String {
    let quoted = text::quoted(circumstances.url);
    let url = if quoted.starts_with('\'') { quoted } else { format!("'{quoted}'") };
    let method = match circumstances.method {
        "GET" => String::new(),
        method => format!(" --method={}", text::quoted(method)),
    };
    let client = text::quoted(circumstances.client);
    // What begins with a dash is no option.
    match url.starts_with("'-") {
        true => format!("shoal explain --client {client}{method} -- {url}"),
        false => format!("shoal explain {url} --client {client}{method}"),
    }
}
