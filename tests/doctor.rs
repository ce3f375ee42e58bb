//! `devbox doctor`: each check passes, warns or fails, and says why and what mends it.

use crate::harness::Test;

#[test]
fn each_check_has_a_verdict() {
    let test = Test::new();
    let checks = test.devbox(["doctor", "--format", "json"]).output().json();
    let checks = checks.as_array().cloned().or_else(|| checks["checks"].as_array().cloned()).expect("a list");
    assert!(checks.len() >= 6, "{checks:?}");
    for check in &checks {
        let verdict = check["verdict"].as_str().unwrap_or_default();
        assert!(["pass", "warn", "fail"].contains(&verdict), "{check}");
        if verdict != "pass" {
            assert!(check.to_string().len() > 60, "a cause and a remedy: {check}");
        }
    }
    test.devbox(["doctor"]).output().lists(&[
        "user namespaces",
        "overlay",
        "subordinate ids",
        "runtime folder",
        "store",
    ]);
}

#[test]
fn missing_helpers_are_a_warning_with_the_command() {
    let test = Test::new();
    let said = test.devbox(["doctor"]).env("PATH", "/nowhere").output();
    assert!(said.text().contains("newuidmap") && said.text().contains("install"), "{said}");
}

#[test]
fn an_open_runtime_folder_is_told() {
    let test = Test::new();
    let script = "mkdir -p $XDG_RUNTIME_DIR/devbox; chmod 777 $XDG_RUNTIME_DIR/devbox; exec \"$0\" doctor";
    let said = test.under(["sh", "-c", script], []).output();
    assert!(said.text().contains("chmod 700"), "{said}");
}
