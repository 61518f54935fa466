//! `keylatch proof`: proofs of what is in a history, made by the platform and checked here, or by anybody.

mod check;
mod event;
mod hashes;

use clap::Subcommand;

pub use check::{CheckArgs, Checked, check};
pub use event::{EventArgs, Proved, prove};
pub use hashes::{ConsistencyArgs, InclusionArgs};

use crate::error::{Error, Exit};
use crate::screen::Screen;
use crate::session::Session;

const EVENT_HELP: &str = "\
Asks the history service for the proof, checks it against the history that is verified here, and
writes it to a file (C2SP tlog-proof): the path from the event's hash to the root of a checkpoint,
with the signatures of the exporter and of the witnesses that have cosigned it.

Example:
  keylatch proof event 4711
  keylatch proof event 9f2c…64 hex digits… --out activation.tlog-proof";

const CHECK_HELP: &str = "\
Offline; nothing is asked of anybody. The file is a proof of an event (C2SP tlog-proof) or a
checkpoint (C2SP tlog-checkpoint). Keys are given as <name>+<hex>+<base64>: of the log (kind 1;
`keylatch proof event` says which), and of the witnesses whose cosignatures are to count (kind 4).
Signatures of other keys are passed over; a false one of a key that is given voids the file.

Exit codes: 0 it holds, 1 it does not, 2 something can't be read.

Example:
  keylatch proof check 4711.tlog-proof --event 9f2c… --vkey keylatch.dev/A…+c61181d1+AQOh… \\
    --vkey witness.example/w1+20324abe+BCms… --cosignatures 1
  keylatch proof check checkpoint.txt --vkey keylatch.dev/A…+c61181d1+AQOh…";

const INCLUSION_HELP: &str = "\
Offline, on plain hashes (hex, or base64), of any log with a tree as in RFC 6962: the leaf's hash,
its place from 0, the size and root of the tree, and the path from the leaf's sibling upwards.

Exit codes: 0 it holds, 1 it does not, 2 something can't be read.

Example (a tree of the two leaves \"\" and 0x00):
  keylatch proof inclusion --index 1 --size 2 \\
    --leaf 96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7 \\
    --root fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125 \\
    --path 6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d";

const CONSISTENCY_HELP: &str = "\
Offline, on plain hashes (hex, or base64), of any log with a tree as in RFC 6962: sizes and roots of
the older and the newer tree, and the proof that the newer begins with all that is in the older. Of
an older tree without leaves nothing can be proved.

Exit codes: 0 it holds, 1 it does not, 2 something can't be read.

Example:
  keylatch proof consistency --from 1 --to 2 \\
    --from-root 6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d \\
    --to-root fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125 \\
    --path 96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7";

/// What to do with a proof.
#[derive(Subcommand, Debug)]
pub enum ProofCommand {
    /// Prove that an event is in the history, in a file that anybody checks offline.
    #[command(after_long_help = EVENT_HELP)]
    Event(EventArgs),
    /// Check a proof of an event, or a checkpoint, from a file.
    #[command(after_long_help = CHECK_HELP)]
    Check(CheckArgs),
    /// Check that a leaf is in a tree, from hashes.
    #[command(after_long_help = INCLUSION_HELP)]
    Inclusion(InclusionArgs),
    /// Check that a tree continues another, from hashes.
    #[command(after_long_help = CONSISTENCY_HELP)]
    Consistency(ConsistencyArgs),
}

/// Runs what needs no platform; nothing where it needs one.
pub fn run_offline(command: &ProofCommand, screen: &mut Screen) -> Option<Result<Exit, Error>> {
    match command {
        ProofCommand::Event(_) => None,
        ProofCommand::Check(args) => Some(check::run(args, screen)),
        ProofCommand::Inclusion(args) => Some(hashes::run_inclusion(args, screen)),
        ProofCommand::Consistency(args) => Some(hashes::run_consistency(args, screen)),
    }
}

/// Runs `keylatch proof` with a platform.
pub async fn run(command: ProofCommand, session: &mut Session, screen: &mut Screen) -> Result<Exit, Error> {
    if let Some(done) = run_offline(&command, screen) {
        return done;
    }
    if let ProofCommand::Event(args) = command {
        event::run(&args, session, screen).await?;
    }
    Ok(Exit::Ok)
}
