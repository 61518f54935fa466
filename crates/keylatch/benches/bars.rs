//! The bars: ratios and shapes, each measured beside its yardstick in one run.
//!
//! ```sh
//! cargo xtask bench bars                     all of them
//! cargo xtask bench bars writer lifecycle    these
//! ```
//!
//! What each measures, and what came of it: docs/performance.md.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "measures")]

#[path = "bars/raw.rs"]
mod raw;
#[path = "bars/writer.rs"]
mod writer;

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use journal_nats::server::SyncInterval;
use load_tester::plan::{Mix, Pace, Plan, Step};
use load_tester::{Cast, Report};

/// A durability mode: when the server brings what it acknowledged to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Before it acknowledges.
    Always,
    /// Every two minutes, as with three replicas.
    Default,
}

impl Mode {
    const BOTH: [Self; 2] = [Self::Always, Self::Default];

    fn name(self) -> &'static str {
        match self {
            Self::Always => "always",
            Self::Default => "default",
        }
    }

    fn sync(self) -> SyncInterval {
        match self {
            Self::Always => SyncInterval::Always,
            Self::Default => SyncInterval::Every(Duration::from_secs(120)),
        }
    }
}

/// Where the test command keeps what it has downloaded.
pub(crate) fn cache() -> PathBuf {
    let named = std::env::var_os("KEYLATCH_CACHE").map(PathBuf::from);
    named.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.cache"))
}

/// A figure, its yardstick, and the bar.
pub(crate) fn ratio(what: &str, mode: Mode, ours: f64, theirs: f64, bar: f64) {
    let ratio = ours / theirs;
    let verdict = if ratio >= bar { "met" } else { "not met" };
    println!("{what:<34} {:<8} {ours:>9.0} of {theirs:>9.0} /s   {ratio:.2}   bar {bar:.2}   {verdict}", mode.name());
}

/// A figure and its upper bound.
pub(crate) fn below(what: &str, mode: Mode, value: f64, unit: &str, bar: f64) {
    let verdict = if value <= bar { "met" } else { "not met" };
    println!("{what:<34} {:<8} {value:>9.2} {unit}   bar {bar:.2}   {verdict}", mode.name());
}

#[tokio::main]
async fn main() {
    let named: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    if let [child, rest @ ..] = named.as_slice()
        && child == "writer-process"
    {
        return writer::process(rest).await;
    }
    let wanted = |bar: &str| named.is_empty() || named.iter().any(|name| name == bar);
    for mode in Mode::BOTH {
        if wanted("writer") {
            writer::one(mode).await;
        }
        if wanted("lanes") {
            writer::eight(mode).await;
        }
        if wanted("processes") {
            writer::three_processes(mode).await;
        }
        if wanted("lifecycle") {
            lifecycle(mode).await;
        }
    }
    if wanted("noisy") {
        noisy(Mode::Default).await;
    }
}

// === A platform as its users see it ===

/// `keylatch up`, as a process of its own.
struct Up {
    dir: tempfile::TempDir,
    process: Child,
}

impl Drop for Up {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-TERM", &self.process.id().to_string()]).status();
        let _ = self.process.wait();
    }
}

fn keylatch() -> Command {
    Command::new(env!("CARGO_BIN_EXE_keylatch"))
}

impl Up {
    fn start(mode: Mode) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let platform = dir.path().join("platform");
        let mut up = keylatch();
        up.args(["up", "--dir"]).arg(&platform).env("KEYLATCH_LOG", "warn");
        if mode == Mode::Default {
            up.args(["--sync", "default"]);
        }
        let mut process = up.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().contains("up at ")), "the platform does not start");
        std::thread::spawn(move || lines.for_each(drop));
        Self { dir, process }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("platform")
    }

    /// A cast of so many tenants.
    fn cast(&self, tenants: u32) -> Cast {
        let out = self.dir.path().join("cast");
        let mut prepare = keylatch();
        prepare.args(["load", "prepare", "--tenants", &tenants.to_string(), "--out"]).arg(&out);
        let made = prepare.arg("--dir").arg(self.path()).stderr(Stdio::null()).stdout(Stdio::null()).status();
        assert!(made.unwrap().success(), "the cast can't be prepared");
        Cast::load(&out).unwrap()
    }
}

fn mix(text: &str) -> Mix {
    text.parse().unwrap()
}

fn closed(what: &str, at_once: usize, seconds: u64) -> Plan {
    Plan {
        mix: mix(what),
        pace: Pace::Closed { at_once },
        lasts: Duration::from_secs(seconds),
        warm_up: Duration::from_secs(3),
        subscribers: 0,
        under_way_max: 4096,
        check: true,
    }
}

fn open(what: &str, rate: f64, seconds: u64) -> Plan {
    let lasts = Duration::from_secs(seconds);
    Plan { pace: Pace::Open { steps: vec![Step { from: rate, to: rate, lasts }] }, ..closed(what, 1, seconds) }
}

async fn run(cast: &Cast, plan: &Plan) -> Report {
    load_tester::run(cast, plan, |_| ()).await.unwrap()
}

fn first(cast: &Cast, count: usize) -> Cast {
    Cast { tenants: cast.tenants.iter().take(count).cloned().collect(), ..cast.clone() }
}

// === The bars that go through `keylatch up` ===

/// The full lifecycle, beside raw publishing of as many events; then half of its rate, for latencies, and suspensions under
/// that load.
async fn lifecycle(mode: Mode) {
    let up = Up::start(mode);
    let cast = up.cast(8);
    let report = run(&cast, &closed("lifecycle", 256, 15)).await;
    assert!(report.checked.as_ref().unwrap().holds(), "{}", report.to_text());
    let done = report.of("lifecycle").unwrap();
    let rate = done.per_second;
    println!("\n{}", report.to_text());
    let raw = raw::rate(mode, &raw::events(&cast).await, 8).await;
    match mode {
        Mode::Default => ratio("full lifecycles (of 400 a second)", mode, rate, 400.0, 1.0),
        Mode::Always => ratio("full lifecycles (events of raw)", mode, rate * 8.0, raw, 0.6),
    }
    let half = run(&cast, &open("lifecycle", rate / 2.0, 15)).await;
    println!("\n{}", half.to_text());
    for what in ["key.generate", "activation.request", "activation.approve"] {
        below(&format!("p99 of {what}, half rate"), mode, half.of(what).unwrap().from_due.p99, "ms", 50.0);
    }
    let with_halts = run(&cast, &open("lifecycle=20,suspend=1", rate / 2.0, 15)).await;
    println!("\n{}", with_halts.to_text());
    if let Some(halts) = with_halts.of("suspend to refusal") {
        below("p99 of suspend to refusal", mode, halts.from_sent.p99, "ms", 50.0);
    }
}

/// A quiet tenant, alone, and beside another that asks for as much as it can.
async fn noisy(mode: Mode) {
    let up = Up::start(mode);
    let cast = up.cast(2);
    let quiet = first(&cast, 1);
    let loud = Cast { tenants: cast.tenants[1..].to_vec(), ..cast.clone() };
    let plan = open("lifecycle", 10.0, 15);
    let alone = run(&quiet, &plan).await;
    let noise = closed("lifecycle", 256, 20);
    let (beside, noise) = tokio::join!(run(&quiet, &plan), run(&loud, &noise));
    println!("\nalone\n{}\nbeside\n{}\nthe other\n{}", alone.to_text(), beside.to_text(), noise.to_text());
    for what in ["key.generate", "activation.approve"] {
        let (alone, beside) = (alone.of(what).unwrap().from_due.p99, beside.of(what).unwrap().from_due.p99);
        below(&format!("p99 of {what}, beside : alone"), mode, beside / alone, "times", 2.0);
    }
}
