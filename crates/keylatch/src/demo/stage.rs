//! Where the demo plays: a folder, and commands run in it as people would run them.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use evidence::verdict::Folder as _;
use journal::command::SignedCommand;
use model::{Action, Event, EventType, TenantId, dsse};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{ChildStdout, Command};

use super::cast::Cast;
use crate::context::{Context, Contexts, HOME_VARIABLE};
use crate::error::Error;
use crate::folder::Bundle;
use crate::layout::{BOLD, CYAN, DIM, GREEN, RED, YELLOW};
use crate::platform::Deployment;
use crate::screen::{Screen, Shown};

/// How much of a command is shown.
const LINE_MAX: usize = 116;
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// The stage.
pub(super) struct Stage<'a> {
    screen: &'a mut Screen,
    dir: PathBuf,
    platform: PathBuf,
    program: PathBuf,
    scene: u32,
    commands: u32,
    began: Instant,
}

impl<'a> Stage<'a> {
    /// A stage in this folder.
    pub(super) fn new(screen: &'a mut Screen, dir: &Path, platform: &Path) -> Result<Self, Error> {
        let program = std::env::current_exe()?;
        let (dir, platform) = (dir.to_owned(), platform.to_owned());
        Ok(Self { screen, dir, platform, program, scene: 0, commands: 0, began: Instant::now() })
    }

    /// The folder with everybody's contexts.
    pub(super) fn contexts(&self) -> PathBuf {
        self.dir.join("contexts")
    }

    /// A file on the stage.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// An input file, as it is named on the command line.
    pub(super) fn input(&self, path: &Path) -> String {
        path.display().to_string()
    }

    /// A tenant's bus credentials.
    pub(super) fn credentials(&self, tenant: TenantId) -> PathBuf {
        self.dir.join(format!("{tenant}.creds"))
    }

    // === Saying ===

    /// Says something.
    pub(super) fn say(&mut self, text: &str) -> Result<(), Error> {
        self.screen.tell(&format!("\n{text}\n"))
    }

    /// Begins a scene.
    pub(super) fn heading(&mut self, text: &str) -> Result<(), Error> {
        self.scene += 1;
        let scene = self.scene;
        self.screen.tell(&format!("\n{BOLD}{CYAN}{scene:>2}  {text}.{CYAN:#}{BOLD:#}\n\n"))
    }

    fn typed(&mut self, context: Option<&str>, arguments: &[&str]) -> Result<(), Error> {
        self.commands += 1;
        let mut line = String::from("$ keylatch");
        if let Some(context) = context {
            let _ = write!(line, " --context {context}");
        }
        for argument in arguments {
            let word = argument.rsplit_once('/').map_or(*argument, |(_, name)| name);
            let word = if argument.starts_with('/') { word } else { argument };
            let _ = if word.contains([' ', '(']) { write!(line, " '{word}'") } else { write!(line, " {word}") };
        }
        if line.chars().count() > LINE_MAX {
            line = line.chars().take(LINE_MAX - 2).collect::<String>() + " …";
        }
        self.screen.tell(&format!("    {DIM}{line}{DIM:#}\n"))
    }

    fn mark(&mut self, good: bool, text: &str) -> Result<(), Error> {
        let (style, mark) = if good { (GREEN, "ok") } else { (YELLOW, "refused") };
        self.screen.tell(&format!("    {style}{mark}{style:#}  {text}\n"))
    }

    /// Something that must be so.
    pub(super) fn check(&mut self, what: &str, holds: bool) -> Result<(), Error> {
        if holds {
            return self.mark(true, what);
        }
        self.screen.tell(&format!("    {RED}NO{RED:#}  {what}\n"))?;
        Err(Error::failed(format!("the demo expects that {what}"), "tell the authors"))
    }

    /// The last word: the result for programs, and what it took.
    pub(super) fn finish(&mut self) -> Result<(), Error> {
        let (scenes, commands) = (self.scene, self.commands);
        let seconds = self.began.elapsed().as_secs_f64();
        let people = format!("\n{GREEN}done{GREEN:#}: {scenes} scenes, {commands} commands, {seconds:.0} s\n");
        let json = serde_json::json!({ "ok": true, "scenes": scenes, "commands": commands });
        self.screen.show(&Shown { json, people })
    }

    // === Doing ===

    fn command(&self, context: Option<&str>, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.current_dir(&self.dir).env(HOME_VARIABLE, self.contexts()).stdin(Stdio::null()).kill_on_drop(true);
        command.args(context.map(|context| ["--context", context]).into_iter().flatten()).args(arguments);
        command
    }

    async fn output(&self, mut command: Command) -> Result<Output, Error> {
        let ran = tokio::time::timeout(PATIENCE, command.output()).await;
        Ok(ran.map_err(|_| Error::failed("a command did not end in a minute", "see the platform's log"))??)
    }

    async fn json(&mut self, context: Option<&str>, arguments: &[&str]) -> Result<(Option<i32>, Value, String), Error> {
        self.typed(context, arguments)?;
        let mut command = self.command(context, arguments);
        command.arg("--json");
        let output = self.output(command).await?;
        let json = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
        Ok((output.status.code(), json, String::from_utf8_lossy(&output.stderr).into_owned()))
    }

    /// Runs a command that must do what it is asked. Its result, for programs; a line for people.
    pub(super) async fn done(&mut self, context: Option<&str>, arguments: &[&str]) -> Result<Value, Error> {
        match self.json(context, arguments).await? {
            (Some(0), json, _) => Ok(json),
            (code, json, said) => {
                let what = format!("`keylatch {}` ended with {code:?}: {json:#} {said}", arguments.join(" "));
                Err(Error::failed(what, "tell the authors"))
            }
        }
    }

    /// Runs a command that must be refused. Shows why it was.
    pub(super) async fn refused(&mut self, context: Option<&str>, arguments: &[&str]) -> Result<(), Error> {
        match self.json(context, arguments).await? {
            (Some(1), problem, _) if text(&problem, "/type").is_some() => {
                let text = |member: &str| text(&problem, member).unwrap_or_default().to_owned();
                self.mark(false, &format!("{} {}", text("/title"), text("/detail")))
            }
            (code, json, _) => {
                let what = format!("`keylatch {}` was not refused: {code:?} {json:#}", arguments.join(" "));
                Err(Error::failed(what, "tell the authors"))
            }
        }
    }

    /// Runs a command that must do what it is asked, and shows what it says to people.
    pub(super) async fn shown(&mut self, context: Option<&str>, arguments: &[&str]) -> Result<(), Error> {
        self.told(context, arguments, 0).await
    }

    /// Runs a question whose answer is no, and shows what it says to people.
    pub(super) async fn shown_to_be_no(&mut self, context: Option<&str>, arguments: &[&str]) -> Result<(), Error> {
        self.told(context, arguments, 1).await
    }

    /// Runs a command that must end with this code, and shows what it says to people.
    async fn told(&mut self, context: Option<&str>, arguments: &[&str], code: i32) -> Result<(), Error> {
        self.typed(context, arguments)?;
        let mut command = self.command(context, arguments);
        // Colours where we have them ourselves.
        command.env("CLICOLOR_FORCE", if self.screen.has_colour() { "1" } else { "0" });
        let output = self.output(command).await?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let lines: String = said.lines().map(|line| format!("      {line}\n")).collect();
        self.screen.tell(&lines)?;
        if output.status.code() == Some(code) {
            return Ok(());
        }
        let (ended, said) = (output.status, String::from_utf8_lossy(&output.stderr));
        let what = format!("`keylatch {}` ended otherwise than it must ({ended}): {said}", arguments.join(" "));
        Err(Error::failed(what, "tell the authors"))
    }

    /// Runs a command that must do what it is asked, and keeps what it prints in a file.
    pub(super) async fn kept(&mut self, context: Option<&str>, arguments: &[&str], file: &str) -> Result<(), Error> {
        self.typed(context, &[arguments, &[">", file]].concat())?;
        let output = self.output(self.command(context, arguments)).await?;
        std::fs::write(self.path(file), &output.stdout)?;
        self.check(&format!("{} bytes in {file}", output.stdout.len()), output.status.success())
    }

    /// Runs a check that must find something, and shows what.
    pub(super) async fn found_out(&mut self, arguments: &[&str]) -> Result<(), Error> {
        match self.json(None, arguments).await? {
            (Some(1), json, _) => {
                let fault = text(&json, "/fault").unwrap_or_default();
                self.check(&format!("it is found: {fault}"), fault.starts_with("event "))
            }
            (code, json, _) => {
                Err(Error::failed(format!("a changed byte was not found: {code:?} {json:#}"), "tell the authors"))
            }
        }
    }

    /// Makes an SSH key for somebody, as anybody would.
    pub(super) async fn make_key(&mut self, label: &model::Name) -> Result<(), Error> {
        let mut command = Command::new("ssh-keygen");
        command.args(["-q", "-t", "ed25519", "-N", "", "-C", label.as_str(), "-f", label.as_str()]);
        command.current_dir(&self.dir).stdin(Stdio::null());
        let output = self.output(command).await?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        Err(Error::failed(format!("ssh-keygen made no key: {said}"), "install openssh-client"))
    }

    /// A context for each of a tenant's people, over one bus user.
    pub(super) async fn contexts_for(&mut self, cast: &Cast, tenant: TenantId) -> Result<(), Error> {
        let (id, file) = (tenant.to_string(), format!("{tenant}.creds"));
        self.done(None, &["tenant", "user", &id, "--dir", "platform", "--out", &file]).await?;
        let deployment = Deployment::open(&self.platform, &service::Clock::default());
        let deployment = deployment.map_err(crate::command::up::of_platform)?;
        let contexts = Contexts::at(self.contexts());
        for label in cast.everybody() {
            let context = Context {
                url: deployment.url().map_err(crate::command::up::of_platform)?,
                credentials: self.credentials(tenant),
                tenant,
                root: deployment.root,
                identity: Some(self.path(label.as_str())),
            };
            contexts.add(label, &context, false)?;
        }
        Ok(())
    }

    // === Waiting ===

    /// Waits until the custodian has brought a key's store to a state, in an event not before `since` (the answer to a
    /// command).
    pub(super) async fn until(&mut self, context: &str, key: &str, state: &str, since: &Value) -> Result<(), Error> {
        let from = ["/sequence", "/event/sequence"]
            .iter()
            .find_map(|place| since.pointer(place))
            .map(Value::to_string)
            .unwrap_or_default();
        let is_so =
            |seen: &Value| text(seen, "/type") == Some("custody.applied") && text(seen, "/data/state") == Some(state);
        let sequence = self.seen(context, &["watch", "--key", key, "--from", &from], is_so).await?;
        self.mark(true, &format!("event {sequence}, custody.applied: `{key}` is {state} in its store"))
    }

    /// Waits until the history has an event of this type.
    pub(super) async fn recorded(&mut self, context: &str, event_type: &str) -> Result<(), Error> {
        let is_so = |seen: &Value| text(seen, "/type") == Some(event_type);
        let sequence = self.seen(context, &["watch", "--from", "1"], is_so).await?;
        self.mark(true, &format!("event {sequence}, {event_type}"))
    }

    /// Watches until an event is one that is waited for. Gives its place.
    async fn seen(&mut self, context: &str, arguments: &[&str], is_so: impl Fn(&Value) -> bool) -> Result<u64, Error> {
        self.typed(Some(context), arguments)?;
        let mut command = self.command(Some(context), arguments);
        let mut child = command.arg("--json").stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let out = child.stdout.take().ok_or_else(|| Error::failed("no output to watch", "tell the authors"))?;
        let waited = tokio::time::timeout(PATIENCE, first(BufReader::new(out).lines(), is_so)).await;
        let late = |_| Error::failed("what was waited for did not come in a minute", "see the platform's log");
        let sequence = waited.map_err(late)??;
        child.kill().await?;
        Ok(sequence)
    }

    // === Proving ===

    /// Finds an approval in an export and has stock `ssh-keygen` verify it.
    pub(super) async fn check_approval(&mut self, export: &str, by: &str) -> Result<(), Error> {
        let folder = self.path(export);
        let approval = approval(&folder, by)?;
        let message = dsse::pae(&approval.envelope.payload_type, &approval.envelope.payload.0);
        let signature = approval.envelope.signatures.first().map(|signature| signature.sig.clone());
        let armoured = armour(&signature.map(|sig| sig.0).unwrap_or_default());
        std::fs::write(self.path("m"), &message)?;
        std::fs::write(self.path("m.sig"), armoured)?;
        std::fs::write(self.path("allowed_signers"), trust(&folder)?.allowed_signers())?;
        let signers = "allowed_signers".to_owned();
        let arguments = ["-Y", "verify", "-f", &signers, "-I", by, "-n", model::command::NAMESPACE, "-s", "m.sig"];
        self.screen.tell(&format!("    {DIM}$ ssh-keygen {} < m{DIM:#}\n", arguments.join(" ")))?;
        let mut command = Command::new("ssh-keygen");
        command.args(arguments).current_dir(&self.dir).stdin(std::fs::File::open(self.path("m"))?);
        let output = self.output(command).await?;
        let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        self.check(&said, output.status.success() && said.starts_with("Good"))
    }

    /// Copies an export and changes one byte in the middle of it.
    pub(super) fn flip_a_byte(&mut self, export: &str, copy: &str) -> Result<(), Error> {
        let (from, to) = (self.path(export), self.path(copy));
        for name in Bundle::open(&from)?.names()? {
            to.join(&name).parent().map_or(Ok(()), std::fs::create_dir_all)?;
            std::fs::copy(from.join(&name), to.join(&name))?;
        }
        let path = to.join("events.jsonl");
        let mut bytes = std::fs::read(&path)?;
        let middle = bytes.len() / 2;
        let start = bytes.iter().take(middle).rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        // In the middle of a payload, in base64: another letter is another byte.
        let at = start + 400;
        let place = bytes.iter().take(start).filter(|byte| **byte == b'\n').count() + 1;
        if let Some(byte) = bytes.get_mut(at) {
            *byte = if *byte == b'A' { b'B' } else { b'A' };
        }
        std::fs::write(&path, bytes)?;
        self.screen.tell(&format!("    {DIM}byte {at} of events.jsonl, in event {place}{DIM:#}\n"))?;
        Ok(())
    }
}

/// The text at a place in JSON.
fn text<'a>(json: &'a Value, pointer: &str) -> Option<&'a str> {
    json.pointer(pointer)?.as_str()
}

/// Reads on to the first event that is so. Gives its place.
async fn first(mut lines: Lines<BufReader<ChildStdout>>, is_so: impl Fn(&Value) -> bool) -> Result<u64, Error> {
    while let Some(line) = lines.next_line().await? {
        let seen: Value = serde_json::from_str(&line).unwrap_or(Value::Null);
        if is_so(&seen) {
            return Ok(seen.get("sequence").and_then(Value::as_u64).unwrap_or_default());
        }
    }
    Err(Error::failed("`keylatch watch` ended", "tell the authors"))
}

fn trust(export: &Path) -> Result<evidence::Trust, Error> {
    let trust = serde_json::from_slice(&std::fs::read(export.join("trust.json"))?);
    trust.map_err(|error| Error::failed(error, "tell the authors"))
}

/// The signed command of an approval by this label.
fn approval(export: &Path, by: &str) -> Result<SignedCommand, Error> {
    let trust = trust(export)?;
    let who = trust.principals.iter().find(|principal| principal.principal.label.as_str() == by);
    let who = who.map(|principal| principal.fingerprint);
    let events = std::fs::read(export.join("events.jsonl"))?;
    let approvals = events.split(|byte| *byte == b'\n').filter_map(|line| {
        let record = evidence::export::from_line(line).ok()?;
        let body = journal::Body::parse(&record.payload).ok()?;
        let event_type: EventType = body.event_type.parse().ok()?;
        let event = Event::parse(event_type, &body.data).ok()?;
        let signed = SignedCommand::open(event.command()?.clone()).ok()?;
        matches!(signed.command.action, Action::ActivationApprove(_)).then_some(signed)
    });
    let mut by_them = approvals.filter(|signed| signed.signers.first().map(|signer| signer.key.fingerprint()) == who);
    by_them.next().ok_or_else(|| Error::failed(format!("no approval by `{by}` in the export"), "tell the authors"))
}

/// A binary SSHSIG in the armour that `ssh-keygen` reads.
fn armour(sig: &[u8]) -> String {
    let base64 = model::text::Base64(sig.to_vec()).to_string();
    let lines: Vec<&str> = base64.as_bytes().chunks(70).filter_map(|line| std::str::from_utf8(line).ok()).collect();
    format!("-----BEGIN SSH SIGNATURE-----\n{}\n-----END SSH SIGNATURE-----\n", lines.join("\n"))
}
