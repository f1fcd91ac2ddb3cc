//! The virtual server that takes a destination's packets, as text. Never looks at the
//! kernel: it is the one that is known to be there.

use std::collections::BTreeMap;

use super::kernel::Installed;
use super::render::render_servers;
use super::server::{Frontend, Name};
use crate::mode::Asked;
use crate::nft::render::render_line;
use crate::nft::set::{Data, Key, SetName};

/// In the notation of `ipvsadm -Sn`; before it the mark, where that leads to the server.
pub fn server(installed: &Installed, asked: &Asked<'_>) -> Vec<String> {
    let (protocol, port) = asked.to.transport();
    let frontend = Frontend { address: asked.address, protocol, port };
    let mut lines = Vec::new();
    let mut name = Name::Frontend(frontend);
    let key = Key::Destination(frontend.destination());
    if let Some(data @ Data::Value(mark)) = installed.table.get(SetName::Marks, &key)
        && asked.outside
    {
        lines.push(render_line(SetName::Marks, &key, data));
        name = Name::Mark(name.family(), *mark);
    }
    if let Some(server) = installed.servers.get(&name) {
        let text = render_servers(&BTreeMap::from([(name, server.clone())]));
        lines.extend(text.lines().map(str::to_owned));
    }
    lines
}
