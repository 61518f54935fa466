//! What guards the memory of a process with keys, as the kernel sees it.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::process::Command;

const CHILD: &str = "KEYLATCH_TEST_MEMORY";

/// A process with keys. As a test of its own it does nothing.
#[test]
fn child() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let guarded = custodian::guard_memory();
    // Asked for after it, as keys are.
    let later = vec![7_u8; 1 << 20];
    let dumpable = rustix::process::dumpable_behavior().unwrap();
    println!("GUARDED {guarded:?} {dumpable:?} {}", later.len());
    for file in ["/proc/self/limits", "/proc/self/status"] {
        println!("{}", std::fs::read_to_string(file).unwrap());
    }
}

/// Runs the child below a shell, which sets limits. What it says.
fn guarded(limits: &str, through: &[&str]) -> String {
    let program = std::env::current_exe().unwrap();
    let script = format!("{limits} && exec \"$@\"");
    let mut shell = Command::new("sh");
    shell.args(["-c", &script, "sh"]).args(through).arg(program);
    let output = shell.args(["child", "--exact", "--nocapture"]).env(CHILD, "1").output().unwrap();
    assert!(output.status.success(), "{output:?} (where `setpriv` is missing: it is of Debian's util-linux)");
    String::from_utf8(output.stdout).unwrap()
}

/// A line of `/proc`, without what it is called.
fn line<'a>(said: &'a str, name: &str) -> Vec<&'a str> {
    let line = said.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_else(|| panic!("no `{name}` in {said}")).split_whitespace().collect()
}

#[test]
fn core_dumps_are_off_whatever_the_limits_were() {
    let said = guarded("ulimit -S -c $(ulimit -H -c)", &[]);
    assert!(said.contains("undumped: true") && said.contains("} NotDumpable"), "{said}");
    assert_eq!(line(&said, "Max core file size")[..2], ["0", "0"]);
}

/// Whoever may lock all of their memory does, by the kernel's word on both: by privilege, or for want of a limit.
#[test]
fn memory_is_locked_where_that_can_be_had() {
    let said = guarded("{ ulimit -l unlimited 2>&- || true; }", &[]);
    let unlimited = line(&said, "Max locked memory")[0] == "unlimited";
    let expected = unlimited || is_privileged(&said);
    assert!(said.contains(&format!("locked: {expected}")), "{said}");
    let locked: usize = line(&said, "VmLck:")[0].parse().unwrap();
    assert_eq!(locked > 1024, expected, "{locked} KiB, and a MiB was asked for after the locking");
}

/// With a limit, locking would make a later request for memory fail: it is left, and said.
#[test]
fn memory_is_not_locked_under_a_limit() {
    use std::os::unix::fs::MetadataExt as _;
    let is_root = std::fs::metadata("/proc/self").unwrap().uid() == 0;
    let without = ["setpriv", "--bounding-set=-ipc_lock,-sys_resource", "--inh-caps=-ipc_lock,-sys_resource"];
    let said = guarded("ulimit -l 64", if is_root { &without } else { &[] });
    assert!(!is_privileged(&said), "{said}");
    assert!(said.contains("locked: false") && said.contains("undumped: true"), "{said}");
    assert_eq!(line(&said, "VmLck:")[0], "0");
}

/// Whether the process has CAP_IPC_LOCK.
fn is_privileged(said: &str) -> bool {
    let effective = line(said, "CapEff:")[0];
    u64::from_str_radix(effective, 16).unwrap() & 1 << 14 != 0
}
