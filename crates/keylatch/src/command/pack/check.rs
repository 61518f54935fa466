//! `keylatch pack check`: what is wrong with a pack's file, and what its gates come to for a key.

use std::collections::{BTreeMap, BTreeSet};

use clap::Args;
use lifecycle::conditions::{self, Moment};
use lifecycle::gate::{Finding, Outcome};
use lifecycle::state::{Request, Said};
use lifecycle::{Key, Tenant};
use model::key::ReasonKind;
use model::pack::Pack;
use model::{EventHash, Timestamp};
use serde_json::{Value, json};

use super::shipped::{self, Found};
use crate::command::policy::check::finding_line;
use crate::error::{Error, Exit};
use crate::layout::{BOLD, DIM, GREEN, RED, YELLOW, safe, styled};
use crate::lookup;
use crate::screen::{Screen, Show, Shown};
use crate::session::Session;

/// Which pack, and for which key.
#[derive(Args, Clone, Debug)]
pub struct CheckArgs {
    /// A shipped or declared pack's name, or a file.
    pub pack: String,
    /// Say what its gates come to for this key, now: label, id, or the beginning of an id.
    #[arg(long)]
    pub key: Option<String>,
}

/// Checks a file by itself.
pub fn run_file(named: &str, screen: &mut Screen) -> Result<Exit, Error> {
    let found = shipped::find(named)?;
    screen.show(&found)?;
    Ok(if found.findings.is_empty() { Exit::Ok } else { Exit::Refused })
}

impl Show for Found {
    fn to_json(&self) -> Value {
        let finding = |finding: &crate::command::policy::Finding| json!({ "line": finding.line, "at": finding.at, "what": finding.what, "advice": finding.advice });
        let findings: Vec<Value> = self.findings.iter().map(finding).collect();
        json!({ "ok": findings.is_empty(), "file": self.from, "findings": findings })
    }

    fn to_people(&self) -> String {
        match &self.pack {
            Some(pack) if self.findings.is_empty() => format!(
                "{GREEN}good:{GREEN:#} {} version {} holds together: {} gates, {} facts\n",
                safe(pack.name.as_str()),
                pack.version,
                pack.gates.len(),
                pack.facts.len()
            ),
            _ => self.findings.iter().map(|finding| finding_line(&self.from, finding)).collect(),
        }
    }
}

/// What a pack comes to for a key.
pub fn run_key(args: &CheckArgs, session: &Session, screen: &mut Screen) -> Result<Exit, Error> {
    let named = args.key.as_deref().unwrap_or_default();
    let asked = ask(session, &args.pack, named)?;
    screen.show(&asked.shown())?;
    let holds_up = asked.findings.iter().any(|finding| finding.outcome.blocks());
    Ok(if holds_up { Exit::Refused } else { Exit::Ok })
}

/// A pack, asked about a key.
struct AskedPack<'a> {
    pack: Pack,
    /// How it stands here, in words.
    standing: &'static str,
    key: &'a Key,
    /// What was taken for granted, where nobody has asked for the key's activation.
    supposed: Option<&'static str>,
    findings: Vec<Finding>,
}

fn ask<'a>(session: &'a Session, named: &str, key: &str) -> Result<AskedPack<'a>, Error> {
    let (state, governance) = (session.state(), session.governance()?);
    let key = lookup::key(state, key)?;
    let declared = named.parse().ok().and_then(|name| governance.packs.get(&name));
    let (pack, standing) = match declared {
        Some(declared) if declared.is_applied() => (declared.pack.clone(), "declared applied"),
        Some(declared) => (declared.pack.clone(), "declared not applicable: its gates hold nothing up"),
        None => (shipped::find(named)?.whole()?, "not declared: its gates hold nothing up yet"),
    };
    let now = session.now();
    let (request, moment, supposed) = match request_of(state, key) {
        Some(request) => (request.clone(), moment(session, key, request), None),
        None => {
            let request = nobody_asked(key, now);
            let moment = conditions::moment(governance, key, &request, now);
            let supposed = "nobody has asked for its activation: taken as asked for now, with nothing said beyond";
            (request, moment, Some(supposed))
        }
    };
    let findings = conditions::asked(governance, key, &request, moment, &pack).map_err(|faults| {
        let first = faults.first().map_or(String::new(), ToString::to_string);
        Error::failed(format!("{}: {first}", pack.name), "see `keylatch pack check`")
    })?;
    Ok(AskedPack { pack, standing, key, supposed, findings })
}

/// The request that is open, or that the key was activated under.
fn request_of<'a>(state: &'a Tenant, key: &Key) -> Option<&'a Request> {
    let hash = key.open_request.or(key.activation.map(|activation| activation.request))?;
    state.requests.get(&hash)
}

/// For a key that is active, its own dates.
fn moment(session: &Session, key: &Key, request: &Request) -> Moment {
    let now = session.now();
    let governance = session.state().governance.as_deref();
    let if_now = governance.map(|governance| conditions::moment(governance, key, request, now));
    let if_now = if_now.unwrap_or(Moment { now, activate_at: now, deactivate_at: now, approvers: 0 });
    match key.activation {
        Some(activation) => {
            let approvers = request.approvals.iter().map(|approval| approval.by).collect::<BTreeSet<_>>().len();
            let approvers = u32::try_from(approvers).unwrap_or(u32::MAX);
            Moment { activate_at: activation.at, deactivate_at: activation.deactivate_at, approvers, ..if_now }
        }
        None => if_now,
    }
}

/// As if its activation were asked for now, with nothing said beyond.
fn nobody_asked(key: &Key, now: Timestamp) -> Request {
    Request {
        hash: EventHash::ZERO,
        key_id: Some(key.id),
        template: None,
        manifest: None,
        standing: None,
        activated: 0,
        break_glass: false,
        said: Said { reason: ReasonKind::NewService, attestation: None },
        consumers: BTreeSet::new(),
        holds: BTreeMap::new(),
        requested_by: key.created_by,
        requested_at: now,
        legal_basis: Vec::new(),
        affected_systems: Vec::new(),
        change_ref: None,
        not_before: now,
        deactivate_at: None,
        expires_at: Timestamp::MAX,
        approvals: Vec::new(),
        threshold: None,
        shares: BTreeMap::new(),
        lapsed: Vec::new(),
        complete: None,
        authorized: None,
        closed: None,
        warn_before: None,
        warned: BTreeMap::new(),
    }
}

impl AskedPack<'_> {
    fn shown(&self) -> Shown {
        let finding = |finding: &Finding| {
            json!({
                "gate": finding.gate, "outcome": finding.outcome, "wants": finding.wants, "says": finding.says,
                "clause": finding.clause,
            })
        };
        let json = json!({
            "ok": !self.findings.iter().any(|finding| finding.outcome.blocks()),
            "pack": self.pack.name, "version": self.pack.version, "standing": self.standing, "key_id": self.key.id,
            "supposed": self.supposed, "gates": self.findings.iter().map(finding).collect::<Vec<_>>(),
        });
        Shown { json, people: self.to_people() }
    }

    fn to_people(&self) -> String {
        let (name, label) = (safe(self.pack.name.as_str()), safe(self.key.spec.label.as_str()));
        let version = self.pack.version;
        let mut text = format!(
            "{BOLD}{name}{BOLD:#} version {version} {DIM}({}){DIM:#} for key {BOLD}{label}{BOLD:#}, {}\n",
            self.standing, self.key.state
        );
        if let Some(supposed) = self.supposed {
            text.push_str(&format!("{DIM}{supposed}{DIM:#}\n"));
        }
        self.findings.iter().for_each(|finding| text.push_str(&line(finding)));
        let count = |outcome: Outcome| self.findings.iter().filter(|finding| finding.outcome == outcome).count();
        text.push_str(&format!(
            "{} satisfied, {} not satisfied, {} unknown, {} not for this key\n",
            count(Outcome::Satisfied),
            count(Outcome::NotSatisfied),
            count(Outcome::Unknown),
            count(Outcome::NotApplicable)
        ));
        text
    }
}

fn line(finding: &Finding) -> String {
    let outcome = match finding.outcome {
        Outcome::Satisfied => styled(GREEN, "satisfied    "),
        Outcome::NotSatisfied => styled(RED, "NOT satisfied"),
        Outcome::Unknown => styled(YELLOW, "unknown      "),
        Outcome::NotApplicable => styled(DIM, "not for it   "),
    };
    let wants = finding.wants.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", ");
    let wants = match (finding.outcome, wants.is_empty()) {
        (Outcome::Unknown, false) => format!("; {YELLOW}wants {}{YELLOW:#}", safe(&wants)),
        (Outcome::Unknown, true) => format!("; {YELLOW}it could not be evaluated{YELLOW:#}"),
        _ => String::new(),
    };
    let (gate, clause, says) =
        (safe(finding.gate.as_str()), safe(finding.clause.as_str()), safe(finding.says.as_str()));
    format!("  {outcome}  {BOLD}{gate}{BOLD:#}: {says}{wants}\n                 {DIM}{clause}{DIM:#}\n")
}
