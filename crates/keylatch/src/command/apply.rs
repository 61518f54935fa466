//! stub
use crate::{error::{Error, Exit}, screen::Screen, session::Session};
/// x
pub const HELP: &str = "";
/// x
#[derive(clap::Args, Clone, Debug, Default)]
pub struct ApplyArgs {}
/// x
pub async fn run(_args: ApplyArgs, _session: &mut Session, _screen: &mut Screen) -> Result<Exit, Error> { Ok(Exit::Ok) }
