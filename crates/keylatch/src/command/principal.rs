//! `keylatch principal`: the tenant's people and workloads.

pub mod rotate;
pub mod sealing_key;
pub mod subject;

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use lifecycle::state::Member;
use model::command::{PrincipalChange, PrincipalEnroll, PrincipalRevoke};
use model::key::Party;
use model::people::PrincipalKind;
use model::{Action, Fingerprint, Name, Principal, Role};
use serde_json::{Value, json};

use crate::command::{ReasonArgs, SigningArgs};
use crate::error::Error;
use crate::identity::read_public_key;
use crate::layout::{BOLD, Cell, Fields, GREEN, RED, Table, safe, styled};
use crate::lookup;
use crate::screen::{Screen, Shown};
use crate::session::Session;
use crate::submit::{Needs, Outcome, Signing, lifetime};
use crate::words::{self, name_of};

/// What to do with people.
#[derive(Subcommand, Debug)]
pub enum PrincipalCommand {
    /// Enrol a person or workload. Takes a quorum of admins.
    ///
    /// A principal is known by its SSH public key; nothing else of a person goes into the record, so choose labels that
    /// are no personal data. Two keys of one human carry the same --person, and count as one voter. With --subject-issuer
    /// and --subject, a keyed hash of who they are at your identity provider is recorded, so that one human can't be
    /// enrolled under two names. Policy may ask for it.
    #[command(
        after_long_help = "Example, two admins at one machine:\n  keylatch principal enroll sec-1 --key sec-1.pub --role security-officer --cosign second-admin\n\nTwo admins apart:\n  keylatch principal enroll sec-1 --key sec-1.pub --role security-officer --out enroll.json\n  keylatch sign enroll.json        (the other admin)\n  keylatch submit enroll.json\n\nWith who they are at the identity provider:\n  keylatch principal subject-key subject.key       (once; every admin has the same file)\n  keylatch principal enroll sec-1 --key sec-1.pub --role security-officer --party mp \\\n    --subject-issuer https://login.example.com --subject 00u1abcd \\\n    --subject-key subject.key --out enroll.json"
    )]
    Enroll(EnrollArgs),
    /// Give a principal other roles. Takes a quorum of admins.
    Change(ChangeArgs),
    /// Put a new SSH key in the place of a principal's old one. The old key vouches for it, or a quorum of admins does.
    #[command(
        after_long_help = "What the old key approved and nobody has activated yet must be approved again.\n\nExample, your own:\n  ssh-keygen -t ed25519-sk -f ~/.ssh/new\n  keylatch principal rotate --key ~/.ssh/new --reason-kind rotation --reason 'a new token'\n\nWhere the old key is lost, two admins and whoever has the new one:\n  keylatch principal rotate sec-1 --by-admins --key new.pub \\\n    --reason-kind key-compromise --reason 'lost' --out rotate.json\n  keylatch sign rotate.json        (the other admin, and with the new key)\n  keylatch submit rotate.json"
    )]
    Rotate(rotate::RotateArgs),
    /// Make the key to which your shares of sealed keys are sealed, and say that it is yours.
    ///
    /// Keys under a rule with `sealed` can be used by nobody, their custodian included, before so many approvers have brought
    /// their shares. Yours are sealed to this key: an X25519 key of its own, whose secret half is kept in a file beside your
    /// identity and goes nowhere else.
    #[command(after_long_help = "Example:
  keylatch principal sealing-key

A new one, for keys that are sealed from then on:
  keylatch principal sealing-key --renew")]
    SealingKey(sealing_key::SealingKeyArgs),
    /// Make the key under which people's identities are hashed (--subject-key). Needs no platform.
    ///
    /// 32 random bytes in a file that is its owner's alone. Keep it as you keep secrets: every admin who enrols needs the
    /// same one, and without it nobody can tell whether two labels are one human. It is never printed.
    #[command(after_long_help = "Example:\n  keylatch principal subject-key subject.key")]
    SubjectKey {
        /// The file to make. It must not be there yet.
        file: PathBuf,
    },
    /// Revoke a principal, for good. Takes a quorum of admins.
    Revoke(RevokeArgs),
    /// List everyone who is or was enrolled.
    List,
    /// Show a principal.
    Show {
        /// Label or fingerprint.
        who: String,
    },
}

/// Who is enrolled.
#[derive(Args, Debug)]
pub struct EnrollArgs {
    /// The label that people see. No personal data.
    pub label: Name,
    /// The file with the SSH public key.
    #[arg(long, value_name = "FILE")]
    pub key: PathBuf,
    /// A role it holds. Repeat it for further ones. A person needs one; the platform's prober has none.
    #[arg(long)]
    pub role: Vec<Role>,
    /// Person or workload.
    #[arg(long, default_value = "person", value_parser = words::principal_kind())]
    pub kind: PrincipalKind,
    /// Who it is, where one human has several keys; left out, the label.
    #[arg(long)]
    pub person: Option<Name>,
    /// The party of the AI supply chain that it acts for.
    #[arg(long, value_parser = words::party())]
    pub party: Option<Party>,
    #[command(flatten)]
    /// Who it is at the identity provider.
    pub subject: subject::SubjectArgs,
    #[command(flatten)]
    /// Who signs.
    pub signing: SigningArgs,
}

/// Whose roles change.
#[derive(Args, Debug)]
pub struct ChangeArgs {
    /// Label or fingerprint.
    pub who: String,
    /// A role it holds from now on. Repeat it for further ones; roles not named are taken away.
    #[arg(long, required = true)]
    pub role: Vec<Role>,
    #[command(flatten)]
    /// Who signs.
    pub signing: SigningArgs,
}

/// Who is revoked.
#[derive(Args, Debug)]
pub struct RevokeArgs {
    /// Label or fingerprint.
    pub who: String,
    #[command(flatten)]
    /// Why.
    pub reason: ReasonArgs,
    #[command(flatten)]
    /// Who signs.
    pub signing: SigningArgs,
}

/// Runs `keylatch principal`.
pub async fn run(command: PrincipalCommand, session: &mut Session, screen: &mut Screen) -> Result<(), Error> {
    session.refresh(screen).await?;
    match command {
        PrincipalCommand::Enroll(args) => {
            if args.role.is_empty() && args.kind == PrincipalKind::Person {
                return Err(Error::usage("a person without a role could do nothing", "give a role with --role"));
            }
            let principal = Principal {
                key: read_public_key(&args.key)?,
                kind: args.kind,
                person: args.person.unwrap_or_else(|| args.label.clone()),
                label: args.label,
                roles: args.role.into_iter().collect(),
                subject: args.subject.digest()?,
                party: args.party,
            };
            let outcome = enroll(session, screen, principal, &args.signing.into()).await?;
            screen.show(&outcome)
        }
        PrincipalCommand::Change(args) => {
            let principal = lookup::principal(session.state(), &args.who)?.principal.fingerprint();
            let roles: BTreeSet<Role> = args.role.into_iter().collect();
            let against = session.governance()?.head;
            let action = Action::PrincipalChange(PrincipalChange { against, principal, roles });
            let outcome = govern(session, screen, action, &args.signing.into()).await?;
            screen.show(&outcome)
        }
        PrincipalCommand::Rotate(args) => {
            let outcome = rotate::rotate(session, screen, args).await?;
            screen.show(&outcome)
        }
        PrincipalCommand::SealingKey(args) => sealing_key::run(args, session, screen).await,
        PrincipalCommand::SubjectKey { file } => screen.show(&subject::make_key(&file)?),
        PrincipalCommand::Revoke(args) => {
            let principal = lookup::principal(session.state(), &args.who)?.principal.fingerprint();
            let against = session.governance()?.head;
            let reason = args.reason.into();
            let action = Action::PrincipalRevoke(PrincipalRevoke { against, principal, reason });
            let outcome = govern(session, screen, action, &args.signing.into()).await?;
            screen.show(&outcome)
        }
        PrincipalCommand::List => screen.show(&list(session)),
        PrincipalCommand::Show { who } => screen.show(&show(session, &who)?),
    }
}

/// Enrols somebody.
pub async fn enroll(
    session: &mut Session,
    screen: &mut Screen,
    principal: Principal,
    signing: &Signing,
) -> Result<Outcome, Error> {
    let against = session.governance()?.head;
    govern(session, screen, Action::PrincipalEnroll(PrincipalEnroll { against, principal }), signing).await
}

/// Carries out what an admin quorum decides. It is shown and asked for.
pub async fn govern(
    session: &mut Session,
    screen: &mut Screen,
    action: Action,
    signing: &Signing,
) -> Result<Outcome, Error> {
    let signatures = session.governance()?.admin_quorum;
    let command = session.command(action, None, lifetime(signing, signatures));
    session.carry_out(screen, &command, signing, Needs { signatures, review: true }).await
}

fn people(session: &Session) -> impl Iterator<Item = (&Fingerprint, &Member)> {
    session.state().governance.iter().flat_map(|governance| &governance.people)
}

fn to_json(fingerprint: &Fingerprint, member: &Member) -> Value {
    json!({ "fingerprint": fingerprint, "principal": member.principal, "revoked": member.revoked,
        "sealing_key": member.sealing_key })
}

fn roles(principal: &Principal) -> String {
    principal.roles.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn list(session: &Session) -> Shown {
    let mut table = Table::new(&["LABEL", "KIND", "PERSON", "ROLES", "STANDING", "SEALING KEY", "FINGERPRINT"]);
    let mut json = Vec::new();
    for (fingerprint, member) in people(session) {
        let principal = &member.principal;
        let standing = match member.revoked {
            None => Cell::styled(GREEN, "enrolled"),
            Some(_) => Cell::styled(RED, "revoked"),
        };
        table.row([
            Cell::styled(BOLD, principal.label.as_str()),
            name_of(&principal.kind).into(),
            principal.person.as_str().into(),
            roles(principal).into(),
            standing,
            if member.sealing_key.is_some() { "yes" } else { "no" }.into(),
            fingerprint.to_string().into(),
        ]);
        json.push(to_json(fingerprint, member));
    }
    Shown { json: json!({ "ok": true, "principals": json }), people: table.to_people("nobody is enrolled") }
}

fn show(session: &Session, who: &str) -> Result<Shown, Error> {
    let member = lookup::principal(session.state(), who)?;
    let principal = &member.principal;
    let mut fields = Fields::default();
    fields.text("fingerprint", principal.fingerprint().to_string());
    fields.text("key", principal.key.to_string());
    fields.text("kind", name_of(&principal.kind));
    fields.text("person", principal.person.as_str());
    fields.text("roles", roles(principal));
    if let Some(party) = principal.party {
        fields.text("acts for", party.name());
    }
    let subject = if principal.subject.is_some() { "bound by a keyed hash" } else { "not bound" };
    fields.text("identity", subject);
    let sealing_key =
        member.sealing_key.map_or("none: gets no share of a sealed key".to_owned(), |key| key.to_string());
    fields.text("sealing key", sealing_key);
    let standing = match member.revoked {
        None => styled(GREEN, "enrolled"),
        Some(event) => styled(RED, &format!("revoked by event {}", lookup::short(event))),
    };
    fields.add("standing", standing);
    let json = json!({ "ok": true, "principal": to_json(&principal.fingerprint(), member) });
    let people = format!("{BOLD}{}{BOLD:#}\n{}", safe(principal.label.as_str()), fields.to_people(2));
    Ok(Shown { json, people })
}
