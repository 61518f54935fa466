//! Headless Chromium, driven over its DevTools protocol through two pipes. No driver program, no port, no waiting by the
//! clock: the browser says when something is done.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::{Value, json};

/// The environment variable that names the program; left out, `chromium` on the search path.
pub(crate) const VARIABLE: &str = "KEYLATCH_CHROMIUM";

/// How long the browser may be silent while something is awaited of it, before a test fails.
const PATIENCE: Duration = Duration::from_secs(120);

/// A browser. It is ended when this is dropped.
pub(crate) struct Browser {
    process: Child,
    to: ChildStdin,
    from: Receiver<Value>,
    next: u64,
    session: String,
    /// What the page wrote to its console, and what was refused it.
    complaints: Vec<String>,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// Starts the browser, with one empty page.
    ///
    /// # Panics
    /// Where there is no Chromium: a test that needs one does not pass without.
    pub(crate) fn start() -> Self {
        let program = std::env::var_os(VARIABLE).unwrap_or_else(|| "chromium".into());
        let profile = tempfile::tempdir().unwrap();
        // The protocol is spoken on descriptors 3 and 4: the shell lays standard input and output there.
        let script = r#"program=$1; shift; exec "$program" "$@" 3<&0 4>&1 0</dev/null 1>/dev/null"#;
        let mut process = Command::new("sh")
            .args(["-c", script, "sh"])
            .arg(&program)
            .args(["--headless=new", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu", "--no-first-run"])
            .args([
                "--disable-dev-shm-usage",
                "--hide-scrollbars",
                "--force-color-profile=srgb",
                "--disable-extensions",
            ])
            .args([
                "--disable-background-networking",
                "--disable-component-update",
                "--host-resolver-rules=MAP * ~NOTFOUND",
            ])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (to, from) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
        let (sender, receiver) = channel();
        std::thread::spawn(move || {
            let mut from = BufReader::new(from);
            let mut message = Vec::new();
            while from.read_until(0, &mut message).is_ok_and(|count| count > 0) {
                message.pop();
                let Ok(value) = serde_json::from_slice(&message) else { break };
                if sender.send(value).is_err() {
                    break;
                }
                message.clear();
            }
        });
        let mut browser = Self {
            process,
            to,
            from: receiver,
            next: 0,
            session: String::new(),
            complaints: Vec::new(),
            _profile: profile,
        };
        let wanted = format!("is there a Chromium? `{}` was started; {VARIABLE} names another", program.display());
        let target =
            browser.call("Target.createTarget", json!({ "url": "about:blank" })).unwrap_or_else(|| panic!("{wanted}"));
        let attached =
            browser.call("Target.attachToTarget", json!({ "targetId": target["targetId"], "flatten": true }));
        browser.session = attached.unwrap()["sessionId"].as_str().unwrap().to_owned();
        for domain in ["Page", "Runtime", "Log", "DOM", "Network"] {
            browser.call(&format!("{domain}.enable"), json!({})).unwrap();
        }
        browser
    }

    /// Sends a command and waits for its answer. `None` where the browser is gone.
    fn call(&mut self, method: &str, params: Value) -> Option<Value> {
        self.next += 1;
        let mut message = json!({ "id": self.next, "method": method, "params": params });
        if !self.session.is_empty() {
            message["sessionId"] = json!(self.session);
        }
        self.to.write_all(message.to_string().as_bytes()).ok()?;
        self.to.write_all(&[0]).ok()?;
        loop {
            let said = self.hear()?;
            if said["id"] == self.next {
                assert!(said["error"].is_null(), "{method}: {}", said["error"]);
                return Some(said["result"].clone());
            }
        }
    }

    /// The next thing that the browser says.
    fn hear(&mut self) -> Option<Value> {
        let said = match self.from.recv_timeout(PATIENCE) {
            Ok(said) => said,
            Err(RecvTimeoutError::Disconnected) => return None,
            Err(RecvTimeoutError::Timeout) => {
                panic!("the browser says nothing for {PATIENCE:?}; before: {:?}", self.complaints)
            }
        };
        let complaint = match said["method"].as_str() {
            Some("Log.entryAdded") => Some(said["params"]["entry"]["text"].to_string()),
            Some("Runtime.exceptionThrown") => Some(said["params"]["exceptionDetails"].to_string()),
            Some("Runtime.consoleAPICalled") => Some(said["params"]["args"].to_string()),
            // Whatever a page asks for beside itself.
            Some("Network.requestWillBeSent") => {
                let url = said["params"]["request"]["url"].as_str().unwrap_or_default();
                (said["params"]["type"] != "Document").then(|| format!("it asked for {url}"))
            }
            _ => None,
        };
        self.complaints.extend(complaint);
        Some(said)
    }

    /// Opens a file and waits until it is loaded.
    pub(crate) fn open(&mut self, file: &Path) {
        self.complaints.clear();
        let went = self.call("Page.navigate", json!({ "url": format!("file://{}", file.display()) })).unwrap();
        assert!(went["errorText"].is_null(), "{went}");
        while self.hear().unwrap()["method"] != "Page.loadEventFired" {}
    }

    /// What was logged, thrown, refused, or asked of a network since the page was opened.
    pub(crate) fn complaints(&self) -> &[String] {
        &self.complaints
    }

    /// Evaluates JavaScript in the page; a promise is awaited.
    pub(crate) fn eval(&mut self, script: &str) -> Value {
        let params = json!({ "expression": script, "awaitPromise": true, "returnByValue": true, "userGesture": true });
        let said = self.call("Runtime.evaluate", params).unwrap();
        let wrong = &said["exceptionDetails"];
        assert!(wrong.is_null(), "{}: {wrong}", script.chars().take(300).collect::<String>());
        said["result"]["value"].clone()
    }

    /// Waits until the page has come to one of its final states, and says which.
    pub(crate) fn checked(&mut self) -> String {
        let state = self.eval(
            "new Promise((found) => {
                const look = () => {
                    const state = document.documentElement.dataset.check;
                    if (!['unchecked', 'running'].includes(state)) found(state);
                    return state;
                };
                new MutationObserver(look).observe(document.documentElement, { attributes: true });
                look();
            })",
        );
        state.as_str().unwrap().to_owned()
    }

    /// The text that a reader sees in an element.
    pub(crate) fn text(&mut self, selector: &str) -> String {
        let script = format!("document.querySelector({}).innerText", json!(selector));
        self.eval(&script).as_str().unwrap().to_owned()
    }

    /// Gives files, or a folder, to a file input. What the page has come to before is forgotten.
    pub(crate) fn choose(&mut self, selector: &str, files: &[&Path]) {
        let script = format!("document.querySelector({})", json!(selector));
        self.eval(&format!("document.documentElement.dataset.check = 'unchecked'; {script}.value = ''"));
        let found = self.call("Runtime.evaluate", json!({ "expression": script })).unwrap();
        let object = &found["result"]["objectId"];
        self.call("DOM.setFileInputFiles", json!({ "objectId": object, "files": files })).unwrap();
    }

    /// Presses a key, as a keyboard does.
    pub(crate) fn press(&mut self, key: &str) {
        let codes = HashMap::from([("Tab", 9), ("Enter", 13)]);
        let text = if key == "Enter" { "\r" } else { "" };
        for kind in ["keyDown", "keyUp"] {
            let code = codes[key];
            let text = if kind == "keyDown" { text } else { "" };
            let params = json!({ "type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code, "text": text });
            self.call("Input.dispatchKeyEvent", params).unwrap();
        }
    }

    /// Types text into what has the focus.
    pub(crate) fn type_text(&mut self, text: &str) {
        self.call("Input.insertText", json!({ "text": text })).unwrap();
    }

    /// Whether scripts run in the pages that are opened from now on.
    pub(crate) fn scripts(&mut self, run: bool) {
        self.call("Emulation.setScriptExecutionDisabled", json!({ "value": !run })).unwrap();
    }

    /// How the page is looked at: width in CSS pixels, `light` or `dark`, on `screen` or in `print`.
    pub(crate) fn look(&mut self, width: u32, scheme: &str, medium: &str) {
        let metrics = json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false });
        self.call("Emulation.setDeviceMetricsOverride", metrics).unwrap();
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.call("Emulation.setEmulatedMedia", json!({ "media": medium, "features": features })).unwrap();
    }

    /// The whole page as a picture.
    pub(crate) fn screenshot(&mut self, file: &Path) {
        let params = json!({ "format": "png", "captureBeyondViewport": true });
        let shot = self.call("Page.captureScreenshot", params).unwrap();
        std::fs::write(file, BASE64_STANDARD.decode(shot["data"].as_str().unwrap()).unwrap()).unwrap();
    }

    /// The page as it is printed.
    pub(crate) fn pdf(&mut self, file: &Path) {
        let params =
            json!({ "printBackground": true, "preferCSSPageSize": true, "paperWidth": 8.27, "paperHeight": 11.69 });
        let pdf = self.call("Page.printToPDF", params).unwrap();
        std::fs::write(file, BASE64_STANDARD.decode(pdf["data"].as_str().unwrap()).unwrap()).unwrap();
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It ends itself when its pipe is closed; whoever does not is ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
