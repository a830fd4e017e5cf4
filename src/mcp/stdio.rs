//! The protocol on stdin and stdout, a message a line. Whatever comes in, it goes on: a line that is no message is answered
//! with an error or passed over, never the end. Knows lines and JSON-RPC, not what is asked.

use rmcp::model::{
    ClientJsonRpcMessage, ClientRequest, ErrorCode, ErrorData, GetMeta, RequestId, ServerJsonRpcMessage,
};
use rmcp::service::{RoleServer, RxJsonRpcMessage, TxJsonRpcMessage};
use rmcp::transport::Transport;
use serde_json::Value;
use std::io::{self, BufRead, Write};
use std::thread::JoinHandle;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// The longest line that is read; a longer one is passed over and answered with an error. 8 MiB.
pub(crate) const LINE_BYTES_MAX: usize = 8 << 20;
/// Lines that wait on either side before the other one is waited for.
const LINES_WAITING: usize = 64;

/// A line of input.
#[derive(Debug, PartialEq, Eq)]
enum Line {
    Whole(Vec<u8>),
    TooLong,
}

/// What a line comes to.
enum Meaning {
    Message(Box<ClientJsonRpcMessage>),
    Wrong(ErrorData, Option<RequestId>),
    /// Nothing to answer: why.
    Nothing(&'static str),
}

/// The transport. Reading and writing are done by threads of their own, so that neither end can block anything else.
pub(crate) struct Stdio {
    lines: mpsc::Receiver<Line>,
    out: Option<mpsc::Sender<Vec<u8>>>,
    /// An answer to a line that was no message, until it is on its way.
    pending: Option<Vec<u8>>,
    /// Whether a handshake has begun. Before it, only requests make sense.
    is_introduced: bool,
}

/// Starts both threads. `ended` is cancelled when stdin ends, or when nobody reads stdout any more. The thread that writes ends
/// when the transport is closed and all was written.
pub(crate) fn start(ended: CancellationToken) -> io::Result<(Stdio, JoinHandle<()>)> {
    let (read, lines) = mpsc::channel(LINES_WAITING);
    let (out, written) = mpsc::channel(LINES_WAITING);
    let at_end = ended.clone();
    // Not joined: it may wait for a line for ever, and ends with the process.
    std::thread::Builder::new().name("leindex-mcp-in".into()).spawn(move || {
        if let Err(error) = read_lines(io::stdin().lock(), &read) {
            tracing::warn!(%error, "stdin cannot be read any more");
        }
        at_end.cancel();
    })?;
    let writer = std::thread::Builder::new().name("leindex-mcp-out".into()).spawn(move || {
        if let Err(error) = write_lines(io::stdout().lock(), written) {
            tracing::warn!(%error, "stdout cannot be written any more");
        }
        ended.cancel();
    })?;
    Ok((Stdio { lines, out: Some(out), pending: None, is_introduced: false }, writer))
}

fn read_lines(mut input: impl BufRead, to: &mpsc::Sender<Line>) -> io::Result<()> {
    while let Some(line) = read_line(&mut input, LINE_BYTES_MAX)? {
        if to.blocking_send(line).is_err() {
            break;
        }
    }
    Ok(())
}

/// The next line without its end; `None` at the end of the input. Never holds more than `most` bytes.
fn read_line(input: &mut impl BufRead, most: usize) -> io::Result<Option<Line>> {
    let (mut line, mut any, mut too_long) = (Vec::new(), false, false);
    loop {
        let available = match input.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            available => available?,
        };
        if available.is_empty() {
            break;
        }
        any = true;
        let end = memchr::memchr(b'\n', available);
        let taken = end.unwrap_or(available.len());
        too_long |= line.len() + taken > most;
        if !too_long {
            line.extend_from_slice(&available[..taken]);
        }
        input.consume(end.map_or(taken, |end| end + 1));
        if end.is_some() {
            break;
        }
    }
    Ok(any.then_some(if too_long { Line::TooLong } else { Line::Whole(line) }))
}

fn write_lines(mut output: impl Write, mut from: mpsc::Receiver<Vec<u8>>) -> io::Result<()> {
    while let Some(line) = from.blocking_recv() {
        output.write_all(&line)?;
        output.flush()?;
    }
    Ok(())
}

fn understand(line: &[u8]) -> Meaning {
    let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line).trim_ascii();
    if line.is_empty() {
        return Meaning::Nothing("an empty line");
    }
    let error = match serde_json::from_slice(line) {
        Ok(message) => return Meaning::Message(Box::new(message)),
        Err(error) => error,
    };
    let Ok(value) = serde_json::from_slice::<Value>(line) else {
        return Meaning::Wrong(ErrorData::new(ErrorCode::PARSE_ERROR, format!("no JSON: {error}"), None), None);
    };
    let id = value.get("id").filter(|id| !id.is_null());
    if id.is_none() && value.get("method").is_some_and(Value::is_string) {
        // A notification must not be answered.
        return Meaning::Nothing("a notification that makes no sense");
    }
    let id = id.and_then(|id| serde_json::from_value(id.clone()).ok());
    Meaning::Wrong(ErrorData::invalid_request("no JSON-RPC 2.0 message of this protocol", None), id)
}

/// Whether a request begins a session: the handshake, or a request of the later protocol that carries its own.
fn introduces(request: &ClientRequest) -> bool {
    match request {
        ClientRequest::InitializeRequest(_) => true,
        ClientRequest::DiscoverRequest(_) => false,
        other => other.get_meta().protocol_version().is_some(),
    }
}

fn to_line(message: &ServerJsonRpcMessage) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    Ok(line)
}

/// The line that answers what was no message. Without an id it is `null`, which JSON-RPC asks for and rmcp leaves out.
fn error_line(error: &ErrorData, id: Option<&RequestId>) -> Option<Vec<u8>> {
    let mut line = serde_json::to_vec(&serde_json::json!({"jsonrpc": "2.0", "id": id, "error": error})).ok()?;
    line.push(b'\n');
    Some(line)
}

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "stdout is closed")
}

impl Stdio {
    /// Sees to an answer that is still to be sent. Nothing is lost when this is given up half way.
    async fn send_pending(&mut self) -> Option<()> {
        if self.pending.is_some() {
            let permit = self.out.as_ref()?.reserve().await.ok()?;
            permit.send(self.pending.take()?);
        }
        Some(())
    }
}

impl Transport<RoleServer> for Stdio {
    type Error = io::Error;

    fn send(
        &mut self,
        item: TxJsonRpcMessage<RoleServer>,
    ) -> impl Future<Output = Result<(), io::Error>> + Send + 'static {
        let out = self.out.clone();
        async move {
            let line = to_line(&item)?;
            out.ok_or_else(closed)?.send(line).await.map_err(|_| closed())
        }
    }

    async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleServer>> {
        loop {
            self.send_pending().await?;
            let meaning = match self.lines.recv().await? {
                Line::Whole(line) => understand(&line),
                Line::TooLong => {
                    let what = format!("a line of more than {LINE_BYTES_MAX} bytes was passed over");
                    Meaning::Wrong(ErrorData::invalid_request(what, None), None)
                }
            };
            match meaning {
                Meaning::Message(message) => {
                    if let ClientJsonRpcMessage::Request(request) = &*message {
                        self.is_introduced |= introduces(&request.request);
                    } else if !self.is_introduced {
                        tracing::debug!("passed over before the handshake");
                        continue;
                    }
                    return Some(*message);
                }
                Meaning::Wrong(error, id) => {
                    tracing::warn!(error = %error.message, "not understood");
                    self.pending = error_line(&error, id.as_ref());
                }
                Meaning::Nothing(why) => tracing::debug!(why, "passed over"),
            }
        }
    }

    async fn close(&mut self) -> io::Result<()> {
        self.out = None;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(input: &[u8], most: usize, buffer: usize) -> Vec<Line> {
        let mut input = io::BufReader::with_capacity(buffer, input);
        std::iter::from_fn(|| read_line(&mut input, most).unwrap()).collect()
    }

    #[test]
    fn lines_are_bounded() {
        let whole = |text: &[u8]| Line::Whole(text.to_vec());
        for buffer in [1, 2, 3, 100] {
            let found = lines(b"ab\n\nabcde\nabcd\nx", 4, buffer);
            assert_eq!(found, [whole(b"ab"), whole(b""), Line::TooLong, whole(b"abcd"), whole(b"x")]);
            assert_eq!(lines(b"", 4, buffer), []);
            assert_eq!(lines(b"abcdefgh", 4, buffer), [Line::TooLong]);
        }
    }

    #[track_caller]
    fn check(line: &[u8], code: i32, id: Option<RequestId>) {
        match understand(line) {
            Meaning::Wrong(error, found) => assert_eq!((error.code.0, found), (code, id)),
            _ => panic!("{}", String::from_utf8_lossy(line)),
        }
    }

    #[test]
    fn what_is_no_message_is_answered() {
        check(b"{", -32700, None);
        check(b"\xff\xfe", -32700, None);
        check(b"{\"a\":1e999}", -32700, None);
        check("[".repeat(100_000).as_bytes(), -32700, None);
        check(b"[]", -32600, None);
        check(b"1", -32600, None);
        check(b"{\"id\":7}", -32600, Some(RequestId::Number(7)));
        check(b"{\"id\":{},\"method\":1}", -32600, None);
        assert!(matches!(understand(b"\r"), Meaning::Nothing(_)));
        assert!(matches!(understand(b"{\"method\":\"x\"}"), Meaning::Nothing(_) | Meaning::Message(_)));
        assert!(matches!(understand(br#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#), Meaning::Message(_)));
    }
}
