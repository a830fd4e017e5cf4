//! The command `leindex-engine`. Everything it does, it does through the public API of the library.
//!
//! `cli` understands the command line and runs what it asks for, except the server of `mcp`, which is started here: neither
//! knows the other.

mod cli;
#[cfg(feature = "mcp")]
mod mcp;

fn main() -> std::process::ExitCode {
    match cli::main() {
        cli::Next::Exit(code) => code,
        #[cfg(feature = "mcp")]
        cli::Next::Serve(serve) => {
            let (allow_remote, hosts, roots) = (serve.allow_remote, serve.hosts, serve.roots);
            let http = serve.http.map(|addr| mcp::Http { addr, allow_remote, hosts, roots });
            let settings = mcp::Settings { root: serve.root, opener: serve.opener, watches: serve.watches, http };
            cli::served(mcp::serve(settings))
        }
    }
}
