//! Who owns whom, over all kinds, and what follows from it.
//!
//! Never believes in an owner's absence by itself: the caller asks the API server.

use std::collections::{BTreeSet, HashMap};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use crate::kinds::Kind;

/// Finalizer of an owner that waits for its dependents.
pub const FOREGROUND: &str = "foregroundDeletion";
/// Finalizer of an owner that leaves its dependents behind.
pub const ORPHAN: &str = "orphan";

/// One object.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its kind.
    pub kind: Kind,
    /// Its metadata.
    pub meta: ObjectMeta,
}

impl Node {
    /// The UIDs of the owners.
    pub fn owners(&self) -> &[OwnerReference] {
        self.meta.owner_references.as_deref().unwrap_or_default()
    }

    /// Whether it carries a finalizer.
    pub fn has_finalizer(&self, finalizer: &str) -> bool {
        self.meta.finalizers.iter().flatten().any(|held| held == finalizer)
    }

    /// Whether it is being deleted.
    pub fn is_leaving(&self) -> bool {
        self.meta.deletion_timestamp.is_some()
    }

    /// Whether it waits for its dependents to go.
    pub fn waits_for_dependents(&self) -> bool {
        self.is_leaving() && self.has_finalizer(FOREGROUND)
    }
}

/// All objects by UID, with the edges from owners to dependents.
#[derive(Default)]
pub struct Graph {
    nodes: HashMap<String, Node>,
    /// UIDs of dependents by the owner's UID; the owner itself need not be known.
    dependents: HashMap<String, BTreeSet<String>>,
}

/// What an object's state asks for.
#[derive(Debug, PartialEq)]
pub enum Decision {
    /// Nothing.
    Keep,
    /// Take a finalizer off: what it waited for is done.
    Release(&'static str),
    /// Take the object out of these objects' owners, then take its finalizer off.
    Orphan(Vec<String>),
    /// Drop the references to owners that are gone or going; another owner keeps it.
    Unlink(Vec<OwnerReference>),
    /// Delete it in the foreground: its owner waits for it, and it has dependents itself.
    DeleteForeground,
    /// Delete it: no owner is left.
    Delete,
}

impl Graph {
    /// The object of that UID.
    pub fn get(&self, uid: &str) -> Option<&Node> {
        self.nodes.get(uid)
    }

    /// Enters an object as seen now; returns the UIDs to look at.
    pub fn observe(&mut self, kind: &Kind, meta: ObjectMeta) -> Vec<String> {
        let Some(uid) = meta.uid.clone() else {
            return Vec::new();
        };
        let old_owners =
            self.nodes.get(&uid).map(|node| owner_uids(&node.meta)).unwrap_or_default();
        let node = Node { kind: kind.clone(), meta };
        let new_owners = owner_uids(&node.meta);
        let mut affected = Vec::new();
        for gone in old_owners.difference(&new_owners) {
            self.unlink(gone, &uid);
            // An owner that waited for this dependent may be done.
            affected.push(gone.clone());
        }
        for owner in &new_owners {
            self.dependents.entry(owner.clone()).or_default().insert(uid.clone());
        }
        let troubled = node
            .owners()
            .iter()
            .any(|owner| self.nodes.get(&owner.uid).is_none_or(Node::waits_for_dependents));
        let ends =
            node.is_leaving() && (node.has_finalizer(FOREGROUND) || node.has_finalizer(ORPHAN));
        if troubled || ends {
            affected.push(uid.clone());
        }
        // A dependent that no longer blocks can set its owner free.
        affected.extend(
            new_owners
                .iter()
                .filter(|owner| self.nodes.get(*owner).is_some_and(Node::waits_for_dependents))
                .cloned(),
        );
        self.nodes.insert(uid, node);
        affected
    }

    /// Removes an object; returns the UIDs to look at: its dependents, and owners that wait for it.
    pub fn remove(&mut self, uid: &str) -> Vec<String> {
        let Some(node) = self.nodes.remove(uid) else {
            return Vec::new();
        };
        let owners = owner_uids(&node.meta);
        for owner in &owners {
            self.unlink(owner, uid);
        }
        let mut affected: Vec<String> = self.dependents_of(uid);
        affected.extend(owners);
        affected
    }

    /// UIDs of the objects that name this one as an owner.
    pub fn dependents_of(&self, uid: &str) -> Vec<String> {
        self.dependents.get(uid).into_iter().flatten().cloned().collect()
    }

    /// Decides what an object's state asks for. `is_absent` says whether an owner that
    /// the graph does not hold is known not to exist.
    pub fn decide(&self, uid: &str, is_absent: &dyn Fn(&OwnerReference) -> bool) -> Decision {
        let Some(node) = self.nodes.get(uid) else {
            return Decision::Keep;
        };
        if node.is_leaving() && node.has_finalizer(ORPHAN) {
            return Decision::Orphan(self.dependents_of(uid));
        }
        if node.waits_for_dependents() {
            return if self.blockers_of(uid).is_empty() {
                Decision::Release(FOREGROUND)
            } else {
                Decision::Keep
            };
        }
        if node.is_leaving() || node.owners().is_empty() {
            return Decision::Keep;
        }
        self.decide_by_owners(uid, node, is_absent)
    }

    fn decide_by_owners(
        &self,
        uid: &str,
        node: &Node,
        is_absent: &dyn Fn(&OwnerReference) -> bool,
    ) -> Decision {
        let mut solid = 0;
        let mut gone = Vec::new();
        let mut waiting = Vec::new();
        for owner in node.owners() {
            match self.nodes.get(&owner.uid) {
                Some(held) if held.waits_for_dependents() => waiting.push(owner.clone()),
                Some(_) => solid += 1,
                None if is_absent(owner) => gone.push(owner.clone()),
                None => solid += 1,
            }
        }
        if gone.is_empty() && waiting.is_empty() {
            return Decision::Keep;
        }
        if solid > 0 {
            gone.append(&mut waiting);
            return Decision::Unlink(gone);
        }
        if !waiting.is_empty() && !self.dependents_of(uid).is_empty() {
            return Decision::DeleteForeground;
        }
        Decision::Delete
    }

    /// Dependents that keep a foreground deletion from ending.
    pub fn blockers_of(&self, uid: &str) -> Vec<String> {
        let blocks = |dependent: &String| {
            self.nodes.get(dependent).is_some_and(|node| {
                node.owners()
                    .iter()
                    .any(|owner| owner.uid == uid && owner.block_owner_deletion == Some(true))
            })
        };
        self.dependents_of(uid).into_iter().filter(blocks).collect()
    }

    fn unlink(&mut self, owner: &str, dependent: &str) {
        if let Some(held) = self.dependents.get_mut(owner) {
            held.remove(dependent);
            if held.is_empty() {
                self.dependents.remove(owner);
            }
        }
    }
}

fn owner_uids(meta: &ObjectMeta) -> BTreeSet<String> {
    meta.owner_references.iter().flatten().map(|owner| owner.uid.clone()).collect()
}
