//! The protocol over HTTP ("streamable HTTP"), on this machine unless something else was asked for. Requests whose `Host` or
//! `Origin` is not expected are refused, so that no web page can reach the server through a name that it controls.

use super::handler::Handler;
use super::server::Server;
use super::stdio::LINE_BYTES_MAX;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// A session that was silent for so long is forgotten: longer than a working day's breaks, and a session is small.
const SESSION_SILENCE: Duration = Duration::from_secs(8 * 3600);
/// How long a client may take to send the head of a request.
const HEAD_PATIENCE: Duration = Duration::from_secs(30);
/// Before the next attempt when no connection can be accepted, for want of descriptors for example.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where to listen, and to whom.
#[derive(Clone, Debug)]
pub(crate) struct Http {
    pub(crate) addr: SocketAddr,
    /// Also to other machines.
    pub(crate) allow_remote: bool,
    /// Host names or addresses that requests may name besides those of this machine.
    pub(crate) hosts: Vec<String>,
}

impl Http {
    /// Refuses to listen to the network by accident.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.addr.ip().is_loopback() || self.allow_remote {
            return Ok(());
        }
        Err(format!(
            "--http {}: other machines could reach that, and there is no authentication: use 127.0.0.1, or give --allow-remote too",
            self.addr
        ))
    }

    /// What `Host` may name.
    fn allowed_hosts(&self) -> Vec<String> {
        let mut hosts = self.hosts.clone();
        let local = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
        hosts.extend(local);
        if !self.addr.ip().is_unspecified() {
            hosts.push(self.addr.ip().to_string());
        }
        hosts
    }
}

/// Serves until `ended`. Says on stderr where.
pub(crate) async fn serve(server: Arc<Server>, http: &Http, ended: CancellationToken) -> Result<(), String> {
    let listener = TcpListener::bind(http.addr).await.map_err(|error| {
        format!("--http {}: {error}: choose another port, or port 0 for any that is free", http.addr)
    })?;
    let addr = listener.local_addr().map_err(|error| format!("--http {}: {error}", http.addr))?;
    super::note(&format!("serving MCP on http://{addr}/mcp"));
    let hosts = http.allowed_hosts();
    if http.addr.ip().is_unspecified() && http.hosts.is_empty() {
        super::note("requests have to name localhost as their Host: --allow-host NAME allows others");
    }
    let origins = hosts.iter().flat_map(|host| {
        let host = if host.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv6()) { format!("[{host}]") } else { host.clone() };
        [format!("http://{host}:*"), format!("https://{host}:*")]
    });
    let config = StreamableHttpServerConfig::default()
        .with_allowed_origins(origins)
        .enforce_origin_validation()
        .with_allowed_hosts(hosts.clone())
        .with_max_request_body_bytes(LINE_BYTES_MAX)
        .with_cancellation_token(ended.child_token());
    let mut sessions = LocalSessionManager::default();
    sessions.session_config.keep_alive = Some(SESSION_SILENCE);
    let handler = Handler(server);
    let service = StreamableHttpService::new(move || Ok(handler.clone()), Arc::new(sessions), config);
    let service = TowerToHyperService::new(service);
    loop {
        let stream = tokio::select! {
            () = ended.cancelled() => return Ok(()),
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    wait_out(&error).await;
                    continue;
                }
            },
        };
        // Answers are small and waited for.
        let _ = stream.set_nodelay(true);
        let service = service.clone();
        tokio::spawn(async move {
            let mut connection = hyper::server::conn::http1::Builder::new();
            connection.timer(TokioTimer::new()).header_read_timeout(HEAD_PATIENCE);
            if let Err(error) = connection.serve_connection(TokioIo::new(stream), service).await {
                tracing::debug!(%error, "a connection has ended");
            }
        });
    }
}

async fn wait_out(error: &io::Error) {
    tracing::warn!(%error, "no connection could be accepted");
    tokio::time::sleep(ACCEPT_PAUSE).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn http(addr: &str, allow_remote: bool) -> Http {
        Http { addr: addr.parse().unwrap(), allow_remote, hosts: vec!["box".into()] }
    }

    #[test]
    fn the_network_is_asked_for() {
        for addr in ["127.0.0.1:0", "127.9.9.9:1", "[::1]:0"] {
            assert_eq!(http(addr, false).check(), Ok(()));
        }
        for addr in ["0.0.0.0:0", "[::]:0", "192.168.1.2:80"] {
            assert!(http(addr, false).check().unwrap_err().contains("--allow-remote"));
            assert_eq!(http(addr, true).check(), Ok(()));
        }
        assert_eq!(http("10.0.0.1:0", true).allowed_hosts(), ["box", "localhost", "127.0.0.1", "::1", "10.0.0.1"]);
        assert_eq!(http("0.0.0.0:0", true).allowed_hosts().len(), 4);
    }
}
