//! The rule that everything else is for: a request is approved when its stages are met, and not before.
//!
//! INVARIANT (one person, one vote): each vote fills at most one place in all stages together, and no two votes are of
//! one person. Whoever asked, and whoever is no longer enrolled, has no vote here at all ([`votes`]).

use std::collections::BTreeSet;
use std::fmt;

use model::event::Assurance;
use model::key::Party;
use model::people::PrincipalKind;
use model::policy::{Need, Rule, Stage};
use model::{EventHash, Fingerprint, Name, Principal, Role, Timestamp};

use crate::state::{Approval, Delegation, Governance, Request};

/// An approval that may count: whose, and for which roles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vote {
    /// The approval.
    pub approval: EventHash,
    /// The human being whose vote it is.
    pub person: Name,
    /// The human being who gave it: another one where it was delegated.
    pub given_by: Name,
    /// The roles held now, or those that were delegated and are held by whoever delegated them.
    pub roles: BTreeSet<Role>,
    /// The party that the person acts for.
    pub party: Option<Party>,
    /// What a hardware key said of whoever signed.
    pub assurance: Option<Assurance>,
    /// Whether it brings a share of a sealed key.
    pub share: bool,
}

impl Vote {
    /// Whether it is, or was given by, this human being.
    pub fn involves(&self, person: &Name) -> bool {
        self.person == *person || self.given_by == *person
    }

    /// Whether it can take a place in this stage.
    pub fn fits(&self, stage: &Stage) -> bool {
        stage.roles().any(|role| self.roles.contains(role))
            && stage.party.is_none_or(|party| self.party == Some(party))
            && self.assures(stage)
    }

    /// Whether it was signed with the kind of key that this stage asks for.
    pub fn assures(&self, stage: &Stage) -> bool {
        match (stage.verified, stage.touch) {
            (true, _) => self.assurance == Some(Assurance::Verified),
            (false, true) => self.assurance.is_some(),
            (false, false) => true,
        }
    }
}

/// What the votes come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assessment {
    /// The approvals that count, in the order they were given.
    pub counted: Vec<EventHash>,
    /// What is missing, stage by stage. Empty where the quorum is met.
    pub missing: Vec<Missing>,
    /// How many of those who hold shares of a sealed key are still to bring theirs.
    pub shares: usize,
    /// Whether any one of what is missing would do.
    pub alternatives: bool,
}

/// A stage that is not met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// The stage.
    pub stage: Stage,
    /// How many people are still to approve.
    pub count: usize,
}

impl fmt::Display for Missing {
    /// Such as "2 of `security` or `risk`, of the mp, with a hardware key".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let roles: Vec<String> = self.stage.roles().map(|role| format!("`{role}`")).collect();
        write!(f, "{} of {}", self.count, roles.join(" or "))?;
        if let Some(party) = self.stage.party {
            write!(f, ", of the {party}")?;
        }
        match (self.stage.verified, self.stage.touch) {
            (true, _) => f.write_str(", with a hardware key that verifies who they are"),
            (false, true) => f.write_str(", with a hardware key"),
            (false, false) => Ok(()),
        }
    }
}

impl Assessment {
    /// Whether the rule is met.
    pub fn is_met(&self) -> bool {
        self.missing.is_empty() && self.shares == 0
    }

    /// What is missing, stage by stage, and of a sealed key's shares.
    pub fn missing_lines(&self) -> Vec<String> {
        self.missing.iter().map(Missing::to_string).chain(self.missing_shares()).collect()
    }

    fn missing_shares(&self) -> Option<String> {
        (self.shares > 0).then(|| format!("{} of those who hold a share of the sealed key", self.shares))
    }

    /// What is missing, for people.
    pub fn missing_text(&self) -> String {
        let missing: Vec<String> = self.missing.iter().map(Missing::to_string).collect();
        let stages = Some(missing.join(if self.alternatives { "; or " } else { ", " })).filter(|text| !text.is_empty());
        stages.into_iter().chain(self.missing_shares()).collect::<Vec<String>>().join("; and ")
    }
}

/// The votes on a request at this time: approvals that have not run out, neither by the policy then nor by the one now, by
/// people who are enrolled now, with the roles they hold now, other than the one who asked. One vote a person.
///
/// INVARIANT (delegation adds no vote): a delegated vote is the delegator's. Who gave it has none beside it, and neither
/// has whoever it was given for; and whoever the asker has delegated anything to has no vote on what the asker asks.
pub fn votes(governance: &Governance, rule: &Rule, request: &Request, now: Timestamp) -> Vec<Vote> {
    let mut seen: BTreeSet<Name> = BTreeSet::new();
    let mut votes = Vec::new();
    for approval in request.approvals.iter().filter(|approval| is_fresh(rule, request, approval, now)) {
        let Some(vote) = vote(governance, approval, now) else { continue };
        let vote = Vote { share: request.shares.contains_key(&approval.hash), ..vote };
        if is_the_askers(governance, request, &vote, approval, now)
            || seen.contains(&vote.person)
            || seen.contains(&vote.given_by)
        {
            continue;
        }
        seen.extend([vote.person.clone(), vote.given_by.clone()]);
        votes.push(vote);
    }
    votes
}

/// Whether a vote is that of whoever asked: of the same human being, or of one to whom the asker delegates anything, whoever
/// gave it.
pub(crate) fn is_the_askers(
    governance: &Governance,
    request: &Request,
    vote: &Vote,
    approval: &Approval,
    now: Timestamp,
) -> bool {
    let asker = governance.people.get(&request.requested_by).map(|member| &member.principal.person);
    let is_delegate = |asker, person| is_delegate(governance, asker, person, approval, now);
    asker.is_some_and(|asker| {
        vote.involves(asker) || is_delegate(asker, &vote.given_by) || is_delegate(asker, &vote.person)
    })
}

/// Whether an approval has not run out.
fn is_fresh(rule: &Rule, request: &Request, approval: &Approval, now: Timestamp) -> bool {
    now < good_until(rule, request, approval)
}

/// When an approval runs out, by its own word and by the policy's now. One of what goes on for a while is good for that
/// while, where it was good when the request was authorised: what ran out while others were still to approve does not come
/// back.
pub fn good_until(rule: &Rule, request: &Request, approval: &Approval) -> Timestamp {
    let collected = approval.at + rule.approval_valid_for;
    let by_policy = match (&request.standing, &rule.standing, request.authorized) {
        (Some(_), Some(standing), Some(authorized)) if authorized.at < collected => approval.at + standing.window_max,
        _ => collected,
    };
    by_policy.min(request.runs_out(approval))
}

/// The vote that an approval is by its signer's standing now.
pub(crate) fn vote(governance: &Governance, approval: &Approval, now: Timestamp) -> Option<Vote> {
    let signer = person(governance, approval.by)?;
    let (whose, roles) = match approval.on_behalf_of {
        None => (signer, signer.roles.clone()),
        Some(from) => {
            let delegation = delegation(governance, from, approval.by, approval.at, now)?;
            let from = person(governance, from)?;
            (from, delegation.roles.intersection(&from.roles).cloned().collect())
        }
    };
    Some(Vote {
        approval: approval.hash,
        person: whose.person.clone(),
        given_by: signer.person.clone(),
        roles,
        party: whose.party,
        assurance: approval.assurance,
        share: false,
    })
}

fn person(governance: &Governance, who: Fingerprint) -> Option<&Principal> {
    governance.member(who).ok().filter(|principal| principal.kind == PrincipalKind::Person)
}

/// The delegation from one to another under which a vote was given and that holds now: by what it says, and by how long the
/// policy in force lets one last.
pub fn delegation(
    governance: &Governance,
    from: Fingerprint,
    to: Fingerprint,
    given: Timestamp,
    now: Timestamp,
) -> Option<&Delegation> {
    let max = governance.policy.as_ref()?.policy.people.delegation_max?;
    let mut all = governance.delegations.values().filter(|held| held.from == from && held.to == to);
    all.find(|held| held.is_standing(given) && held.is_standing(now) && now < held.not_before + max)
}

/// Whether `asker` had delegated anything to `person` between the approval and now, or has done so since.
fn is_delegate(governance: &Governance, asker: &Name, person: &Name, approval: &Approval, now: Timestamp) -> bool {
    let is = |who: &Fingerprint, name: &Name| {
        governance.people.get(who).is_some_and(|member| member.principal.person == *name)
    };
    let overlaps = |delegation: &&Delegation| {
        delegation.ended.is_none() && delegation.not_before <= now && approval.at < delegation.not_after
    };
    let mut all = governance.delegations.values().filter(overlaps);
    all.any(|delegation| is(&delegation.from, asker) && is(&delegation.to, person))
}

/// What the votes on a request come to at this time: its stages, and the shares of its key, where that is sealed.
pub fn of_request(governance: &Governance, rule: &Rule, request: &Request, now: Timestamp) -> Assessment {
    assess_with_shares(rule, request, &votes(governance, rule, request, now))
}

/// The same of these votes.
pub fn assess_with_shares(rule: &Rule, request: &Request, votes: &[Vote]) -> Assessment {
    Assessment { shares: shares_missing(request, votes), ..assess(rule, votes) }
}

fn shares_missing(request: &Request, votes: &[Vote]) -> usize {
    let brought = votes.iter().filter(|vote| vote.share).count();
    usize::from(request.threshold.unwrap_or_default()).saturating_sub(brought)
}

/// Fills the stages with votes, as many places as can be filled.
///
/// A rule without stages is never met: [`crate::policy::check`] does not let one in, and if one came in, nobody could
/// pass it.
pub fn assess(rule: &Rule, votes: &[Vote]) -> Assessment {
    let mut assessment = match rule.need {
        Need::Any => any(rule, votes),
        Need::All if rule.in_order => in_order(rule, votes),
        Need::All => all(&rule.stages, votes),
    };
    if rule.stages.iter().all(|stage| stage.quorum == 0) {
        let stage = Stage::of(Role(rule.name.clone()), 1);
        assessment.missing.push(Missing { stage, count: 1 });
    }
    assessment
}

/// Every stage, at once: as many places filled as can be.
fn all(stages: &[Stage], votes: &[Vote]) -> Assessment {
    let mut seats = Seats { stages, votes, taken: vec![Vec::new(); stages.len()] };
    for vote in 0..votes.len() {
        seats.seat(vote, &mut vec![false; stages.len()]);
    }
    let mut seated: Vec<usize> = seats.taken.iter().flatten().copied().collect();
    seated.sort_unstable();
    let counted = seated.into_iter().filter_map(|vote| votes.get(vote)).map(|vote| vote.approval).collect();
    Assessment { counted, missing: seats.missing(), shares: 0, alternatives: false }
}

/// One stage will do: the first that is met.
fn any(rule: &Rule, votes: &[Vote]) -> Assessment {
    let mut missing = Vec::new();
    for stage in rule.stages.iter().filter(|stage| stage.quorum > 0) {
        let alone = all(std::slice::from_ref(stage), votes);
        if alone.is_met() {
            return alone;
        }
        missing.extend(alone.missing);
    }
    Assessment { counted: Vec::new(), missing, shares: 0, alternatives: true }
}

/// One stage after the other: a vote counts for the first stage that is not met when it is given, or not at all.
fn in_order(rule: &Rule, votes: &[Vote]) -> Assessment {
    let mut counted = Vec::new();
    let mut stages = rule.stages.iter().filter(|stage| stage.quorum > 0);
    let (mut stage, mut filled) = (stages.next(), 0);
    for vote in votes {
        let Some(open) = stage else { break };
        if !vote.fits(open) {
            continue;
        }
        counted.push(vote.approval);
        filled += 1;
        if filled == usize::from(open.quorum) {
            (stage, filled) = (stages.next(), 0);
        }
    }
    let open = stage.map(|stage| Missing { stage: stage.clone(), count: usize::from(stage.quorum) - filled });
    let later = stages.map(|stage| Missing { stage: stage.clone(), count: usize::from(stage.quorum) });
    Assessment { counted, missing: open.into_iter().chain(later).collect(), shares: 0, alternatives: false }
}

/// Whether one more vote would be counted, or brings a share that is missing once the stages are met.
pub fn would_count(rule: &Rule, request: &Request, votes: &[Vote], vote: &Vote) -> bool {
    if vote.share && shares_missing(request, votes) > 0 && (!rule.in_order || assess(rule, votes).is_met()) {
        return true;
    }
    let with: Vec<Vote> = votes.iter().chain([vote]).cloned().collect();
    let assessment = assess(rule, &with);
    match rule.need {
        Need::All => assessment.counted.contains(&vote.approval),
        Need::Any => rule.stages.iter().any(|stage| vote.fits(stage)),
    }
}

/// A smallest set of people who could complete a quorum beside those who have voted, by the principals whose key they
/// would sign with. Nothing where there are not enough of them.
pub fn smallest<'a>(rule: &Rule, votes: &[Vote], candidates: &[&'a Principal]) -> Option<Vec<&'a Principal>> {
    let assessment = assess(rule, votes);
    if assessment.is_met() {
        return Some(Vec::new());
    }
    // A vote that came out of turn does not count, and may be given again.
    let binds = |vote: &&Vote| !rule.in_order || assessment.counted.contains(&vote.approval);
    let is_new = |principal: &&&Principal| !votes.iter().filter(binds).any(|vote| vote.involves(&principal.person));
    let new: Vec<&Principal> = candidates.iter().filter(is_new).copied().collect();
    match rule.need {
        Need::Any => {
            let alone = |stage| complete(std::slice::from_ref(stage), votes, &new);
            rule.stages.iter().filter(|stage| stage.quorum > 0).filter_map(alone).min_by_key(Vec::len)
        }
        Need::All if rule.in_order => {
            let open = assessment
                .missing
                .into_iter()
                .map(|Missing { stage, count }| Stage { quorum: u8::try_from(count).unwrap_or(u8::MAX), ..stage });
            complete(&open.collect::<Vec<Stage>>(), &[], &new)
        }
        Need::All => complete(&rule.stages, votes, &new),
    }
}

/// The same where a key's shares must be brought as well: those who hold one come first, and as many more of them as it takes.
pub fn smallest_with_shares<'a>(
    rule: &Rule,
    request: &Request,
    votes: &[Vote],
    candidates: &[&'a Principal],
    holds: impl Fn(&Principal) -> bool,
) -> Option<Vec<&'a Principal>> {
    let (mut ordered, others): (Vec<&Principal>, Vec<&Principal>) = candidates.iter().partition(|one| holds(one));
    let holders = ordered.len();
    ordered.extend(others);
    let mut chosen = smallest(rule, votes, &ordered)?;
    let mut lacking = shares_missing(request, votes).saturating_sub(chosen.iter().filter(|one| holds(one)).count());
    for holder in ordered.into_iter().take(holders) {
        let is_there = |person: &Name| {
            votes.iter().any(|vote| vote.involves(person)) || chosen.iter().any(|other| other.person == *person)
        };
        if lacking > 0 && !is_there(&holder.person) && rule.stages.iter().any(|stage| Vote::by(holder).fits(stage)) {
            chosen.push(holder);
            lacking -= 1;
        }
    }
    (lacking == 0).then_some(chosen)
}

/// Adds people one by one, each of whom fills one more place, until all places are filled. That finds as many as can be
/// found, and no more than are needed: places that can be filled together stay so when another is filled.
fn complete<'a>(stages: &[Stage], votes: &[Vote], candidates: &[&'a Principal]) -> Option<Vec<&'a Principal>> {
    let (mut votes, mut chosen) = (votes.to_vec(), Vec::new());
    let mut filled = all(stages, &votes).counted.len();
    for principal in candidates {
        let vote = Vote::by(principal);
        if votes.iter().any(|other| other.involves(&vote.person)) {
            continue;
        }
        votes.push(vote);
        let assessment = all(stages, &votes);
        if assessment.counted.len() > filled {
            filled = assessment.counted.len();
            chosen.push(*principal);
        } else {
            votes.pop();
        }
        if assessment.is_met() {
            return Some(chosen);
        }
    }
    None
}

impl Vote {
    /// The vote that somebody would give, with the surest kind of key that theirs is.
    pub fn by(principal: &Principal) -> Self {
        use model::people::KeyType::{EcdsaP256, Ed25519, SkEcdsaP256, SkEd25519};
        let assurance = match principal.key.key_type() {
            Ed25519 | EcdsaP256 => None,
            SkEd25519 | SkEcdsaP256 => Some(Assurance::Verified),
        };
        Self {
            approval: EventHash::new(*principal.key.fingerprint().as_bytes()),
            person: principal.person.clone(),
            given_by: principal.person.clone(),
            roles: principal.roles.clone(),
            party: principal.party,
            assurance,
            share: false,
        }
    }
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
        vote.zip(stage).is_some_and(|(vote, stage)| vote.fits(stage))
    }

    fn is_free(&self, stage: usize) -> bool {
        let taken = self.taken.get(stage).map_or(0, Vec::len);
        self.stages.get(stage).is_some_and(|stage| taken < usize::from(stage.quorum))
    }

    fn missing(&self) -> Vec<Missing> {
        let open = self.stages.iter().zip(&self.taken).map(|(stage, taken)| Missing {
            stage: stage.clone(),
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
        Rule::new("rule".parse().unwrap(), BTreeSet::new(), stages, BTreeSet::new())
    }

    fn cast(approval: EventHash, person: &Name, roles: BTreeSet<Role>) -> Vote {
        let person = person.clone();
        Vote { approval, given_by: person.clone(), person, roles, party: None, assurance: None, share: false }
    }

    /// `stages` as `role:quorum …`, `votes` as `person:role,role …`; the expectation as `met` or the roles missing.
    #[track_caller]
    fn check(stages: &str, votes: &str, expected: &str) {
        let stage = |text: &str| {
            let (role, quorum) = text.split_once(':').unwrap();
            Stage::of(role.parse().unwrap(), quorum.parse().unwrap())
        };
        let vote = |(at, text): (usize, &str)| {
            let (person, roles) = text.split_once(':').unwrap();
            cast(
                EventHash::new([u8::try_from(at).unwrap(); 32]),
                &person.parse().unwrap(),
                roles.split(',').map(|role| role.parse().unwrap()).collect(),
            )
        };
        let rule = rule(stages.split_whitespace().map(stage).collect());
        let votes: Vec<Vote> = votes.split_whitespace().enumerate().map(vote).collect();
        let assessment = assess(&rule, &votes);
        let missing: Vec<String> =
            assessment.missing.iter().map(|missing| format!("{}:{}", missing.stage.role, missing.count)).collect();
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
            let stages: Vec<Stage> = quorums.into_iter().map(|(at, quorum)| Stage::of(role(at), quorum)).collect();
            let votes: Vec<Vote> = held.iter().enumerate().map(|(at, held)| cast(EventHash::new([u8::try_from(at).unwrap(); 32]), &format!("p{at}").parse().unwrap(), (0..3).filter(|bit| held & (1 << bit) != 0).map(role).collect())).collect();
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

    // === Stages of every kind ===

    /// A stage as `role[|role]:quorum[@party][+touch|+verified]`.
    fn stage(text: &str) -> Stage {
        let (text, assured) = text.split_once('+').unwrap_or((text, ""));
        let (text, party) = text.split_once('@').map_or((text, None), |(text, party)| (text, Some(party)));
        let (roles, quorum) = text.split_once(':').unwrap();
        let mut roles = roles.split('|').map(|role| role.parse().unwrap());
        let (role, or) = (roles.next().unwrap(), roles.collect());
        let party =
            party.map(|party| [Party::Csp, Party::Mp, Party::Ap].into_iter().find(|one| one.name() == party).unwrap());
        let (touch, verified) = (assured == "touch", assured == "verified");
        Stage { role, or, quorum: quorum.parse().unwrap(), party, touch, verified }
    }

    /// A vote as `person[<giver]:role,role[@party][+touched|+verified]`.
    fn vote_of(at: usize, text: &str) -> Vote {
        let (text, assured) = text.split_once('+').unwrap_or((text, ""));
        let (text, party) = text.split_once('@').map_or((text, None), |(text, party)| (text, Some(party)));
        let (who, roles) = text.split_once(':').unwrap();
        let (person, giver) = who.split_once('<').unwrap_or((who, who));
        let approval = EventHash::new([u8::try_from(at).unwrap(); 32]);
        let roles = roles.split(',').map(|role| role.parse().unwrap()).collect();
        Vote {
            given_by: giver.parse().unwrap(),
            party: party.map(|party| stage(&format!("a:1@{party}")).party.unwrap()),
            assurance: match assured {
                "touched" => Some(Assurance::Touched),
                "verified" => Some(Assurance::Verified),
                _ => None,
            },
            ..cast(approval, &person.parse().unwrap(), roles)
        }
    }

    /// `rule` as `all|any|order stage stage …`; which votes count, by their places, and what is missing.
    #[track_caller]
    fn assesses(text: &str, votes: &str, expected: &str) {
        let (how, stages) = text.split_once(' ').unwrap();
        let rule = Rule {
            need: if how == "any" { Need::Any } else { Need::All },
            in_order: how == "order",
            ..rule(stages.split_whitespace().map(stage).collect())
        };
        let votes: Vec<Vote> = votes.split_whitespace().enumerate().map(|(at, text)| vote_of(at, text)).collect();
        let assessment = assess(&rule, &votes);
        let counted: String = assessment.counted.iter().map(|hash| hash.as_bytes()[0].to_string()).collect();
        assert_eq!(format!("{counted}/{}", assessment.missing_text()), expected, "{text} {votes:?}");
    }

    #[test]
    fn one_stage_will_do_where_any_will() {
        assesses("any sec:2 law:1", "", "/2 of `sec`; or 1 of `law`");
        assesses("any sec:2 law:1", "ann:sec", "/1 of `sec`; or 1 of `law`");
        assesses("any sec:2 law:1", "ann:sec bob:law", "1/");
        assesses("any sec:2 law:1", "ann:sec bob:sec", "01/");
        assesses("any sec:2 law:2", "ann:sec bob:law", "/1 of `sec`; or 1 of `law`");
    }

    #[test]
    fn stages_one_after_the_other_count_votes_in_their_turn() {
        assesses("order sec:1 law:1", "", "/1 of `sec`, 1 of `law`");
        assesses("order sec:1 law:1", "ann:law", "/1 of `sec`, 1 of `law`");
        assesses("order sec:1 law:1", "ann:law bob:sec", "1/1 of `law`");
        assesses("order sec:1 law:1", "bob:sec ann:law", "01/");
        assesses("order sec:1 law:1", "ann:law bob:sec cid:law", "12/");
        assesses("order sec:2 law:1", "ann:sec,law bob:sec,law cid:law", "012/");
        assesses("order sec:1 sec:1", "ann:sec bob:sec", "01/");
    }

    #[test]
    fn either_of_several_roles_will_do() {
        assesses("all sec|risk:2", "ann:risk bob:sec", "01/");
        assesses("all sec|risk:1 law:1", "ann:law", "0/1 of `sec` or `risk`");
        assesses("all sec|risk:1 risk:1", "ann:risk bob:sec", "01/");
    }

    #[test]
    fn a_stage_of_a_party_takes_its_people_alone() {
        assesses("all sec:1@csp sec:1@mp", "ann:sec@csp bob:sec@csp", "0/1 of `sec`, of the mp");
        assesses("all sec:1@csp sec:1@mp", "ann:sec@csp bob:sec@mp", "01/");
        assesses("all sec:1@csp sec:1", "ann:sec bob:sec@csp", "01/");
        assesses("all sec:1@csp", "ann:sec", "/1 of `sec`, of the csp");
    }

    #[test]
    fn a_stage_of_hardware_keys_takes_those_alone() {
        assesses("all sec:1+touch", "ann:sec", "/1 of `sec`, with a hardware key");
        assesses("all sec:1+touch", "ann:sec+touched", "0/");
        assesses("all sec:1+touch", "ann:sec+verified", "0/");
        assesses(
            "all sec:1+verified",
            "ann:sec+touched",
            "/1 of `sec`, with a hardware key that verifies who they are",
        );
        assesses("all sec:1+verified sec:1", "ann:sec+verified bob:sec", "01/");
        assesses("all sec:1 sec:1+verified", "ann:sec+verified bob:sec", "01/");
    }

    #[test]
    fn a_vote_is_of_whoever_has_it_and_of_whoever_gives_it() {
        let vote = vote_of(0, "ann<bob:sec");
        let involved = ["ann", "bob", "cid"].map(|who| vote.involves(&who.parse().unwrap()));
        assert_eq!(involved, [true, true, false]);
    }

    fn somebody(name: &str, roles: BTreeSet<Role>, party: Option<Party>) -> Principal {
        let key = model::PublicKey::ed25519(model::Digest::of(name.as_bytes()).as_bytes());
        Principal {
            party,
            ..Principal::new(key, name.parse().unwrap(), PrincipalKind::Person, name.parse().unwrap(), roles)
        }
    }

    /// The fewest of the candidates who would do, by trying every set of them in every order; votes first.
    fn fewest(rule: &Rule, votes: &[Vote], candidates: &[&Principal]) -> Option<usize> {
        fn grow(rule: &Rule, votes: &[Vote], candidates: &[&Principal], depth: usize) -> bool {
            let fresh = |vote: &Vote| {
                let counted = assess(rule, votes).counted;
                !votes
                    .iter()
                    .any(|other| (!rule.in_order || counted.contains(&other.approval)) && other.involves(&vote.person))
            };
            assess(rule, votes).is_met()
                || depth > 0
                    && candidates.iter().any(|candidate| {
                        let vote = Vote::by(candidate);
                        fresh(&vote) && grow(rule, &[votes, &[vote]].concat(), candidates, depth - 1)
                    })
        }
        (0..=candidates.len()).find(|depth| grow(rule, votes, candidates, *depth))
    }

    proptest::proptest! {
        #[test]
        fn the_smallest_set_is_the_smallest(
            how in 0..3_usize,
            quorums in proptest::collection::vec((0..3_usize, 0..3_usize, 1..3_u8, 0..3_usize), 1..3),
            voted in proptest::collection::vec((0..8_u8, 0..3_usize), 0..3),
            able in proptest::collection::vec((0..8_u8, 0..3_usize), 0..5),
        ) {
            let role = |at: usize| Role::from_str(["sec", "law", "dev"][at]).unwrap();
            let roles = |held: u8| -> BTreeSet<Role> { (0..3).filter(|bit| held & (1 << bit) != 0).map(role).collect() };
            let party = |at: usize| [None, Some(Party::Csp), Some(Party::Mp)][at];
            let stages = quorums.into_iter().map(|(at, or, quorum, of)| Stage {
                or: BTreeSet::from([role(or)]),
                party: party(of),
                ..Stage::of(role(at), quorum)
            });
            let rule = Rule {
                need: if how == 1 { Need::Any } else { Need::All },
                in_order: how == 2,
                ..rule(stages.collect())
            };
            let people: Vec<Principal> = voted
                .iter()
                .chain(&able)
                .enumerate()
                .map(|(at, (held, of))| somebody(&format!("p{at}"), roles(*held), party(*of)))
                .collect();
            let votes: Vec<Vote> = people.iter().take(voted.len()).map(Vote::by).collect();
            let candidates: Vec<&Principal> = people.iter().collect();
            let chosen = smallest(&rule, &votes, &candidates);
            proptest::prop_assert_eq!(chosen.as_ref().map(Vec::len), fewest(&rule, &votes, &candidates));
            if let Some(chosen) = chosen {
                proptest::prop_assert!(fewest(&rule, &votes, &chosen) == Some(chosen.len()), "{:?} do not do", chosen);
            }
        }
    }

    /// A tenant writes its own policy and enrols its own keys: counting must not cost what they make it cost.
    #[test]
    fn many_votes_for_many_places_are_counted() {
        let stage = |_| Stage::of("sec".parse().unwrap(), 255);
        let vote = |at: usize| {
            cast(
                EventHash::new([u8::try_from(at % 256).unwrap(); 32]),
                &format!("p{at}").parse().unwrap(),
                BTreeSet::from(["sec".parse().unwrap()]),
            )
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
