//! `devbox doctor`: what this machine lacks, and the command that mends it.

use crate::cli::{Format, ListArgs};
use crate::dirs::Dirs;
use crate::error::{Error, ExitCode, OURS};
use crate::probe::{self, Check, System, Tries, Verdict, attempt};
use crate::ui::{Table, Tone, Ui};

pub(super) fn run(ui: &Ui, dirs: &Dirs, args: &ListArgs) -> Result<ExitCode, Error> {
    // the tries change this process, which ends when the answer is printed
    let tries = Tries {
        userns: &attempt::user_namespace,
        overlay: &attempt::overlay,
        fuse: &attempt::fuse,
        landlock: &crate::sandbox::wall::version,
        xattr: &attempt::xattr,
    };
    let checks = probe::checks(&System::this(), dirs, &tries);
    match args.format {
        Format::Json => ui.json(&checks)?,
        Format::Table => print(ui, &checks)?,
    }
    let failed = checks.iter().any(|check| check.verdict == Verdict::Fail);
    Ok(if failed { ExitCode::from(OURS) } else { ExitCode::SUCCESS })
}

fn print(ui: &Ui, checks: &[Check]) -> Result<(), Error> {
    let shown = |check: &&Check| !ui.is_quiet() || check.verdict != Verdict::Pass;
    let shown: Vec<_> = checks.iter().filter(shown).collect();
    let mut table = Table::new(["CHECK", "", "FOUND"]);
    for check in &shown {
        table.row([check.name.into(), word(check.verdict).into(), check.found.clone()]);
    }
    ui.table_in_tones(&table, |row, column| (column == 1).then(|| tone(shown[row].verdict)))?;
    for check in &shown {
        if let Some(remedy) = &check.remedy {
            ui.text(&format!("\n{}:\n  {remedy}\n", check.name))?;
        }
    }
    Ok(())
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "pass",
        Verdict::Warn => "warn",
        Verdict::Fail => "FAIL",
    }
}

fn tone(verdict: Verdict) -> Tone {
    match verdict {
        Verdict::Pass => Tone::Good,
        Verdict::Warn => Tone::Caution,
        Verdict::Fail => Tone::Bad,
    }
}
