//! The answer of a transaction that fails.

use std::time::{Duration, UNIX_EPOCH};

use dataplane::connection::ConnectionEnd;
use relay::{head, method::Method, stream::Stream};

use super::{Request, Transaction};
use crate::{
    admit::Decision,
    record::Outcome,
    respond::{self, Circumstances, Error},
};

impl Transaction {
    /// Answers with a failure.
    pub async fn refuse(
        &mut self,
        stream: &mut Stream,
        request: &Request,
        failure: Error,
        decision: Option<Decision>,
    ) -> ConnectionEnd {
        let keep = self.write_refusal(request.view(), failure, decision);
        self.send(stream, keep).await
    }

    /// Writes the answer into the scratch. Whether the connection outlives it.
    fn write_refusal(
        &mut self,
        request: head::Request<'_>,
        failure: Error,
        decision: Option<Decision>,
    ) -> bool {
        match failure {
            Error::Denied | Error::Egress(_) => self.count(|metrics| &metrics.denied),
            _ => self.count(|metrics| &metrics.errors),
        }
        self.record.outcome = match failure {
            Error::Denied | Error::Egress(_) | Error::Loop => Outcome::Denied,
            Error::Malformed(_) | Error::NotForAProxy | Error::Trace => Outcome::None,
            _ => self.record.outcome,
        };
        self.record.status = failure.status();
        self.record.media_type = "text/html".into();
        // A body that was not read would be taken for the next request.
        let unread = !request.framing().is_empty();
        let keep = self.keeps() && !failure.closes() && !unread && self.method != Method::Connect;
        let rule =
            decision.map(|decision| self.generation.rules.describe(decision)).unwrap_or_default();
        let page =
            decision.and_then(|decision| self.generation.rules.get(decision.rule?)?.page.clone());
        let client = self.client.address.to_string();
        let circumstances = Circumstances {
            node: &self.local.node.name,
            visible_hostname: &self.generation.document.visible_hostname,
            revision: &self.generation.revision,
            request_id: &self.id.to_string(),
            url: request.target_text(),
            method: request.method_text(),
            client: &client,
            rule: &rule,
            page: page.as_deref(),
        };
        tracing::debug!(
            request_id = %self.id,
            %failure,
            status = failure.status(),
            url = request.target_text(),
            client,
            "refused"
        );
        self.out.clear();
        let now = UNIX_EPOCH + Duration::from_millis(self.now);
        respond::write(
            &mut self.out,
            failure,
            &circumstances,
            now,
            self.method == Method::Head,
            !keep,
        );
        keep
    }
}
