//! A headless Chromium with chromedriver in front of it: fantoccini for what people do,
//! chromedriver's own commands for what they see.

use std::{
    io::{Read, Write},
    net::SocketAddr,
    path::PathBuf,
    process::Stdio,
    time::Duration,
};

use fantoccini::{
    Client, ClientBuilder, Locator,
    actions::{InputSource, KeyAction, KeyActions},
    elements::Element,
    key::Key,
};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use testkit::client::Connection;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

/// chromedriver ends a Chromium within this time.
const PATIENCE: Duration = Duration::from_secs(10);

/// A browser that looks at one console.
pub struct Browser {
    _driver: Child,
    driver: SocketAddr,
    session: String,
    base: String,
    /// What people do.
    pub client: Client,
}

impl Browser {
    /// Starts both, with a window of its own.
    pub async fn start(console: &str) -> Self {
        let (child, driver) = start_driver().await;
        let mut capabilities = serde_json::Map::new();
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--hide-scrollbars",
            "--window-size=1440,2400",
        ];
        capabilities.insert("goog:chromeOptions".into(), json!({ "args": arguments }));
        capabilities
            .insert("goog:loggingPrefs".into(), json!({ "browser": "ALL", "performance": "ALL" }));
        let client = ClientBuilder::new(HttpConnector::new())
            .capabilities(capabilities)
            .connect(&format!("http://{driver}"))
            .await;
        let client = client.expect(
            "a session with Chromium: install it with `apt-get install chromium chromium-driver`",
        );
        let session = client.session_id().await.expect("the session").expect("its id");
        let browser =
            Self { _driver: child, driver, session, base: format!("http://{console}"), client };
        browser.resize(1440, 2400, false).await;
        browser
    }

    /// Opens a page of the console.
    pub async fn open(&self, path: &str) {
        self.client.goto(&format!("{}{path}", self.base)).await.expect("open the page");
    }

    /// Runs a script in the page.
    pub async fn js(&self, script: &str, arguments: Vec<Value>) -> Value {
        self.client
            .execute(script, arguments)
            .await
            .unwrap_or_else(|error| panic!("{script}: {error}"))
    }

    /// What people read in an element; nothing when there is none.
    pub async fn text(&self, selector: &str) -> String {
        let script = "return document.querySelector(arguments[0])?.innerText ?? ''";
        self.js(script, vec![selector.into()]).await.as_str().unwrap_or_default().to_owned()
    }

    /// An element that is there.
    pub async fn find(&self, selector: &str) -> Element {
        self.client
            .find(Locator::Css(selector))
            .await
            .unwrap_or_else(|error| panic!("{selector}: {error}"))
    }

    /// Clicks as soon as the element is there.
    pub async fn click(&self, selector: &str) {
        testkit::wait::until(format!("a click on {selector}"), || async {
            self.client.find(Locator::Css(selector)).await.ok()?.click().await.ok()
        })
        .await;
    }

    /// A key, down and up.
    pub async fn press(&self, key: impl Into<char>) {
        let value = key.into();
        let keys = KeyActions::new("keyboard".into())
            .then(KeyAction::Down { value })
            .then(KeyAction::Up { value });
        self.client.perform_actions(keys).await.expect("press a key");
    }

    /// Types where the focus is.
    pub async fn type_text(&self, text: &str) {
        for character in text.chars() {
            self.press(character).await;
        }
    }

    /// Whether the focus is there.
    pub async fn is_focused(&self, selector: &str) -> bool {
        self.js(
            "return document.activeElement?.matches(arguments[0]) ?? false",
            vec![selector.into()],
        )
        .await
            == true
    }

    /// Presses Tab until the focus is there.
    pub async fn tab_to(&self, selector: &str) {
        for _ in 0..200 {
            if self.is_focused(selector).await {
                return;
            }
            self.press(Key::Tab).await;
        }
        panic!("the keyboard does not lead to {selector}");
    }

    /// What the system prefers, as the page sees it.
    pub async fn emulate(&self, features: &[(&str, &str)]) {
        let features: Vec<_> =
            features.iter().map(|(name, value)| json!({ "name": name, "value": value })).collect();
        self.devtools("Emulation.setEmulatedMedia", json!({ "features": features })).await;
    }

    /// Another screen.
    pub async fn resize(&self, width: u32, height: u32, mobile: bool) {
        let scale = if mobile { 2 } else { 1 };
        let metrics = json!({
            "width": width, "height": height, "deviceScaleFactor": scale, "mobile": mobile,
        });
        self.devtools("Emulation.setDeviceMetricsOverride", metrics).await;
    }

    /// Keeps what is seen, for people.
    pub async fn screenshot(&self, name: &str) {
        let bytes = self.client.screenshot().await.expect("a screenshot");
        let directory = artefacts();
        std::fs::create_dir_all(&directory).expect("a directory for screenshots");
        let path = directory.join(format!("{name}.png"));
        std::fs::write(&path, bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }

    /// The page said no error, and asked nobody but the console.
    pub async fn check_logs(&self) {
        let logs = |kind: &'static str| async move {
            self.command("/se/log", json!({ "type": kind }))
                .await
                .as_array()
                .cloned()
                .unwrap_or_default()
        };
        let errors: Vec<_> =
            logs("browser").await.into_iter().filter(|entry| entry["level"] == "SEVERE").collect();
        assert!(errors.is_empty(), "the browser's console: {errors:#?}");
        let mut asked = 0;
        for entry in logs("performance").await {
            let message: Value =
                serde_json::from_str(entry["message"].as_str().unwrap_or_default())
                    .unwrap_or_default();
            if message["message"]["method"] != "Network.requestWillBeSent" {
                continue;
            }
            let url = message["message"]["params"]["request"]["url"]
                .as_str()
                .unwrap_or_default()
                .to_owned();
            asked += 1;
            assert!(url.starts_with(&format!("{}/", self.base)), "the page asked {url}");
        }
        assert!(asked > 3, "requests are seen at all: {asked}");
    }

    /// Ends the session in order. chromedriver ends with the value.
    pub async fn end(self) {
        self.client.clone().close().await.expect("end the session");
    }

    async fn devtools(&self, command: &str, parameters: Value) -> Value {
        self.command("/goog/cdp/execute", json!({ "cmd": command, "params": parameters })).await
    }

    /// A command of chromedriver's own, which WebDriver does not have.
    async fn command(&self, path: &str, body: Value) -> Value {
        let (session, driver, body) = (&self.session, self.driver, body.to_string());
        let head = format!(
            "POST /session/{session}{path} HTTP/1.1\r\nHost: {driver}\r\nContent-Type: \
             application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let mut connection = Connection::open(driver).await.expect("connect to chromedriver");
        connection.send(format!("{head}{body}").as_bytes()).await.expect("send a command");
        let answer = connection.answer("POST").await.expect("an answer of chromedriver");
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        assert_eq!(answer.status(), 200, "{path}: {text}");
        serde_json::from_str::<Value>(&text).unwrap_or_default()["value"].clone()
    }
}

impl Drop for Browser {
    /// Ends the session of a test that failed: chromedriver is killed next, and its Chromium would
    /// stay.
    fn drop(&mut self) {
        let ask = || -> std::io::Result<()> {
            let mut driver = std::net::TcpStream::connect_timeout(&self.driver, PATIENCE)?;
            driver.set_read_timeout(Some(PATIENCE))?;
            let head = format!(
                "DELETE /session/{} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
                self.session, self.driver
            );
            driver.write_all(head.as_bytes())?;
            driver.read_exact(&mut [0])
        };
        // Of a session that has ended it knows nothing, which is as good.
        if let Err(error) = ask() {
            eprintln!("chromedriver at {} does not end its Chromium: {error}", self.driver);
        }
    }
}

/// chromedriver on a port of its own choice.
async fn start_driver() -> (Child, SocketAddr) {
    let mut command = Command::new("chromedriver");
    command
        .arg("--port=0")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    let mut child = command
        .spawn()
        .expect("chromedriver: install it with `apt-get install chromium chromium-driver`");
    let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
    while let Some(line) = lines.next_line().await.expect("a line of chromedriver") {
        if let Some(port) = line.strip_prefix("ChromeDriver was started successfully on port ") {
            let port: u16 = port.trim_end_matches('.').parse().expect("a port");
            // Whatever else it says is for nobody; it must not wait for a reader.
            tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
            return (child, SocketAddr::from(([127, 0, 0, 1], port)));
        }
    }
    panic!("chromedriver ended without a port");
}

/// Beside the build's other products.
fn artefacts() -> PathBuf {
    let test = std::env::current_exe().expect("the path of this test");
    let target = test
        .ancestors()
        .find(|directory| directory.file_name().is_some_and(|name| name == "release"));
    target
        .and_then(|release| release.parent())
        .map_or_else(std::env::temp_dir, PathBuf::from)
        .join("e2e-artefacts")
}
