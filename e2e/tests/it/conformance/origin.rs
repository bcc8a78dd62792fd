//! The origin of the cases: it answers each request as the step says that is under way for its
//! path, and remembers what it was asked.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use testkit::message::{Head, Reader};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use super::case::{self, Reply, Scope};

/// What is under way for one path.
#[derive(Clone, Default)]
struct Scene {
    step: usize,
    reply: Reply,
    /// Requests of every step.
    asked: Vec<(usize, Head)>,
}

type Scenes = Arc<Mutex<HashMap<String, Scene>>>;

/// A running origin; dropping it stops it.
pub struct Origin {
    pub address: SocketAddr,
    scenes: Scenes,
    task: JoinHandle<()>,
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Origin {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let scenes = Scenes::default();
        let all = Arc::clone(&scenes);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(converse(stream, address, Arc::clone(&all)));
            }
        });
        Self { address, scenes, task }
    }

    /// The next step of a path begins.
    pub fn begin(&self, path: &str, step: usize, reply: Reply) {
        let mut scenes = self.scenes.lock().expect("no panic");
        let scene = scenes.entry(path.to_owned()).or_default();
        (scene.step, scene.reply) = (step, reply);
    }

    /// Requests that came for a path in this step.
    pub fn asked(&self, path: &str, step: usize) -> Vec<Head> {
        let scenes = self.scenes.lock().expect("no panic");
        let asked = scenes.get(path).map(|scene| scene.asked.clone()).unwrap_or_default();
        asked.into_iter().filter(|(at, _)| *at == step).map(|(_, head)| head).collect()
    }
}

async fn converse(stream: TcpStream, address: SocketAddr, scenes: Scenes) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = Reader::new(stream);
    while let Some(head) = reader.head().await? {
        // Of a body there is what Content-Length says.
        if head.field("content-length").is_some() || head.field("transfer-encoding").is_some() {
            reader.body(&head).await?;
        }
        let (method, target) = head.request();
        let path = target.split_once("://").map_or(target, |(_, rest)| {
            rest.find('/').map_or("/", |at| rest.get(at..).unwrap_or_default())
        });
        let (method, path) = (method.to_owned(), path.to_owned());
        let scene = {
            let mut scenes = scenes.lock().expect("no panic");
            let scene = scenes.entry(path.clone()).or_default();
            scene.asked.push((scene.step, head.clone()));
            scene.clone()
        };
        if scene.reply.status == 0 {
            return Ok(());
        }
        let conditional =
            ["if-none-match", "if-modified-since"].iter().any(|name| head.field(name).is_some());
        let origin = address.to_string();
        let scope = Scope { step: scene.step, path: &path, origin: &origin, now: case::now() };
        reader.stream().write_all(&answer(&scene.reply, &method, conditional, &scope)).await?;
    }
    Ok(())
}

fn answer(reply: &Reply, method: &str, conditional: bool, scope: &Scope<'_>) -> Vec<u8> {
    // Who has not asked whether it has changed gets it.
    let status = if reply.status == 304 && !conditional { 200 } else { reply.status };
    let mut text = format!("HTTP/1.1 {status} Said\r\n");
    let has = |name: &str| {
        reply.fields.iter().any(|field| {
            field.split(':').next().is_some_and(|found| found.eq_ignore_ascii_case(name))
        })
    };
    if !has("date") {
        text.push_str(&scope.fill("Date: {now}\r\n"));
    }
    for field in &reply.fields {
        // `Date: -` is none at all.
        if field != "Date: -" {
            text.push_str(&scope.fill(field));
            text.push_str("\r\n");
        }
    }
    let chunked = has("transfer-encoding");
    let body = if matches!(status, 204 | 304) { String::new() } else { scope.fill(&reply.body) };
    if !chunked && !has("content-length") && !matches!(status, 204 | 304) {
        text.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    text.push_str("\r\n");
    if method != "HEAD" {
        text.push_str(&body.replace("\\r\\n", "\r\n"));
    }
    text.into_bytes()
}
