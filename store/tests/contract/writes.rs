//! Transactions, limits and leases.

use bytes::Bytes;
use futures::{StreamExt, future::join_all};
use store::{Compare, Error, Event, Op, Revision, Store, Txn, WatchItem, limits};

pub fn put(key: &str, value: &str) -> Op {
    Op::Put { key: key.into(), value: Bytes::copy_from_slice(value.as_bytes()), lease: 0 }
}

pub fn delete(key: &str) -> Op {
    Op::Delete { key: key.into() }
}

pub fn at(key: &str, mod_revision: Revision) -> Compare {
    Compare { key: key.into(), mod_revision }
}

/// Writes without a condition; the revision.
pub async fn write(store: &dyn Store, ops: Vec<Op>) -> Revision {
    match store.txn(vec![], ops).await.expect("a write") {
        Txn::Committed { revision } => revision,
        conflict => panic!("no condition, yet {conflict:?}"),
    }
}

pub async fn value(store: &dyn Store, key: &str) -> Option<String> {
    let kv = store.get(key, 0).await.expect("a read").kv?;
    Some(String::from_utf8(kv.value.to_vec()).expect("text"))
}

pub async fn first_write_is_revision_two(store: &dyn Store) {
    assert_eq!(store.current_revision().await.unwrap(), 1);
    assert_eq!(write(store, vec![put("/a", "1")]).await, 2);
    assert_eq!(write(store, vec![put("/a", "1")]).await, 3);
    assert_eq!(store.current_revision().await.unwrap(), 3);
}

pub async fn revisions_of_a_key_follow_its_life(store: &dyn Store) {
    let born = write(store, vec![put("/a", "1")]).await;
    let changed = write(store, vec![put("/a", "2")]).await;
    let kv = store.get("/a", 0).await.unwrap().kv.unwrap();
    assert_eq!((kv.create_revision, kv.mod_revision), (born, changed));
    assert_eq!((&kv.key[..], &kv.value[..]), ("/a", &b"2"[..]));
    write(store, vec![delete("/a")]).await;
    let again = write(store, vec![put("/a", "3")]).await;
    let kv = store.get("/a", 0).await.unwrap().kv.unwrap();
    assert_eq!((kv.create_revision, kv.mod_revision), (again, again));
}

pub async fn unmet_condition_tells_the_current_keys(store: &dyn Store) {
    let a = write(store, vec![put("/a", "1")]).await;
    let b = write(store, vec![put("/b", "2")]).await;
    let compares = vec![at("/c", 0), at("/b", a), at("/a", a)];
    let Txn::Conflict { revision, current } =
        store.txn(compares, vec![put("/c", "3")]).await.unwrap()
    else {
        panic!("/b is not at {a}");
    };
    assert_eq!(revision, b);
    let current: Vec<_> =
        current.iter().map(|kv| kv.as_ref().map(|kv| (&kv.key[..], kv.mod_revision))).collect();
    assert_eq!(current, [None, Some(("/b", b)), Some(("/a", a))]);
}

pub async fn unmet_condition_writes_nothing(store: &dyn Store) {
    let a = write(store, vec![put("/a", "1")]).await;
    let ops = vec![put("/a", "2"), put("/b", "2")];
    let txn = store.txn(vec![at("/a", a), at("/b", a)], ops.clone()).await;
    assert!(matches!(txn, Ok(Txn::Conflict { .. })), "{txn:?}");
    assert_eq!(value(store, "/a").await.as_deref(), Some("1"));
    assert_eq!(value(store, "/b").await, None);
    let txn = store.txn(vec![at("/a", a), at("/b", 0)], ops).await;
    let revision = a + 1;
    assert_eq!(txn.unwrap(), Txn::Committed { revision });
    assert_eq!(value(store, "/b").await.as_deref(), Some("2"));
}

pub async fn all_writes_of_a_transaction_share_a_revision(store: &dyn Store) {
    write(store, vec![put("/old", "1")]).await;
    let revision =
        write(store, vec![put("/a", "1"), delete("/old"), put("/b", "2"), delete("/no")]).await;
    for key in ["/a", "/b"] {
        let kv = store.get(key, 0).await.unwrap().kv.unwrap();
        assert_eq!(kv.mod_revision, revision);
    }
    assert_eq!(value(store, "/old").await, None);
    assert_eq!(store.current_revision().await.unwrap(), revision);
}

pub async fn only_one_of_many_creates_a_key(store: &dyn Store) {
    let tries = (0..16).map(|i| {
        let ops = vec![put("/one", &i.to_string()), put(&format!("/by/{i}"), "")];
        store.txn(vec![at("/one", 0)], ops)
    });
    let mut won = 0;
    for txn in join_all(tries).await {
        match txn.unwrap() {
            Txn::Committed { .. } => won += 1,
            Txn::Conflict { current, .. } => assert!(current[0].is_some()),
        }
    }
    assert_eq!(won, 1);
    assert_eq!(store.current_revision().await.unwrap(), 2);
}

pub async fn deleting_what_is_missing_makes_no_revision(store: &dyn Store) {
    let revision = write(store, vec![put("/a", "1")]).await;
    assert_eq!(write(store, vec![delete("/no")]).await, revision);
    assert_eq!(store.current_revision().await.unwrap(), revision);
}

pub async fn conditions_alone_make_no_revision(store: &dyn Store) {
    let revision = write(store, vec![put("/a", "1")]).await;
    let txn = store.txn(vec![at("/a", revision)], vec![]).await.unwrap();
    assert_eq!(txn, Txn::Committed { revision });
    let txn = store.txn(vec![at("/a", 0)], vec![]).await.unwrap();
    assert!(matches!(txn, Txn::Conflict { .. }));
    assert_eq!(store.current_revision().await.unwrap(), revision);
}

pub async fn key_written_twice_is_refused(store: &dyn Store) {
    for ops in [
        vec![put("/a", "1"), put("/a", "2")],
        vec![put("/a", "1"), delete("/a")],
        vec![put("", "1")],
    ] {
        let error = store.txn(vec![], ops).await.unwrap_err();
        assert!(matches!(error, Error::Invalid(_)), "{error}");
    }
    assert_eq!(store.current_revision().await.unwrap(), 1);
}

pub async fn too_large_is_refused_and_the_largest_is_kept(store: &dyn Store) {
    let largest = "x".repeat(limits::VALUE_BYTES_MAX);
    let too_large = format!("{largest}x");
    let long_key = "/".repeat(limits::KEY_BYTES_MAX + 1);
    let many = (0..=limits::TXN_OPS_MAX).map(|i| put(&format!("/{i}"), ""));
    for ops in [
        vec![put("/a", &too_large)],
        vec![put(&long_key, "")],
        vec![put("/a", &largest), put("/b", &largest), put("/c", "x")],
        many.collect(),
    ] {
        let error = store.txn(vec![], ops).await.unwrap_err();
        assert!(matches!(error, Error::TooLarge { .. }), "{error}");
    }
    assert_eq!(store.current_revision().await.unwrap(), 1);
    // Three MiB is the largest body the API server takes.
    let object = "x".repeat(3 << 20);
    write(store, vec![put("/a", &object)]).await;
    assert_eq!(value(store, "/a").await.unwrap().len(), object.len());
}

pub async fn concurrent_increments_lose_nothing(store: &dyn Store) {
    write(store, vec![put("/n", "0")]).await;
    let increments = (0..8).map(|_| async {
        for _ in 0..10 {
            loop {
                let kv = store.get("/n", 0).await.unwrap().kv.unwrap();
                let n: u32 = std::str::from_utf8(&kv.value).unwrap().parse().unwrap();
                let ops = vec![put("/n", &(n + 1).to_string())];
                let txn = store.txn(vec![at("/n", kv.mod_revision)], ops).await;
                if matches!(txn.unwrap(), Txn::Committed { .. }) {
                    break;
                }
            }
        }
    });
    join_all(increments).await;
    assert_eq!(value(store, "/n").await.as_deref(), Some("80"));
    assert_eq!(store.current_revision().await.unwrap(), 82);
}

pub async fn ended_lease_takes_its_keys(store: &dyn Store) {
    let lease = store.grant_lease(1).await.unwrap();
    let leased = |key: &str| Op::Put { key: key.into(), value: Bytes::from_static(b"1"), lease };
    let ops = vec![leased("/l/a"), leased("/l/b"), leased("/l/kept")];
    write(store, ops).await;
    let from = write(store, vec![put("/l/kept", "2")]).await + 1;
    let mut watch = store.watch("/l/", from).await.unwrap();
    let mut gone = Vec::new();
    while gone.len() < 2 {
        if let WatchItem::Events(events) = watch.next().await.unwrap().unwrap() {
            for event in events {
                match event {
                    Event::Delete { previous, .. } => gone.push(previous.key),
                    put => panic!("{put:?}"),
                }
            }
        }
    }
    gone.sort();
    assert_eq!(gone, ["/l/a", "/l/b"]);
    assert_eq!(value(store, "/l/kept").await.as_deref(), Some("2"));
}

pub async fn unknown_lease_is_refused(store: &dyn Store) {
    let op = Op::Put { key: "/a".into(), value: Bytes::new(), lease: 4711 };
    let error = store.txn(vec![], vec![op]).await.unwrap_err();
    assert!(matches!(error, Error::NoLease { lease: 4711 }), "{error}");
    assert_eq!(store.current_revision().await.unwrap(), 1);
    let error = store.grant_lease(0).await.unwrap_err();
    assert!(matches!(error, Error::Invalid(_)), "{error}");
}
