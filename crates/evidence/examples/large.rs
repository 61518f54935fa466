//! What a large history costs: its bundle made and checked, in seconds and in memory, each in a process of its own.
//!
//! ```sh
//! cargo build --release -p evidence --example large
//! target/release/examples/large history 1000000 /tmp/events.jsonl     # 100 events a key
//! target/release/examples/large bundle /tmp/events.jsonl /tmp/bundle
//! target/release/examples/large check /tmp/bundle
//! ```
#![allow(clippy::unwrap_used, clippy::panic, reason = "an example that measures")]

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use evidence::bundle::{EVENTS, LINES, MANIFEST};
use evidence::verdict::{self, Folder, Given};
use evidence::{Bundle, export};
use journal::Record;
use journal::merkle::Frontier;
use journal::note::{Checkpoint, Note};
use lifecycle::scenario::Scenario;
use model::{Sequence, ServiceRole};

/// So many events are taken at once, as the exporter does.
const AT_ONCE: usize = 512;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let started = Instant::now();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["history", events, file] => history(events.parse().unwrap(), Path::new(file)),
        ["bundle", file, folder] => bundle(Path::new(file), Path::new(folder)),
        ["check", folder] => check(Path::new(folder)),
        _ => panic!("history EVENTS FILE | bundle FILE FOLDER | check FOLDER"),
    }
    println!("{:.1} s, at most {} MB", started.elapsed().as_secs_f64(), peak_megabytes());
}

/// The most memory that this process has had (`VmHWM`).
fn peak_megabytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

/// Keys that are activated, suspended and resumed, with a checkpoint after every thousand events or so.
fn history(events: usize, file: &Path) {
    let mut out = BufWriter::new(File::create(file).unwrap());
    let (mut scenario, mut written, mut key, mut checkpoint) = (Scenario::new(), 0, 0, 0);
    scenario.compares = false;
    while written < events {
        let k = format!("k{key}");
        key += 1;
        scenario.run(&format!(
            "generate {k} by kim => key.generated\napply {k} => custody.applied\nrequest {k} by rae => activation.requested
             approve {k} by sam => activation.approved\napprove {k} by lou => activation.approved
             duty authorize {k} => activation.authorized\nduty activate {k} => key.activated
             apply {k} => custody.applied"
        ));
        for _ in 0..23 {
            scenario.run(&format!(
                "suspend {k} by opa => key.suspended\napply {k} => custody.applied
                 resume {k} by opa => key.resumed\napply {k} => custody.applied"
            ));
        }
        if written + scenario.records.len() - checkpoint > 1000 {
            scenario.run("checkpoint => checkpoint.signed");
            checkpoint = written + scenario.records.len();
        }
        written += scenario.records.len();
        for record in scenario.records.drain(..) {
            writeln!(out, "{}", export::to_line(&record)).unwrap();
        }
    }
    out.flush().unwrap();
    println!("{written} events of {key} keys");
}

fn bundle(file: &Path, folder: &Path) {
    let scenario = Scenario::new();
    let tenant = scenario.tenant.chain.tenant();
    let exporter = scenario.service(ServiceRole::EvidenceExporter);
    let mut bundle = Bundle::new(tenant, scenario.tenant.root, Sequence(1));
    let (mut events, mut ocsf) = (create(folder, EVENTS), create(folder, LINES));
    let (mut read, mut tree) = (0, Frontier::default());
    let mut lines = BufReader::new(File::open(file).unwrap()).lines();
    loop {
        let lines = lines.by_ref().take(AT_ONCE).map(|line| export::from_line(line.unwrap().as_bytes()).unwrap());
        let records: Vec<Record> = lines.collect();
        if records.is_empty() {
            break;
        }
        read += records.len();
        records.iter().for_each(|record| tree.push(record.hash().as_bytes()));
        bundle.take(records, &mut events, &mut ocsf).unwrap();
    }
    let note = Checkpoint::of(tenant, &tree).sign(exporter.signing_key());
    let made = bundle.finish(&[Note::parse(&note).unwrap()]).unwrap();
    let statement = made.write(exporter, |name: &str| Ok(create(folder, name))).unwrap();
    create(folder, MANIFEST).write_all(&statement.sign(exporter)).unwrap();
    events.flush().unwrap();
    ocsf.flush().unwrap();
    println!("{read} events bundled");
}

fn create(folder: &Path, name: &str) -> BufWriter<File> {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    BufWriter::new(File::create(path).unwrap())
}

fn check(folder: &Path) {
    let given = Given::root(Scenario::new().tenant.root);
    let verdict = verdict::check(&mut OnDisk(folder.to_owned()), &given, &mut |_| ()).unwrap();
    assert!(verdict.holds, "{:?}", verdict.findings().next());
    println!("it holds");
}

struct OnDisk(PathBuf);

impl Folder for OnDisk {
    fn names(&mut self) -> io::Result<Vec<String>> {
        let (mut found, mut left) = (Vec::new(), vec![self.0.clone()]);
        while let Some(folder) = left.pop() {
            for entry in fs::read_dir(folder)? {
                let path = entry?.path();
                if path.is_dir() {
                    left.push(path);
                } else {
                    found.push(path.strip_prefix(&self.0).unwrap().display().to_string());
                }
            }
        }
        Ok(found)
    }

    fn open<'a>(&'a mut self, name: &str) -> io::Result<Box<dyn Read + 'a>> {
        Ok(Box::new(BufReader::new(File::open(self.0.join(name))?)))
    }
}
