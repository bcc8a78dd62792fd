//! Writes `docs/reliability.md` from files with what the suite printed.

use std::{path::Path, process::ExitCode};

fn main() -> ExitCode {
    let mut output = String::new();
    for file in std::env::args().skip(1) {
        match std::fs::read_to_string(&file) {
            Ok(text) => output.push_str(&text),
            Err(error) => {
                eprintln!("error: {file}: {error}");
                return ExitCode::FAILURE;
            }
        }
    }
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reliability.md");
    match e2e::report::render(&e2e::report::parse(&output)).map(|text| std::fs::write(&page, text))
    {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => {
            eprintln!("error: {}: {error}", page.display());
            ExitCode::FAILURE
        }
        Err(problems) => {
            eprintln!("error: the page would not be whole:\n  {}", problems.join("\n  "));
            ExitCode::FAILURE
        }
    }
}
