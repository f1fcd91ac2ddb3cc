//! The in-memory table of all names, kept up to date one object at a time.
//! Never asks anyone for anything: objects come in by `apply_*` and `delete_*`.
//!
//! A change rebuilds the records of the one Service it belongs to and nothing
//! else, so its cost does not grow with the number of Services.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::ResourceExt;

use crate::records::ServiceRecords;

/// Label of a slice that names its Service.
const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";

/// Namespace and name of an object.
pub type ObjectName = (String, String);

/// The name an address points back at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pointer {
    /// The Service's namespace.
    pub namespace: String,
    /// The Service's name.
    pub service: String,
    /// The endpoint's label; `None` for the Service's own name.
    pub hostname: Option<String>,
}

#[derive(Debug, Default)]
struct Entry {
    service: Option<Service>,
    slices: BTreeMap<String, EndpointSlice>,
    records: ServiceRecords,
}

/// Names and addresses of every Service.
#[derive(Debug, Default)]
pub struct Table {
    namespaces: BTreeMap<String, BTreeMap<String, Entry>>,
    /// Slice → the Service it was counted to, so that a changed label moves it.
    slice_owner: HashMap<ObjectName, String>,
    pointers: HashMap<IpAddr, BTreeSet<Pointer>>,
    serial: u32,
}

impl Table {
    /// An empty table whose SOA serial starts at `serial`.
    pub fn new(serial: u32) -> Self {
        Self { serial, ..Self::default() }
    }

    /// SOA serial: grows with every change of the records.
    pub fn serial(&self) -> u32 {
        self.serial
    }

    /// Takes a Service as it is now.
    pub fn apply_service(&mut self, mut service: Service) {
        // Thousands of objects stay here: what no record needs goes.
        service.metadata.managed_fields = None;
        service.metadata.annotations = None;
        service.status = None;
        let key = object_name(&service);
        self.change(&key.0, &key.1, |entry| entry.service = Some(service));
    }

    /// Forgets a Service.
    pub fn delete_service(&mut self, namespace: &str, name: &str) {
        self.change(namespace, name, |entry| entry.service = None);
    }

    /// Takes an EndpointSlice as it is now.
    pub fn apply_slice(&mut self, mut slice: EndpointSlice) {
        slice.metadata.managed_fields = None;
        slice.metadata.annotations = None;
        let (namespace, name) = object_name(&slice);
        let owner = slice.labels().get(SERVICE_NAME_LABEL).cloned();
        let key = (namespace.clone(), name.clone());
        if self.slice_owner.get(&key) != owner.as_ref() {
            self.delete_slice(&namespace, &name);
        }
        let Some(owner) = owner else { return };
        self.slice_owner.insert(key, owner.clone());
        self.change(&namespace, &owner, |entry| {
            entry.slices.insert(name, slice);
        });
    }

    /// Forgets an EndpointSlice.
    pub fn delete_slice(&mut self, namespace: &str, name: &str) {
        let key = (namespace.to_owned(), name.to_owned());
        if let Some(owner) = self.slice_owner.remove(&key) {
            self.change(namespace, &owner, |entry| {
                entry.slices.remove(name);
            });
        }
    }

    /// Every Service held.
    pub fn service_names(&self) -> Vec<ObjectName> {
        let entries = self.namespaces.iter().flat_map(|(namespace, services)| {
            services
                .iter()
                .filter(|(_, entry)| entry.service.is_some())
                .map(|(name, _)| (namespace.clone(), name.clone()))
        });
        entries.collect()
    }

    /// Every EndpointSlice held.
    pub fn slice_names(&self) -> Vec<ObjectName> {
        self.slice_owner.keys().cloned().collect()
    }

    /// The records of one Service, if it has any.
    pub fn service(&self, namespace: &str, name: &str) -> Option<&ServiceRecords> {
        let entry = self.namespaces.get(namespace)?.get(name)?;
        entry.records.exists().then_some(&entry.records)
    }

    /// Whether a namespace holds any name.
    pub fn has_namespace(&self, namespace: &str) -> bool {
        let services = self.namespaces.get(namespace).into_iter().flatten();
        services.map(|(_, entry)| entry).any(|entry| entry.records.exists())
    }

    /// The names an address points back at: the Service whose cluster IP it is,
    /// else the endpoints that have it.
    pub fn reverse(&self, address: IpAddr) -> Vec<&Pointer> {
        let pointers = self.pointers.get(&address);
        let all = || pointers.into_iter().flatten();
        let own: Vec<_> = all().filter(|it| it.hostname.is_none()).collect();
        if own.is_empty() { all().collect() } else { own }
    }

    fn change(&mut self, namespace: &str, name: &str, change: impl FnOnce(&mut Entry)) {
        let services = self.namespaces.entry(namespace.to_owned()).or_default();
        let entry = services.entry(name.to_owned()).or_default();
        change(entry);
        let records = ServiceRecords::build(entry.service.as_ref(), entry.slices.values());
        let unused = entry.service.is_none() && entry.slices.is_empty();
        if records != entry.records {
            let former = std::mem::replace(&mut entry.records, records);
            self.serial = self.serial.wrapping_add(1);
            let pointer = |hostname: Option<&str>| Pointer {
                namespace: namespace.to_owned(),
                service: name.to_owned(),
                hostname: hostname.map(str::to_owned),
            };
            for (address, hostname) in former.reverse() {
                if let Some(set) = self.pointers.get_mut(&address) {
                    set.remove(&pointer(hostname));
                    if set.is_empty() {
                        self.pointers.remove(&address);
                    }
                }
            }
            for (address, hostname) in entry.records.reverse() {
                let set = self.pointers.entry(address).or_default();
                set.insert(pointer(hostname));
            }
        }
        if unused {
            services.remove(name);
            if services.is_empty() {
                self.namespaces.remove(namespace);
            }
        }
    }

    /// Everything that can be answered, for comparing two tables.
    pub fn snapshot(&self) -> Snapshot {
        let services = self.namespaces.iter().flat_map(|(namespace, services)| {
            services.iter().map(move |(name, entry)| {
                let key = (namespace.clone(), name.clone());
                (key, entry.records.clone())
            })
        });
        Snapshot {
            services: services.filter(|(_, it)| it.exists()).collect(),
            pointers: self.pointers.clone().into_iter().collect(),
        }
    }
}

/// What a table would answer, without its serial and history.
#[derive(Debug, PartialEq, Eq)]
pub struct Snapshot {
    services: BTreeMap<ObjectName, ServiceRecords>,
    pointers: BTreeMap<IpAddr, BTreeSet<Pointer>>,
}

fn object_name(object: &impl ResourceExt) -> ObjectName {
    (object.namespace().unwrap_or_default(), object.name_any())
}
