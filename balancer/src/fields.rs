//! Header fields that a frontend sets, adds and removes: made once for a generation, so that a
//! request with none of them pays nothing, and one with some does not look at names that parsing
//! has recognised.

use std::sync::Arc;

use cluster_config::document::balancer::{self as document, Part};
use relay::{
    field::{Field, FieldSet},
    rewrite::HeadWriter,
};

use crate::tls::told::Told;

/// Of both ways.
#[derive(Clone, Debug)]
pub struct Rewrites {
    /// What becomes of requests.
    pub request: Rewrite,
    /// What becomes of answers.
    pub response: Rewrite,
}

impl Rewrites {
    /// Those of a frontend; none: its messages stay as they are.
    #[must_use]
    pub fn of(frontend: &document::Frontend) -> Option<Arc<Self>> {
        let document::Frontend { request_fields, response_fields, .. } = frontend;
        let empty = request_fields.is_empty() && response_fields.is_empty();
        (!empty).then(|| {
            Arc::new(Self {
                request: Rewrite::of(request_fields),
                response: Rewrite::of(response_fields),
            })
        })
    }
}

/// Of messages one way.
#[derive(Clone, Debug, Default)]
pub struct Rewrite {
    /// What does not stay.
    pub drop: FieldSet,
    /// And names that parsing does not recognise.
    pub others: Vec<Box<[u8]>>,
    /// What is written.
    write: Vec<document::Field>,
}

/// What is known of a message's client.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// Its address, as logs have it.
    pub client: &'a str,
    pub port: u16,
    pub frontend: &'a str,
    /// Where it came in.
    pub listener: &'a relay::listen::Address,
    /// The request's id.
    pub id: &'a [u8],
    /// What TLS told of it.
    pub told: Option<&'a Told>,
}

impl Rewrite {
    fn of(fields: &document::Fields) -> Self {
        let mut rewrite = Self {
            write: fields.set.iter().chain(&fields.add).cloned().collect(),
            ..Self::default()
        };
        let set = fields.set.iter().map(|field| &field.name);
        for name in set.chain(&fields.remove) {
            match Field::classify(name.as_bytes()) {
                Field::Other => rewrite.others.push(name.to_ascii_lowercase().into_bytes().into()),
                field => rewrite.drop = rewrite.drop.with(field),
            }
        }
        rewrite
    }

    /// Writes what is set and added. No value becomes a second field, whatever clients say
    /// ([`HeadWriter::field`]).
    pub fn write(&self, head: &mut HeadWriter<'_>, known: &Known<'_>) {
        let mut value = Vec::new();
        for field in &self.write {
            value.clear();
            field.value.iter().for_each(|part| known.push(part, &mut value));
            head.field(&field.name, &value);
        }
    }
}

impl Known<'_> {
    fn push(&self, part: &Part, out: &mut Vec<u8>) {
        let subject = self.told.and_then(|told| told.certificate.as_ref());
        let text: &str = match part {
            Part::Text(text) => text,
            Part::Client => self.client,
            Part::ClientPort => return out.extend_from_slice(self.port.to_string().as_bytes()),
            Part::Frontend => self.frontend,
            Part::Listener => return out.extend_from_slice(self.listener.to_string().as_bytes()),
            Part::RequestId => return out.extend_from_slice(self.id),
            Part::Scheme if self.told.is_some() => "https",
            Part::Scheme => "http",
            Part::Sni => self.told.and_then(|told| told.sni.as_deref()).unwrap_or_default(),
            Part::TlsVersion => self.told.map_or("", |told| told.version),
            Part::ClientVerified if subject.is_some() => "SUCCESS",
            Part::ClientVerified => "NONE",
            Part::ClientSubject => subject.map_or("", |it| &it.text),
            Part::ClientName => subject.and_then(|it| it.common_name.as_deref()).unwrap_or(""),
        };
        out.extend_from_slice(text.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use relay::listen::Address;

    use super::*;
    use crate::tls::told::Subject;

    fn written(parts: Vec<Part>, told: Option<&Told>) -> String {
        let fields = document::Fields {
            add: vec![document::Field { name: "X".to_owned(), value: parts }],
            ..document::Fields::default()
        };
        let listener = Address::unix("/run/http.sock");
        let known = Known {
            client: "192.0.2.1",
            port: 4711,
            frontend: "web",
            listener: &listener,
            id: b"an-id",
            told,
        };
        let mut out = Vec::new();
        let mut head = HeadWriter::status(&mut out, 200, "OK");
        Rewrite::of(&fields).write(&mut head, &known);
        head.finish();
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn every_placeholder_has_its_value() {
        let told = Told {
            sni: Some("proxy.example".into()),
            version: "TLSv1.3",
            certificate: Some(Subject {
                text: "O=Example, CN=alice".into(),
                common_name: Some("alice".into()),
            }),
        };
        let all = || {
            let parts = Part::PLACEHOLDERS.into_iter();
            parts.flat_map(|(_, part)| [part, Part::Text("|".to_owned())]).collect::<Vec<_>>()
        };
        assert!(written(all(), Some(&told)).contains(
            "\r\nX: 192.0.2.1|4711|web|unix:/run/http.sock|an-id|https|proxy.example|TLSv1.3|\
             SUCCESS|O=Example, CN=alice|alice|\r\n"
        ));
        let plain = written(all(), None);
        assert!(plain.contains("|an-id|http|||NONE|||\r\n"), "{plain}");
    }

    #[test]
    fn no_value_becomes_a_second_field() {
        let certificate = Some(Subject {
            text: "CN=a\r\nX-Admin: yes".into(),
            common_name: Some("a\r\nb".into()),
        });
        let told = Told { sni: None, version: "TLSv1.2", certificate };
        let written = written(vec![Part::ClientSubject, Part::ClientName], Some(&told));
        assert!(written.ends_with("\r\nX: CN=a  X-Admin: yesa  b\r\n\r\n"), "{written:?}");
    }

    #[test]
    fn what_is_set_or_removed_does_not_stay() {
        let field = |name: &str| document::Field { name: name.to_owned(), value: Vec::new() };
        let rewrite = Rewrite::of(&document::Fields {
            set: vec![field("X-Real-IP"), field("User-Agent")],
            add: vec![field("X-More"), field("Accept")],
            remove: vec!["cookie".to_owned(), "x-debug".to_owned()],
        });
        assert_eq!(rewrite.drop, FieldSet::of(&[Field::UserAgent, Field::Cookie]));
        assert_eq!(rewrite.others, [b"x-real-ip".as_slice().into(), b"x-debug".as_slice().into()]);
    }
}
