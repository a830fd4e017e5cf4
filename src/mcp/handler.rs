//! The protocol's requests, turned into calls of tools and reads of resources. Nothing here blocks: whatever may is done on
//! threads that are there for it.

use super::answer::{Answer, Outcome, Refusal};
use super::args::Args;
use super::jobs::{End, Job, State};
use super::resources;
use super::server::{Project, Server};
use super::tools::{self, Call, Cost, Entry, For, manage_project_answer};
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, CustomRequest, CustomResult, ErrorCode,
    ErrorData, Implementation, ListResourceTemplatesResult, ListResourcesResult, ListToolsResult,
    PaginatedRequestParams, ProgressNotificationParam, ProgressToken, ReadResourceRequestParams, ReadResourceResponse,
    ReadResourceResult, ServerCapabilities, ServerConfig, Tool,
};
use rmcp::service::{Peer, RequestContext};
use rmcp::{RoleServer, ServerHandler};
use serde_json::json;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// How long a call waits for the first index, rather than saying that there is none yet.
const FIRST_INDEX_PATIENCE: Duration = Duration::from_secs(5);
/// Between two notifications about progress.
const PROGRESS: Duration = Duration::from_millis(250);
const INSTRUCTIONS: &str = "Searches one source tree, the project, by an index that is kept fresh in the background. `search` is the \
    tool for most questions; `explain` says why a path is not found; `status` says how fresh the index is. Every answer names the \
    generation that gave it, how fresh it is, what was cut and how to get the rest. Another tree: manage_project set_path.";

/// One session. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Handler(pub(crate) Arc<Server>);

impl ServerHandler for Handler {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder().enable_tools().enable_resources().build();
        let server = Implementation::new("leindex-engine", env!("CARGO_PKG_VERSION")).with_title("leindex-engine");
        ServerConfig::new(capabilities).with_server_info(server).with_instructions(INSTRUCTIONS)
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(tools::TOOLS.iter().map(Entry::definition).collect()))
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        tools::find(name).map(Entry::definition)
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let Some(tool) = tools::find(&request.name) else {
            let names: Vec<_> = tools::TOOLS.iter().map(|tool| tool.name).collect();
            let message = format!("unknown tool {:?}: there are {}", request.name, names.join(", "));
            return Err(ErrorData::invalid_params(message, None));
        };
        let started = Instant::now();
        let call = Arc::new(Call { server: Arc::clone(&self.0), args: Args::new(request.arguments) });
        let mut outcome = run(tool, &call, &context.ct).await?;
        if let Err(Refusal::NotYet(job)) = &outcome {
            // A small tree is indexed before anybody has asked twice.
            tokio::select! {
                _ = tokio::time::timeout(FIRST_INDEX_PATIENCE, job.ended()) => {}
                () = context.ct.cancelled() => return Err(given_up()),
            }
            outcome = run(tool, &call, &context.ct).await?;
        }
        let result = match outcome {
            Ok(Outcome::Answer(answer)) => {
                self.0.latencies.add(tool.name, started.elapsed());
                success(answer)
            }
            Ok(Outcome::Job { job, waits, closes }) => self.follow(&job, waits, closes, &context).await,
            Err(refusal) => {
                let text = match tool.whom {
                    For::Agents => refusal.message(),
                    For::LeIndex => json!({"success": false, "message": refusal.message()}).to_string(),
                };
                CallToolResult::error(vec![ContentBlock::text(text)])
            }
        };
        Ok(result.into())
    }

    async fn list_resources(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        Ok(ListResourcesResult::with_all_items(resources::list()))
    }

    async fn list_resource_templates(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        Ok(ListResourceTemplatesResult::with_all_items(resources::templates()))
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let server = Arc::clone(&self.0);
        let uri = request.uri.clone();
        let read = bounded(&self.0, Cost::Search, &context.ct, move || resources::read(&server, &uri)).await?;
        match read {
            Ok(Some(contents)) => Ok(ReadResourceResult::new(vec![contents]).into()),
            Ok(None) => {
                let message = format!(
                    "{}: there are structure://project, settings://stats and files://PATH",
                    request.uri.escape_debug()
                );
                Err(ErrorData::resource_not_found(message, None))
            }
            Err(refusal) => Err(ErrorData::resource_not_found(refusal.message(), None)),
        }
    }

    async fn on_custom_request(
        &self,
        request: CustomRequest,
        _: RequestContext<RoleServer>,
    ) -> Result<CustomResult, ErrorData> {
        // A method that is known comes here when its parameters are not what they should be.
        let is_known = ["initialize", "ping", "tools/call", "tools/list", "resources/read", "resources/list"];
        if is_known.contains(&&*request.method) {
            return Err(ErrorData::invalid_params(format!("{}: the parameters are not valid", request.method), None));
        }
        Err(ErrorData::new(ErrorCode::METHOD_NOT_FOUND, request.method, None))
    }
}

impl Handler {
    /// Answers for an operation: at its end when that was asked for, with progress until then, and otherwise at once. A call that
    /// is cancelled while it waits cancels the operation.
    async fn follow(
        &self,
        job: &Arc<Job>,
        waits: bool,
        closes: Option<Arc<Project>>,
        context: &RequestContext<RoleServer>,
    ) -> CallToolResult {
        let token = context.meta.get_progress_token();
        if waits || token.is_some() {
            tokio::select! {
                () = job.ended() => {}
                () = context.ct.cancelled() => job.cancel(),
                () = tell_progress(job, token, &context.peer) => {}
            }
        }
        if let Some(project) = closes
            && matches!(job.state(), State::Ended(End::Done(..)))
        {
            let server = Arc::clone(&self.0);
            if on_a_thread(move || server.close_this(&project)).await.is_err() {
                tracing::error!("the project could not be closed");
            }
        }
        let answer = manage_project_answer(job);
        if answer.value["success"] == false && !job.is_cancelled() {
            let mut result = success(answer);
            result.is_error = Some(true);
            return result;
        }
        success(answer)
    }
}

/// Sends progress for ever.
async fn tell_progress(job: &Job, token: Option<ProgressToken>, peer: &Peer<RoleServer>) {
    let Some(token) = token else { return std::future::pending().await };
    let mut told = 0.0;
    loop {
        let (total, message) = match job.state() {
            State::Running(progress) => (progress.expected, tools::job_message(job)),
            _ => (0, tools::job_message(job)),
        };
        // It has to grow with each notification.
        told = f64::max(told + 0.001, job.files() as f64);
        let mut param = ProgressNotificationParam::new(token.clone(), told).with_message(message);
        if total > 0 {
            param = param.with_total(f64::max(total as f64, told));
        }
        if peer.notify_progress(param).await.is_err() {
            return std::future::pending().await;
        }
        tokio::time::sleep(PROGRESS).await;
    }
}

fn success(answer: Answer) -> CallToolResult {
    let mut result = CallToolResult::success(vec![ContentBlock::text(answer.text)]);
    result.structured_content = Some(answer.value);
    result
}

async fn run(
    tool: &'static Entry,
    call: &Arc<Call>,
    cancelled: &CancellationToken,
) -> Result<Result<Outcome, Refusal>, ErrorData> {
    let (server, call) = (&call.server, Arc::clone(call));
    bounded(server, tool.cost, cancelled, move || (tool.run)(&call)).await
}

/// Does what may block when it is its turn. Whoever has cancelled it does not wait any longer.
async fn bounded<T: Send + 'static>(
    server: &Server,
    cost: Cost,
    cancelled: &CancellationToken,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ErrorData> {
    tokio::select! {
        done = in_turn(server, cost, work) => done,
        () = cancelled.cancelled() => Err(given_up()),
    }
}

/// Does what may block when it is its turn, which lasts until it is done, also when nobody waits for it any longer.
pub(super) async fn in_turn<T: Send + 'static>(
    server: &Server,
    cost: Cost,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ErrorData> {
    let permit = match cost {
        // Nobody closes the semaphore.
        Cost::Search => Arc::clone(&server.searches).acquire_owned().await.ok(),
        Cost::Light => None,
    };
    on_a_thread(move || {
        let done = work();
        drop(permit);
        done
    })
    .await
}

fn given_up() -> ErrorData {
    ErrorData::internal_error("the call was cancelled", None)
}

/// Does what may block on a thread of its own. A panic is an error of the one request.
async fn on_a_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, ErrorData> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| ErrorData::internal_error(format!("the call has failed: {error}: please report this"), None))
}
