//! Request heads from clients, through both hops: balancer, then node.

use relay::{
    field::Field,
    head::{Limits, Progress, Request, RequestHead},
    hygiene, normal,
    rewrite::{BodyFields, HeadWriter, LineForm},
};

use super::{HEAD_WORDS, SMALL, request};
use crate::{Target, oracle};

/// See the module.
pub const TARGET: Target =
    Target { name: "request_head", check, words: HEAD_WORDS, executions: 40_000 };

fn check(bytes: &[u8]) {
    let (mut head, mut dripped) = (RequestHead::new(), RequestHead::new());
    let whole = head.parse(bytes, &SMALL);
    let mut drip = Ok(Progress::NeedMore);
    for len in 1..=bytes.len() {
        drip = dripped.parse(&bytes[..len], &SMALL);
        if drip != Ok(Progress::NeedMore) {
            break;
        }
    }
    assert_eq!(whole, drip, "the same verdict byte by byte");
    let Ok(Progress::Complete(len)) = whole else { return };
    let view = head.view(bytes);
    assert!(bytes[..len].ends_with(b"\r\n\r\n"));
    assert!(view.fields().eq(dripped.view(bytes).fields()));
    in_normal_form(view);
    through_both_hops(view);
}

/// The normal form is a request too, the same one, and its own normal form.
fn in_normal_form(received: Request<'_>) {
    let Some(target) = normal::of_request(received) else { return };
    let bytes = received.with_target(&target);
    let again = request(&bytes).expect("what was accepted is accepted in its normal form");
    assert_eq!(normal::of_request(again.view(&bytes)), None, "{target:?}");
    assert_eq!(
        (again.method(), again.framing(), again.view(&bytes).lines().count()),
        (received.method(), received.framing(), received.lines().count())
    );
}

fn through_both_hops(received: Request<'_>) {
    let nominated = oracle::nominated(received.bytes());
    let mut to_node = Vec::new();
    HeadWriter::request(
        &mut to_node,
        received,
        LineForm::AsReceived,
        hygiene::BALANCER_REQUEST,
        BodyFields::AsReceived,
    )
    .finish();
    let Some(at_node) = same(received, &to_node, &nominated) else { return };
    let mut to_origin = Vec::new();
    let at_node = at_node.view(&to_node);
    HeadWriter::request(
        &mut to_origin,
        at_node,
        LineForm::Origin,
        hygiene::NODE_REQUEST,
        BodyFields::AsReceived,
    )
    .finish();
    let _at_origin = same(at_node, &to_origin, &nominated);
}

/// What was forwarded, read again: it must be the request that was received. `None`: the next hop
/// refuses it, rightly.
fn same(received: Request<'_>, forwarded: &[u8], nominated: &[String]) -> Option<RequestHead> {
    let (first, fields) = oracle::read_head(forwarded);
    let mut words = first.split(|byte| *byte == b' ');
    assert_eq!(words.next(), Some(received.method_text().as_bytes()));
    assert_eq!(
        (words.nth(1), words.next()),
        (Some(&b"HTTP/1.1"[..]), None),
        "one version, one target"
    );
    for (name, _) in &fields {
        let field = Field::classify(name.as_bytes());
        assert!(!hygiene::HOP_BY_HOP.contains(field), "{name} is for one hop");
        let is_kept = hygiene::NEVER_NOMINATED.contains(field);
        assert!(is_kept || !nominated.contains(name), "{name} was nominated in Connection");
    }
    let Some(again) = request(forwarded) else {
        // 1.0 without Host is the one request that has no authority to pass on.
        assert!(received.authority().is_none(), "what was accepted is accepted again");
        return None;
    };
    let view = again.view(forwarded);
    assert_eq!(again.len(), forwarded.len());
    assert_eq!(again.framing(), received.framing());
    let meant = |request: Request<'_>| {
        request.authority().map(|authority| (authority.host_text().to_owned(), authority.port))
    };
    assert_eq!(meant(view), meant(received));
    assert!(view.authority().is_none_or(|authority| authority.is_plain()), "one spelling goes on");
    let limits = Limits { head: forwarded.len(), ..Limits::default() };
    assert_eq!(
        RequestHead::new().parse(forwarded, &limits),
        Ok(Progress::Complete(forwarded.len())),
        "a limit of just its size is no limit"
    );
    Some(again)
}
