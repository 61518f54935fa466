//! The questions, and what a history says to each.

use model::{EventType, KeyState};

use super::figures::{Figures, figures};
use super::{Answer, Draft, Pointer, Shown, Whether, events, owner};
use crate::controls::Controls;
use crate::history::History;
use crate::words::count;

/// The drafts, in the order of the questions.
pub(super) fn answers(history: &History, controls: &Controls) -> Vec<Answer> {
    let figures = figures(history, controls);
    let asked = Asked { history, figures: &figures };
    vec![asked.activation(), asked.suspension(), asked.deactivation(), asked.inventory()]
}

struct Asked<'a> {
    history: &'a History,
    figures: &'a Figures,
}

const DEFINED: &str = "defined";
const IMPLEMENTED: &str = "implemented";
const EVALUATED: &str = "evaluated";
const LEGAL: &str = "legal";

/// What the history of one control's tests can't say of another control.
const EVALUATED_ELSEWHERE: &str = "This history holds evaluations of CEK-15 only; whether this control is evaluated, \
                                   and by whom, is for a person to say.";
const UNDER_THE_SAME_LAW: &str =
    "Legal packs gate activation only; provisions for this control are in the organisation's own procedures.";

impl Asked<'_> {
    /// CEK-15.1.
    fn activation(&self) -> Answer {
        let Figures { generated, activated, expired, uses, refused, .. } = self.figures;
        let waiting = self.in_state(KeyState::PreActive);
        let implementation = vec![
            format!(
                "{} generated, each pre-active; {activated} activated; {expired} expired because nobody activated \
                     them; {waiting} waiting.",
                count(*generated, "key")
            ),
            "A key is activated only when the people whom the policy names have signed for it, each with a key of \
             their own; whoever asks has no vote, and one person is one vote."
                .to_owned(),
            format!(
                "The custodian recorded {} and refused {refused}: a key works exactly while the verified history \
                     calls it active.",
                count(*uses, "use")
            ),
            self.probed(),
        ];
        let shown = vec![self.procedures(), self.implemented(), self.evaluated(), self.legal()];
        let types = [
            EventType::KeyGenerated,
            EventType::ActivationRequested,
            EventType::ActivationApproved,
            EventType::KeyActivated,
            EventType::KeyExpired,
        ];
        let customer = vec![
            "For keys of a shared layer: name people of your own who approve, and keep their signing keys.",
            "Where you consume a key: acknowledge it before it is activated, and act on the custodian's word that it \
             was applied.",
            "Say what only you know (where data lies, under which contract, who the end user is), and take it back \
             when it is no longer so.",
            "Keep a checkpoint, and check evidence against it.",
        ];
        let pointers = vec![
            self.pointer("controls.json", "the sixteen points, each with its population and its exceptions", &[]),
            self.pointer("activations.csv", "every activation with its request, approvals and legal basis", &types),
            self.pointer("keys.csv", "every key and its life", &[]),
        ];
        answer(
            "CEK-15.1",
            "Are processes, procedures, and technical measures to create keys in a pre-activated state (i.e., when \
             they have been generated but not authorized for use) defined, implemented, and evaluated, including \
             provisions for legal and regulatory requirements?",
            self.owner(),
            shown,
            implementation,
            customer,
            pointers,
        )
    }

    /// CEK-16.1.
    fn suspension(&self) -> Answer {
        let Figures { suspensions, suspensions_by_themselves, resumptions, .. } = self.figures;
        let implementation = vec![
            format!(
                "{}, {suspensions_by_themselves} of them without a person's command (a troubled parent key, an \
                     emergency that nobody reviewed); {}; {} suspended now.",
                count(*suspensions, "suspension"),
                count(*resumptions, "resumption"),
                self.in_state(KeyState::Suspended)
            ),
            "Suspending and resuming are commands that people sign, in roles and numbers that the policy names; each \
             is an event with its reason. A suspended key is refused for every use."
                .to_owned(),
        ];
        let implemented = match suspensions {
            0 => shown(
                IMPLEMENTED,
                Whether::NotInThisHistory,
                "No key was suspended yet: the history shows the rule and not its use.",
            ),
            _ => shown(
                IMPLEMENTED,
                Whether::Yes,
                "The suspensions and resumptions in the history, each under the rules then in force.",
            ),
        };
        let shown = vec![self.defined(), implemented, evaluated_elsewhere(), legal_elsewhere()];
        let pointers = vec![self.pointer(
            "events.jsonl",
            "every suspension and resumption, with who signed for it and why",
            &[EventType::KeySuspended, EventType::KeyResumed],
        )];
        answer(
            "CEK-16.1",
            "Are transitions of keys to and from suspension monitored, reviewed and approved?",
            self.owner(),
            shown,
            implementation,
            vec![
                "Tell the tenant when a key that you use should be suspended, and be ready for a refusal while it is.",
            ],
            pointers,
        )
    }

    /// CEK-17.1.
    fn deactivation(&self) -> Answer {
        let Figures { deactivations, deactivations_by_themselves, overdue, .. } = self.figures;
        let implementation =
            vec![
            format!("{}, {deactivations_by_themselves} of them at the end of the time set at activation, without a \
                     person's command.", count(*deactivations, "deactivation")),
            "Every activation sets the time at which use ends, within the crypto period of the key's algorithm; the \
             custodian refuses by its own clock as well. A deactivated key may still decrypt and verify where the \
             policy says so, and does nothing else.".to_owned(),
        ];
        let implemented = match (overdue.as_slice(), deactivations, self.figures.activated) {
            ([_, ..], _, _) => {
                shown(IMPLEMENTED, Whether::No, &format!("In use beyond the time set: {}.", overdue.join(", ")))
            }
            ([], 0, _) => shown(IMPLEMENTED, Whether::NotInThisHistory, "No key has come to the end of its use yet."),
            _ => shown(IMPLEMENTED, Whether::Yes, "No key is in use beyond the time set at its activation."),
        };
        let shown = vec![self.defined(), implemented, evaluated_elsewhere(), legal_elsewhere()];
        let pointers = vec![self.pointer(
            "keys.csv",
            "when each key's use was to end and when it did",
            &[EventType::KeyDeactivated, EventType::AlgorithmEnded],
        )];
        answer(
            "CEK-17.1",
            "Are keys deactivated at the time of their expiration?",
            self.owner(),
            shown,
            implementation,
            vec!["Have a successor ready before a key that you use comes to its end: warnings are recorded ahead."],
            pointers,
        )
    }

    /// CEK-21.1.
    fn inventory(&self) -> Answer {
        let states: Vec<String> = self.figures.states.iter().map(|(state, keys)| format!("{keys} {state}")).collect();
        let compromised = self.in_state(KeyState::Compromised) + self.in_state(KeyState::DestroyedCompromised);
        let unconfirmed = self.figures.unconfirmed;
        let checkpoints = self.history.checkpoints.len() as u64;
        let implementation = vec![
            format!(
                "The inventory: {}{}{}.",
                count(self.figures.generated, "key"),
                if states.is_empty() { "" } else { ", " },
                states.join(", ")
            ),
            format!(
                "Every change of state is a signed event in one chain, under {}; {compromised} declared compromised. \
                 For {unconfirmed} the custodian has not yet said that the store has the last state.",
                count(checkpoints, "checkpoint")
            ),
        ];
        let implemented = match self.figures.generated {
            0 => shown(IMPLEMENTED, Whether::NotInThisHistory, "There is no key yet."),
            _ => shown(
                IMPLEMENTED,
                Whether::Yes,
                "Every key that the custodian generated for the tenant, from its generation on.",
            ),
        };
        let defined = shown(
            DEFINED,
            Whether::Yes,
            "The states and the transitions between them are fixed, and every reader of the history holds events to \
             them.",
        );
        let shown = vec![defined, implemented, evaluated_elsewhere(), legal_elsewhere()];
        let pointers = vec![
            self.pointer(
                "keys.csv",
                "the whole inventory",
                &[EventType::KeyGenerated, EventType::KeyCompromised, EventType::KeyDestroyed],
            ),
            self.pointer("stores.csv", "where the keys are", &[EventType::CustodyApplied]),
        ];
        answer(
            "CEK-21.1",
            "Does the key management system track and report all cryptographic material and its changes of status?",
            self.owner(),
            shown,
            implementation,
            vec![
                "Keys that were not generated here, and certificates, are not in this inventory: list them elsewhere.",
            ],
            pointers,
        )
    }

    // === What several questions ask ===

    fn owner(&self) -> String {
        owner(self.history)
    }

    fn in_state(&self, state: KeyState) -> u64 {
        self.figures.states.get(&state).copied().unwrap_or_default()
    }

    fn pointer(&self, file: &'static str, what: &str, types: &[EventType]) -> Pointer {
        Pointer { file, what: what.to_owned(), events: events(self.history, types) }
    }

    fn policy(&self) -> String {
        match self.history.policies.last() {
            Some(policy) => format!(
                "In force: policy `{}`, version {}; no rule of it is content with fewer than {}, emergencies aside.",
                policy.name,
                policy.version,
                count(u64::from(policy.fewest_approvals), "approval")
            ),
            None => "No policy is in force.".to_owned(),
        }
    }

    fn defined(&self) -> Shown {
        match self.history.policies.last() {
            Some(_) => shown(DEFINED, Whether::Yes, &self.policy()),
            None => shown(DEFINED, Whether::No, "No policy is in force, so no key can be created or activated."),
        }
    }

    /// For activation, the policy and the documents that people signed for.
    fn procedures(&self) -> Shown {
        let defined = self.defined();
        let documents = &self.figures.documents;
        if defined.shown != Whether::Yes {
            return defined;
        }
        if documents.is_empty() {
            let text = format!("{} No process or procedure was adopted by its digest.", defined.by);
            return shown(DEFINED, Whether::NotInThisHistory, &text);
        }
        shown(DEFINED, Whether::Yes, &format!("{} Adopted documents: {}.", defined.by, documents.join(", ")))
    }

    fn probed(&self) -> String {
        let Figures { probes, probes_refused, .. } = self.figures;
        format!("Tried on waiting keys to see it refused: {}, {probes_refused} refused.", count(*probes, "probe"))
    }

    fn implemented(&self) -> Shown {
        let Figures { generated, activated, exceptions, open_exceptions, unanswered, .. } = self.figures;
        if *generated == 0 || *activated == 0 {
            return shown(
                IMPLEMENTED,
                Whether::NotInThisHistory,
                "No key was activated yet: the history shows the rules and not their use.",
            );
        }
        if *open_exceptions > 0 {
            return shown(
                IMPLEMENTED,
                Whether::No,
                &format!(
                    "Nobody has decided on {open_exceptions} of {} from the control tests.",
                    count(*exceptions, "exception")
                ),
            );
        }
        if !unanswered.is_empty() {
            return shown(
                IMPLEMENTED,
                Whether::NotInThisHistory,
                &format!("The history can't answer {}.", unanswered.join(", ")),
            );
        }
        shown(
            IMPLEMENTED,
            Whether::Yes,
            &format!(
                "The control tests, with {}, each decided on by the control's owner.",
                count(*exceptions, "exception")
            ),
        )
    }

    fn evaluated(&self) -> Shown {
        match (self.history.evaluations.last(), self.figures.evaluation_late) {
            (Some(last), false) => {
                let (time, by) = (last.at.time, self.history.label(last.by));
                let text = format!(
                    "The control tests were evaluated at {time}, signed for by {by} first; the next by {}.",
                    last.next_by
                );
                shown(EVALUATED, Whether::Yes, &text)
            }
            (Some(last), true) => {
                let text = format!("The evaluation that was due by {} has not been signed.", last.next_by);
                shown(EVALUATED, Whether::No, &text)
            }
            (None, _) => {
                let text = "No evaluation of the control was signed in this history.";
                shown(EVALUATED, Whether::NotInThisHistory, text)
            }
        }
    }

    fn legal(&self) -> Shown {
        let Figures { packs_applied, packs_declared, .. } = self.figures;
        match packs_declared {
            0 => shown(LEGAL, Whether::NotInThisHistory, "No legal pack was declared."),
            _ => shown(
                LEGAL,
                Whether::Yes,
                &format!(
                    "{} declared, {packs_applied} as applied: what they declare must hold before a key is activated, \
                     and unknown blocks.",
                    count(*packs_declared, "legal pack")
                ),
            ),
        }
    }
}

fn evaluated_elsewhere() -> Shown {
    shown(EVALUATED, Whether::NotInThisHistory, EVALUATED_ELSEWHERE)
}

fn legal_elsewhere() -> Shown {
    shown(LEGAL, Whether::NotInThisHistory, UNDER_THE_SAME_LAW)
}

fn shown(what: &'static str, shown: Whether, by: &str) -> Shown {
    Shown { what, shown, by: by.to_owned() }
}

fn answer(
    id: &'static str,
    asks: &'static str,
    owner: String,
    shown: Vec<Shown>,
    implementation: Vec<String>,
    customer: Vec<&'static str>,
    evidence: Vec<Pointer>,
) -> Answer {
    let is = |whether: Whether| shown.iter().any(|shown| shown.shown == whether);
    let draft_answer = match (is(Whether::No), is(Whether::NotInThisHistory)) {
        (true, _) => Some(Draft::No),
        (false, true) => None,
        (false, false) => Some(Draft::Yes),
    };
    let missing = shown.iter().filter(|shown| shown.shown != Whether::Yes);
    let open = missing.map(|shown| format!("{}: {}", shown.what, shown.by)).collect();
    Answer { id, asks, draft_answer, owner, shown, implementation, customer, evidence, open }
}
