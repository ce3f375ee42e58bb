//! Tar archives as a bounded stream of entries.
