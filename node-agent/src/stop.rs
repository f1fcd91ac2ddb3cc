//! Ends a container: its preStop hook, `SIGTERM`, the grace period, `SIGKILL`.
//!
//! One task an instance, aborted when the instance has ended. Never waits for that end itself.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, LifecycleHandler};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::context::Context;
use crate::shim::spec::ExecSpec;

const SIGTERM: i32 = 15;
const SIGKILL: i32 = 9;

/// Ends instance `id` of a container within `grace`.
pub async fn run(
    ctx: Arc<Context>,
    uid: String,
    id: String,
    container: Container,
    grace: Duration,
) {
    let deadline = Instant::now() + grace;
    let hook = container.lifecycle.and_then(|lifecycle| lifecycle.pre_stop);
    if let Some(hook) = hook
        && timeout_at(deadline, run_hook(&ctx, &uid, &id, &hook)).await.is_err()
    {
        tracing::debug!(
            container = container.name,
            "the preStop hook took all of the grace period"
        );
    }
    signal(&ctx, &uid, &id, SIGTERM).await;
    sleep_until(deadline).await;
    signal(&ctx, &uid, &id, SIGKILL).await;
}

async fn signal(ctx: &Context, uid: &str, id: &str, number: i32) {
    if let Err(error) = ctx.runtime.signal_container(uid, id, number).await {
        tracing::debug!(uid, "signal {number}: {error:#}");
    }
}

async fn run_hook(ctx: &Context, uid: &str, id: &str, hook: &LifecycleHandler) {
    if let Some(action) = &hook.sleep {
        tokio::time::sleep(Duration::from_secs(action.seconds.max(0) as u64)).await;
    }
    let Some(action) = &hook.exec else { return };
    let spec = ExecSpec {
        id: id.to_owned(),
        argv: action.command.clone().unwrap_or_default(),
        tty: false,
        stdin: false,
    };
    match ctx.runtime.exec(uid, &spec).await {
        Ok(mut streams) => while streams.output.recv().await.is_some() {},
        Err(error) => tracing::warn!(uid, "preStop hook: {error:#}"),
    }
}
