//! What each verb takes.

mod boxes;
mod data;
mod images;
mod project;
mod tool;

pub use boxes::{AfterFlags, EnterArgs, InspectArgs, ListArgs, LogsArgs, RmArgs, RunArgs, StopArgs, WhyArgs};
pub use data::{
    ApplyArgs, CloneArgs, CommitArgs, DiffArgs, DiscardArgs, ExportArgs, ImportArgs, RenameArgs, ResetArgs,
    RollbackArgs, SnapshotArgs, SnapshotsArgs, UpdateArgs,
};
pub use images::{
    LoadArgs, LoginArgs, LogoutArgs, PruneArgs, PullArgs, PushArgs, RmiArgs, SaveArgs, TagArgs, VerifyArgs,
};
pub use project::{LockArgs, OutdatedArgs, SetupArgs};
pub use tool::{
    CompletionsArgs, ConfigArgs, ConfigFormat, ConfigVerb, HookArgs, InitArgs, ManArgs, PlanArgs, ShowArgs,
    TrustArgs, UntrustArgs,
};

pub(super) use boxes::RUN_USAGE;
