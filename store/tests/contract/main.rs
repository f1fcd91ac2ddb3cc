//! What every store does: the same tests against each engine.
//!
//! A test knows nothing but the trait. Etcd tests need the `etcd` program (or its path in
//! `ETCD`); without it they are skipped loudly, and fail where `CI` is set.

mod engines;
mod reads;
mod watches;
mod writes;

/// Runs each test against each engine.
macro_rules! contract {
    ($($module:ident :: $test:ident),* $(,)?) => {
        mod in_memory {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                let engine = crate::engines::in_memory();
                crate::$module::$test(engine.store()).await;
            })*
        }
        mod on_disk {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                let engine = crate::engines::on_disk();
                crate::$module::$test(engine.store()).await;
            })*
        }
        mod etcd {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                if let Some(engine) = crate::engines::etcd().await {
                    crate::$module::$test(engine.store()).await;
                }
            })*
        }
    };
}

contract! {
    writes::first_write_is_revision_two,
    writes::revisions_of_a_key_follow_its_life,
    writes::unmet_condition_tells_the_current_keys,
    writes::unmet_condition_writes_nothing,
    writes::all_writes_of_a_transaction_share_a_revision,
    writes::only_one_of_many_creates_a_key,
    writes::deleting_what_is_missing_makes_no_revision,
    writes::conditions_alone_make_no_revision,
    writes::key_written_twice_is_refused,
    writes::too_large_is_refused_and_the_largest_is_kept,
    writes::concurrent_increments_lose_nothing,
    writes::ended_lease_takes_its_keys,
    writes::unknown_lease_is_refused,
    reads::missing_key_is_none,
    reads::old_revision_reads_as_it_was,
    reads::future_revision_is_refused,
    reads::list_has_the_prefix_in_key_order,
    reads::pages_cover_the_prefix_once,
    reads::pages_at_a_revision_ignore_later_writes,
    reads::list_larger_than_a_message_comes_whole,
    reads::compacted_revision_is_refused,
    reads::compacting_twice_is_no_error,
    watches::changes_come_with_what_was_before,
    watches::history_is_replayed_then_followed,
    watches::watch_from_now_leaves_out_the_past,
    watches::watch_from_the_future_waits,
    watches::only_the_prefix_comes,
    watches::one_revision_comes_in_one_batch,
    watches::every_watcher_sees_the_same_history,
    watches::compacted_watch_is_refused,
    watches::watch_after_the_compaction_has_its_changes,
    watches::unread_watch_is_cut_off,
    watches::progress_follows_asked_for,
}
