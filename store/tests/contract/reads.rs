//! Gets, lists and compaction.

use store::{Error, ListOptions, Store};

use crate::writes::{delete, put, value, write};

fn prefix(prefix: &str) -> ListOptions {
    ListOptions { prefix: prefix.into(), ..Default::default() }
}

async fn keys(store: &dyn Store, options: ListOptions) -> Vec<String> {
    let list = store.list(options).await.unwrap();
    list.items.into_iter().map(|kv| kv.key).collect()
}

pub async fn missing_key_is_none(store: &dyn Store) {
    let revision = write(store, vec![put("/a/b", "1")]).await;
    for key in ["/a", "/a/", "/a/b/", "/a/bb"] {
        let get = store.get(key, 0).await.unwrap();
        assert_eq!((get.revision, get.kv), (revision, None));
    }
}

pub async fn old_revision_reads_as_it_was(store: &dyn Store) {
    let one = write(store, vec![put("/a", "1"), put("/b", "1")]).await;
    let two = write(store, vec![put("/a", "2"), delete("/b")]).await;
    let three = write(store, vec![delete("/a"), put("/b", "3")]).await;
    for (revision, a, b) in [
        (1, None, None),
        (one, Some("1"), Some("1")),
        (two, Some("2"), None),
        (three, None, Some("3")),
    ] {
        let list = store.list(ListOptions { revision, ..prefix("/") }).await.unwrap();
        assert_eq!(list.revision, revision);
        for (key, expected) in [("/a", a), ("/b", b)] {
            let get = store.get(key, revision).await.unwrap();
            let found = get.kv.as_ref().map(|kv| &kv.value[..]);
            assert_eq!(found, expected.map(str::as_bytes), "{key} at {revision}");
            let listed = list.items.iter().find(|kv| kv.key == key);
            assert_eq!(listed, get.kv.as_ref());
        }
    }
}

pub async fn future_revision_is_refused(store: &dyn Store) {
    let newest = write(store, vec![put("/a", "1")]).await;
    let wanted = newest + 1;
    let get = store.get("/a", wanted).await.unwrap_err();
    let list = store.list(ListOptions { revision: wanted, ..prefix("/") }).await.unwrap_err();
    let compact = store.compact(wanted).await.unwrap_err();
    for error in [get, list, compact] {
        let expected =
            matches!(error, Error::Future { wanted: w, newest: n } if (w, n) == (wanted, newest));
        assert!(expected, "{error}");
    }
}

pub async fn list_has_the_prefix_in_key_order(store: &dyn Store) {
    let all = ["/p", "/p/", "/p/a", "/p/a/x", "/p/é", "/p/\u{10ffff}", "/p0", "/q"];
    for key in ["/q", "/p/é", "/p/a/x", "/p", "/p0", "/p/\u{10ffff}", "/p/", "/p/a"] {
        write(store, vec![put(key, "1")]).await;
    }
    assert_eq!(keys(store, prefix("")).await, all);
    assert_eq!(keys(store, prefix("/p")).await, all[..7]);
    assert_eq!(keys(store, prefix("/p/")).await, all[1..6]);
    assert_eq!(keys(store, prefix("/p/\u{10ffff}")).await, all[5..6]);
    assert_eq!(keys(store, prefix("/none")).await, [""; 0]);
    let after = |after: &str| ListOptions { after: Some(after.into()), ..prefix("/p/") };
    assert_eq!(keys(store, after("/a")).await, all[1..6]);
    assert_eq!(keys(store, after("/p/a")).await, all[3..6]);
    assert_eq!(keys(store, after("/p/b")).await, all[4..6]);
    assert_eq!(keys(store, after("/z")).await, [""; 0]);
}

pub async fn pages_cover_the_prefix_once(store: &dyn Store) {
    for i in 0..25 {
        write(store, vec![put(&format!("/x/{i:02}"), ""), put("/y", "")]).await;
    }
    write(store, vec![delete("/x/07"), delete("/x/24")]).await;
    let (mut after, mut seen, mut remaining) = (None, Vec::new(), Vec::new());
    loop {
        let list = store
            .list(ListOptions { after: after.take(), limit: 10, ..prefix("/x/") })
            .await
            .unwrap();
        remaining.push(list.remaining);
        seen.extend(list.items.into_iter().map(|kv| kv.key));
        if list.remaining == 0 {
            break;
        }
        after = seen.last().cloned();
    }
    let expected = (0..24).filter(|i| *i != 7).map(|i| format!("/x/{i:02}"));
    assert_eq!(seen, expected.collect::<Vec<_>>());
    assert_eq!(remaining, [13, 3, 0]);
}

pub async fn pages_at_a_revision_ignore_later_writes(store: &dyn Store) {
    for i in 0..6 {
        write(store, vec![put(&format!("/x/{i}"), "old")]).await;
    }
    let first = store.list(ListOptions { limit: 3, ..prefix("/x/") }).await.unwrap();
    write(store, vec![delete("/x/4"), put("/x/5", "new"), put("/x/6", "new")]).await;
    let second = store
        .list(ListOptions {
            after: first.items.last().map(|kv| kv.key.clone()),
            limit: 3,
            revision: first.revision,
            ..prefix("/x/")
        })
        .await
        .unwrap();
    assert_eq!((second.revision, second.remaining), (first.revision, 0));
    let found: Vec<_> = second.items.iter().map(|kv| &kv.key[..]).collect();
    assert_eq!(found, ["/x/3", "/x/4", "/x/5"]);
    assert!(second.items.iter().all(|kv| kv.value == "old"));
}

pub async fn list_larger_than_a_message_comes_whole(store: &dyn Store) {
    let megabyte = "x".repeat(1 << 20);
    for i in 0..12 {
        write(store, vec![put(&format!("/big/{i:02}"), &megabyte)]).await;
    }
    let list = store.list(prefix("/big/")).await.unwrap();
    assert_eq!((list.items.len(), list.remaining), (12, 0));
    assert!(list.items.iter().all(|kv| kv.value.len() == 1 << 20));
    assert!(list.items.is_sorted_by(|a, b| a.key < b.key));
}

pub async fn compacted_revision_is_refused(store: &dyn Store) {
    let one = write(store, vec![put("/a", "1"), put("/b", "1")]).await;
    let two = write(store, vec![put("/a", "2")]).await;
    let three = write(store, vec![delete("/b"), put("/c", "3")]).await;
    store.compact(two).await.unwrap();
    let old = ListOptions { revision: one, ..prefix("/") };
    let get = store.get("/a", one).await.unwrap_err();
    let list = store.list(old).await.unwrap_err();
    for error in [get, list] {
        let Error::Compacted { wanted, oldest } = error else {
            panic!("{error}");
        };
        assert_eq!((wanted, oldest), (one, two));
    }
    for (revision, expected) in [(two, ["/a", "/b"]), (three, ["/a", "/c"])] {
        let options = ListOptions { revision, ..prefix("/") };
        assert_eq!(keys(store, options).await, expected);
    }
    assert_eq!(value(store, "/a").await.as_deref(), Some("2"));
    store.compact(three).await.unwrap();
    assert!(store.get("/b", two).await.is_err());
    assert_eq!(store.get("/b", three).await.unwrap().kv, None);
    assert_eq!(write(store, vec![put("/b", "4")]).await, three + 1);
}

pub async fn compacting_twice_is_no_error(store: &dyn Store) {
    write(store, vec![put("/a", "1")]).await;
    let revision = write(store, vec![put("/a", "2")]).await;
    store.compact(revision).await.unwrap();
    store.compact(revision).await.unwrap();
    store.compact(revision - 1).await.unwrap();
    assert_eq!(value(store, "/a").await.as_deref(), Some("2"));
}
