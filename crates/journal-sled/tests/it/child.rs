//! What is left when a process is killed in the middle of its work. The child is this test binary, run again.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use journal_sled::Replica;
use journal_sled::replica::Change;

use crate::support::{History, assert_same, full, reopen};

const DIR: &str = "JOURNAL_SLED_CHILD_DIR";
const ACKNOWLEDGED: &str = "acknowledged ";

/// The directory, where this process is the child of a test.
pub(crate) fn child_dir() -> Option<PathBuf> {
    std::env::var_os(DIR).map(PathBuf::from)
}

/// Tells the parent.
pub(crate) fn acknowledge(number: usize) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "\n{ACKNOWLEDGED}{number}").unwrap();
    out.flush().unwrap();
}

/// Runs one test of this binary as a child, kills it as soon as it has acknowledged `until`, and answers with the last
/// number that it acknowledged.
pub(crate) fn killed(test: &str, dir: &Path, until: usize) -> usize {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture"]).env(DIR, dir).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = Killed(command.spawn().unwrap());
    let mut last = 0;
    for line in BufReader::new(child.0.stdout.take().unwrap()).lines() {
        let Some(number) = line.unwrap().strip_prefix(ACKNOWLEDGED).map(|number| number.parse().unwrap()) else {
            continue;
        };
        last = number;
        if number == until {
            // SIGKILL. What the child said meanwhile is still in the pipe.
            child.0.kill().unwrap();
        }
    }
    child.0.wait().unwrap();
    last
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Groups of one to nine events, each of several tenants: the same in parent and child.
fn groups(tenants: &[History]) -> Vec<Vec<Change>> {
    let mut groups = Vec::new();
    let mut taken = 0;
    for size in [1, 3, 2, 1, 2].into_iter().cycle() {
        let of = |tenant: &History| tenant.changes.iter().skip(taken).take(size).cloned().collect::<Vec<_>>();
        let group: Vec<Change> = tenants.iter().flat_map(of).collect();
        if group.is_empty() {
            return groups;
        }
        groups.push(group);
        taken += size;
    }
    groups
}

fn tenants() -> Vec<History> {
    let history = History::of(&full());
    (1..=3).map(|number| history.as_tenant(number)).collect()
}

#[test]
fn commits_until_it_is_killed() {
    let Some(dir) = child_dir() else { return };
    let tenants = tenants();
    let replica = Replica::open(&dir, tenants[0].root()).unwrap().replica;
    for (number, group) in groups(&tenants).iter().enumerate() {
        replica.commit(group).unwrap();
        acknowledge(number + 1);
    }
    // To be killed also where it was faster than its parent.
    std::thread::park();
}

#[test]
fn a_killed_process_leaves_whole_groups_and_everything_it_acknowledged() {
    let tenants = tenants();
    let groups = groups(&tenants);
    for until in (1..=groups.len()).step_by(2) {
        let dir = tempfile::tempdir().unwrap();
        let acknowledged = killed("child::commits_until_it_is_killed", dir.path(), until);
        let replica = reopen(dir.path(), tenants[0].root());
        let head = |tenant: &History| replica.head(tenant.id()).unwrap().sequence.0 as usize;
        let heads: Vec<usize> = tenants.iter().map(head).collect();
        let after = |groups: &[Vec<Change>]| groups.iter().map(|group| group.len() / tenants.len()).sum::<usize>();
        let at = (0..=groups.len()).find(|count| after(&groups[..*count]) == heads[0]).expect("the end of a group");
        assert!(at >= acknowledged, "{acknowledged} groups were acknowledged, {at} are there");
        for (tenant, head) in tenants.iter().zip(&heads) {
            assert_eq!(*head, heads[0], "half a group");
            assert_same(&replica, &tenant.states[*head]);
        }
        groups[at..].iter().for_each(|group| replica.commit(group).unwrap());
        tenants.iter().for_each(|tenant| assert_same(&replica, tenant.last()));
    }
}
