//! The rule that everything else is for: a request is approved when its stages are met, and not before.
//!
//! INVARIANT (one person, one vote): each vote fills at most one place in all stages together, and no two votes are of
//! one person. Whoever asked, and whoever is no longer enrolled, has no vote here at all ([`votes`]).

use std::collections::BTreeSet;

use model::people::PrincipalKind;
use model::policy::{Rule, Stage};
use model::{EventHash, Name, Role, Timestamp};

use crate::state::{Approval, Governance, Request};

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

/// The votes on a request at this time: approvals that have not run out, neither by the policy then nor by the one now, by
/// people who are enrolled now, with the roles they hold now, other than the one who asked. One vote a person.
pub fn votes(governance: &Governance, rule: &Rule, request: &Request, now: Timestamp) -> Vec<Vote> {
    let requester = governance.people.get(&request.requested_by).map(|member| &member.principal.person);
    let mut seen = BTreeSet::new();
    let is_fresh = |approval: &&Approval| now < approval.expires_at && now < approval.at + rule.approval_valid_for;
    let standing = request.approvals.iter().filter(is_fresh).filter_map(|approval| {
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
    let mut seats = Seats { stages: &rule.stages, votes, taken: vec![Vec::new(); rule.stages.len()] };
    for vote in 0..votes.len() {
        seats.seat(vote, &mut vec![false; rule.stages.len()]);
    }
    let mut seated: Vec<usize> = seats.taken.iter().flatten().copied().collect();
    seated.sort_unstable();
    let counted = seated.into_iter().filter_map(|vote| votes.get(vote)).map(|vote| vote.approval).collect();
    let mut missing = seats.missing();
    if rule.stages.iter().all(|stage| stage.quorum == 0) {
        missing.push(Missing { role: Role(rule.name.clone()), count: 1 });
    }
    Assessment { counted, missing }
}

/// Who sits where: for each stage, the votes that it counts.
struct Seats<'a> {
    stages: &'a [Stage],
    votes: &'a [Vote],
    taken: Vec<Vec<usize>>,
}

impl Seats<'_> {
    /// Finds a place for a vote: a free one, or one whose vote has another place to go (augmenting paths). So a person
    /// with two roles takes the place that nobody else can. Looks at each stage at most once.
    fn seat(&mut self, vote: usize, tried: &mut [bool]) -> bool {
        let fitting: Vec<usize> = (0..self.stages.len()).filter(|stage| self.fits(vote, *stage)).collect();
        if let Some(stage) = fitting.iter().find(|stage| self.is_free(**stage)) {
            self.taken.get_mut(*stage).into_iter().for_each(|taken| taken.push(vote));
            return true;
        }
        for stage in fitting {
            if tried.get_mut(stage).is_none_or(|tried| std::mem::replace(tried, true)) {
                continue;
            }
            for place in 0..self.taken.get(stage).map_or(0, Vec::len) {
                let Some(other) = self.taken.get(stage).and_then(|taken| taken.get(place)).copied() else { continue };
                if self.seat(other, tried) {
                    self.taken
                        .get_mut(stage)
                        .and_then(|taken| taken.get_mut(place))
                        .into_iter()
                        .for_each(|seat| *seat = vote);
                    return true;
                }
            }
        }
        false
    }

    fn fits(&self, vote: usize, stage: usize) -> bool {
        let (vote, stage) = (self.votes.get(vote), self.stages.get(stage));
        vote.zip(stage).is_some_and(|(vote, stage)| vote.roles.contains(&stage.role))
    }

    fn is_free(&self, stage: usize) -> bool {
        let taken = self.taken.get(stage).map_or(0, Vec::len);
        self.stages.get(stage).is_some_and(|stage| taken < usize::from(stage.quorum))
    }

    fn missing(&self) -> Vec<Missing> {
        let open = self.stages.iter().zip(&self.taken).map(|(stage, taken)| Missing {
            role: stage.role.clone(),
            count: usize::from(stage.quorum).saturating_sub(taken.len()),
        });
        open.filter(|missing| missing.count > 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::str::FromStr as _;

    use super::*;

    fn rule(stages: Vec<Stage>) -> Rule {
        Rule {
            name: "rule".parse().unwrap(),
            when: Default::default(),
            requesters: BTreeSet::new(),
            request_valid_for: Default::default(),
            approval_valid_for: Default::default(),
            stages,
            users: BTreeSet::new(),
            process_when_deactivated: false,
        }
    }

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
        let rule = rule(stages.split_whitespace().map(stage).collect());
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

    /// As many people as there are places, each in a place of a role they hold: what trying everything comes to.
    fn most(places: &[&Role], votes: &[Vote]) -> usize {
        let Some((place, others)) = places.split_first() else { return 0 };
        let without = most(others, votes);
        let with = (0..votes.len()).filter(|at| votes[*at].roles.contains(*place)).map(|at| {
            let rest: Vec<Vote> = votes.iter().enumerate().filter(|(i, _)| *i != at).map(|(_, v)| v.clone()).collect();
            1 + most(others, &rest)
        });
        with.max().unwrap_or(0).max(without)
    }

    proptest::proptest! {
        #[test]
        fn no_seating_fills_more_places(
            quorums in proptest::collection::vec((0..3_usize, 0..3_u8), 0..4),
            held in proptest::collection::vec(0..8_u8, 0..5),
        ) {
            let role = |at: usize| Role::from_str(["sec", "law", "dev"][at]).unwrap();
            let stages: Vec<Stage> = quorums.into_iter().map(|(at, quorum)| Stage { role: role(at), quorum }).collect();
            let votes: Vec<Vote> = held.iter().enumerate().map(|(at, held)| Vote {
                approval: EventHash::new([u8::try_from(at).unwrap(); 32]),
                person: format!("p{at}").parse().unwrap(),
                roles: (0..3).filter(|bit| held & (1 << bit) != 0).map(role).collect(),
            }).collect();
            let rule = rule(stages);
            let places: Vec<&Role> =
                rule.stages.iter().flat_map(|stage| std::iter::repeat_n(&stage.role, usize::from(stage.quorum))).collect();
            let (assessment, most) = (assess(&rule, &votes), most(&places, &votes));
            proptest::prop_assert_eq!(assessment.counted.len(), most);
            proptest::prop_assert_eq!(assessment.is_met(), !places.is_empty() && most == places.len());
            let missing: usize = assessment.missing.iter().map(|missing| missing.count).sum();
            proptest::prop_assert!(places.is_empty() || missing == places.len() - most);
        }
    }

    /// A tenant writes its own policy and enrols its own keys: counting must not cost what they make it cost.
    #[test]
    fn many_votes_for_many_places_are_counted() {
        let stage = |_| Stage { role: "sec".parse().unwrap(), quorum: 255 };
        let vote = |at: usize| Vote {
            approval: EventHash::new([u8::try_from(at % 256).unwrap(); 32]),
            person: format!("p{at}").parse().unwrap(),
            roles: BTreeSet::from(["sec".parse().unwrap()]),
        };
        let votes: Vec<Vote> = (0..2_100).map(vote).collect();
        assert_eq!(assess(&rule((0..8).map(stage).collect()), &votes).counted.len(), 8 * 255);
    }

    #[test]
    fn no_stages_is_never_met() {
        check("", "", "rule:1");
        check("", "ann:sec", "rule:1");
        check("sec:0", "ann:sec", "rule:1");
    }
}
