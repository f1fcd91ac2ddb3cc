//! Sockets that only remember. Never opens one.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;

use proxy_agent::mode::userspace::balancer::Backends;
use proxy_agent::mode::userspace::plan::ListenerName;
use proxy_agent::mode::userspace::sockets::Sockets;
use proxy_agent::routes::Family;

/// What is open.
pub struct MemorySockets {
    pub open: BTreeMap<ListenerName, (u16, Backends)>,
    pub address: IpAddr,
    /// No more listeners: descriptors have run out.
    pub full: bool,
    next_port: u16,
}

impl MemorySockets {
    pub fn at(address: IpAddr) -> MemorySockets {
        MemorySockets { open: BTreeMap::new(), address, full: false, next_port: 40_000 }
    }
}

impl Sockets for MemorySockets {
    fn address(&self, _: Family, _: &dyn Fn(&IpAddr) -> bool) -> io::Result<Option<IpAddr>> {
        Ok(Some(self.address))
    }

    fn open(&mut self, name: &ListenerName, _: IpAddr, backends: &Backends) -> io::Result<u16> {
        if self.full {
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        let port = self.next_port;
        self.next_port += 1;
        let old = self.open.insert(name.clone(), (port, backends.clone()));
        assert!(old.is_none(), "{name} was open");
        Ok(port)
    }

    fn set(&mut self, name: &ListenerName, backends: &Backends) {
        let open = self.open.get_mut(name).expect("an open listener");
        open.1 = backends.clone();
    }

    fn close(&mut self, name: &ListenerName) {
        self.open.remove(name).expect("an open listener");
    }
}
