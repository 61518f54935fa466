//! The sixteen points that CEK-15 is audited by: what each asks for, how it can be determined, and which part of Keylatch
//! does what about it. In words of our own; the control's text is quoted where it is quoted.

use model::ServiceRole::{self, Activator, Approver, Custodian, EvidenceExporter, Expirer, Issuer};

/// The control.
pub(super) const CONTROL: &str = "cek-15";

/// Its title.
pub(super) const TITLE: &str = "Key Activation";

/// Its text, quoted.
pub(super) const TEXT: &str = "Define, implement and evaluate processes, procedures and technical measures to create \
                               keys in a pre-activated state when they have been generated but not authorized for \
                               use, which include provisions for legal and regulatory requirements.";

/// A point.
pub(super) struct Point {
    /// From 1 to 16.
    pub(super) number: u8,
    /// In few words.
    pub(super) title: &'static str,
    /// What must be.
    pub(super) statement: &'static str,
    /// What an assessor determines.
    pub(super) objective: &'static str,
    /// What an assessor looks at.
    pub(super) objects: &'static str,
    /// What meets it.
    pub(super) met_by: &'static [(Part, &'static str)],
    /// What is left to those who rely on the tenant's keys.
    pub(super) customer: Option<&'static str>,
}

/// A part of the system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// A service.
    Service(ServiceRole),
    /// The key stores.
    Stores,
    /// The policy in force.
    Policy,
    /// The legal packs that are declared.
    Packs,
    /// The documents that were adopted.
    Documents,
}

impl Point {
    /// The identifier of its test.
    pub(super) fn test_id(&self) -> String {
        format!("CEK-15.{:02}", self.number)
    }

    /// The identifier of its control.
    pub(super) fn control_id(&self) -> String {
        format!("{CONTROL}.{:02}", self.number)
    }

    /// Where it comes from.
    pub(super) fn source(&self) -> &'static str {
        if self.number <= 10 { "AICM auditing guidelines" } else { "CCM auditing guidelines" }
    }
}

/// All of them, in order.
pub(super) const POINTS: [Point; 16] = [
    Point {
        number: 1,
        title: "Keys are born pre-active",
        statement: "A key that was generated exists and may not be used: it is pre-active until its use has been \
                    approved explicitly.",
        objective: "Every key entered the inventory pre-active, and none was used before it was activated.",
        objects: "events key.generated, key.activated, custody.used and custody.refused; keys.csv",
        met_by: &[
            (
                Part::Service(Issuer),
                "Records each new key as pre-active, with the custodian's signed statement that it was generated on a \
                 person's command. There is no event by which a key could begin in another state.",
            ),
            (
                Part::Service(Custodian),
                "Generates the key, and refuses every use of a key that the verified history does not call active.",
            ),
        ],
        customer: None,
    },
    Point {
        number: 2,
        title: "Pre-active keys are kept apart",
        statement: "Pre-active keys are stored securely, and apart from the inventory of active keys, until they are \
                    activated.",
        objective: "For every key, the custodian has stated the inventory and the wrapping key that it was under \
                    before and after its activation, and they differ.",
        objects: "events custody.applied; keys.csv, stores.csv",
        met_by: &[
            (Part::Stores, "Keep pre-active keys in an inventory of their own, under wrapping keys of their own."),
            (
                Part::Service(Custodian),
                "Moves a key between the inventories only after the event that calls for it is in the verified \
                 history, and states where it was and where it is.",
            ),
        ],
        customer: None,
    },
    Point {
        number: 3,
        title: "Authorisation comes before use",
        statement: "No pre-active key goes into use without a formal authorisation, by a workflow that can be \
                    reviewed.",
        objective: "Every activation rests on a request, on as many signed approvals as the rule in force asked for, \
                    and on none of the requester's own.",
        objects: "events activation.requested, activation.approved, activation.authorized and key.activated, with the \
                  signed commands in them; activations.csv",
        met_by: &[
            (
                Part::Service(Approver),
                "Records requests and approvals, each with the command that a person signed with a key of their own, \
                 and the authorisation when the quorum is complete.",
            ),
            (
                Part::Service(Activator),
                "Activates what is authorised, and decides again at that moment whether it still is.",
            ),
            (Part::Policy, "Says which roles approve, how many, and how long an approval is good."),
        ],
        customer: None,
    },
    Point {
        number: 4,
        title: "Activation is for authorised people, several together",
        statement: "The privilege to activate is restricted to authorised people and services, with several parties \
                    approving, or a policy gate, where that is required.",
        objective: "Whoever approved or set off an activation was enrolled, in a role that the policy in force named, \
                    at that time; and no service holds the roles to carry a key from birth to use.",
        objects: "events principal.*, delegation.*, policy.adopted and access.reviewed; people.csv",
        met_by: &[
            (
                Part::Service(Approver),
                "Enrols, changes and revokes people by a quorum of admins, and counts one vote a person whatever \
                 roles and keys they hold.",
            ),
            (Part::Policy, "Names the roles for each operation and the number of people that each takes."),
        ],
        customer: Some(
            "Who holds which of the keys that people sign with is for each party's own records to show; what was \
             signed for shared keys needs people of each party.",
        ),
    },
    Point {
        number: 5,
        title: "All key stores are under the same control",
        statement: "The controls are enforced alike in all components that hold keys: key management services, \
                    hardware security modules, encryption as a service.",
        objective: "Every key store that holds keys of the tenant is reached by the custodian alone, and every key \
                    has a statement of the custodian about each change.",
        objects: "events custody.applied and store.registered; stores.csv",
        met_by: &[
            (
                Part::Service(Custodian),
                "Is the only process that reaches key material, in whatever store, and applies to all of them what \
                 one set of rules has decided.",
            ),
            (Part::Stores, "Are reached through one interface; what a store must do is tested alike for all."),
        ],
        customer: Some("Keys in stores that no custodian of this system reaches are outside of this evidence."),
    },
    Point {
        number: 6,
        title: "Activations are on record",
        statement: "The log of activations has the key's identifier, the time, who initiated it, the approvals it \
                    rests on, and the systems and services affected.",
        objective: "Every key.activated has all of these in one record, signed and linked into the chain, and a \
                    checkpoint covers it.",
        objects: "events key.activated and checkpoint.signed; activations.csv, checkpoints.txt",
        met_by: &[
            (Part::Service(Activator), "Writes all of it into one signed record."),
            (
                Part::Service(EvidenceExporter),
                "Keeps every event, signs checkpoints over the whole history, and exports it byte for byte.",
            ),
        ],
        customer: Some(
            "Keep a checkpoint from time to time: a history that was cut off or written anew after it does not verify \
             against it.",
        ),
    },
    Point {
        number: 7,
        title: "Legal and regulatory requirements are considered and enforced",
        statement: "Legal and regulatory requirements (on personal data, exports, financial data and the like) are \
                    considered and enforced when keys are activated.",
        objective: "The legal packs that the policy names are each declared as applied or, with a reason, as not \
                    applicable; and every activation records which of their conditions held.",
        objects: "events pack.declared, fact.asserted, fact.withdrawn and key.activated; activations.csv",
        met_by: &[
            (
                Part::Packs,
                "Are dated and sourced conditions on the key, the request and asserted facts. A condition that is not \
                 known to hold blocks.",
            ),
            (
                Part::Service(Approver),
                "Records declarations and facts, each signed by those who answer for them, with the time until which \
                 they hold.",
            ),
        ],
        customer: Some(
            "Facts about the customer's own use (where data lies, who the end user is, which contract holds) are \
             asserted by those who know them; whether they are true is not for a program to say.",
        ),
    },
    Point {
        number: 8,
        title: "Waiting has an end",
        statement: "A pre-active key expires, times out or is revalidated where it is not activated within a set time.",
        objective: "No key stayed pre-active beyond its time: each was activated, revalidated in time, or expired and \
                    destroyed.",
        objects: "events key.generated, key.revalidated, key.expired, key.destroyed and custody.applied; keys.csv",
        met_by: &[
            (
                Part::Service(Expirer),
                "Turns the passing of time into events: lapsed requests and approvals, keys that nobody activated, \
                 missed revalidations, ended crypto periods.",
            ),
            (Part::Policy, "Sets how long a key may wait, and how often it must be revalidated."),
        ],
        customer: None,
    },
    Point {
        number: 9,
        title: "Keys for AI workloads are under the same controls",
        statement: "Keys that protect AI workloads (storage of models, inference, prompts) are under the same \
                    controls and workflows as keys for general purposes.",
        objective: "Set side by side, keys for AI workloads were approved by no fewer people, waited under the same \
                    limits and were refused for the same reasons as all others.",
        objects: "keys.csv and activations.csv, by workload and layer",
        met_by: &[
            (Part::Policy, "Applies one set of rules to all keys; a policy that has no rule for some layer says so."),
            (Part::Service(Activator), "Decides for every key by the same code."),
        ],
        customer: None,
    },
    Point {
        number: 10,
        title: "Activation is coordinated with those upstream and downstream",
        statement: "Activation is coordinated with providers upstream and consumers downstream, above all where it \
                    affects shared services or chains of encryption.",
        objective: "Where a request named consumers, all had acknowledged the key before it was activated; where \
                    another key wraps it, that one was active, proved so where it is another tenant's.",
        objects: "events consumer.acknowledged, parent.attested and key.activated; activations.csv",
        met_by: &[
            (
                Part::Service(Approver),
                "Records consumers' signed acknowledgements and proofs of parent keys in other tenants.",
            ),
            (
                Part::Service(Activator),
                "Activates no key whose parent is not active or whose consumers have not acknowledged it, and \
                 suspends what a troubled key wraps.",
            ),
        ],
        customer: Some(
            "Consumers acknowledge a key with a key of their own before it is activated, and act on the custodian's \
             word that it was applied.",
        ),
    },
    Point {
        number: 11,
        title: "Processes and procedures to generate keys exist",
        statement: "Processes and procedures for the generation of keys exist, are owned, and are reviewed.",
        objective: "The documents that describe them are adopted with their digest, an owner and a date of review, \
                    and none is overdue.",
        objects: "events document.adopted and policy.adopted",
        met_by: &[
            (Part::Documents, "Say how it is done; each is adopted with its digest, an owner and a date of review."),
            (
                Part::Service(Approver),
                "Records the policy, and documents by their digests, each signed for by a quorum of admins.",
            ),
            (Part::Service(Issuer), "Generates keys in one way only: on a signed command, under the policy in force."),
        ],
        customer: None,
    },
    Point {
        number: 12,
        title: "Who may have keys generated",
        statement: "Access to the creation of keys, and the permissions around it, are restricted to appropriate \
                    individuals.",
        objective: "Whoever had a key generated was enrolled in a role that the policy in force lets create keys; and \
                    access was reviewed as often as policy asks.",
        objects: "events key.generated and access.reviewed; keys.csv, people.csv",
        met_by: &[
            (Part::Service(Issuer), "Records no key that somebody without such a role has asked for."),
            (Part::Policy, "Names the roles that may create keys, and how often access is reviewed."),
        ],
        customer: None,
    },
    Point {
        number: 13,
        title: "Key management servers and key databases are identified",
        statement: "The key management server and the database that keys are stored in are identified.",
        objective: "Every key names its store, and every store is registered with its server and database.",
        objects: "events key.generated, custody.applied and store.registered; stores.csv",
        met_by: &[
            (Part::Stores, "Are named in every key's record and in every statement of the custodian."),
            (Part::Service(Custodian), "States for each key the store and the inventory that it is in."),
        ],
        customer: None,
    },
    Point {
        number: 14,
        title: "Key attributes are appropriate",
        statement: "A key's attributes (activation data, instance, whether it can be deleted, how it is replaced) are \
                    appropriate for it.",
        objective: "Every key has the attributes that the policy allows, an end to its use within the crypto period \
                    of its algorithm, and keeps them from birth on.",
        objects: "events key.generated and key.activated; keys.csv",
        met_by: &[
            (
                Part::Service(Issuer),
                "Records attributes once, when the key is generated, within what the policy allows; no event changes \
                 them.",
            ),
            (
                Part::Policy,
                "Says which algorithms and attributes are allowed, and how long a key of each may be in use.",
            ),
        ],
        customer: None,
    },
    Point {
        number: 15,
        title: "How activation happens is confirmed",
        statement: "How keys are activated (by hand, on creation, at a time to come) is known, and each activation is \
                    confirmed.",
        objective: "Every activation says how it came about, and the custodian has confirmed each.",
        objects: "events key.activated and custody.applied; activations.csv",
        met_by: &[
            (
                Part::Service(Activator),
                "Records whether an activation was by hand, scheduled, or under a standing authorisation.",
            ),
            (Part::Service(Custodian), "Confirms that the store has followed."),
        ],
        customer: None,
    },
    Point {
        number: 16,
        title: "Keys that wait are reviewed",
        statement: "Keys that wait for their activation are reviewed.",
        objective: "Keys that waited longer than the policy's interval were revalidated by somebody, or expired; what \
                    was missed is an exception.",
        objects: "events key.revalidated, deadline.warned, deadline.missed and key.expired; keys.csv",
        met_by: &[
            (
                Part::Service(Issuer),
                "Records who said that which keys are still wanted, and when they must be looked at again.",
            ),
            (Part::Service(Expirer), "Warns ahead of what falls due, and records what was missed."),
        ],
        customer: None,
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_points_are_numbered_in_order_and_name_events_that_there_are() {
        for (number, point) in (1..).zip(&POINTS) {
            assert_eq!(point.number, number);
            assert!(!point.met_by.is_empty(), "{}", point.title);
        }
    }
}
