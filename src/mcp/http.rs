//! The protocol over HTTP ("streamable HTTP"), on this machine unless something else was asked for. Requests whose `Host` or
//! `Origin` is not expected are refused, so that no web page can reach the server through a name that it controls. Connections,
//! sessions and the time that a request may take to arrive are bounded.

use super::handler::{Handler, in_turn};
use super::metrics;
use super::server::Server;
use super::stdio::LINE_BYTES_MAX;
use super::tools::Cost;
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::header::{CONTENT_TYPE, HOST, HeaderValue, ORIGIN};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::Sleep;
use tokio_util::sync::CancellationToken;

/// A session that was silent for so long is forgotten: longer than a working day's breaks, and a session is small.
const SESSION_SILENCE: Duration = Duration::from_secs(8 * 3600);
/// How long a client may take to send the head of a request.
const HEAD_PATIENCE: Duration = Duration::from_secs(30);
/// How long it may take to send the body.
const BODY_PATIENCE: Duration = Duration::from_secs(60);
/// Connections at once; others wait to be accepted.
const CONNECTIONS_MAX: usize = 512;
/// Sessions at once; more are refused.
const SESSIONS_MAX: usize = 1024;
/// Where the protocol is spoken.
const PATH: &str = "/mcp";
/// Where figures are read.
const METRICS_PATH: &str = "/metrics";
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
    /// Where `set_path` may go besides the project of the command line.
    pub(crate) roots: Vec<PathBuf>,
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
    super::note(&format!("serving MCP on http://{addr}{PATH}"));
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
    let handler = Handler(Arc::clone(&server));
    let sessions = Arc::new(sessions);
    let figures = Arc::new(Figures { server, hosts: hosts.clone() });
    let service = StreamableHttpService::new(move || Ok(handler.clone()), Arc::clone(&sessions), config);
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let permit = tokio::select! {
            () = ended.cancelled() => return Ok(()),
            permit = Arc::clone(&connections).acquire_owned() => permit,
        };
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
        let shared = (service.clone(), Arc::clone(&sessions), Arc::clone(&figures));
        let service = service_fn(move |request| {
            let (service, sessions, figures) = shared.clone();
            async move { Ok::<_, Infallible>(answer(&service, &sessions, &figures, request).await) }
        });
        tokio::spawn(async move {
            // Given back at its end.
            let _permit = permit;
            let mut connection = hyper::server::conn::http1::Builder::new();
            connection.timer(TokioTimer::new()).header_read_timeout(HEAD_PATIENCE);
            if let Err(error) = connection.serve_connection(TokioIo::new(stream), service).await {
                tracing::debug!(%error, "a connection has ended");
            }
        });
    }
}

/// What [`METRICS_PATH`] needs.
struct Figures {
    server: Arc<Server>,
    /// What `Host` may name: the protocol's own service checks that for its requests only.
    hosts: Vec<String>,
}

impl Figures {
    async fn answer<B>(&self, request: &Request<Incoming>) -> Response<Answered<B>> {
        if request.method() != Method::GET {
            return own(StatusCode::METHOD_NOT_ALLOWED, "figures are read with GET\n");
        }
        // What scrapes sends no Origin; web pages do, and these figures are not for them.
        let is_page = request.headers().contains_key(ORIGIN);
        if is_page || !request.headers().get(HOST).is_some_and(|host| names(&self.hosts, host)) {
            return own(
                StatusCode::FORBIDDEN,
                "not for web pages, nor under this host name: --allow-host NAME allows another\n",
            );
        }
        let server = Arc::clone(&self.server);
        // They are read from the index, as searches are.
        match in_turn(&self.server, Cost::Search, move || metrics::text(&server)).await {
            Ok(text) => {
                let mut response = own(StatusCode::OK, text);
                response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(metrics::CONTENT_TYPE));
                response
            }
            Err(error) => {
                tracing::error!(error = %error.message, "no figures");
                own(StatusCode::INTERNAL_SERVER_ERROR, "no figures: see the log of the server\n")
            }
        }
    }
}

/// Whether a `Host` is one of these, with or without a port; one that names a port wants that.
fn names(hosts: &[String], host: &HeaderValue) -> bool {
    let Ok(authority) = host.to_str().unwrap_or_default().parse::<hyper::http::uri::Authority>() else { return false };
    let bare = |name: &str| name.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
    let (name, with_port) = (bare(authority.host()), authority.as_str().to_ascii_lowercase());
    hosts.iter().any(|host| bare(host) == name || host.to_ascii_lowercase() == with_port)
}

/// Answers for everything but [`PATH`] itself, and when there is no room for another session.
async fn answer(
    service: &StreamableHttpService<Handler, LocalSessionManager>,
    sessions: &LocalSessionManager,
    figures: &Figures,
    request: Request<Incoming>,
) -> Response<Answered<impl Body<Data = Bytes, Error = Infallible> + Unpin + use<>>> {
    match request.uri().path() {
        PATH => {}
        METRICS_PATH => return figures.answer(&request).await,
        _ => {
            return own(
                StatusCode::NOT_FOUND,
                "MCP is spoken at /mcp, figures are at /metrics, nothing else is here\n",
            );
        }
    }
    let is_new = request.method() == Method::POST && !request.headers().contains_key("mcp-session-id");
    if is_new && sessions.sessions.read().await.len() >= SESSIONS_MAX {
        return own(
            StatusCode::SERVICE_UNAVAILABLE,
            "there are too many sessions: end some with DELETE, or come later\n",
        );
    }
    service.handle(request.map(Timed::new)).await.map(Answered::Theirs)
}

fn own<B>(status: StatusCode, text: impl Into<Bytes>) -> Response<Answered<B>> {
    let mut response = Response::new(Answered::Own(Some(text.into())));
    *response.status_mut() = status;
    response
}

/// The body of an answer: a text of our own, or what rmcp has to say.
enum Answered<B> {
    Own(Option<Bytes>),
    Theirs(B),
}

impl<B: Body<Data = Bytes, Error = Infallible> + Unpin> Body for Answered<B> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Answered::Own(text) => Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
            Answered::Theirs(body) => Pin::new(body).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Answered::Own(text) => text.is_none(),
            Answered::Theirs(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Answered::Own(text) => SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64)),
            Answered::Theirs(body) => body.size_hint(),
        }
    }
}

/// The body of a request, which fails when it does not arrive in time.
struct Timed {
    body: Incoming,
    patience: Pin<Box<Sleep>>,
}

impl Timed {
    fn new(body: Incoming) -> Timed {
        Timed { body, patience: Box::pin(tokio::time::sleep(BODY_PATIENCE)) }
    }
}

impl Body for Timed {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            return Poll::Ready(frame.map(|frame| frame.map_err(io::Error::other)));
        }
        let too_late = || Some(Err(io::Error::new(io::ErrorKind::TimedOut, "the body of the request did not arrive")));
        self.patience.as_mut().poll(context).map(|()| too_late())
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
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
        Http { addr: addr.parse().unwrap(), allow_remote, hosts: vec!["box".into()], roots: vec![] }
    }

    #[test]
    fn hosts_are_names_with_or_without_a_port() {
        let hosts = ["localhost", "::1", "box:8080"].map(str::to_owned);
        let is_ours = |host: &str| names(&hosts, &HeaderValue::from_str(host).unwrap());
        assert!(["localhost", "LOCALHOST:80", "[::1]", "[::1]:9", "Box:8080"].into_iter().all(is_ours));
        assert!(
            !["", "localhost.evil.example", "evil.example:80", "[::2]", "a b", "box", "box:81"]
                .into_iter()
                .any(is_ours)
        );
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
