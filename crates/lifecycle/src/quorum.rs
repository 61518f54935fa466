//! The rule that everything else is for: a request is approved when its stages are met, and not before.
//!
//! INVARIANT (one person, one vote): each vote fills at most one place in all stages together, and no two votes are of
//! one person. Whoever asked, and whoever is no longer enrolled, has no vote here at all ([`votes`]).

use std::collections::BTreeSet;

use model::people::PrincipalKind;
use model::policy::{Rule, Stage};
use model::{EventHash, Name, Role, Timestamp};

use crate::state::{Governance, Request};

/// An approval that may count: whose, and for which roles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vote {
    /// The approval.
    pub approval: EventHash,
    /// The human being.
    pub person: Name,
    /// The roles held now.
    pub roles: BTreeSet<Role>,
}

/// What the votes come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assessment {
    /// The approvals that count, in the order they were given.
    pub counted: Vec<EventHash>,
    /// What is missing, stage by stage. Empty where the quorum is met.
    pub missing: Vec<Missing>,
}

/// A stage that is not met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// The role.
    pub role: Role,
    /// How many people of it are still to approve.
    pub count: usize,
}

impl Assessment {
    /// Whether every stage is met.
    pub fn is_met(&self) -> bool {
        self.missing.is_empty()
    }
}

/// The votes on a request at this time: approvals that have not run out, by people who are enrolled now, with the roles
/// they hold now, other than the one who asked. One vote a person.
pub fn votes(governance: &Governance, request: &Request, now: Timestamp) -> Vec<Vote> {
    let requester = governance.people.get(&request.requested_by).map(|member| &member.principal.person);
    let mut seen = BTreeSet::new();
    let standing = request.approvals.iter().filter(|approval| now < approval.expires_at).filter_map(|approval| {
        let principal = governance.member(approval.by).ok()?;
        let counts = principal.kind == PrincipalKind::Person && Some(&principal.person) != requester;
        let vote = Vote { approval: approval.hash, person: principal.person.clone(), roles: principal.roles.clone() };
        counts.then_some(vote)
    });
    standing.filter(|vote| seen.insert(vote.person.clone())).collect()
}

/// Fills the stages with votes, as many places as can be filled.
///
/// A rule without stages is never met: [`crate::policy::check`] does not let one in, and if one came in, nobody could
/// pass it.
pub fn assess(rule: &Rule, votes: &[Vote]) -> Assessment {
    let places: Vec<&Role> =
        rule.stages.iter().flat_map(|stage| std::iter::repeat_n(&stage.role, usize::from(stage.quorum))).collect();
    let mut filled: Vec<Option<usize>> = vec![None; places.len()];
    for vote in 0..votes.len() {
        seat(vote, votes, &places, &mut filled, &mut BTreeSet::new());
    }
    let mut seated: Vec<usize> = filled.iter().flatten().copied().collect();
    seated.sort_unstable();
    let counted = seated.into_iter().filter_map(|vote| votes.get(vote)).map(|vote| vote.approval).collect();
    let mut missing = missing(&rule.stages, &filled);
    if places.is_empty() {
        missing.push(Missing { role: Role(rule.name.clone()), count: 1 });
    }
    Assessment { counted, missing }
}

/// Finds a place for a vote, moving others where they have another place to go (augmenting paths): a person with two
/// roles takes the place that nobody else can.
fn seat(
    vote: usize,
    votes: &[Vote],
    places: &[&Role],
    filled: &mut [Option<usize>],
    tried: &mut BTreeSet<usize>,
) -> bool {
    for (place, role) in places.iter().enumerate() {
        let fits = votes.get(vote).is_some_and(|vote| vote.roles.contains(*role));
        if !fits || !tried.insert(place) {
            continue;
        }
        let free = match filled.get(place).copied().flatten() {
            None => true,
            Some(other) => seat(other, votes, places, filled, tried),
        };
        if free && let Some(slot) = filled.get_mut(place) {
            *slot = Some(vote);
            return true;
        }
    }
    false
}

fn missing(stages: &[Stage], filled: &[Option<usize>]) -> Vec<Missing> {
    let mut places = filled.iter();
    let open = stages.iter().map(|stage| {
        let count = places.by_ref().take(usize::from(stage.quorum)).filter(|place| place.is_none()).count();
        Missing { role: stage.role.clone(), count }
    });
    open.filter(|missing| missing.count > 0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `stages` as `role:quorum …`, `votes` as `person:role,role …`; the expectation as `met` or the roles missing.
    #[track_caller]
    fn check(stages: &str, votes: &str, expected: &str) {
        let stage = |text: &str| {
            let (role, quorum) = text.split_once(':').unwrap();
            Stage { role: role.parse().unwrap(), quorum: quorum.parse().unwrap() }
        };
        let vote = |(at, text): (usize, &str)| {
            let (person, roles) = text.split_once(':').unwrap();
            Vote {
                approval: EventHash::new([u8::try_from(at).unwrap(); 32]),
                person: person.parse().unwrap(),
                roles: roles.split(',').map(|role| role.parse().unwrap()).collect(),
            }
        };
        let rule = Rule {
            name: "rule".parse().unwrap(),
            when: Default::default(),
            requesters: BTreeSet::new(),
            request_valid_for: Default::default(),
            approval_valid_for: Default::default(),
            stages: stages.split_whitespace().map(stage).collect(),
            users: BTreeSet::new(),
            process_when_deactivated: false,
        };
        let votes: Vec<Vote> = votes.split_whitespace().enumerate().map(vote).collect();
        let assessment = assess(&rule, &votes);
        let missing: Vec<String> =
            assessment.missing.iter().map(|missing| format!("{}:{}", missing.role, missing.count)).collect();
        let verdict = if assessment.is_met() { "met".to_owned() } else { missing.join(" ") };
        assert_eq!(verdict, expected, "{stages} / {votes:?}");
        let places: usize = rule.stages.iter().map(|stage| usize::from(stage.quorum)).sum();
        assert!(assessment.counted.len() <= places && (!assessment.is_met() || assessment.counted.len() == places));
    }

    #[test]
    fn stages_are_met_by_distinct_votes_of_the_right_roles() {
        check("sec:1", "", "sec:1");
        check("sec:1", "ann:sec", "met");
        check("sec:1", "ann:dev", "sec:1");
        check("sec:2", "ann:sec", "sec:1");
        check("sec:2", "ann:sec bob:sec", "met");
        check("sec:2", "ann:sec bob:dev", "sec:1");
        check("sec:1 law:1", "ann:sec bob:law", "met");
        check("sec:1 law:1", "ann:sec bob:sec", "law:1");
        check("sec:1 law:1", "ann:dev", "sec:1 law:1");
    }

    #[test]
    fn one_person_in_two_roles_is_one_vote() {
        check("sec:1 law:1", "ann:sec,law", "law:1");
        check("sec:1 law:1", "ann:sec,law bob:sec", "met");
        check("sec:1 law:1", "ann:sec,law bob:law", "met");
        check("sec:2 law:1", "ann:sec,law bob:sec,law cid:law", "met");
        check("sec:2 law:1", "ann:law bob:sec,law cid:law", "sec:1");
        check("sec:1 sec:1", "ann:sec", "sec:1");
    }

    #[test]
    fn no_stages_is_never_met() {
        check("", "", "rule:1");
        check("", "ann:sec", "rule:1");
        check("sec:0", "ann:sec", "rule:1");
    }
}
