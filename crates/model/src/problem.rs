//! Problem documents (RFC 9457): how a refusal reads. Every type there is stands in [`ProblemType`], and nowhere else.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Defines the table of problems: URN suffix, HTTP-like status, title, advice.
macro_rules! problems {
    ($($variant:ident = $name:literal, $status:literal, $title:literal, $advice:literal;)*) => {
        /// The kinds of refusal. Names are stable: programs compare them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum ProblemType {
            $(#[doc = $title] $variant,)*
        }

        impl ProblemType {
            /// Every type.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The end of the URN, after `urn:keylatch:problem:`.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// As an HTTP status would put it.
            pub fn status(self) -> u16 {
                match self { $(Self::$variant => $status,)* }
            }

            /// The same short sentence for every occurrence.
            pub fn title(self) -> &'static str {
                match self { $(Self::$variant => $title,)* }
            }

            /// What would be right.
            pub fn advice(self) -> &'static str {
                match self { $(Self::$variant => $advice,)* }
            }
        }
    };
}

problems! {
    // The message itself.
    TooLarge = "too-large", 413, "The message is too large.", "Keep a command's payload within 24 KiB, and the data of a use within 4 KiB.";
    Malformed = "malformed", 400, "The message is not what its subject takes.", "Send a DSSE envelope over a command whose members are those of the schema, in strict JSON.";
    UnknownAction = "unknown-action", 404, "There is no such action.", "Send the command on keylatch.cmd.<action>, with an action from schemas/commands.";
    WrongTenant = "wrong-tenant", 403, "The command names another tenant.", "Sign the command for the tenant whose account it is sent from.";
    BadSignature = "bad-signature", 401, "A signature does not verify.", "Sign the PAE of the exact payload bytes with SSHSIG, namespace keylatch-command, hash sha512.";
    Expired = "expired", 410, "The command has expired.", "Sign a new one; look at the clock.";
    LifetimeTooLong = "lifetime-too-long", 400, "The command lives too long.", "Let expires_at be at most 15 minutes after issued_at (7 days where several people must sign, 30 seconds for a use).";
    NotYetIssued = "not-yet-issued", 400, "The command comes from the future.", "Look at the clock of the machine that signed it.";
    CommandIdReused = "command-id-reused", 409, "The command id was used for other bytes.", "Give every command an id of its own.";
    UseRepeated = "use-repeated", 409, "The use command was seen before.", "Sign a new one: uses are not repeated.";
    // Standing.
    UnknownPrincipal = "unknown-principal", 403, "The signer is not enrolled here.", "Have an admin quorum enrol the key.";
    PrincipalRevoked = "principal-revoked", 403, "The signer was revoked.", "Sign with a key that is enrolled.";
    RoleMissing = "role-missing", 403, "The signer does not hold a role that this takes.", "Have somebody sign who holds one of the roles named.";
    QuorumNotMet = "quorum-not-met", 403, "Not enough people have signed.", "Collect the signatures that are missing.";
    NotAPerson = "not-a-person", 403, "Only people can do this.", "Have a person sign, not a workload.";
    SelfApproval = "self-approval", 403, "Who asks does not approve.", "Have somebody else approve.";
    AlreadyVoted = "already-voted", 409, "This person has voted on the request.", "Nothing to do: one person is one vote.";
    // State.
    UnknownTenant = "unknown-tenant", 404, "There is no such tenant.", "Create the tenant first.";
    UnknownKey = "unknown-key", 404, "There is no such key.", "List the tenant's keys.";
    KeyExists = "key-exists", 409, "There is a key with this id.", "Give every key an id of its own.";
    KeyNotPreActive = "key-not-pre-active", 409, "The key is not pre-active.", "Look at the key's state.";
    KeyNotActive = "key-not-active", 409, "The key is not active.", "Have its activation requested and approved; see what is missing with `keylatch key show`.";
    ForbiddenTransition = "forbidden-transition", 409, "The key's state does not allow this.", "See the states of NIST SP 800-57 and the key's own.";
    StateChanged = "state-changed", 409, "Things have changed since the command was signed.", "Look again, and sign against the new state.";
    UnknownRequest = "unknown-request", 404, "There is no such open request.", "See the key's open request.";
    RequestOpen = "request-open", 409, "The key has an open request.", "Approve, reject or cancel that one first.";
    RequestClosed = "request-closed", 409, "The request is closed.", "Make a new request.";
    IdentityMismatch = "identity-mismatch", 409, "The key is not the one that was described.", "Compare the fingerprint or check value with the key's record.";
    NotAuthorized = "not-authorized", 409, "The activation is not authorised.", "Collect the approvals that are missing.";
    NotYetDue = "not-yet-due", 409, "It is too early.", "Wait for the time named.";
    NothingDue = "nothing-due", 409, "There is nothing to do.", "Nothing: it has been done, or is not due.";
    // Policy.
    NoPolicy = "no-policy", 409, "The tenant has no policy.", "Have an admin quorum adopt one.";
    PolicyRefused = "policy-refused", 422, "The policy does not hold together.", "Mend the faults named.";
    NoRule = "no-rule", 422, "No rule of the policy is for this key.", "Add a rule that matches it.";
    AlgorithmNotAllowed = "algorithm-not-allowed", 422, "The policy does not allow this algorithm.", "Take one that it lists.";
    PeriodTooLong = "period-too-long", 422, "The time asked for is longer than the policy allows.", "Ask for an earlier end.";
    TimesInvalid = "times-invalid", 422, "The times do not fit together.", "Let not_before come before deactivate_at, and both after now.";
    PrincipalExists = "principal-exists", 409, "This key is or was enrolled.", "Enrol another key.";
    LastAdmins = "last-admins", 409, "Too few admins would be left to form the quorum.", "Enrol further admins first.";
    TooMany = "too-many", 409, "There are as many of these as the rules take.", "Put it in the place of one that is no longer needed, under that one's name.";
    NotSupported = "not-supported", 501, "This program does not do that yet.", "See the documentation for what it does.";
    ReasonNotAccepted = "reason-not-accepted", 422, "The policy does not take this reason here.", "Give a reason of a kind that the rule takes.";
    RequestIncomplete = "request-incomplete", 422, "The request leaves out what the policy asks for.", "Add what is named, and ask again.";
    AttributeNotAllowed = "attribute-not-allowed", 422, "The policy does not allow a key with this attribute.", "Leave the attribute out, or have the policy allow it.";
    AssetMissing = "asset-missing", 422, "A key for an AI model must name what it protects.", "Name the model's digest, its endpoint or the asset.";
    AlgorithmEnds = "algorithm-ends", 422, "The algorithm is not allowed for so long.", "Ask for an end before the date named, or take another algorithm.";
    NotYourTurn = "not-your-turn", 409, "Others must approve first.", "Wait for the stages before yours.";
    AssuranceMissing = "assurance-missing", 403, "The policy asks for a hardware key here.", "Sign with a FIDO key that was touched, and verified you where that is asked.";
    DelegationInvalid = "delegation-invalid", 403, "There is no delegation for this.", "Have the one whose vote it is grant one, within its time and in the roles that this takes.";
    SubjectTaken = "subject-taken", 409, "This human being is enrolled under another name.", "Enrol the key under the person's existing name.";
    SubjectMissing = "subject-missing", 422, "The policy asks who this is at the identity provider.", "Enrol with the keyed hash of the issuer and the subject.";
    Held = "held", 423, "A hold freezes this.", "Have it lifted by who may; see `keylatch hold list`.";
    PackUndeclared = "pack-undeclared", 409, "A legal pack is not declared.", "Have an admin quorum declare it, applied or not applicable.";
    PackRefused = "pack-refused", 422, "The legal pack does not hold together.", "Mend the faults named.";
    GateNotSatisfied = "gate-not-satisfied", 409, "A legal condition is not satisfied.", "See the gate and the facts named.";
    GateUnknown = "gate-unknown", 409, "It is not known whether a legal condition is satisfied, and unknown blocks.", "Have the facts named asserted, with their evidence.";
    FactUnknown = "fact-unknown", 404, "There is no such fact.", "Take a fact that the policy lists, and that was asserted.";
    ParentNotActive = "parent-not-active", 409, "The key that wraps this one is not active.", "Have the parent activated first.";
    ConsumersMissing = "consumers-missing", 409, "Consumers have not acknowledged the key.", "Have those named acknowledge its identity.";
    BaselineExists = "baseline-exists", 409, "The store has its baseline.", "Have keys that were made since replaced by keys that Keylatch generates; only what was there at the first inventory is adopted.";
    SealingKeysMissing = "sealing-keys-missing", 422, "The key would be sealed to too few people.", "Have those named who could approve say to which key their shares are sealed: `keylatch principal sealing-key`.";
    SealingKeyTaken = "sealing-key-taken", 409, "Somebody's shares are sealed to this key already.", "Make a key of one's own: `keylatch principal sealing-key --renew`.";
    ShareMissing = "share-missing", 422, "The approver holds a share of this key, and the approval brings none.", "Approve with `keylatch approve`, where the secret sealing key is that the share was sealed to.";
    ShareRefused = "share-refused", 422, "The approval brings a share that it can't have.", "Leave the share out: it is for the holder's own vote, on a sealed key.";
    NotSealed = "not-sealed", 409, "The policy asks for a sealed key, and this one is not, or opens with fewer shares.", "Have a key generated anew under the rule, and this one destroyed.";
    NotInManifest = "not-in-manifest", 409, "The key is not one of those that were asked for.", "Compare the list with its root.";
    AuthorizationSpent = "authorization-spent", 409, "The standing authorisation is used up, or its time is over.", "Ask for a new one.";
    ReviewMissing = "review-missing", 409, "The emergency activation was not reviewed.", "Have it reviewed first.";
    ProofInvalid = "proof-invalid", 422, "The proof does not hold.", "Bring the parent's event as it stands in its chain, with a checkpoint and a path to it, under a root that the policy trusts.";
    UnknownCheckpoint = "unknown-checkpoint", 404, "There is no checkpoint over so many events.", "Name the size of one that was recorded, or none for the newest.";
    NotCovered = "not-covered", 409, "No checkpoint covers the event yet.", "Ask again in a moment: a checkpoint follows within seconds.";
    // Custody.
    CustodyStale = "custody-stale", 503, "The custodian has no fresh word on the chain.", "Wait; if it lasts, see `keylatch doctor`.";
    CustodyPending = "custody-pending", 503, "The key store does not have the chain's state yet.", "Try again in a moment.";
    OperationNotAllowed = "operation-not-allowed", 409, "The key does not do this operation.", "See the key's algorithm.";
    CiphertextInvalid = "ciphertext-invalid", 422, "The data does not decrypt under this key.", "Check the key id, the data and its additional data.";
    StatementInvalid = "statement-invalid", 422, "A service's statement does not verify.", "See the services' logs.";
    NotInCustody = "not-in-custody", 409, "Keylatch does not have this key: it was adopted, and is where it was.", "Use it, and change it, in its store. Have a key generated that replaces it, so that Keylatch holds the next one.";
    // The platform.
    Stopped = "stopped", 503, "Writing is stopped for this tenant.", "See `keylatch doctor` for the alarm and what to do.";
    ClockBehind = "clock-behind", 503, "The log is ahead of the clock.", "Set the service's clock right.";
    Contended = "contended", 503, "Others kept writing first.", "Send the same command again.";
    Busy = "busy", 503, "Too many requests of this tenant are waiting.", "Send the same command again in a moment, and fewer at once.";
    Unavailable = "unavailable", 503, "A part of the platform does not answer.", "Send the same command again later.";
    InProgress = "in-progress", 503, "It is being done.", "Send the same command again in a moment: once it is done, the answer is its record.";
    NoRoom = "no-room", 507, "The platform has no room for this.", "Tell who runs the platform: its log names the folder. Nothing half was left; once there is room, send the same command again.";
    // Bundles of evidence.
    UnknownExport = "unknown-export", 404, "There is no such bundle, or no such file in it.", "List the bundles: old ones may have been removed by whoever runs the platform.";
}

impl ProblemType {
    /// Whether the same bytes, sent again in a moment, may be taken.
    pub fn is_passing(self) -> bool {
        matches!(self, Self::Busy | Self::Contended | Self::Unavailable)
    }

    /// The stable URN.
    pub fn urn(self) -> String {
        format!("urn:keylatch:problem:{}", self.name())
    }

    /// The type with this URN.
    pub fn from_urn(urn: &str) -> Option<Self> {
        let name = urn.strip_prefix("urn:keylatch:problem:")?;
        Self::ALL.iter().find(|problem| problem.name() == name).copied()
    }
}

impl fmt::Display for ProblemType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A problem document, as it is sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// Always false: what tells a problem from an answer at a glance.
    pub ok: bool,
    /// The stable URN.
    #[serde(rename = "type")]
    pub problem_type: String,
    /// The same short sentence for every occurrence.
    pub title: String,
    /// As an HTTP status would put it.
    pub status: u16,
    /// What was wrong this time.
    pub detail: String,
    /// What would be right.
    pub advice: String,
    /// What is missing or in the way, by name (extension members, RFC 9457 section 3.2).
    #[serde(flatten)]
    pub members: serde_json::Map<String, serde_json::Value>,
}

impl Problem {
    /// A problem of this type, with what was wrong this time.
    pub fn new(problem: ProblemType, detail: impl fmt::Display) -> Self {
        Self {
            ok: false,
            problem_type: problem.urn(),
            title: problem.title().to_owned(),
            status: problem.status(),
            detail: detail.to_string(),
            advice: problem.advice().to_owned(),
            members: serde_json::Map::new(),
        }
    }

    /// Names what is missing or in the way.
    #[must_use]
    pub fn with(mut self, member: &str, value: impl Into<serde_json::Value>) -> Self {
        self.members.insert(member.to_owned(), value.into());
        self
    }

    /// Its type, where this program knows it.
    pub fn kind(&self) -> Option<ProblemType> {
        ProblemType::from_urn(&self.problem_type)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.title.trim_end_matches('.'), self.detail)
    }
}
