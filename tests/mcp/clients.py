"""What scripts/mcp-clients has the clients of others do: every tool and resource, over stdio and over HTTP.

Usage: clients.py COMMAND INSPECTOR. Ends with 0 when all of it was as it should be; otherwise says what was not.
"""

import asyncio
import contextlib
import json
import pathlib
import subprocess
import sys
import tempfile

from mcp import ClientSession, McpError, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client

TOOLS = {
    "search", "search_content", "read_file", "outline", "explain", "status", "manage_project", "manage_operations",
    "get_diagnostics",
}
DIAGNOSTICS = ["memory", "index", "backend", "performance", "operations", "settings", "ignore", "filtering", "ranking"]
# How long any one thing may take, on a machine that is busy. Seconds.
PATIENCE = 120
MAIN = "fn main() {\n    needle();\n}\n\nfn needle() {}\n"


def make_tree(root: pathlib.Path) -> None:
    (root / "src").mkdir(parents=True)
    (root / "src/main.rs").write_text(MAIN)
    (root / "notes.md").write_text("The needle is in the haystack.\n")
    (root / ".ignore").write_text("*.log\n")
    (root / "build.log").write_text("needle\n")


def check(what: str, found, wanted=True) -> None:
    if found != wanted:
        raise SystemExit(f"FAILED: {what}: found {found!r}, wanted {wanted!r}")


async def call(session: ClientSession, name: str, /, **arguments):
    """The structured answer of a tool. The client checks it against the tool's output schema."""
    result = await session.call_tool(name, arguments)
    text = result.content[0].text
    check(f"{name} {arguments} is no error ({text})", result.isError, False)
    check(f"{name} has a text", bool(text))
    return result.structuredContent


async def until(session: ClientSession, name: str, wanted, /, **arguments):
    for _ in range(PATIENCE * 10):
        result = await session.call_tool(name, arguments)
        if not result.isError and wanted(result.structuredContent):
            return result.structuredContent
        await asyncio.sleep(0.1)
    raise SystemExit(f"FAILED: {name} {arguments}: {result}")


async def drive(session: ClientSession, root: pathlib.Path) -> None:
    hello = await session.initialize()
    check("the name", hello.serverInfo.name, "leindex-engine")
    await session.send_ping()
    tools = (await session.list_tools()).tools
    check("the tools", {tool.name for tool in tools}, TOOLS)
    check("all say whether they change anything", all(tool.annotations.readOnlyHint is not None for tool in tools))
    await until(session, "status", lambda status: status["freshness"]["state"] == "current")

    for mode in ["text", "substring", "regex"]:
        found = await call(session, "search", query="needle", mode=mode, context=1)
        check(f"search {mode}", {file["path"] for file in found["files"]} >= {"src/main.rs"})
    found = await call(session, "search", query="needle", mode="symbol")
    check("search symbol", found["files"][0]["hits"][0]["line"], 5)
    found = await call(session, "search_content", action="search", pattern="needle", context_lines=1)
    check("search_content search", (found["total"], found["has_more"]), (3, False))
    found = await call(session, "search_content", action="find", pattern="*.rs")
    check("search_content find", [result["file_path"] for result in found["results"]], ["src/main.rs"])
    found = await call(session, "search_content", action="rank", pattern="needle haystack")
    check("search_content rank", found["results"][0]["file_path"], "notes.md")
    for mode in ["smart", "chunks", "metadata"]:
        await call(session, "read_file", mode=mode, file_path="src/main.rs")
    outline = await call(session, "outline", path="src/main.rs")
    check("outline", [symbol["name"] for symbol in outline["symbols"]], ["main", "needle"])
    explained = await call(session, "explain", path="build.log")
    check("explain", explained["accepted"], False)
    for kind in DIAGNOSTICS:
        await call(session, "get_diagnostics", type=kind)

    refused = await session.call_tool("read_file", {"file_path": "../outside"})
    check("a path outside is an error of the tool", refused.isError)
    try:
        await session.call_tool("no_such_tool", {})
    except McpError as error:
        check("an unknown tool is an error of the protocol", error.error.code, -32602)
    else:
        raise SystemExit("FAILED: an unknown tool was called")

    progress = []

    async def tell(done: float, total: float | None, message: str | None) -> None:
        progress.append(done)

    result = await session.call_tool("manage_project", {"action": "refresh"}, progress_callback=tell)
    check("refresh waits for the end", result.structuredContent["status"], "completed")
    check("and tells progress", len(progress) > 0)
    started = await call(session, "manage_project", action="reindex")
    await until(
        session,
        "manage_operations",
        lambda answer: answer["operations"][0]["status"] == "completed",
        action="list",
        operation_id=started["operation_id"],
    )
    await call(session, "manage_operations", action="cleanup")
    await until(session, "search", lambda found: found["hits_shown"] > 0, query="needle")
    again = await call(session, "manage_project", action="set_path", path=str(root))
    check("set_path", again["success"])

    resources = (await session.list_resources()).resources
    check("the resources", {str(resource.uri) for resource in resources}, {"structure://project", "settings://stats"})
    for resource in resources:
        json.loads((await session.read_resource(resource.uri)).contents[0].text)
    templates = (await session.list_resource_templates()).resourceTemplates
    check("the template", [template.uriTemplate for template in templates], ["files://{+path}"])
    check("a file", (await session.read_resource("files:///src/main.rs")).contents[0].text, MAIN)


async def python_over_stdio(command: str, root: pathlib.Path, index: pathlib.Path) -> None:
    parameters = StdioServerParameters(command=command, args=["mcp", "--index-dir", str(index), str(root)])
    async with stdio_client(parameters) as (read, write), ClientSession(read, write) as session:
        await drive(session, root)


async def python_over_http(url: str, root: pathlib.Path) -> None:
    async with streamable_http_client(url) as (read, write, _), ClientSession(read, write) as session:
        await drive(session, root)


@contextlib.contextmanager
def served_over_http(command: str, root: pathlib.Path, index: pathlib.Path):
    arguments = [command, "mcp", "--http", "127.0.0.1:0", "--index-dir", str(index), str(root)]
    server = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        line = server.stderr.readline().strip()
        check(f"it says where it is: {line}", "serving MCP on " in line)
        yield line.rsplit(" ", 1)[1]
        server.terminate()
        check("SIGTERM ends it well", server.wait(PATIENCE), 0)
        check("nothing on stdout", server.stdout.read(), "")
    finally:
        server.kill()
        server.wait()


def inspect(inspector: str, target: list[str], *options: str):
    """What the Inspector prints for one method."""
    arguments = [inspector, "--cli", *options, "--", *target] if len(target) > 1 else [inspector, "--cli", *target, *options]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=PATIENCE, check=False)
    check(f"{options}: {done.stdout}{done.stderr}", done.returncode, 0)
    return json.loads(done.stdout)


def drive_inspector(inspector: str, target: list[str], root: pathlib.Path) -> None:
    def tool(name: str, **arguments):
        pairs = [part for key, value in arguments.items() for part in ("--tool-arg", f"{key}={value}")]
        answer = inspect(inspector, target, "--method", "tools/call", "--tool-name", name, *pairs)
        check(f"{name} {arguments}: {answer}", answer.get("isError", False), False)
        return answer["structuredContent"]

    listed = inspect(inspector, target, "--method", "tools/list", "--strict")
    check("the tools", {tool["name"] for tool in listed["tools"]}, TOOLS)
    check("search", tool("search", query="needle", mode="substring", limit=5)["hits_shown"], 3)
    check("search_content", tool("search_content", pattern="needle", page=1)["total"], 3)
    check("read_file", tool("read_file", file_path="src/main.rs")["content"].count("\n"), 5)
    check("outline", tool("outline", path="src/main.rs")["total"], 2)
    check("explain", tool("explain", path="src/main.rs")["accepted"])
    tool("status")
    check("manage_project", tool("manage_project", action="refresh")["success"])
    tool("manage_operations", action="list")
    tool("get_diagnostics", type="settings")
    listed = inspect(inspector, target, "--method", "resources/list")
    for uri in [resource["uri"] for resource in listed["resources"]] + ["files:///src/main.rs"]:
        read = inspect(inspector, target, "--method", "resources/read", "--uri", uri)
        check(uri, bool(read["contents"][0]["text"]))
    listed = inspect(inspector, target, "--method", "resources/templates/list")
    check("the template", len(listed["resourceTemplates"]), 1)


def main() -> None:
    command, inspector = sys.argv[1:]
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch).resolve()
        root = scratch / "tree"
        make_tree(root)
        index = scratch / "index"
        asyncio.run(python_over_stdio(command, root, index))
        print("the Python client over stdio: well")
        drive_inspector(inspector, [command, "mcp", "--index-dir", str(index), str(root)], root)
        print("the Inspector over stdio: well")
        with served_over_http(command, root, index) as url:
            asyncio.run(python_over_http(url, root))
            print("the Python client over HTTP: well")
            drive_inspector(inspector, [url], root)
            print("the Inspector over HTTP: well")


if __name__ == "__main__":
    main()
