//! Exports of the events alone, and checking them with the program and without it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use keylatch::command::export::plain::export;
use keylatch::{Screen, Show};
use model::Algorithm;

use crate::memory::Platform;
use crate::requests::active;
use crate::{json, keylatch, stdout};

struct Exported {
    folder: tempfile::TempDir,
    root: String,
    tenant: String,
    head: String,
    events: usize,
}

impl Exported {
    fn path(&self) -> PathBuf {
        self.folder.path().join("evidence")
    }

    fn lines(&self) -> Vec<String> {
        let text = fs::read_to_string(self.path().join("events.jsonl")).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    fn verify(&self, path: &Path, more: &[&str]) -> std::process::Output {
        let path = path.display().to_string();
        let mut arguments = vec!["verify", &path, "--root", &self.root];
        arguments.extend(more);
        keylatch(self.folder.path(), &arguments)
    }
}

async fn exported() -> Exported {
    let platform = Platform::new();
    active(&platform, "weights", Algorithm::Aes256Gcm).await;
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("evidence");
    let mut session = platform.reader();
    let done = export(&mut session, &mut Screen::silent(), &target).await.unwrap();
    assert!(done.to_people().contains("keylatch verify"));
    assert!(export(&mut platform.reader(), &mut Screen::silent(), &target).await.is_err(), "nothing is overwritten");
    let (root, tenant, head) = (done.root.to_string(), done.tenant.to_string(), done.head.to_string());
    Exported { folder, root, tenant, head, events: usize::try_from(done.events).unwrap() }
}

#[tokio::test]
async fn an_export_holds_and_what_was_not_checked_is_said() {
    let exported = exported().await;
    let output = exported.verify(&exported.path(), &[]);
    let said = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    let events = format!("{} (0 void)", exported.events);
    for shown in ["it holds", &exported.head, &events, "1 active", "not checked", "the tenant you mean", "to weigh"] {
        assert!(said.contains(shown), "{shown} is not in\n{said}");
    }
    let whole = exported.verify(
        &exported.path().join("events.jsonl"),
        &["--json", "--tenant", &exported.tenant, "--expect-head", &exported.head],
    );
    let whole = json(&whole);
    assert_eq!((&whole["ok"], &whole["verdict"]["head"]), (&true.into(), &exported.head.clone().into()));
    let not_checked = whole["verdict"]["not_checked"].as_array().unwrap();
    assert!(!not_checked.iter().any(|item| item.as_str().unwrap().contains("the tenant you mean")), "{not_checked:?}");
    let mut names: Vec<_> = fs::read_dir(exported.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["README.txt", "allowed_signers", "events.jsonl", "trust.json"]);
}

type Change = Box<dyn Fn(&mut Vec<String>)>;

/// A line with one letter of its payload changed, in the middle of the event.
fn touched(line: &str) -> String {
    let mut envelope: serde_json::Value = serde_json::from_str(line).unwrap();
    let payload: model::text::Base64 = envelope["payload"].as_str().unwrap().parse().unwrap();
    let mut bytes = payload.0;
    let at = bytes.len() / 2;
    bytes[at] = if bytes[at] == b'a' { b'b' } else { b'a' };
    envelope["payload"] = model::text::Base64(bytes).to_string().into();
    envelope.to_string()
}

#[tokio::test]
async fn every_tampering_is_found_and_the_first_bad_event_named() {
    let exported = exported().await;
    let count = exported.events;
    let cases: Vec<(&str, Change, String)> = vec![
        ("a letter changed", Box::new(|lines| lines[9] = touched(&lines[9])), "event 10".into()),
        (
            "the last event changed",
            Box::new(|lines| lines.last_mut().map(|line| *line = touched(line)).unwrap()),
            format!("event {count}"),
        ),
        ("an event left out", Box::new(|lines| drop(lines.remove(4))), "event 5".into()),
        ("two events swapped", Box::new(|lines| lines.swap(6, 7)), "event 7".into()),
        ("an event repeated", Box::new(|lines| lines.insert(3, lines[2].clone())), "event 4".into()),
        (
            "a signature taken from another",
            Box::new(|lines| {
                let (mut one, two): (serde_json::Value, serde_json::Value) =
                    (serde_json::from_str(&lines[11]).unwrap(), serde_json::from_str(&lines[12]).unwrap());
                one["signatures"] = two["signatures"].clone();
                lines[11] = one.to_string();
            }),
            "event 12".into(),
        ),
        ("a line cut", Box::new(|lines| lines[5].truncate(100)), "line 6".into()),
        ("a line of something else", Box::new(|lines| lines[5] = "{}".into()), "line 6".into()),
        ("nothing left", Box::new(Vec::clear), "there are no events".into()),
    ];
    for (what, change, named) in cases {
        let mut lines = exported.lines();
        change(&mut lines);
        let path = exported.folder.path().join("touched.jsonl");
        fs::write(&path, lines.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
        let output = exported.verify(&path, &["--json"]);
        assert_eq!(output.status.code(), Some(1), "{what}");
        let found = json(&output);
        let said = found["fault"].as_str().or(found["detail"].as_str()).unwrap();
        assert!(said.contains(&named), "{what}: {said}");
    }
}

#[tokio::test]
async fn a_cut_end_is_found_by_the_head_alone_and_other_roots_and_tenants_are_refused() {
    let exported = exported().await;
    let mut lines = exported.lines();
    lines.pop();
    let path = exported.folder.path().join("cut.jsonl");
    fs::write(&path, lines.join("\n")).unwrap();
    assert_eq!(exported.verify(&path, &[]).status.code(), Some(0), "a cut history is a good shorter one");
    let with_head = exported.verify(&path, &["--expect-head", &exported.head]);
    assert_eq!(with_head.status.code(), Some(1));
    assert!(stdout(&with_head).contains("events are missing"), "{}", stdout(&with_head));

    let other = Exported { root: "SHA256:Lh3dROe7Nd1LdqHkUIaKfHPHm9H6u0lNtGPoa4Cc1+w".into(), ..exported };
    let wrong_root = other.verify(&other.path(), &[]);
    assert_eq!(wrong_root.status.code(), Some(1));
    assert!(stdout(&wrong_root).contains("event 1"), "{}", stdout(&wrong_root));
    let wrong_tenant =
        other.verify(&other.path(), &["--tenant", "ADVEU3DD4KOFECV66VIHWEZOYX4ZKR3WV27L464SIIPOU2IUI3JCZW22"]);
    assert_eq!(wrong_tenant.status.code(), Some(1));
    assert_eq!(other.verify(Path::new("nothing"), &[]).status.code(), Some(2));
}

/// Somebody wrote what does not stand: it is found, unless whoever checks has accounted for that very event.
#[tokio::test]
async fn a_void_event_counts_until_it_is_accounted_for() {
    let exported = exported().await;
    let mut lines = exported.lines();
    lines.last_mut().map(|line| *line = touched(line)).unwrap();
    let path = exported.folder.path().join("touched.jsonl");
    fs::write(&path, lines.join("\n")).unwrap();
    let found = exported.verify(&path, &["--json"]);
    assert_eq!(found.status.code(), Some(1));
    let findings = json(&found)["verdict"]["authenticity"]["findings"].clone();
    let hash = findings[0]["hash"].as_str().unwrap().to_owned();
    let accounted = exported.verify(&path, &["--json", "--accounted", &hash]);
    assert_eq!(accounted.status.code(), Some(0), "{}", stdout(&accounted));
    let accounted = json(&accounted);
    assert_eq!((&accounted["verdict"]["holds"], &accounted["accounted"]), (&false.into(), &findings));
    let another = exported.verify(&path, &["--accounted", &exported.head]);
    assert_eq!(another.status.code(), Some(1), "another event's hash accounts for nothing");
}

#[tokio::test]
async fn what_cannot_be_read_is_told_from_what_does_not_hold() {
    let exported = exported().await;
    let path = |name: &str| exported.folder.path().join(name);
    fs::create_dir(path("empty")).unwrap();
    fs::write(path("cut.tar.gz"), [0x1f, 0x8b, 8, 0, 0, 0]).unwrap();
    for name in ["nothing", "empty", "cut.tar.gz"] {
        assert_eq!(exported.verify(&path(name), &[]).status.code(), Some(2), "{name}");
    }
    assert_eq!(exported.verify(&path("evidence"), &["--checkpoint", "nothing"]).status.code(), Some(2));
}

/// The README's own instructions, run as they stand: python3 finds the head, and stock OpenSSH verifies a command.
#[tokio::test]
async fn the_readme_can_be_followed() {
    if Command::new("python3").arg("--version").stdout(Stdio::null()).status().is_err() {
        return;
    }
    let exported = exported().await;
    let readme = fs::read_to_string(exported.path().join("README.txt")).unwrap();
    let blocks: Vec<String> = readme
        .split("\n\n")
        .filter(|block| block.starts_with("    ") && block.contains("python3"))
        .map(|block| {
            block
                .lines()
                .map(|line| line.strip_prefix("    ").unwrap_or(line))
                .fold(String::new(), |text, line| text + line + "\n")
        })
        .collect();
    assert_eq!(blocks.len(), 2);
    let run = |script: &str| {
        let output = Command::new("sh").args(["-euc", script]).current_dir(exported.path()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        stdout(&output)
    };
    assert_eq!(run(&blocks[0]), format!("{} events, head {}\n", exported.events, exported.head));
    // Event 2 is an enrolment that ann signed first.
    assert!(run(&blocks[1].replace("NAME", "ann")).contains("Good \"keylatch-command\" signature for ann"));
}
