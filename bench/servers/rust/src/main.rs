//! axum on the socket that listenfd finds, with graceful shutdown on SIGTERM.

use axum::{routing::get, Router};
use listenfd::ListenFd;
use tokio::net::TcpListener;
use tokio::signal::unix::{signal, SignalKind};

fn main() -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(serve())
}

async fn serve() -> std::io::Result<()> {
    let handed = ListenFd::from_env()
        .take_tcp_listener(0)?
        .expect("LISTEN_FDS and LISTEN_PID");
    handed.set_nonblocking(true)?;
    let generation = std::env::var("HOTPIPE_GENERATION").unwrap_or_else(|_| "0".into());
    let body = format!("{generation} {}\n", std::process::id());
    let app = Router::new().route("/", get(move || async move { body.clone() }));
    let mut told = signal(SignalKind::terminate())?;
    axum::serve(TcpListener::from_std(handed)?, app)
        .with_graceful_shutdown(async move {
            told.recv().await;
        })
        .await
}
