//! The cases as data: what a client asks, what the origin answers where it is asked, and what the
//! client has to see.
//!
//! A file has a section of an RFC a line (`# RFC 9111 §4.2`), and cases in this form:
//!
//! ```text
//! case NAME required: what a cache does       (or `optional`: what a good one does)
//! each V: a | b                               (one case for each value of {V})
//! > GET | Name: value                         (a request)
//! < 200 | Name: value | body=text             (its answer, where it reaches the origin)
//! wait 3                                      (seconds before the next request)
//! = hit                                       (what is expected of it)
//! ```
//!
//! `{now+60}`, `{now-60}` are dates; `{asctime+60}`, `{rfc850+60}` the same in other spellings;
//! `{step}` is the number of the request, `{path}` its path, `{origin}` the origin's address.

use std::time::{Duration, SystemTime};

/// Whether a cache has to pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It would break a rule, or its users.
    Required,
    /// It would do without something that the RFCs allow.
    Optional,
}

/// One case.
#[derive(Clone, Debug)]
pub struct Case {
    pub section: &'static str,
    pub name: String,
    pub kind: Kind,
    pub says: String,
    pub steps: Vec<Step>,
}

/// One request with its answer.
#[derive(Clone, Debug, Default)]
pub struct Step {
    /// Seconds before it.
    pub wait: u64,
    pub method: String,
    pub fields: Vec<String>,
    pub reply: Reply,
    pub expects: Vec<Expect>,
}

/// What the origin answers.
#[derive(Clone, Debug)]
pub struct Reply {
    /// 0: it cuts the connection without a word.
    pub status: u16,
    pub fields: Vec<String>,
    pub body: String,
}

impl Default for Reply {
    fn default() -> Self {
        let fields = vec!["Cache-Control: no-store".to_owned()];
        Self { status: 200, fields, body: "{step}".to_owned() }
    }
}

/// What is expected of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expect {
    /// The origin was not asked.
    Hit,
    /// The origin was asked, with a condition or without.
    Miss,
    /// The origin was asked with a condition.
    Validated,
    /// The origin was asked without one.
    Fetched,
    /// The origin is asked behind the answer, or has been.
    Behind,
    Status(u16),
    Body(String),
    /// The answer has this field with this value.
    Field(String, String),
    /// Its value has this in it.
    FieldHas(String, String),
    NoField(String),
    /// Age is at least that.
    Age(u64),
    /// The origin's request has this field with this in it.
    Sent(String, String),
    NotSent(String),
}

/// A case with the values of its variables, for each combination of which it stands.
type Template = (Case, Vec<(String, Vec<String>)>);

/// Reads a file of cases.
pub fn read(text: &'static str) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    let (mut section, mut open): (&str, Option<Template>) = ("", None);
    let close = |open: &mut Option<Template>, cases: &mut Vec<Case>| {
        if let Some((case, each)) = open.take() {
            cases.extend(expanded(case, &each));
        }
    };
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        if word == "#" {
            close(&mut open, &mut cases);
            section = rest;
            continue;
        }
        if word == "case" {
            close(&mut open, &mut cases);
            let (head, says) = rest.split_once(": ").expect("what it says");
            let (name, kind) = head.split_once(' ').expect("a name and a kind");
            let kind = match kind {
                "required" => Kind::Required,
                "optional" => Kind::Optional,
                other => panic!("{line}: {other} is no kind"),
            };
            let (name, says) = (name.to_owned(), says.to_owned());
            open = Some((Case { section, name, kind, says, steps: Vec::new() }, Vec::new()));
            continue;
        }
        let (case, each) = open.as_mut().unwrap_or_else(|| panic!("{line}: of no case"));
        if word == "each" {
            let (name, values) = rest.split_once(": ").expect("values");
            let values = values.split(" | ").map(str::to_owned).collect();
            each.push((format!("{{{name}}}"), values));
        } else if word == "wait" {
            let wait = rest.parse().expect("seconds");
            case.steps.push(Step { wait, ..Step::default() });
        } else {
            part(case, word, rest);
        }
    }
    close(&mut open, &mut cases);
    cases
}

fn part(case: &mut Case, word: &str, rest: &str) {
    let mut parts = rest.split(" | ").map(str::to_owned);
    match word {
        ">" => {
            let waits = case.steps.last().is_some_and(|step| step.method.is_empty());
            if !waits {
                case.steps.push(Step::default());
            }
            let step = case.steps.last_mut().expect("a step");
            step.method = parts.next().expect("a method");
            step.fields = parts.collect();
        }
        "<" => {
            let reply = &mut case.steps.last_mut().expect("a step").reply;
            reply.status = parts.next().and_then(|status| status.parse().ok()).expect("a status");
            reply.fields.clear();
            for part in parts {
                match part.strip_prefix("body=") {
                    Some(body) => body.clone_into(&mut reply.body),
                    None => reply.fields.push(part),
                }
            }
        }
        "=" => {
            let step = case.steps.last_mut().expect("a step");
            step.expects.extend(parts.map(|part| expect(&part)));
        }
        other => panic!("{}: what is {other}?", case.name),
    }
}

fn expect(text: &str) -> Expect {
    let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
    let number = || rest.parse().unwrap_or_else(|_| panic!("{text}: a number"));
    let pair = || {
        let (name, value) = rest.split_once(':').unwrap_or_else(|| panic!("{text}: a field"));
        (name.to_owned(), value.trim_start().to_owned())
    };
    match word {
        "hit" => Expect::Hit,
        "miss" => Expect::Miss,
        "validated" => Expect::Validated,
        "fetched" => Expect::Fetched,
        "behind" => Expect::Behind,
        "status" => Expect::Status(number()),
        "body" => Expect::Body(rest.to_owned()),
        "field" => Expect::Field(pair().0, pair().1),
        "field-has" => Expect::FieldHas(pair().0, pair().1),
        "no-field" => Expect::NoField(rest.to_owned()),
        "age" => Expect::Age(number().into()),
        "sent" => Expect::Sent(pair().0, pair().1),
        "not-sent" => Expect::NotSent(rest.to_owned()),
        other => panic!("{text}: what is {other}?"),
    }
}

/// One case for each combination of values.
fn expanded(case: Case, each: &[(String, Vec<String>)]) -> Vec<Case> {
    let Some(((name, values), others)) = each.split_first() else { return vec![case] };
    let put = |text: &str, value: &str| text.replace(name, value);
    let one = |(number, value): (usize, &String)| {
        let mut new = case.clone();
        new.name = if case.name.contains(name.as_str()) {
            put(&case.name, value)
        } else {
            format!("{}-{}", case.name, number + 1)
        };
        new.says = put(&case.says, value);
        for step in &mut new.steps {
            step.method = put(&step.method, value);
            let reply = &mut step.reply;
            for text in step.fields.iter_mut().chain(&mut reply.fields) {
                *text = put(text, value);
            }
            reply.body = put(&reply.body, value);
            if let Some(status) = value.parse().ok().filter(|_| reply.status == 999) {
                reply.status = status;
            }
            for expect in &mut step.expects {
                match expect {
                    Expect::Status(status) if *status == 999 => {
                        *status = value.parse().expect("a status");
                    }
                    Expect::Field(field, text)
                    | Expect::FieldHas(field, text)
                    | Expect::Sent(field, text) => {
                        *field = put(field, value);
                        *text = put(text, value);
                    }
                    Expect::Body(text) | Expect::NoField(text) | Expect::NotSent(text) => {
                        *text = put(text, value);
                    }
                    _ => {}
                }
            }
        }
        new
    };
    values.iter().enumerate().map(one).flat_map(|case| expanded(case, others)).collect()
}

/// The time of an answer's Date.
#[expect(clippy::disallowed_methods, reason = "the caches under test have no other clock")]
pub fn now() -> SystemTime {
    SystemTime::now()
}

/// What the variables of a text mean here and now.
pub struct Scope<'a> {
    pub step: usize,
    pub path: &'a str,
    pub origin: &'a str,
    pub now: SystemTime,
}

impl Scope<'_> {
    pub fn fill(&self, text: &str) -> String {
        let mut out = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            out.push_str(before);
            let (name, behind) = after.split_once('}').expect("a name in braces");
            out.push_str(&self.value(name));
            rest = behind;
        }
        out + rest
    }

    fn value(&self, name: &str) -> String {
        let at = name.find(['+', '-']).unwrap_or(name.len());
        let (word, offset) = name.split_at(at);
        let offset: i64 = if offset.is_empty() { 0 } else { offset.parse().expect("seconds") };
        let moved = Duration::from_secs(offset.unsigned_abs());
        let time = if offset < 0 { self.now - moved } else { self.now + moved };
        match word {
            "now" => date(time, "%a, %d %b %Y %T GMT"),
            "rfc850" => date(time, "%A, %d-%b-%y %T GMT"),
            "asctime" => date(time, "%a %b %e %T %Y"),
            "lower" => date(time, "%a, %d %b %Y %T GMT").to_lowercase(),
            "utc" => date(time, "%a, %d %b %Y %T UTC"),
            "zone" => date(time, "%a, %d %b %Y %T AEST"),
            "comma" => date(time, "%a %d %b %Y %T GMT"),
            "dashes" => date(time, "%a, %d-%b-%Y %T GMT"),
            "short" => date(time, "%a, %d %b %y %T GMT"),
            "wide" => date(time, "%a, %d  %b  %Y  %T GMT"),
            "periods" => date(time, "%a, %d %b %Y %H.%M.%S GMT"),
            "step" => self.step.to_string(),
            "path" => self.path.to_owned(),
            "origin" => self.origin.to_owned(),
            other => panic!("{{{other}}} is no variable"),
        }
    }
}

fn date(time: SystemTime, format: &str) -> String {
    let time = jiff::Timestamp::try_from(time).expect("a time of these days");
    time.to_zoned(jiff::tz::TimeZone::UTC).strftime(format).to_string()
}
