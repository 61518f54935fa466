//! What guards the memory of a process with keys, as the kernel sees it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

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

/// Whoever may lock all of their memory does; what is asked for later is locked as well.
#[test]
fn memory_is_locked_where_that_can_be_had() {
    let said = guarded("ulimit -l unlimited", &[]);
    assert!(said.contains("locked: true"), "{said}");
    let locked: usize = line(&said, "VmLck:")[0].parse().unwrap();
    assert!(locked > 1024, "{locked} KiB, and a MiB was asked for after the locking");
}

/// With a limit, locking would make a later request for memory fail: it is left, and said.
#[test]
fn memory_is_not_locked_under_a_limit() {
    let without = ["setpriv", "--bounding-set=-ipc_lock,-sys_resource", "--inh-caps=-ipc_lock,-sys_resource"];
    let said = guarded("ulimit -l 64", &without);
    assert!(said.contains("locked: false") && said.contains("undumped: true"), "{said}");
    assert_eq!(line(&said, "VmLck:")[0], "0");
}
