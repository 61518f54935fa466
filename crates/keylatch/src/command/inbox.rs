//! stub
use crate::{error::Error, screen::Screen, session::Session};
/// x
#[derive(clap::Args, Clone, Debug, Default)]
pub struct InboxArgs {}
/// x
pub async fn run(_args: InboxArgs, _session: &mut Session, _screen: &mut Screen) -> Result<(), Error> { Ok(()) }
