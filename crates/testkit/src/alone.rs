//! Tests of what belongs to a whole process, such as its memory: all tests of a crate are one
//! program, and the others would count too.

use std::process::Command;

/// Set in the process that is started for one test.
const MARK: &str = "SHOAL_TEST_ALONE";

/// Runs `test` in a process of its own: the same program, started again for nothing but the test of
/// this `name`, which has to be the caller's with its modules.
///
/// # Panics
/// When the test fails there, or there is no test of that name.
pub fn in_its_own_process(name: &str, test: impl FnOnce()) {
    if std::env::var_os(MARK).is_some() {
        println!("{name} runs alone");
        return test();
    }
    let program = std::env::current_exe().expect("the path of this test");
    let output = Command::new(program)
        .args(["--exact", name, "--nocapture"])
        .env(MARK, "1")
        .output()
        .expect("the test program starts once more");
    let text = String::from_utf8_lossy(&output.stdout);
    println!("{text}");
    assert!(
        output.status.success() && text.contains("runs alone"),
        "{}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
}
