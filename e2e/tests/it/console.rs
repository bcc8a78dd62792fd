//! The web page in a real browser: headless Chromium, driven as a person would use it, against a
//! lab of real processes.

mod browser;

use browser::Browser;
use fantoccini::{Locator, key::Key};
use nix::sys::signal::Signal;
use testkit::{
    lab::{Lab, Options},
    load::{Kind, Load, Plan},
    origin::Origin,
    wait,
};

fn address(lab: &Lab) -> String {
    lab.process("console-1").endpoints["console"].clone()
}

fn password(lab: &Lab) -> String {
    std::fs::read_to_string(lab.data_dir().join("console.password"))
        .expect("the console's password")
        .trim()
        .to_owned()
}

/// Fewer processes, for what does not need many.
fn small() -> Options {
    let arguments = ["--nodes", "2", "--balancers", "1", "--checkers", "1"];
    Options { arguments: arguments.map(str::to_owned).to_vec(), ..Options::default() }
}

fn load(lab: &Lab, origin: &Origin) -> Load {
    Load::open_ended(Plan {
        frontends: lab.description.frontends.clone(),
        origin: origin.address().to_string(),
        path: "/bytes/1024".into(),
        kind: Kind::Get,
        clients: 6,
        requests: 100,
    })
}

const REQUESTS: &str = "return [...document.querySelectorAll('.tile')].find(tile => \
    tile.querySelector('dt').textContent === 'requests').querySelector('.value').textContent";

async fn until_text(browser: &Browser, selector: &str, text: &str) {
    wait::until(format!("{selector} says {text:?}"), || async {
        browser.text(selector).await.contains(text).then_some(())
    })
    .await;
}

async fn log_in(browser: &Browser, lab: &Lab) {
    browser.open("/login").await;
    browser.find("#login-name").await.send_keys("operator").await.expect("type a name");
    browser.find("#login-password").await.send_keys(&password(lab)).await.expect("type a password");
    browser.click("#login button").await;
    wait::until("logged in", || async {
        (browser.js("return document.body.dataset.operator", vec![]).await == "operator")
            .then_some(())
    })
    .await;
    until_text(browser, "#liveness", "live").await;
}

/// The class of a node in the picture, and what its row in the table of instances says.
async fn shown(browser: &Browser, name: &str) -> (String, String) {
    let class = "return document.querySelector(`.picture.across \
        [data-key=\"${arguments[0]}\"]`)?.getAttribute('class') ?? ''";
    let row = "return document.querySelector(`.instances \
        tr[data-key=\"${arguments[0]}\"]`)?.innerText ?? ''";
    let text = |value: serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    (
        text(browser.js(class, vec![name.into()]).await),
        text(browser.js(row, vec![name.into()]).await),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_shows_the_cluster_as_it_is_and_changes_it() {
    let (lab, origin) = (Lab::start(Options::default()).await, Origin::start().await);
    let browser = Browser::start(&address(&lab)).await;
    browser.open("/").await;
    until_text(&browser, "#liveness", "live").await;
    for process in lab.now().processes {
        wait::until(format!("{} is on the page, usable", process.name), || async {
            shown(&browser, &process.name).await.1.contains("usable").then_some(())
        })
        .await;
    }
    rates_follow_the_load(&browser, &lab, &origin).await;
    a_request_is_explained(&browser, &origin).await;

    log_in(&browser, &lab).await;
    let load = load(&lab, &origin);
    load.reach(50).await;
    a_node_is_drained_and_enabled(&browser, &lab).await;
    every_screen(&browser).await;
    let outcome = load.enough().await;
    assert_eq!(outcome.failed, 0, "{:#?}", outcome.failures);

    browser.check_logs().await;
    browser.open("/instances/proxy-node-99").await;
    assert!(browser.text("main").await.contains("There is no instance named \"proxy-node-99\""));
    browser.end().await;
}

async fn rates_follow_the_load(browser: &Browser, lab: &Lab, origin: &Origin) {
    wait::until("no requests", || async {
        (browser.js(REQUESTS, vec![]).await == "0/s").then_some(())
    })
    .await;
    let load = load(lab, origin);
    wait::until("requests", || async {
        (browser.js(REQUESTS, vec![]).await != "0/s").then_some(())
    })
    .await;
    let busy = "return document.querySelectorAll('.picture.across .flow.busy').length";
    wait::until("requests on every line of the picture", || async {
        (browser.js(busy, vec![]).await == 11).then_some(())
    })
    .await;
    let outcome = load.enough().await;
    assert_eq!(outcome.failed, 0, "{:#?}", outcome.failures);
    wait::until("no requests again", || async {
        (browser.js(REQUESTS, vec![]).await == "0/s").then_some(())
    })
    .await;
}

async fn a_request_is_explained(browser: &Browser, origin: &Origin) {
    browser
        .find("#explain-url")
        .await
        .send_keys(&origin.url("/bytes/10"))
        .await
        .expect("type a URL");
    browser.click("#explain-form button").await;
    until_text(browser, "#explained", "would send it to").await;
    until_text(browser, "#explained", "allowed by").await;
    until_text(browser, "#explained", &format!("origin {}", origin.address())).await;
}

async fn a_node_is_drained_and_enabled(browser: &Browser, lab: &Lab) {
    // Whatever shows from here on shows without the page being loaded again.
    browser.js("window.marker = 'the same page'; return 0", vec![]).await;
    let drain = "button[data-act=drain][data-name=proxy-node-2]";
    browser.click(drain).await;
    until_text(browser, "#confirm", "Drain proxy-node-2?").await;
    until_text(browser, "#confirm", "2 other nodes are usable").await;
    browser.screenshot("console-confirm").await;
    browser.click("#confirm button[value=no]").await;
    assert_eq!(lab.state("proxy-node-2").await.as_deref(), Some("usable"), "it was cancelled");

    browser.click(drain).await;
    browser.find("#confirm-reason").await.send_keys("a new disk").await.expect("type a reason");
    browser.click("#confirm-yes").await;
    lab.until_state("proxy-node-2", "draining").await;
    wait::until("the page shows it", || async {
        let (class, row) = shown(browser, "proxy-node-2").await;
        (class.contains("asked") && row.contains("draining")).then_some(())
    })
    .await;
    let excluded = "return [...document.querySelectorAll('.servers \
        tr[data-key=proxy-node-2]')].filter(row => row.innerText.includes('excluded')).length";
    wait::until("both balancers show it", || async {
        (browser.js(excluded, vec![]).await == 2).then_some(())
    })
    .await;
    until_text(browser, "#events", "was asked to drain").await;
    browser.screenshot("console-light").await;
    let audit = std::fs::read_to_string(lab.data_dir().join("registry-1/audit.jsonl"))
        .expect("the registry's audit records");
    let record = audit
        .lines()
        .find(|line| line.contains("operator operator via console console-1"))
        .expect("a record with the operator's name");
    assert!(record.contains("proxy-node-2, drain, because a new disk"), "{record}");

    browser.click("button[data-act=ready][data-name=proxy-node-2]").await;
    browser.click("#confirm-yes").await;
    lab.until_state("proxy-node-2", "usable").await;
    wait::until("the page shows it", || async {
        shown(browser, "proxy-node-2").await.0.contains("good").then_some(())
    })
    .await;
    assert_eq!(browser.js("return window.marker", vec![]).await, "the same page");
}

/// In the dark, on a phone, without motion.
async fn every_screen(browser: &Browser) {
    let background = "return getComputedStyle(document.body).backgroundColor";
    let light = browser.js(background, vec![]).await;
    browser.emulate(&[("prefers-color-scheme", "dark")]).await;
    let dark = browser.js(background, vec![]).await;
    assert_ne!(light, dark, "the system's choice counts");
    browser.screenshot("console-dark").await;
    browser
        .emulate(&[("prefers-color-scheme", "light"), ("prefers-reduced-motion", "reduce")])
        .await;
    let still =
        "return getComputedStyle(document.querySelector('.picture.across .flow')).animationName";
    assert_eq!(browser.js(still, vec![]).await, "none");
    browser.click("#theme").await;
    assert_eq!(browser.js(background, vec![]).await, dark, "the button counts more");
    browser.open("/").await;
    assert_eq!(browser.js(background, vec![]).await, dark, "and is remembered");
    browser.click("#theme").await;
    browser.emulate(&[]).await;

    browser.resize(390, 844, true).await;
    until_text(browser, "#liveness", "live").await;
    let shape = "return [getComputedStyle(document.querySelector('.picture.across')).display, \
        getComputedStyle(document.querySelector('.picture.down')).display, \
        document.documentElement.scrollWidth]";
    assert_eq!(
        browser.js(shape, vec![]).await,
        serde_json::json!(["none", "block", 390]),
        "nothing is wider than the phone"
    );
    browser.resize(390, 2600, true).await;
    browser.screenshot("console-phone").await;
    browser.resize(1440, 2400, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_keyboard_is_enough() {
    let (lab, origin) = (Lab::start(small()).await, Origin::start().await);
    let browser = Browser::start(&address(&lab)).await;
    browser.open("/login").await;
    // The name has the focus already.
    browser.type_text("operator").await;
    browser.press(Key::Tab).await;
    browser.type_text(&password(&lab)).await;
    browser.press(Key::Enter).await;
    wait::until("logged in", || async {
        (browser.js("return document.body.dataset.operator", vec![]).await == "operator")
            .then_some(())
    })
    .await;
    until_text(&browser, "#liveness", "live").await;

    browser.press(Key::Tab).await;
    assert!(browser.is_focused(".skip").await, "the first stop leads past the header");
    browser.tab_to(".picture.across a[data-key=proxy-node-1]").await;
    browser.press(Key::Enter).await;
    until_text(&browser, "h1", "proxy-node-1").await;
    until_text(&browser, "#liveness", "live").await;
    // What is merged in leaves the focus where it is.
    browser.tab_to("button[data-act=maintenance]").await;
    lab.ok(&["node", "drain", "proxy-node-1"]).await;
    until_text(&browser, "#facts .standing", "draining").await;
    assert!(browser.is_focused("button[data-act=maintenance]").await);
    lab.ok(&["node", "enable", "proxy-node-1"]).await;
    until_text(&browser, "#facts .standing", "usable").await;
    browser.tab_to("button[data-act=drain]").await;
    browser.press(Key::Enter).await;
    assert!(browser.is_focused("#confirm-reason").await);
    browser.type_text("by hand").await;
    browser.tab_to("#confirm-yes").await;
    browser.press(Key::Enter).await;
    lab.until_state("proxy-node-1", "draining").await;
    until_text(&browser, "#facts .standing", "draining").await;

    // Escape leaves everything as it is; Enter in the reason confirms.
    browser.tab_to("button[data-act=ready]").await;
    browser.press(Key::Enter).await;
    browser.press(Key::Escape).await;
    assert_eq!(lab.state("proxy-node-1").await.as_deref(), Some("draining"));
    browser.tab_to("button[data-act=ready]").await;
    browser.press(Key::Enter).await;
    browser.press(Key::Enter).await;
    lab.until_state("proxy-node-1", "usable").await;

    browser.tab_to("nav a[href='/#explain']").await;
    browser.press(Key::Enter).await;
    wait::until("the overview", || async {
        (!browser.text("#explain-form").await.is_empty()).then_some(())
    })
    .await;
    browser.tab_to("#explain-url").await;
    browser.type_text(&origin.url("/")).await;
    browser.press(Key::Enter).await;
    until_text(&browser, "#explained", "would send it to").await;
    browser.check_logs().await;
    browser.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_usable_node_is_drained_by_nobody_by_chance() {
    let lab = Lab::start(small()).await;
    let browser = Browser::start(&address(&lab)).await;
    log_in(&browser, &lab).await;
    lab.ok(&["node", "drain", "proxy-node-1"]).await;
    lab.until_state("proxy-node-1", "draining").await;
    let drain = "button[data-act=drain][data-name=proxy-node-2]";
    let left = format!("return document.querySelector(\"{drain}\")?.dataset.left ?? ''");
    wait::until("the page knows that nobody else is left", || async {
        (browser.js(&left, vec![]).await == "0").then_some(())
    })
    .await;

    browser.click(drain).await;
    until_text(&browser, "#confirm", "It is the last usable node").await;
    browser.screenshot("console-last-node").await;
    let disabled = "return document.querySelector('#confirm-yes').disabled";
    assert_eq!(browser.js(disabled, vec![]).await, true, "a click is not enough");
    // Neither is Enter, in the reason or with another's name.
    browser.find("#confirm-reason").await.send_keys("a slip").await.expect("type a reason");
    browser.press(Key::Enter).await;
    browser.find("#confirm-name").await.send_keys("proxy-node-1").await.expect("type a name");
    browser.press(Key::Enter).await;
    let open = "return document.querySelector('#confirm').open";
    assert_eq!(
        (browser.js(open, vec![]).await, browser.js(disabled, vec![]).await),
        (true.into(), true.into())
    );
    browser.click("#confirm button[value=no]").await;
    assert_eq!(lab.state("proxy-node-2").await.as_deref(), Some("usable"), "it was cancelled");

    // Whoever goes around the dialog is refused, too.
    let around = "fetch('/instances/proxy-node-2/admin-state', { method: 'POST', headers: { \
        'content-type': 'application/json', 'x-shoal-console': '1', 'x-shoal-token': \
        document.querySelector('meta[name=shoal-token]')?.content ?? '' }, body: JSON.stringify({ \
        state: 'drain', reason: '' }) }).then((answer) => { window.around = answer.status; }); \
        return 0";
    browser.js(around, vec![]).await;
    let status = wait::until("an answer", || async {
        browser.js("return window.around ?? 0", vec![]).await.as_u64().filter(|status| *status > 0)
    })
    .await;
    assert_eq!(status, 409);
    assert_eq!(lab.state("proxy-node-2").await.as_deref(), Some("usable"));

    browser.click(drain).await;
    browser.find("#confirm-name").await.send_keys("proxy-node-2").await.expect("type its name");
    assert_eq!(browser.js(disabled, vec![]).await, false);
    browser.click("#confirm-yes").await;
    lab.until_state("proxy-node-2", "draining").await;
    until_text(&browser, "#region-banner", "squid_servers").await;
    browser.screenshot("console-nobody-left").await;
    // The way back asks nothing of the kind.
    browser.click("button[data-act=ready][data-name=proxy-node-2]").await;
    until_text(&browser, "#confirm", "proxy-node-2?").await;
    assert_eq!(browser.js(disabled, vec![]).await, false);
    browser.click("#confirm-yes").await;
    lab.until_state("proxy-node-2", "usable").await;
    wait::until("the banner goes", || async {
        browser.text("#region-banner").await.is_empty().then_some(())
    })
    .await;
    browser.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_registry_is_told_and_the_rest_goes_on() {
    let mut options = small();
    options.arguments.push("--no-restart".into());
    let (lab, origin) = (Lab::start(options).await, Origin::start().await);
    let browser = Browser::start(&address(&lab)).await;
    browser.open("/").await;
    until_text(&browser, "#liveness", "live").await;
    // Until the console has met everybody for the first time it says whom it misses.
    wait::until("no banner", || async {
        browser.text("#region-banner").await.is_empty().then_some(())
    })
    .await;
    lab.signal("registry-1", Signal::SIGKILL);
    until_text(&browser, "#region-banner", "The registry has not answered for").await;
    browser.screenshot("console-registry-dead").await;
    assert!(shown(&browser, "proxy-node-2").await.1.contains("usable"), "what was known is shown");
    let load = load(&lab, &origin);
    wait::until("requests", || async {
        (browser.js(REQUESTS, vec![]).await != "0/s").then_some(())
    })
    .await;
    let outcome = load.enough().await;
    assert_eq!(outcome.failed, 0, "{:#?}", outcome.failures);
    let _registry = lab.restart("registry-1");
    wait::until("the banner goes", || async {
        browser.text("#region-banner").await.is_empty().then_some(())
    })
    .await;
    until_text(&browser, "#events", "answers the console again").await;
    assert!(browser.client.find(Locator::Css("#events")).await.is_ok());
    browser.end().await;
}
