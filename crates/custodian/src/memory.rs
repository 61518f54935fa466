//! Keeping keys out of core dumps and out of swap.

use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};
use rustix::thread::CapabilitySet;
use tracing::{info, warn};

/// What could be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guarded {
    /// Whether this process can leave no core dump, and can't be traced by others of its user.
    pub undumped: bool,
    /// Whether what it has in memory stays there.
    pub locked: bool,
}

/// Turns core dumps of this process off, and locks its memory where it may have as much of it locked as it likes. Says what
/// it could not do, and what would have to be done for it. For processes that come to hold keys, as early as can be.
pub fn guard_memory() -> Guarded {
    let guarded = Guarded { undumped: turn_dumps_off(), locked: lock() };
    if !guarded.undumped {
        warn!("core dumps can't be turned off: a crash may leave keys on the disk");
    }
    if guarded.locked {
        info!("memory is locked: keys reach no swap");
    } else if has_swap() {
        warn!(
            "memory can't be locked, and there is swap, which keys may reach: set LimitMEMLOCK=infinity for the service, or \
             turn swap off"
        );
    } else {
        info!("memory can't be locked; there is no swap that keys could reach");
    }
    guarded
}

fn turn_dumps_off() -> bool {
    // The limit for cores that are written to files; the other for those that are piped to a program, and for tracing.
    let none = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    set_dumpable_behavior(DumpableBehavior::NotDumpable).and(none).is_ok()
}

/// With a limit, whatever asks for memory beyond it would fail, and the process with it: then nothing is locked.
fn lock() -> bool {
    let limit = getrlimit(Resource::Memlock);
    if limit.maximum.is_none() && limit.current.is_some() {
        // Where this fails, the limit stands.
        let _ = setrlimit(Resource::Memlock, Rlimit { current: None, maximum: None });
    }
    let unlimited = getrlimit(Resource::Memlock).current.is_none();
    let privileged =
        rustix::thread::capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::IPC_LOCK));
    // On fault: what is reserved and not used takes no memory.
    let all = MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT;
    (unlimited || privileged) && mlockall(all).is_ok()
}

fn has_swap() -> bool {
    // The first line is a heading. Where it can't be read, there may be some.
    std::fs::read_to_string("/proc/swaps").map_or(true, |text| text.lines().count() > 1)
}
