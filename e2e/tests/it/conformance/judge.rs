//! Runs one case against one cache.

use std::{net::SocketAddr, time::Duration};

use testkit::{
    client::{Answer, Connection},
    message::Head,
};

use super::{
    case::{self, Case, Expect, Scope, Step},
    origin::Origin,
};

/// How a cache is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As a proxy: the target is a whole URL.
    Forward,
    /// As a server: the target is a path.
    Reverse,
}

/// Runs it; says what was not as expected.
pub async fn run(
    case: &Case,
    peer: &str,
    address: SocketAddr,
    form: Form,
    origin: &Origin,
) -> Result<(), String> {
    let path = format!("/{peer}/{}", case.name.replace(['"', ' ', '*'], "_"));
    for (number, step) in case.steps.iter().enumerate() {
        tokio::time::sleep(Duration::from_secs(step.wait)).await;
        origin.begin(&path, number, step.reply.clone());
        let host = origin.address.to_string();
        let scope = Scope { step: number, path: &path, origin: &host, now: case::now() };
        let answer = ask(step, &path, address, form, &scope).await;
        let wrong = |why: &str| format!("request {}: {why}", number + 1);
        let answer = answer.map_err(|error| wrong(&format!("no answer: {error}")))?;
        let asked = origin.asked(&path, number);
        for expect in &step.expects {
            if *expect == Expect::Behind {
                if !comes_behind(origin, &path, number).await {
                    return Err(wrong("the origin was not asked behind the answer"));
                }
                continue;
            }
            judge(expect, &answer, &asked, &scope).map_err(|why| wrong(&why))?;
        }
    }
    Ok(())
}

/// Whether the origin is asked in the end.
async fn comes_behind(origin: &Origin, path: &str, step: usize) -> bool {
    for _ in 0..300 {
        if !origin.asked(path, step).is_empty() {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    false
}

async fn ask(
    step: &Step,
    path: &str,
    address: SocketAddr,
    form: Form,
    scope: &Scope<'_>,
) -> std::io::Result<Answer> {
    let mut connection = Connection::open(address).await?;
    let target = match form {
        Form::Forward => format!("http://{}{path}", scope.origin),
        Form::Reverse => path.to_owned(),
    };
    let mut text = format!("{} {target} HTTP/1.1\r\nHost: {}\r\n", step.method, scope.origin);
    for field in &step.fields {
        text.push_str(&scope.fill(field));
        text.push_str("\r\n");
    }
    let body = matches!(step.method.as_str(), "POST" | "PUT" | "PATCH");
    text.push_str(if body { "Content-Length: 3\r\n\r\na=b" } else { "\r\n" });
    connection.send(text.as_bytes()).await?;
    connection.answer(&step.method).await
}

fn judge(
    expect: &Expect,
    answer: &Answer,
    asked: &[Head],
    scope: &Scope<'_>,
) -> Result<(), String> {
    let conditional = |head: &Head| {
        ["if-none-match", "if-modified-since"].iter().any(|it| head.field(it).is_some())
    };
    let values = |name: &str| -> Vec<&str> {
        let fields =
            answer.head.fields.iter().filter(|(found, _)| found.eq_ignore_ascii_case(name));
        fields.map(|(_, value)| value.as_str()).collect()
    };
    let body = String::from_utf8_lossy(&answer.body);
    let sent = |name: &str| asked.last().and_then(|head| head.field(&name.to_ascii_lowercase()));
    let (holds, found) = match expect {
        Expect::Hit => (asked.is_empty(), "the origin was asked".to_owned()),
        Expect::Miss => (!asked.is_empty(), "the origin was not asked".to_owned()),
        Expect::Validated => {
            (asked.iter().any(conditional), "the origin was not asked with a condition".to_owned())
        }
        Expect::Fetched => (
            asked.last().is_some_and(|head| !conditional(head)),
            "the origin was not asked without a condition".to_owned(),
        ),
        Expect::Behind => (true, String::new()),
        Expect::Status(status) => {
            (answer.status() == *status, format!("{} and not {status}", answer.status()))
        }
        Expect::Body(want) => (body == scope.fill(want), format!("{body:?} and not {want:?}")),
        Expect::Field(name, want) => {
            let (found, want) = (values(name), scope.fill(want));
            (found == [want.as_str()], format!("{name}: {found:?} and not {want}"))
        }
        Expect::FieldHas(name, want) => {
            let (found, want) = (values(name), scope.fill(want));
            (found.iter().any(|it| it.contains(&want)), format!("{name}: {found:?} without {want}"))
        }
        Expect::NoField(name) => {
            let found = values(name);
            (found.is_empty(), format!("{name}: {found:?}"))
        }
        Expect::Age(least) => {
            let found = values("age").first().and_then(|age| age.parse::<u64>().ok());
            (found >= Some(*least), format!("age {found:?} and not {least}"))
        }
        Expect::Sent(name, want) => {
            let found = sent(name);
            (
                found.is_some_and(|it| it.contains(want)),
                format!("sent {name}: {found:?}, not {want}"),
            )
        }
        Expect::NotSent(name) => {
            let found = sent(name);
            (found.is_none(), format!("sent {name}: {found:?}"))
        }
    };
    if holds { Ok(()) } else { Err(found) }
}
