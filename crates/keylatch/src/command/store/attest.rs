//! What a key's store itself says of it, beside what the chain says.

use clap::Args;
use custodian::custody::{self, Request};
use lifecycle::Key;
use serde_json::json;

use crate::command::custody::{PlaceArgs, not_done};
use crate::error::Error;
use crate::layout::{BOLD, DIM, Fields, GREEN, RED, safe, styled};
use crate::lookup;
use crate::screen::{Screen, Shown};
use crate::session::Session;

/// Which key, and where its custodian is.
#[derive(Args, Clone, Debug)]
pub struct AttestArgs {
    /// The key: label, id, or the beginning of an id.
    pub key: String,
    #[command(flatten)]
    /// Of which custodian.
    pub place: PlaceArgs,
}

/// Asks the store.
pub async fn run(args: &AttestArgs, session: &Session, screen: &mut Screen) -> Result<(), Error> {
    let state = session.state();
    let key = lookup::key(state, &args.key)?;
    if key.adopted.is_some() {
        let what = format!("`{}` was adopted: no custodian has it", key.spec.label);
        return Err(Error::failed(what, "look at its store: keylatch store inventory"));
    }
    let (tenant, store, key_id) = (state.chain.tenant(), key.store.clone(), key.id);
    let done = custody::ask(&args.place.place()?, Request::Attest { store, tenant, key_id }).await;
    let said = done.map_err(|error| not_done(&error))?.said;
    screen.show(&shown(key, &said))
}

fn shown(key: &Key, said: &[(String, String)]) -> Shown {
    let chain = [
        ("store", key.store.to_string()),
        ("algorithm", key.spec.algorithm.to_string()),
        ("state", key.state.to_string()),
        ("identity", key.identity.to_string()),
    ];
    let (mut fields, mut differs) = (Fields::default(), Vec::new());
    for (name, text) in said {
        match chain.iter().find(|(known, _)| known == name) {
            Some((_, wanted)) if wanted == text => {
                fields.add(name, format!("{}  {GREEN}as the chain says{GREEN:#}", safe(text)))
            }
            Some((_, wanted)) => {
                differs.push(name.clone());
                let wanted = format!("the chain says {wanted}");
                fields.add(name, format!("{}  {}", safe(text), styled(RED, &wanted)));
            }
            None => fields.text(name, text.clone()),
        }
    }
    let note = "what the store says of itself, now; unsigned, through the custodian that has it open";
    let people = format!("{BOLD}{}{BOLD:#}\n{}  {DIM}{note}{DIM:#}\n", key.spec.label, fields.to_people(2));
    let said: serde_json::Map<String, serde_json::Value> =
        said.iter().map(|(name, text)| (name.clone(), text.clone().into())).collect();
    let chain: serde_json::Map<String, serde_json::Value> =
        chain.into_iter().map(|(name, text)| (name.to_owned(), text.into())).collect();
    Shown { json: json!({ "ok": true, "key_id": key.id, "store": said, "chain": chain, "differs": differs }), people }
}
