//! `proxy-node`: the caching forward proxy as a program of its own.

fn main() -> std::process::ExitCode {
    chassis::main::<proxy_node::Options>("proxy-node", proxy_node::run)
}
