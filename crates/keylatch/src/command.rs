//! What the commands do, a module each. A function that does something takes a [`Session`](crate::Session) and a
//! [`Screen`](crate::Screen), and gives a result that can be shown; `run` is what the command line calls.

pub mod access;
pub mod apply;
pub mod approve;
pub mod as_of;
pub mod certificate;
pub mod context;
pub mod controls;
pub mod custody;
pub mod delegation;
pub mod doctor;
pub mod event_line;
pub mod export;
pub mod fact;
pub mod history;
pub mod hold;
pub mod inbox;
pub mod key;
pub mod load;
pub mod never_active;
pub mod pack;
pub mod policy;
pub mod principal;
pub mod probe;
pub mod procedure;
pub mod proof;
pub mod request;
pub mod requests;
pub mod sample;
pub mod sign;
pub mod simulate;
pub mod store;
pub mod submit;
pub mod tenant;
pub mod up;
pub mod usage;
pub mod verify;
pub mod watch;

use std::path::PathBuf;

use clap::Args;
use model::key::{Reason, ReasonKind};
use model::{Span, Text};

use crate::submit::Signing;
use crate::words;

/// How a command that may take several signatures is signed.
#[derive(Args, Clone, Debug, Default)]
pub struct SigningArgs {
    /// Sign the same bytes with this SSH key too, now. Repeat it for further ones.
    #[arg(long, value_name = "KEYFILE", help_heading = "Signatures")]
    pub cosign: Vec<PathBuf>,
    /// Write the signed command to this file for others to sign, and send nothing.
    #[arg(long, value_name = "FILE", help_heading = "Signatures")]
    pub out: Option<PathBuf>,
    /// How long the command is good, such as `2h`; at most 7 days with --out where several people must sign, else 15
    /// minutes.
    #[arg(long, value_name = "SPAN", help_heading = "Signatures")]
    pub good_for: Option<Span>,
    /// Sign without being asked.
    #[arg(long, short = 'y', help_heading = "Signatures")]
    pub yes: bool,
}

impl From<SigningArgs> for Signing {
    fn from(args: SigningArgs) -> Self {
        let SigningArgs { cosign, out, good_for, yes } = args;
        Self { cosign, out, yes, good_for }
    }
}

/// Whether to ask before signing.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct ConsentArgs {
    /// Sign without being asked.
    #[arg(long, short = 'y')]
    pub yes: bool,
}

impl From<ConsentArgs> for Signing {
    fn from(args: ConsentArgs) -> Self {
        Self { yes: args.yes, ..Self::default() }
    }
}

/// Why something is done.
#[derive(Args, Clone, Debug)]
pub struct ReasonArgs {
    /// The kind of reason.
    #[arg(long, value_name = "KIND", value_parser = words::reason_kind())]
    pub reason_kind: ReasonKind,
    /// The reason in words, one line. It is recorded for good: no personal data.
    #[arg(long, value_name = "TEXT")]
    pub reason: Text,
}

impl From<ReasonArgs> for Reason {
    fn from(args: ReasonArgs) -> Self {
        Self { kind: args.reason_kind, text: args.reason }
    }
}
